"""Captures that other tools made, from bytes on disk to rows in a sealed sweep."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import brotli
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipelines.archive import read_archive, sweep_manifest
from pipelines.errors import ArchiveError, ConfigError, Exit, SealedError
from pipelines.imports.columns import load_map, table
from pipelines.imports.importing import ImportRequest, import_files, kind_of
from pipelines.imports.readers import (
    MOST_LINE,
    Broken,
    CutError,
    csv_rows,
    json_items,
    json_lines,
    parquet_rows,
    warc_responses,
)
from pipelines.progress import Progress, Stage
from pipelines.verify import verify_archive
from tests.jobs import postsweep, running
from tests.sweeps import contents
from tests.test_crawlers import STATUS, VIEW

MAP = """platform = "weibo"
host = "weibo.com"

[columns]
id = "mid"
text = "content"
created_at = { column = "time", format = "%Y-%m-%d %H:%M", zone = "Asia/Shanghai" }
author = "uid"
likes = "attitudes"
lang = { value = "zh" }
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", "5a" * 32)


def row(number: int) -> dict[str, Any]:
    return {
        "mid": f"48{number:08}",
        "content": f"第{number}班渡轮推迟到九点 #早高峰",
        "time": f"2026-01-01 {number // 60 % 24:02}:{number % 60:02}",
        "uid": f"16{number % 7}",
        "attitudes": number,
    }


def lines(count: int) -> bytes:
    return b"".join(json.dumps(row(number), ensure_ascii=False).encode() + b"\n" for number in range(count))


def imported(folder: Path, *files: Path, kind: str = "table", **changes: Any) -> Exit:
    columns = None
    if kind == "table":
        columns = folder / "map.toml"
        columns.write_text(MAP)
    request = ImportRequest(kind_of(kind, columns), files, folder / "archive", "h1", **changes)
    return import_files(request, Progress()).exit


def posts(folder: Path, table_name: str = "posts") -> pl.DataFrame:
    return pl.read_parquet(folder / f"archive/{table_name}/sweep=h1/*/*.parquet", hive_partitioning=False)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "jsonl.xz", "csv", "parquet"])
