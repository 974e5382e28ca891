"""Rechecks on real servers: posts and accounts go between a sweep and its round, by the servers' own APIs."""

import base64
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.post import PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.rechecks.mastodon import KEY as TOKENS
from tests.jobs import KEY, postsweep
from tests.shared_data import SHARED
from tests.test_servers import SWEEP, started

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(SHARED is None, reason="the scripts of the servers are not here"),
]
NAMES = Pseudonyms(bytes.fromhex(KEY))
PEOPLE = ("alice", "bob", "carol", "dave", "erin", "frank")
POSTS = 36
RECHECK = """
[recheck]
confirm_after_minutes = 0
"""
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url: str, data: Any = None, authorization: str = "", method: str | None = None) -> Any:
    """One request in JSON to a server's own API."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, data=body, method=method)
    if authorization:
        request.add_header("Authorization", authorization)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    with opener.open(request, timeout=30) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people in turn, six posts each; nothing of it is deleted yet."""
    path = tmp_path_factory.mktemp("seed") / "seed.json"
    posts = [
        {
            "id": f"p{number:03d}",
            "author": PEOPLE[number % 6],
            "text": f"The night ferry was late again, entry {number} of the log.",
            "created_at": f"2026-01-01T{number // 6:02d}:{number % 6:02d}:00.000Z",
        }
        for number in range(POSTS)
    ]
    accounts = [{"name": name, "display": name.title()} for name in PEOPLE]
    path.write_text(json.dumps({"accounts": accounts, "posts": posts, "delete_accounts": []}))
    return path


