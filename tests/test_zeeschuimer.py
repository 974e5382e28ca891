"""Captures of Zeeschuimer and exports of repositories, from bytes on disk to rows in a sealed sweep."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.platforms.instagram import parse_post, parse_thread
from crawlers.platforms.tiktok import parse_item
from pipelines.errors import ConfigError, Exit
from pipelines.imports.importing import ImportRequest, import_files, kind_of
from pipelines.progress import Progress
from tests.jobs import postsweep
from tests.loopback import Reply, serving
from tests.parser_fixtures import cases
from tests.sweeps import contents, one_source
from tests.test_car import DID, Car, posts, repository

ALIKE = ("uid", "author", "created_at", "kind", "text", "lang", "hashtags", "links", "input_digest")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", "5a" * 32)


def imported(kind: str, path: Path, archive: Path) -> tuple[Exit, pl.DataFrame]:
    done = import_files(ImportRequest(kind_of(kind, None), (path,), archive, "h1"), Progress())
    rows = pl.read_parquet(f"{archive}/posts/sweep=h1/*/*.parquet", hive_partitioning=True)
    return done.exit, rows.sort("uid")


def test_lines_of_every_platform_become_rows_of_it_and_one_of_another_site_costs_none(tmp_path: Path) -> None:
    lines = [case.payload() for case in cases("zeeschuimer")]
    path = tmp_path / "zeeschuimer-export-mill.race.ndjson"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [*lines, *lines]))
    exit_code, rows = imported("zeeschuimer", path, tmp_path / "archive")
    assert exit_code == Exit.DONE
    counted = dict(rows.group_by("platform").len().iter_rows())
    assert counted == {
        "x": 5, "douyin": 2, "tiktok": 1, "instagram": 1, "threads": 1, "xiaohongshu": 1, "mastodon": 1
    }  # fmt: skip
    assert set(rows["fetched_at"]) == {datetime(2026, 8, 1, 12, 0, 0, 123000, UTC)}
    posts_of_x = rows.filter(pl.col("platform") == "x")
    assert set(posts_of_x["text"]) >= {"谢谢，桥没封。", "Calm sea today."}
    kept = [each for each in (tmp_path / "archive").rglob("*") if each.is_file() and "identities" not in each.parts]
    assert not [each for each in kept if b"mill.race" in contents(each) or b"harbourclock" in contents(each)]


def test_a_file_of_sites_that_are_not_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gag.ndjson"
    path.write_text(json.dumps({"source_platform": "9gag.com", "data": {"id": "a"}}) + "\n")
    with pytest.raises(ConfigError, match="no record of a platform that zeeschuimer knows"):
        imported("zeeschuimer", path, tmp_path / "archive")


def test_an_account_of_truth_social_that_asks_to_be_left_out_is(tmp_path: Path) -> None:
    (case,) = (case for case in cases("zeeschuimer") if case.folder.name == "truth-social")
    line: Any = case.payload()
    line["data"]["account"]["noindex"] = True
    path = tmp_path / "export.ndjson"
    path.write_text(json.dumps(line) + "\n")
    request = ImportRequest(kind_of("zeeschuimer", None), (path,), tmp_path / "archive", "h1")
    done = import_files(request, Progress())
    assert (done.exit, done.counts["posts"], done.counts["rejects"]) == (Exit.WARNINGS, 0, 1)


def test_what_is_kept_of_a_line_as_it_came_is_the_post_and_nothing_of_whoever_captured_it(tmp_path: Path) -> None:
    lines = [case.payload() for case in cases("zeeschuimer")]
    path = tmp_path / "export.ndjson"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    request = ImportRequest(kind_of("zeeschuimer", None), (path,), tmp_path / "archive", "h1", keep_raw=True)
    import_files(request, Progress())
    kept = pl.read_parquet(f"{tmp_path}/archive/identities/sweep=h1/*/*.parquet", hive_partitioning=True)["raw"]
    assert all(raw and "Mozilla" not in raw and "source_platform_url" not in raw for raw in kept)


def test_a_repository_is_the_same_rows_from_its_export_as_from_its_server(tmp_path: Path) -> None:
    body = repository(600)
    (tmp_path / "export.car").write_bytes(body)

    def answer(path: str) -> Reply:
        return (200, {}, body) if "getRepo" in path else (200, {}, json.dumps({"did": DID}).encode())

    with serving(answer) as server:
        told = one_source(server.url, allow_private=True).replace('"mastodon"', '"bluesky"')
        told = told.replace('kind = "public"', 'kind = "repo"\nvalue = "mill.example"')
        (tmp_path / "sweep.toml").write_text(told.replace("[sweep]", "[sweep]\ndelay_seconds = 0.0"))
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    live = pl.read_parquet(f"{tmp_path}/archive/posts/*/*/*.parquet", hive_partitioning=False).sort("uid")
    exit_code, rows = imported("car", tmp_path / "export.car", tmp_path / "second")
    assert (exit_code, rows.height) == (Exit.DONE, len(posts(600)))
    assert rows.select(ALIKE).equals(live.select(ALIKE))


def test_an_export_that_is_damaged_keeps_what_came_before_and_is_a_gap(tmp_path: Path) -> None:
    body = repository(600)
    place = body.index("渡轮晚点 300".encode())
    (tmp_path / "damaged.car").write_bytes(body[:place] + b"x" + body[place + 1 :])
    exit_code, rows = imported("car", tmp_path / "damaged.car", tmp_path / "archive")
    assert exit_code == Exit.GAPS
    assert 0 < rows.height <= 300
    for name, data, said in (("cut", body[:-9], "cut off"), ("page", b"<html>", "not a repository's export")):
        (tmp_path / f"{name}.car").write_bytes(data)
        with pytest.raises(ConfigError, match=said):
            imported("car", tmp_path / f"{name}.car", tmp_path / f"{name}-archive")


def test_an_account_that_is_shown_to_signed_in_readers_only_is_left_out(tmp_path: Path) -> None:
    car = Car()
    label: dict[str, Any] = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "!no-unauthenticated"}]}
    links = {key: car.block(value) for key, value in posts(3).items()}
    links["app.bsky.actor.profile/self"] = car.block({"$type": "app.bsky.actor.profile", "labels": label})
    (tmp_path / "closed.car").write_bytes(car.file(car.node(links)))
    done = import_files(
        ImportRequest(kind_of("car", None), (tmp_path / "closed.car",), tmp_path / "archive", "h1"), Progress()
    )
    assert (done.exit, done.counts["posts"], done.counts["rejects"]) == (Exit.WARNINGS, 0, 3)


def test_an_account_whose_number_is_half_a_character_is_still_written() -> None:
    case = next(case for case in cases("threads") if case.folder.name == "post-with-a-link")
    payload: Any = case.payload()
    payload["user"]["pk"] = "\ud800"
    author = parse_thread(payload, "www.threads.com", datetime(2026, 8, 1, tzinfo=UTC)).author
    assert author is not None
    assert author.id == "\ufffd"


def test_a_name_that_is_no_persons_keeps_no_description_of_a_picture() -> None:
    (case,) = (case for case in cases("instagram") if case.folder.name == "pictures-whose-description-names-people")
    payload: Any = case.payload()
    payload["owner"]["full_name"] = "- " * 50_000 + "b"
    payload["carousel_media"] = payload["carousel_media"][:1]
    payload["carousel_media"][0]["accessibility_caption"] = "- " * 200_000
    (medium,) = parse_post(payload, "www.instagram.com", datetime(2026, 8, 1, tzinfo=UTC)).media or ()
    assert (medium.type, medium.alt) == ("image", None)


def test_a_name_on_a_page_of_tiktok_that_is_half_a_character_is_still_written() -> None:
    (case,) = (case for case in cases("tiktok") if case.folder.name == "embedded-in-a-page")
    payload: Any = case.payload()
    payload |= {"author": "\ud800", "nickname": "\ud800"}
    author = parse_item(payload, "www.tiktok.com", datetime(2026, 8, 1, tzinfo=UTC)).author
    assert author is not None
    assert (author.id, author.handle, author.display_name) == ("\ufffd", "\ufffd", "\ufffd")