def test_a_table_becomes_a_sealed_sweep_whatever_it_is_written_in(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"capture.{ending}"
    packed = {"gz": gzip.compress, "zst": zstd.compress, "bz2": bz2.compress, "xz": lzma.compress}
    if ending == "csv":
        pl.DataFrame([row(number) for number in range(2500)]).write_csv(file, include_bom=True)
    elif ending == "parquet":
        rows = pa.Table.from_pylist([row(number) for number in range(2500)])
        pq.write_table(rows, file, row_group_size=700)
    else:
        file.write_bytes(packed.get(ending.rpartition(".")[2], bytes)(lines(2500)))
    assert imported(tmp_path, file) == Exit.DONE
    found = posts(tmp_path).sort("likes")
    assert found.height == 2500
    first = found.row(1, named=True)
    assert (first["text"], first["host"], first["lang"]) == ("第1班渡轮推迟到九点 #早高峰", "weibo.com", "zh")
    assert first["created_at"] == datetime(2025, 12, 31, 16, 1, tzinfo=UTC)
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    assert manifest["window"] == {"since": "2025-12-31T16:00:00Z", "until": "2026-01-01T15:59:01Z"}
    assert manifest["config"]["import"]["files"][0]["bytes"] == file.stat().st_size
    assert verify_archive(tmp_path / "archive", "h1", Progress()) == []
    with pytest.raises(SealedError):
        imported(tmp_path, file)


def test_the_name_of_a_file_goes_nowhere_but_into_what_is_kept_apart(tmp_path: Path) -> None:
    file = tmp_path / "rivermint1669879400.jsonl"
    file.write_bytes(lines(3))
    imported(tmp_path, file)
    for path in (tmp_path / "archive").rglob("*"):
        if path.is_file() and "identities" not in path.parts:
            assert b"rivermint" not in path.read_bytes(), path


def test_a_window_keeps_its_posts_and_counts_the_others(tmp_path: Path) -> None:
    from crawlers.source import Window

    file = tmp_path / "capture.jsonl"
    file.write_bytes(lines(100) + b'{"mid": "9", "content": "undated"}\n')
    window = Window(datetime(2025, 12, 31, 16, 10, tzinfo=UTC), datetime(2025, 12, 31, 16, 20, tzinfo=UTC))
    assert imported(tmp_path, file, window=window) == Exit.DONE
    assert posts(tmp_path).height == 10
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    (source,) = manifest["sources"]
    assert (source["outside"], source["rejects"]) == (90, 1)


def test_what_is_no_record_is_set_aside_and_the_rest_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    bad = [
        b"{", b"[]", b"null", b'"x"', b'{"mid": 5.5, "content": "x"}', b'{"mid": "1", "content": ["x"]}',
        b'{"mid": "2", "content": "x", "time": "soon"}', b"[" * 100_000, b"\xff\xfe", b'{"mid": ""}',
        b'{"mid": "3", "content": "' + b"a" * MOST_LINE + b'"}',
    ]  # fmt: skip
    odd = [b'{"mid": "\\ud800", "content": "half \\udfff"}', b'{"mid": "nul", "content": "a\\u0000b"}', b"  "]
    file.write_bytes(lines(2) + b"\n".join([*bad, *odd]) + b"\n" + lines(5)[-200:].split(b"\n", 1)[1])
    assert imported(tmp_path, file) == Exit.DONE
    assert posts(tmp_path, "rejects").height == len(bad)
    texts = posts(tmp_path)["text"].to_list()
    assert "ab" in texts
    assert "第4班渡轮推迟到九点 #早高峰" in texts


def test_a_stream_that_breaks_off_is_a_gap_and_what_was_read_stands(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl.gz"
    whole = gzip.compress(lines(30_000), mtime=0)
    file.write_bytes(whole[: len(whole) // 2])
    assert imported(tmp_path, file) == Exit.GAPS
    assert 5_000 < posts(tmp_path).height < 25_000
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    assert "breaks off" in manifest["sources"][0]["gaps"][0]["reason"]


def test_the_gap_of_a_stream_that_breaks_off_spans_what_an_earlier_call_read_too(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl.gz"
    first = json.dumps({**row(0), "mid": "47", "time": "2025-11-03 08:00"}).encode() + b"\n"
    file.write_bytes(gzip.compress(first + lines(12_000))[:-12])

    class Interrupted(Progress):
        @contextmanager
        def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
            class Ended:
                def advance(self, count: int) -> None: ...

                def note(self, text: str) -> None:
                    if text.startswith("9,000"):
                        raise KeyboardInterrupt

            yield Ended()

    (tmp_path / "map.toml").write_text(MAP)
    request = ImportRequest(kind_of("table", tmp_path / "map.toml"), (file,), tmp_path / "archive", "h1")
    with pytest.raises(KeyboardInterrupt):
        import_files(request, Interrupted())
    assert list((tmp_path / "archive/incoming/sweep=h1/platform=weibo").glob("*.parquet"))
    assert imported(tmp_path, file) == Exit.GAPS
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    (gap,) = manifest["sources"][0]["gaps"]
    assert (gap["since"], gap["until"]) == ("2025-11-03T00:00:00Z", "2026-01-01T15:59:00Z")
    assert manifest["counts"]["duplicates"] == 0


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst"])
def test_of_a_stream_without_its_end_every_whole_record_is_kept(tmp_path: Path, ending: str) -> None:
    packed = {"gz": gzip.compress, "zst": zstd.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending]
    file = tmp_path / f"capture.jsonl.{ending}"
    file.write_bytes(packed(lines(3000))[:-12])
    assert imported(tmp_path, file) == Exit.GAPS
    whole = {"gz": 2999, "xz": 2900, "zst": 2800, "bz2": 0}  # of bz2 and zst a block is lost, which nobody can unpack
    assert posts(tmp_path).height >= whole[ending]


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst"])
def test_a_stream_that_is_spoilt_is_a_gap_and_no_crash(tmp_path: Path, ending: str) -> None:
    packed = {"gz": gzip.compress, "zst": zstd.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending]
    data = bytearray(packed(lines(3000)))
    data[len(data) // 2 : len(data) // 2 + 8] = b"\xff" * 8
    (tmp_path / f"capture.jsonl.{ending}").write_bytes(data)
    assert imported(tmp_path, tmp_path / f"capture.jsonl.{ending}") in (Exit.GAPS, Exit.DONE)


def test_values_that_python_has_not_cost_their_rows_alone(tmp_path: Path) -> None:
    times = pa.array([0, 10**17, 1], pa.timestamp("ms"))
    rows = pa.table({"mid": ["1", "2", "3"], "content": ["雾", "雨", "风"], "seen": times})
    pq.write_table(rows, tmp_path / "a.parquet")
    assert imported(tmp_path, tmp_path / "a.parquet", keep_raw=True) == Exit.DONE
    assert (posts(tmp_path).height, posts(tmp_path, "rejects").height) == (2, 1)


def test_tables_of_pandas_and_arrays_of_json_are_read_and_a_file_without_a_post_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        ",mid,content,time,uid,attitudes\n0,1,雾,2026-01-01 00:00,16,12.0\n", encoding="utf-8"
    )
    (tmp_path / "b.json").write_text(json.dumps([row(7), row(8)]))
    assert imported(tmp_path, tmp_path / "a.csv", tmp_path / "b.json") == Exit.DONE
    assert sorted(posts(tmp_path)["likes"].to_list()) == [7, 8, 12]
    (tmp_path / "c.jsonl").write_text("{}\n")
    empty = postsweep("import", "table", "c.jsonl", "--map", "map.toml", "--sweep", "h2", cwd=tmp_path)
    assert (empty.returncode, "0 posts, 1 rejects" in empty.stdout) == (4, True)


def test_a_cell_that_is_too_long_is_set_aside_without_being_held(tmp_path: Path) -> None:
    data = b"mid,content\n1," + b"a" * (3 * MOST_LINE) + b"\n2,b\n"
    (tmp_path / "a.csv").write_bytes(data)
    assert list(csv_rows(tmp_path / "a.csv", 0)) == [Broken("not CSV"), {"mid": "2", "content": "b"}]


def test_the_same_post_in_two_files_is_one_row_and_a_file_given_twice_is_one_source(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(lines(20))
    second.write_bytes(lines(30))
    assert imported(tmp_path, first, second, first) == Exit.DONE
    assert posts(tmp_path).height == 30
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    assert (len(manifest["sources"]), manifest["counts"]["duplicates"]) == (2, 20)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MAP.replace('platform = "weibo"', 'platform = "Wei bo"'), "map.toml:1: platform: "),
        (MAP.replace('id = "mid"', 'ident = "mid"'), "ident: no field of a post"),
        (MAP.replace("Asia/Shanghai", "Asia/Atlantis"), "map.toml:7: created_at: "),
        (MAP.replace('text = "content"', ""), "columns: text is missing"),
        ("platform = ", "not a map in TOML"),
    ],
)
def test_a_mistake_in_a_map_is_a_line_that_says_where(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(ConfigError, match=told.replace("(", r"\(")):
        load_map(tmp_path / "map.toml")


def test_bad_usage_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP)
    (tmp_path / "a.txt").write_bytes(b"x")
    (tmp_path / "a.parquet").write_bytes(b"x")
    for arguments, told in (
        (("nonsense", "a.txt", "--sweep", "h1"), "no kind of import; known are table"),
        (("table", "a.txt", "--sweep", "h1"), "--map"),
        (("table", "a.txt", "--sweep", "h1", "--map", "map.toml"), "a.txt: no file of table"),
        (("table", "none.csv", "--sweep", "h1", "--map", "map.toml"), "none.csv: cannot be read"),
        (("table", "a.parquet", "--sweep", "h1", "--map", "map.toml"), "not a Parquet file"),
        (("warc", "a.warc", "--sweep", "H 1"), "--sweep H 1"),
        (("warc", "a.warc", "--sweep", "h1", "--since", "soon", "--until", "2026"), "--since soon: not a moment"),
        (("warc", "a.warc", "--sweep", "h1", "--fetched-at", "0001-01-01T00:00+14:00"), "00+14:00: not a moment"),
    ):
        outcome = postsweep("import", *arguments, cwd=tmp_path)
        assert outcome.returncode == 2, outcome
        assert told in outcome.stderr
        assert outcome.stderr.count("error:") == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"content,when\na,b\n", "a.csv: no column 'mid', which the map reads id from; it has content, when"),
        ("a.csv", b"mid,content,content,time,uid,attitudes\n", "a.csv: 2 columns are called 'content'; rename one"),
        ("a.jsonl.gz", b"{}\n", "a.jsonl.gz: not compressed as its name ends"),
        ("a.jsonl.zst", b"{}\n", "a.jsonl.zst: not compressed as its name ends"),
        ("a.csv", None, "a.csv: no file"),
    ],
)
def test_a_file_that_cannot_be_what_it_should_is_refused_before_anything_is_kept(
    tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    if content is None:
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(told)):
        imported(tmp_path, tmp_path / name)
    assert not (tmp_path / "archive/incoming").exists()