@pytest.fixture
def server(seed: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    assert SHARED is not None
    try:
        yield started(request.param, seed)
    finally:
        subprocess.run([str(SHARED / "servers" / request.param / "stop.sh")], capture_output=True, check=False)


@pytest.fixture
def appview(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network that is started next has an AppView too."""
    monkeypatch.setenv("APPVIEW", "1")


def unshown(appview: str, uri: str) -> None:
    """Asks until an AppView has heard that a post is gone."""
    asked = f"{appview}/xrpc/app.bsky.feed.getPosts?uris={urllib.parse.quote(uri, safe='')}"
    for _ in range(600):
        if not json.loads(call(asked))["posts"]:
            return
    raise AssertionError("the AppView still shows a post that is gone")


def of(number: int) -> str:
    return f"p{number:03d}"


def found(folder: Path, platform: str, server: dict[str, Any]) -> dict[str, str]:
    """What the round says of each post of the seed, by the seed's names: its state, or `gone`."""
    rows = pl.read_parquet(f"{folder}/archive/sightings/*/*/platform={platform}/*.parquet", hive_partitioning=False)
    told = {
        row["uid"]: "gone" if row["phrase"] == "gone, cause not told" else row["state"]
        for row in rows.iter_rows(named=True)
    }
    uids = {name: NAMES.post(PostId(platform, ids["uri"])) for name, ids in server["posts"].items()}
    return {name: told[uid] for name, uid in uids.items()}


@pytest.mark.parametrize("server", ["snac"], indirect=True)
def test_a_server_without_an_open_api_is_asked_over_activitypub(server: dict[str, Any], tmp_path: Path) -> None:
    base = server["base"]
    source = f'\n[[source]]\nplatform = "mastodon"\nurl = "{base}"\nkind = "public"\nallow_private = true\n'
    (tmp_path / "sweep.toml").write_text(SWEEP + RECHECK + source)
    assert postsweep("crawl", "sweep.toml", cwd=tmp_path).returncode == 3  # as its window is not over
    for number in (0, 1):  # alice's and bob's first
        token = server["tokens"][PEOPLE[number]]
        call(f"{base}/api/v1/statuses/{server['posts'][of(number)]['id']}", None, f"Bearer {token}", "DELETE")
    state = os.environ.get("POSTSWEEP_SERVERS", str(Path("~/.cache/postsweep-servers").expanduser()))
    snac = Path(state) / "snac"
    subprocess.run([str(snac / "install/snac"), "deluser", str(snac / "run/data"), "dave"], check=True)
    done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = {of(number): "alive" for number in range(POSTS)}
    expected |= {of(0): "gone", of(1): "gone"} | {of(n): "account_gone" for n in range(POSTS) if n % 6 == 3}
    assert found(tmp_path, "mastodon", server) == expected
    assert postsweep("verify", "archive", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("server", ["snac"], indirect=True)
def test_an_operators_token_shows_edits_that_activitypub_does_not(
    server: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, token = server["base"], {name: f"Bearer {value}" for name, value in server["tokens"].items()}
    source = f'\n[[source]]\nplatform = "mastodon"\nurl = "{base}"\nkind = "public"\nallow_private = true\n'
    (tmp_path / "sweep.toml").write_text(SWEEP + RECHECK + source)
    assert postsweep("crawl", "sweep.toml", cwd=tmp_path).returncode == 3  # as its window is not over
    ids = {name: ids["id"] for name, ids in server["posts"].items()}
    call(f"{base}/api/v1/statuses/{ids[of(0)]}", None, token["alice"], "DELETE")
    call(f"{base}/api/v1/statuses/{ids[of(1)]}", {"status": "It came after all."}, token["bob"], "PUT")
    monkeypatch.setenv(TOKENS, f"{urllib.parse.urlsplit(base).netloc}={server['tokens']['carol']}")
    done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = {of(number): "alive" for number in range(POSTS)} | {of(0): "gone", of(1): "edited"}
    assert found(tmp_path, "mastodon", server) == expected
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert server["tokens"]["carol"].encode() not in kept + done.stderr.encode() + done.stdout.encode()


@pytest.mark.parametrize("server", ["atproto"], indirect=True)
def test_a_pds_tells_who_took_a_post_away(
    server: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = server["pds"].replace("127.0.0.1", "localhost")  # as its accounts' documents name it
    monkeypatch.setenv("POSTSWEEP_PLC_DIRECTORY", server["plc"].replace("127.0.0.1", "localhost"))
    sources = "".join(
        f'\n[[source]]\nplatform = "bluesky"\nurl = "{base}"\nkind = "records"\nvalue = "{name}.test"\n'
        "allow_private = true\n"
        for name in PEOPLE
    )
    (tmp_path / "sweep.toml").write_text(SWEEP + RECHECK + sources)
    crawled = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert crawled.returncode == 3, crawled.stderr  # as its window is not over
    xrpc, admin = f"{server['pds']}/xrpc", "Basic " + base64.b64encode(b"admin:admin-pass").decode()
    dids, posts = server["dids"], server["posts"]
    bearer = {name: f"Bearer {token}" for name, token in server["tokens"].items()}
    key = posts[of(0)]["uri"].rpartition("/")[2]
    deleted = {"repo": dids["alice"], "collection": "app.bsky.feed.post", "rkey": key}
    call(f"{xrpc}/com.atproto.repo.deleteRecord", deleted, bearer["alice"])
    for subject in (
        {"$type": "com.atproto.admin.defs#repoRef", "did": dids["erin"]},
        {"$type": "com.atproto.repo.strongRef", "uri": posts[of(1)]["uri"], "cid": posts[of(1)]["cid"]},
    ):
        order = {"subject": subject, "takedown": {"applied": True, "ref": "test"}}
        call(f"{xrpc}/com.atproto.admin.updateSubjectStatus", order, admin)
    call(f"{xrpc}/com.atproto.admin.deleteAccount", {"did": dids["dave"]}, admin)
    call(f"{xrpc}/com.atproto.server.deactivateAccount", {}, bearer["frank"])
    changed = {"repo": dids["carol"], "collection": "app.bsky.feed.post"}
    changed["rkey"] = posts[of(2)]["uri"].rpartition("/")[2]
    record = {"$type": "app.bsky.feed.post", "text": "It came after all.", "createdAt": "2026-01-01T00:02:00.000Z"}
    call(f"{xrpc}/com.atproto.repo.putRecord", {**changed, "record": record}, bearer["carol"])
    done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = {of(number): "alive" for number in range(POSTS)}
    expected |= {of(n): {3: "account_gone", 4: "removed_by_platform", 5: "account_gone"}[n % 6]
                 for n in range(POSTS) if n % 6 > 2}  # fmt: skip
    expected |= {of(0): "removed_by_author", of(1): "removed_by_platform", of(2): "edited"}
    assert found(tmp_path, "bluesky", server) == expected
    assert postsweep("verify", "archive", cwd=tmp_path).returncode == 0


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="an AppView needs redis-server and postgresql")
@pytest.mark.parametrize("server", ["atproto"], indirect=True)
def test_an_appview_and_the_authors_own_servers_tell_who_took_a_post_away(
    appview: None, server: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, plc = (server[name].replace("127.0.0.1", "localhost") for name in ("appview", "plc"))
    monkeypatch.setenv("POSTSWEEP_PLC_DIRECTORY", plc)
    sources = "".join(
        f'\n[[source]]\nplatform = "bluesky"\nurl = "{base}"\nkind = "author"\nvalue = "{name}.test"\n'
        "allow_private = true\n"
        for name in PEOPLE
    )
    (tmp_path / "sweep.toml").write_text(SWEEP + RECHECK + sources)
    assert postsweep("crawl", "sweep.toml", cwd=tmp_path).returncode == 3  # as its window is not over
    xrpc, dids, posts = f"{server['pds']}/xrpc", server["dids"], server["posts"]
    admin = "Basic " + base64.b64encode(b"admin:admin-pass").decode()
    key = posts[of(0)]["uri"].rpartition("/")[2]
    deleted = {"repo": dids["alice"], "collection": "app.bsky.feed.post", "rkey": key}
    call(f"{xrpc}/com.atproto.repo.deleteRecord", deleted, f"Bearer {server['tokens']['alice']}")
    call(f"{xrpc}/com.atproto.server.deactivateAccount", {}, f"Bearer {server['tokens']['frank']}")
    subject = {"$type": "com.atproto.admin.defs#repoRef", "did": dids["erin"]}
    order = {"subject": subject, "takedown": {"applied": True, "ref": "test"}}
    call(f"{xrpc}/com.atproto.admin.updateSubjectStatus", order, admin)
    call(f"{xrpc}/com.atproto.admin.deleteAccount", {"did": dids["dave"]}, admin)
    for name in (0, 3, 4, 5):
        unshown(server["appview"], posts[of(name)]["uri"])
    done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = {of(number): "alive" for number in range(POSTS)}
    expected |= {of(n): {3: "account_gone", 4: "removed_by_platform", 5: "account_gone"}[n % 6]
                 for n in range(POSTS) if n % 6 > 2}  # fmt: skip
    assert found(tmp_path, "bluesky", server) == expected | {of(0): "removed_by_author"}
    assert postsweep("verify", "archive", cwd=tmp_path).returncode == 0
