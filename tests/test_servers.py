"""Whole sweeps of real servers, where the scripts that start them stand beside the project."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.post import PostId
from crawlers.pseudonyms import Pseudonyms
from tests.jobs import KEY, postsweep
from tests.shared_data import SHARED
from tests.sweeps import contents

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(SHARED is None, reason="the scripts of the servers are not here"),
]
NAMES = Pseudonyms(bytes.fromhex(KEY))
SWEEP = """[sweep]
id = "real"
since = 2020-01-01T00:00:00Z
until = 2100-01-01T00:00:00Z
archive = "archive"
contact = "mailto:operator@example.org"
delay_seconds = 0
"""
SNAC = """
[[source]]
platform = "mastodon"
url = "{base}"
kind = "public"
allow_private = true
[[source]]
platform = "mastodon"
url = "{base}"
kind = "tag"
value = "test1"
allow_private = true
"""
PDS = """
[[source]]
platform = "bluesky"
url = "{base}"
kind = "records"
value = "{name}.test"
allow_private = true
"""


def until_now() -> str:
    """The sweep's head, with a window that is over: whatever the servers hold was written before it ends."""
    return SWEEP.replace("2100-01-01T00:00:00Z", datetime.now(UTC).isoformat(timespec="milliseconds"))


def started(name: str, seed: Path) -> dict[str, Any]:
    assert SHARED is not None
    folder = SHARED / "servers" / name
    subprocess.run([str(folder / "stop.sh")], capture_output=True, check=False)
    done = subprocess.run([str(folder / "start.sh"), str(seed)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{name} does not start here: {done.stderr.strip()[-200:]}")
    values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    seeded: dict[str, Any] = json.loads(Path(values["SEEDED"]).read_text())
    return {"base": values["BASE_URL"], **seeded}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    assert SHARED is not None
    seed = tmp_path_factory.mktemp("seed") / "seed.json"
    maker = SHARED / "servers/seed/make_seed.py"
    subprocess.run([sys.executable, str(maker), str(seed), "--posts", "2000"], check=True)
    try:
        yield {"seed": json.loads(seed.read_text()), **{name: started(name, seed) for name in ("snac", "atproto")}}
    finally:
        for name in ("snac", "atproto"):
            subprocess.run([str(SHARED / "servers" / name / "stop.sh")], capture_output=True, check=False)


@pytest.fixture(scope="module")
def swept(servers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    sources = SNAC.format(base=servers["snac"]["base"])
    sources += "".join(PDS.format(base=servers["atproto"]["base"], name=name) for name in ("alice", "bob", "carol"))
    (folder / "sweep.toml").write_text(until_now() + sources)
    done = postsweep("run", "sweep.toml", "-o", "report.html", cwd=folder)
    (folder / "stderr.txt").write_text(done.stderr)
    assert done.returncode == 0, done.stderr
    return folder


def rows(folder: Path, platform: str) -> dict[str, dict[str, Any]]:
    table = pl.read_parquet(f"{folder}/archive/posts/*/platform={platform}/*.parquet", hive_partitioning=False)
    found = {row["uid"]: row for row in table.iter_rows(named=True)}
    assert len(found) == table.height
    return found


def live(servers: dict[str, Any], server: str) -> dict[str, dict[str, Any]]:
    """The seed's posts that the server shows: snac keeps a deleted post that was replied to."""
    seed = servers["seed"]
    replied = {post.get("reply_to") for post in seed["posts"]}
    return {
        post["id"]: post
        for post in seed["posts"]
        if post["author"] not in seed["delete_accounts"]
        and (not post.get("delete") or (server == "snac" and post["id"] in replied))
    }


def uid(servers: dict[str, Any], server: str, post: str) -> str:
    platform = "mastodon" if server == "snac" else "bluesky"
    return NAMES.post(PostId(platform, servers[server]["posts"][post]["uri"]))


@pytest.mark.parametrize(("server", "platform"), [("snac", "mastodon"), ("atproto", "bluesky")])
def test_every_live_post_is_there_once_with_its_text_links_and_parent(
    servers: dict[str, Any], swept: Path, server: str, platform: str
) -> None:
    found = rows(swept, platform)
    expected = live(servers, server)
    assert set(found) == {uid(servers, server, post) for post in expected}
    for name, post in expected.items():
        row = found[uid(servers, server, name)]
        assert row["text"] == post["text"]
        links = ["https://example.org/x?a=1&b=2"] if "example.org" in post["text"] else []
        assert row["links"] == links
        parent = post.get("reply_to")
        assert row["reply_to"] == (None if parent is None else uid(servers, server, parent))
        assert row["kind"] == ("post" if parent is None else "reply")
        if server == "atproto":
            assert row["created_at"] == datetime.fromisoformat(post["created_at"])
        else:  # snac dates posts by their arrival, which its uris carry to the second
            arrived = float(servers[server]["posts"][name]["uri"].rpartition("/")[2])
            assert abs((row["created_at"] - datetime.fromtimestamp(arrived, UTC)).total_seconds()) < 2


def test_a_post_of_the_tag_and_the_public_timeline_names_both(servers: dict[str, Any], swept: Path) -> None:
    found = rows(swept, "mastodon")
    for name, post in live(servers, "snac").items():
        seen = found[uid(servers, "snac", name)]["seen_by"]
        kinds = [source.split(":")[3] for source in seen]
        assert kinds == (["public", "tag"] if "#test1" in post["text"] else ["public"])


def test_nothing_of_the_seed_that_leads_back_stands_outside_identities(servers: dict[str, Any], swept: Path) -> None:
    needles = [f"{name}.test" for name in ("alice", "bob", "carol", "dave")]
    needles += [*servers["atproto"]["dids"].values(), f"{servers['snac']['base']}/alice", "at://"]
    for post in servers["snac"]["posts"].values():
        needles += [post["id"], post["uri"].rpartition("/")[2]]
    needles += [post["uri"].rpartition("/")[2] for post in servers["atproto"]["posts"].values()]
    for path in swept.rglob("*"):
        if path.is_file() and "identities" not in path.parts and path.name != "sweep.toml":
            data = contents(path)
            assert [needle for needle in needles if needle.encode() in data] == [], path



def test_a_repository_tells_the_same_as_its_records_whole_from_its_server_or_from_its_export(
    servers: dict[str, Any], swept: Path, tmp_path: Path
) -> None:
    base = servers["atproto"]["base"]
    parts = "".join(PDS.format(base=base, name=name) for name in ("alice", "bob", "carol"))
    (tmp_path / "sweep.toml").write_text(until_now() + parts.replace('"records"', '"repo"'))
    done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    exports = []
    for name in ("alice", "bob", "carol"):
        did = servers["atproto"]["dids"][name]
        exports.append(f"{name}.car")
        with urllib.request.urlopen(f"{base}/xrpc/com.atproto.sync.getRepo?did={did}", timeout=30) as answer:
            (tmp_path / exports[-1]).write_bytes(answer.read())
    done = postsweep("import", "car", *exports, "--archive", "exports/archive", "--sweep", "h1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = ("uid", "author", "created_at", "kind", "text", "lang", "reply_to", "quote_of", "hashtags", "links", "media")
    records, whole, exported = (
        {uid: {key: row[key] for key in told} for uid, row in rows(folder, "bluesky").items()}
        for folder in (swept, tmp_path, tmp_path / "exports")
    )
    assert len(records) > 100
    assert records == whole == exported