def test_a_file_that_is_no_warc_is_told_so(tmp_path: Path) -> None:
    for name in ("a.warc", "a.warc.gz"):
        (tmp_path / name).write_bytes(b"mid,content\n1,a\n")
        with pytest.raises(ConfigError, match="damaged in the record at byte 0"):
            imported(tmp_path, tmp_path / name, kind="warc")


def test_counts_are_read_as_people_are_shown_them(tmp_path: Path) -> None:
    shown = {"100万+": 1_000_000, "1,234": 1234, "1.2K": 1200, "12.0": 12, "": None}
    file = tmp_path / "capture.csv"
    file.write_text(
        "mid,content,time,uid,attitudes\n"
        + "".join(f'{number},早上好,2026-01-01 08:00,7,"{told}"\n' for number, told in enumerate(shown)),
        encoding="utf-8",
    )
    assert imported(tmp_path, file) == Exit.DONE
    assert sorted(posts(tmp_path)["likes"].to_list(), key=str) == sorted(shown.values(), key=str)


def test_a_file_that_changes_while_it_is_imported_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_bytes(lines(3000))

    class Meddling(Progress):
        @contextmanager
        def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
            if name == "import":
                with file.open("ab") as more:
                    more.write(lines(1))
            with super().stage(name, total) as stage:
                yield stage

    (tmp_path / "map.toml").write_text(MAP)
    request = ImportRequest(kind_of("table", tmp_path / "map.toml"), (file,), tmp_path / "archive", "h1")
    with pytest.raises(ArchiveError, match="changed while it was imported"):
        import_files(request, Meddling())
    assert not (tmp_path / "archive/posts").exists()


