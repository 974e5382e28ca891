"""How well claims to be an institution are told by names and bios, and how fast: `python -m benchmarks.accounts`.

Measured on `classify/suites/accounts.jsonl`, which neither the words nor the examples were written with in view.
"""

import time
from pathlib import Path

import orjson

from classify.claims import ClaimReader
from classify.institutions import claim, institution_types
from classify.model import load, prepare
from pipelines.report.intervals import wilson

SUITE = Path("classify/suites/accounts.jsonl")
Told = list[str | None]


def main() -> None:
    """Prints a table by language, one by type, and the rates."""
    rows = [orjson.loads(line) for line in SUITE.read_bytes().splitlines()]
    accounts = [(row["name"], row["bio"]) for row in rows]
    begun = time.perf_counter()
    reader = ClaimReader(load(prepare("default")))
    print(f"{len(rows)} accounts; encoder and examples ready in {time.perf_counter() - begun:.1f} s")
    begun = time.perf_counter()
    both: Told = [found and found.type for found in reader.claims(accounts)]
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    words: Told = [found and found.type for found in (claim(*account) for account in accounts)]
    alone = time.perf_counter() - begun
    print(f"accounts a second: {len(rows) / seconds:,.0f}; by the words alone: {len(rows) / alone:,.0f}\n")
    for way, told in (("words alone", words), ("words and encoder", both)):
        for lang in ("zh", "en"):
            places = [place for place, row in enumerate(rows) if row["lang"] == lang]
            claims = [place for place in places if rows[place]["type"]]
            private = [place for place in places if not rows[place]["type"]]
            found = sum(told[place] is not None for place in claims)
            right = sum(told[place] == rows[place]["type"] for place in claims)
            taken = sum(told[place] is not None for place in private)
            print(f"{way:<18}  {lang}  found {_share(found, len(claims))}, of the right type {right}; ", end="")
            print(f"private persons taken for one {_share(taken, len(private))}")
    print("\ntype           claims  found as it   precision  recall")
    for kind in institution_types():
        wanted = sum(row["type"] == kind for row in rows)
        right = sum(row["type"] == kind == found for row, found in zip(rows, both, strict=True))
        claimed = sum(found == kind for found in both)
        print(f"{kind:<13}  {wanted:>6}  {claimed:>11}   {right / claimed:>9.2f}  {right / wanted:>6.2f}")


def _share(part: int, whole: int) -> str:
    low, high = wilson(part, whole)
    return f"{part}/{whole} ({100 * low:.0f}-{100 * high:.0f} %)"


if __name__ == "__main__":
    main()
