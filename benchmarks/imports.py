"""Records a second and peak memory of an import: `python -m benchmarks.imports 100000`.

A dump of Reddit's comments and links, made up here, is imported from its JSON lines to a sealed sweep. The peer is
orjson, decoding the same file line by line, in the same run.
"""

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

SAID = (
    "The ferry to the islands is cancelled until Thursday, says the harbour office.",
    "Has anybody else seen the notice at the library? It closes for *repairs* in March.",
    "> the water is safe to drink\n\nThe report says so on page 4: https://water.example.org/reports/2019-04.pdf",
    "I asked u/harbour_watch about it and got [the timetable](https://ferry.example.org/timetable?day=thu).",
    "**Not true.** The photo is from 2011, look at the old bridge in the back.",
    "Снег идёт уже третий день, дороги закрыты.",
    "明日は雨だそうです。傘を忘れずに。",
    "Thanks &amp; see you there, 5 &gt; 4 of us are coming 🎉",
)


def write_dump(path: Path, records: int) -> None:
    """Writes that many records, a third of them links."""
    chance = random.Random(7)
    with path.open("wb") as file:
        for number in range(records):
            file.write(orjson.dumps(_link(number, chance) if number % 3 == 0 else _comment(number, chance)) + b"\n")


def _both(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "id": f"e{number:06x}", "author": f"reader{chance.randrange(5000)}", "subreddit": "harbourtown",
        "created_utc": 1_554_076_800 + number, "retrieved_on": 1_556_600_000 + number, "score": chance.randrange(900),
        "edited": False, "stickied": False, "distinguished": None, "author_flair_text": None, "gilded": 0,
    }  # fmt: skip


def _comment(number: int, chance: random.Random) -> dict[str, Any]:
    body = "\n\n".join(chance.sample(SAID, chance.randrange(1, 5)))
    place = {"link_id": f"t3_e{number // 9 * 9:06x}", "parent_id": f"t1_e{max(1, number - 1):06x}"}
    permalink = f"/r/harbourtown/comments/e{number // 9 * 9:06x}/_/e{number:06x}/"
    return _both(number, chance) | place | {"body": f"{body} (no. {number})", "permalink": permalink}


def _link(number: int, chance: random.Random) -> dict[str, Any]:
    told = {"title": f"{chance.choice(SAID[:2])} ({number})", "selftext": "", "is_self": False, "over_18": False}
    told |= {"url": f"https://news.example.org/2019/04/{number}", "num_comments": chance.randrange(90)}
    told |= {"permalink": f"/r/harbourtown/comments/e{number:06x}/_/", "spoiler": False, "num_crossposts": 0}
    return _both(number, chance) | told


def decoded(path: Path) -> float:
    """Seconds that the peer takes."""
    began = time.perf_counter()
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)
    return time.perf_counter() - began


def imported(path: Path) -> float:
    """Seconds that the command takes, from its start to the sealed sweep."""
    command = [str(Path(sys.executable).with_name("postsweep")), "import", "pushshift", path.name, "--sweep", "h1"]
    began = time.perf_counter()
    subprocess.run(
        command, cwd=path.parent, env={**os.environ, "POSTSWEEP_KEY": "00" * 32}, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def main() -> None:
    """Measures the number of records given."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "RC_2019-04.jsonl"
        write_dump(path, records)
        peer, own = decoded(path), imported(path)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"import: {records:,} records, {records / own:,.0f} a second, {largest:.0f} MiB at most")
    print(f"orjson: {records / peer:,.0f} a second; the import takes {own / peer:.0f} times as long")


if __name__ == "__main__":
    main()