# Readers

PIECES = [b"", b'"', b"\x00", b"\xff\xfe", b",,,,,,", b"\r\n", b'"""', b"\xe4", b"[", b"]", b"}", b"nul", b"1e999"]


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from([b'{"a":1}', b"", b"x", b'{"a":"\\ud800"}', b"[" * 50, b"\x00", b"\xff", b" ", b'{"a":'])
        | st.binary(max_size=20),
        max_size=12,
    ),
    st.integers(0, 14),
)
def test_lines_are_read_from_any_one_on_as_they_are_from_the_first(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], skip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_bytes(b"\n".join(parts))
    whole = list(json_lines(path, 0))
    assert len(whole) == len([line for line in path.read_bytes().split(b"\n") if line.strip()])
    assert repr(list(json_lines(path, skip))) == repr(whole[skip:])


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 400),
    st.sampled_from(PIECES),
    st.integers(0, 5),
)
def test_a_table_with_anything_in_it_is_rows_and_broken_ones_from_any_one_on(
    tmp_path_factory: pytest.TempPathFactory, place: int, piece: bytes, skip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    data = 'mid,content\r\n1,渡轮\r\n2,"a,\nb"\r\n3,c\r\n4,雾\r\n'.encode() * 3
    path.write_bytes(data[:place] + piece + data[place:])
    whole = list(csv_rows(path, 0))
    assert all(isinstance(each, dict | Broken) for each in whole)
    assert repr(list(csv_rows(path, skip))) == repr(whole[skip:])


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 120),
    st.integers(0, 120),
    st.sampled_from(PIECES),
)
def test_an_array_that_is_cut_or_spoilt_gives_what_lies_before(
    tmp_path_factory: pytest.TempPathFactory, place: int, end: int, piece: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "array.json"
    data = json.dumps({"user": {"id": 1}, "weibo": [{"id": number, "text": "雾"} for number in range(5)]}).encode()
    path.write_bytes((data[:place] + piece + data[place:])[: len(data) - end])
    found = []
    try:
        for each in json_items(path, 0, "weibo.item"):
            found.append(each)
    except CutError:
        pass
    assert len(found) <= 6


def test_gb18030_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("mid,content\n1,渡轮停航\n".encode("gb18030"))
    assert list(csv_rows(path, 0)) == [{"mid": "1", "content": "渡轮停航"}]


def test_row_groups_are_skipped_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"mid": list(range(25))}), path, row_group_size=10)
    for skip in range(27):
        assert [each["mid"] for each in parquet_rows(path, skip)] == list(range(skip, 25))


# WARC

HEARTH = "https://hearth.example/api/v1/timelines/public"


def warc(path: Path, answers: list[tuple[str, int, str, bytes, dict[str, str]]]) -> Path:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=path.suffix == ".gz")
        for url, status, content_type, body, headers in answers:
            given = [("Content-Type", content_type), *headers.items()]
            record = writer.create_warc_record(
                url, "response", payload=io.BytesIO(body), warc_headers_dict={"WARC-Date": "2026-08-01T12:00:00Z"},
                http_headers=StatusAndHeaders(f"{status} OK", given, protocol="HTTP/1.1"),
            )  # fmt: skip
            writer.write_record(record)
    return path


def test_a_warc_of_several_platforms_is_a_source_for_each(tmp_path: Path) -> None:
    rss = b'<rss version="2.0"><channel><item><title>Rain</title><guid>g1</guid></item></channel></rss>'
    bomb = gzip.compress(b"[" * (MOST_LINE + 10))
    packed = brotli.compress(json.dumps([{**STATUS, "uri": STATUS["uri"] + "0"}]).encode())
    burst = brotli.compress(b"[" * (4 * MOST_LINE))
    file = warc(
        tmp_path / "capture.warc.gz",
        [
            (f"{HEARTH}?limit=40", 200, "application/json", json.dumps([STATUS, 5]).encode(), {}),
            (f"{HEARTH}?max_id=1", 429, "application/json", b"{}", {}),
            ("https://view.example/xrpc/app.bsky.feed.getPosts?uris=x", 200, "application/json",
             gzip.compress(json.dumps({"posts": [VIEW]}).encode()), {"Content-Encoding": "gzip"}),
            ("https://press.example/news.rss", 200, "application/rss+xml", rss, {}),
            (f"{HEARTH}?x=1", 200, "application/json", bomb, {"Content-Encoding": "gzip"}),
            (f"{HEARTH}?x=2", 200, "application/json", packed, {"Content-Encoding": "br"}),
            (f"{HEARTH}?x=3", 200, "application/json", burst, {"Content-Encoding": "br"}),
            ("https://hearth.example/about", 200, "text/html", b"<html>", {}),
        ],
    )  # fmt: skip
    assert imported(tmp_path, file, kind="warc") == Exit.DONE
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    assert manifest["counts"]["platforms"] == {"bluesky": 1, "feed": 1, "mastodon": 2}
    found = posts(tmp_path)
    assert set(found["fetched_at"].to_list()) == {datetime(2026, 8, 1, 12, tzinfo=UTC)}
    assert verify_archive(tmp_path / "archive", "h1", Progress()) == []


@pytest.mark.parametrize("ending", ["warc.gz", "warc"])
def test_a_damaged_record_of_a_warc_costs_itself_and_is_told_by_its_byte(tmp_path: Path, ending: str) -> None:
    pages = [json.dumps([{**STATUS, "uri": f"https://hearth.example/s/{number}"}]).encode() for number in range(6)]
    answers = [(f"{HEARTH}?max_id={n}", 200, "application/json", page, {}) for n, page in enumerate(pages)]
    records = [warc(tmp_path / f"one.{ending}", [answer]).read_bytes() for answer in answers]
    before = len(records[0] + records[1])
    records[2] = records[2][:5] + b"\xff" * 20 + records[2][25:]
    file = tmp_path / f"capture.{ending}"
    file.write_bytes(b"".join(records))
    assert imported(tmp_path, file, kind="warc") == Exit.GAPS
    assert posts(tmp_path).height == 5
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    (gap,) = manifest["sources"][0]["gaps"]
    assert gap["reason"] == f"damaged in the record at byte {before:,}; the whole records after it were read"
    file.write_bytes(b"".join(records)[:-40])
    with pytest.raises(CutError, match=f"at byte {before:,} and in 1 more"):
        list(warc_responses(file, 0))


# The whole command


def test_an_import_that_is_killed_goes_on_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP)
    (tmp_path / "capture.jsonl.zst").write_bytes(zstd.compress(lines(60_000)))
    asked = ("import", "table", "capture.jsonl.zst", "--map", "map.toml", "--sweep", "h1", "--archive")
    whole = postsweep(*asked, "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    with running(*asked, "archive", cwd=tmp_path, until="import: begins") as child:
        while not list((tmp_path / "archive/incoming/sweep=h1").glob("platform=weibo/*.parquet")):
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not list((tmp_path / "archive/manifests").glob("sweeps/*"))
    again = postsweep(*asked, "archive", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    one, two = (sweep_manifest(read_archive(tmp_path / name), "h1") for name in ("whole", "archive"))
    assert one is not None
    assert two is not None
    assert (one["digest"], one["counts"]) == (two["digest"], two["counts"])
    other = postsweep("import", "table", "capture.jsonl.zst", "--map", "map.toml", "--sweep", "h1", cwd=tmp_path)
    assert (other.returncode, "was sealed" in other.stderr) == (1, True)


def test_the_kind_that_a_map_makes_names_its_platform() -> None:
    path = Path(__file__).parent.parent / "examples" / "map.toml"
    assert table(load_map(path)).platforms == ("weibo",)


def test_an_import_is_told_and_reported_by_its_archive_and_id(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_bytes(lines(50))
    imported(tmp_path, file)
    told = postsweep("status", "archive", "--sweep", "h1", cwd=tmp_path)
    assert (told.returncode, "50 posts" in told.stdout) == (0, True), told.stderr
    report = postsweep("report", "archive", "--sweep", "h1", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "weibo" in (tmp_path / "h1.html").read_text()
    other = postsweep("status", "archive", "--sweep", "h2", cwd=tmp_path)
    assert (other.returncode, other.stderr) == (1, "error: archive: no sweep h2; sealed are: h1\n")


def test_a_name_that_no_file_can_have_is_a_mistake_of_one_line(tmp_path: Path) -> None:
    told = postsweep("status", "x" * 300, cwd=tmp_path)
    assert told.returncode == 2
    assert told.stderr == f"error: {'x' * 80}...: the name is too long for a file; shorten it\n"
    (tmp_path / "h1.toml").write_text(
        '[sweep]\nid = "h1"\nsince = 2025-12-31T00:00:00Z\nuntil = 2026-01-02T00:00:00Z\narchive = "archive"\n'
        'contact = "mailto:operator@example.org"\n'
    )
    crawled = postsweep("crawl", "h1.toml", cwd=tmp_path)
    assert (crawled.returncode, "has no [[source]]" in crawled.stderr) == (2, True)


# Captures of platforms, made of the fixtures


def fixture(name: str) -> bytes:
    """The input of a fixture."""
    (found,) = (Path(__file__).parent / "fixtures" / name).glob("input.*")
    return found.read_bytes()


def one_line(name: str) -> bytes:
    return json.dumps(json.loads(fixture(name)), ensure_ascii=False).encode()


def test_a_dump_of_reddit_is_posts_and_what_was_removed_is_told(tmp_path: Path) -> None:
    names = ("text-post", "comment", "link-of-an-early-dump", "comment-of-an-early-dump", "removed-by-moderators")
    file = tmp_path / "RS_2019-04.zst"
    file.write_bytes(zstd.compress(b"\n".join(one_line(f"reddit/{name}") for name in names)))
    assert imported(tmp_path, file, kind="pushshift") == Exit.DONE
    assert posts(tmp_path).height == 4
    assert "removed" in " ".join(posts(tmp_path, "rejects")["reason"].to_list())


def test_saved_pages_of_wechat_and_douyin_are_posts_and_those_that_are_gone_are_told(tmp_path: Path) -> None:
    for kind, names in {
        "wechat": ("article-with-pictures-and-source", "text", "deleted-by-its-publisher", "asks-for-a-verification"),
        "douyin": ("video-with-a-warning", "render-data", "removed-for-a-violation", "script-page"),
    }.items():
        folder = tmp_path / kind
        folder.mkdir()
        for name in names:
            (folder / f"{name}.html").write_bytes(fixture(f"{kind}/{name}"))
        assert imported(folder, *sorted(folder.glob("*.html")), kind=kind) == Exit.DONE
        assert posts(folder).height == 2
        assert posts(folder, "rejects").height == 2


def test_a_warc_of_pages_for_people_and_of_weibo_is_posts(tmp_path: Path) -> None:
    shapes = ("card-with-markup", "ajax-that-was-edited", "api-answer", "cut-text", "stub-of-its-author")
    cards = [{"card_type": 9, "mblog": json.loads(fixture(f"weibo/{name}"))} for name in shapes]
    weibo = json.dumps({"ok": 1, "data": {"cards": cards}}).encode()
    wechat = fixture("wechat/article-with-pictures-and-source")
    file = warc(
        tmp_path / "capture.warc",
        [
            ("https://m.weibo.cn/api/container/getIndex?containerid=1076031", 200, "application/json", weibo, {}),
            ("https://mp.weixin.qq.com/s?__biz=MzA1&mid=1&idx=1&sn=ab", 200, "text/html", wechat, {}),
            ("https://www.iesdouyin.com/share/video/7/", 200, "text/html", fixture("douyin/render-data"), {}),
            ("https://t.me/s/harbour", 200, "text/html", fixture("telegram/album-with-caption"), {}),
        ],
    )
    assert imported(tmp_path, file, kind="warc") == Exit.DONE
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    assert manifest["counts"]["platforms"] == {"douyin": 1, "telegram": 1, "wechat": 1, "weibo": 4}


def test_a_warc_of_4chan_and_tumblr_is_posts_and_the_key_in_its_addresses_stays_out(tmp_path: Path) -> None:
    names = ("thread-with-a-title-and-a-picture", "reply-to-two-posts-in-green", "no-time")
    thread = json.dumps({"posts": [json.loads(fixture(f"fourchan/{name}")) for name in names]}).encode()
    blog, older = (json.loads(fixture(f"tumblr/{name}")) for name in ("poll-and-video", "older-answer"))
    asked = "https://api.tumblr.com/v2"
    answers = {
        "https://a.4cdn.org/news/thread/1482201.json": thread,
        f"{asked}/blog/mill-race-notes/posts?npf=true&api_key=s3cretKey0fTheOperator": json.dumps(
            {"meta": {"status": 200}, "response": {"posts": [blog, {"id": "none"}]}}
        ).encode(),
        f"{asked}/tagged?tag=sluice&api_key=s3cretKey0fTheOperator": json.dumps({"response": [older]}).encode(),
    }
    file = warc(tmp_path / "c.warc", [(url, 200, "application/json", body, {}) for url, body in answers.items()])
    assert imported(tmp_path, file, kind="warc") == Exit.DONE
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    assert manifest["counts"]["platforms"] == {"fourchan": 2, "tumblr": 2}
    assert posts(tmp_path, "rejects").height == 2
    kept = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert len(kept) > 4
    assert not [path for path in kept if b"s3cretKey0fTheOperator" in contents(path)]
