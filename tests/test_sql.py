import csv
import json
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import orjson
import pyarrow.parquet as pq
import pytest

from crawlers.source import Source
from pipelines.archive import sweep_manifest_name, write_manifest
from pipelines.errors import ArchiveError, ConfigError
from pipelines.sql import Session, open_sql
from tests.jobs import environment, postsweep, running
from tests.runs import run_of, sweep_of
from tests.sweeps import SOURCES, open_store, page, post

BLUESKY = Source("bluesky", "https://view.example", "tag", "rain")
FORMULA = '=HYPERLINK("https://bad.example", "boats 3")'
NASTY = "\x1b[2J\u202eboats 4"


def score(text: str) -> float:
    """A tenth of the number that ends the text."""
    return int(text.rstrip('")').rpartition(" ")[2]) / 10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps; over the first, two runs whose labels differ. Read it, change nothing."""
    root = tmp_path_factory.mktemp("sql") / "archive"
    texts = ["boats 0", "boats 1", "boats 2", FORMULA, NASTY, "boats 5", "boats 6"]
    posts = [post(n, text=text, likes=n) for n, text in enumerate(texts)]
    skies = [post(n, "bluesky", "view.example", text=f"boats {n}", likes=None) for n in range(3)]
    first = sweep_of(root, "d2026-01-01", {SOURCES[0]: [page(0, posts, last=True, rejects=2)]})
    second = {SOURCES[0]: [page(0, posts[:2], last=True)], BLUESKY: [page(0, skies, last=True)]}
    sweep_of(root, "d2026-01-02", second, window=("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"))
    run_of(root, first, "plain", {"rumor": score})
    run_of(root, first, "wider", {"rumor": lambda _: 0.25, "scam": score}, threshold=0.35)
    return root


@pytest.fixture
def session(root: Path) -> Iterator[Session]:
    with open_sql(root) as opened:
        yield opened


def answer(session: Session, query: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in session.ask(query).table().to_pylist()]


def test_tables_hold_all_sealed_sweeps_with_their_partitions_as_columns(session: Session) -> None:
    query = "select sweep, platform, count(*) from posts group by all order by all"
    assert answer(session, query) == [
        ("d2026-01-01", "mastodon", 7),
        ("d2026-01-02", "bluesky", 3),
        ("d2026-01-02", "mastodon", 2),
    ]
    assert answer(session, "select sweep, platform, reason, count(*) from rejects group by all") == [
        ("d2026-01-01", "mastodon", "not a string", 2)
    ]


def test_scores_of_runs_with_different_labels_are_one_table_with_nulls(session: Session) -> None:
    query = "select run, sweep, platform, count(*), count(rumor), count(scam) from scores group by all order by all"
    assert answer(session, query) == [
        ("plain", "d2026-01-01", "mastodon", 7, 7, 0),
        ("wider", "d2026-01-01", "mastodon", 7, 7, 7),
    ]
    query = "select text from posts join scores using (sweep, platform, uid) where run = 'plain' and rumor > 0.45 "
    assert answer(session, query + "order by rumor limit 1") == [("boats 5",)]


def test_sweeps_and_runs_come_from_their_manifests(session: Session) -> None:
    query = "select sweep, posts, rejects, sources, gaps, strftime(since, '%d %H:%M') from sweeps order by 1"
    assert answer(session, query) == [("d2026-01-01", 7, 2, 1, 0, "01 00:00"), ("d2026-01-02", 5, 0, 2, 0, "02 00:00")]
    query = "select run, scored, flags['rumor'], thresholds['scam'], manifest->>'$.sweep' from runs order by 1"
    assert answer(session, query) == [("plain", 7, 2, None, "d2026-01-01"), ("wider", 7, 0, 0.35, "d2026-01-01")]


def test_an_archive_without_posts_or_runs_has_its_tables_all_the_same(tmp_path: Path) -> None:
    open_store(tmp_path / "archive")
    with open_sql(tmp_path / "archive", restricted=True) as session:
        query = "select run, sweep, platform, uid, flags from scores join posts using (uid, sweep, platform)"
        assert answer(session, query) == []
        assert answer(session, "select count(*) from sweeps, runs, rejects, identities, accounts") == [(0,)]


@pytest.mark.parametrize(
    "query",
    [
        "with flagged as (from scores where list_contains(flags, 'rumor')) select count(*) from Flagged, POSTS",
        "values (1), (2)",
        "describe posts",
        "summarize runs",
        "show tables",
        "select * from range(3) t(i), unnest([1, 2]) u(j)",
        "from posts pivot (count(*) for platform in ('mastodon') group by sweep);",
        "with a as (from posts), b as (select count(*) as n from A) from b where exists (with c as (from b) from c, a)",
        "with recursive up(n) as (select 1 union all select n + 1 from up where n < 5) select max(n) from up -- so",
        "with recursive k(a, b) using key (a) as (select 1, 3 union select a, b-1 from recurring.k where b > 1) from k",
        "(select uid from posts) except (select uid from scores) order by 1",
        "select max(n) from (select count(*) as n from memory.main.posts group by author)",
    ],
)
def test_what_reads_is_answered(session: Session, query: str) -> None:
    assert session.ask(query).table().num_rows == session.ask(query).count() > 0


OUTSIDE = [
    "select * from read_text('/etc/passwd')",
    "select * from read_blob('/etc/passwd')",
    "select * from read_csv('/etc/passwd', header = false)",
    "from '/etc/passwd'",
    'select * from "/etc/passwd"',
    "select * from glob('/etc/*')",
    "select * from Read_Parquet('archive/posts/**/*.parquet')",
    "from 'archive/identities/sweep=d2026-01-01/platform=mastodon/part-00000.parquet'",
    "select 1 where exists (from system.main.read_text('/etc/passwd'))",
    "select (select max(content) from read_text('/etc/hostname')) from posts",
    "from (from posts order by (select count(*) from glob('*')))",
    "with posts as (from read_text('/etc/passwd')) from posts",
    "select * from query('from read_text(''/etc/passwd'')')",
    "select * from query_table('/etc/passwd')",
    "select * from read_json('/proc/self/environ')",
    "select * from parquet_metadata('archive/identities/x.parquet')",
    "select * from sniff_csv('/etc/passwd')",
    "select * from read_duckdb('other.db')",
    "from 'https://example.org/posts.parquet'",
    "from 's3://bucket/posts.parquet'",
    "select getenv('HOME')",
    "select * from os",
    "select * from root",
    "select * from arrow_scan(1::pointer, 2::pointer, 3::pointer)",
    "select * from pandas_scan(1::pointer)",
    "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "from identities",
    "from accounts",
    "from duckdb_settings()",
    "from information_schema.tables",
    "with tables as (select 1) from information_schema.tables",
    "from duckdb_views where exists (with duckdb_views as (select 1) from duckdb_views)",
    "with a as (from duckdb_views), duckdb_views as (select 1) from a",
    "from '/etc/passwd' where exists (with \"/etc/passwd\" as (select 1) from '/etc/passwd')",
    "from duckdb_secrets()",
]
WRITING = [
    "copy posts to 'out.csv'",
    "copy (from posts) to 'out.parquet'",
    "export database 'out'",
    "create table kept as from posts",
    "create view posts as select 1",
    "insert into posts default values",
    "delete from posts",
    "drop view posts",
    "with gone as (delete from posts returning *) from gone",
    "with made as (insert into runs values (1) returning *) from made",
    "explain analyze copy posts to 'out.csv'",
    "attach 'other.db'",
    "attach ':memory:' as other",
    "install httpfs",
    "load httpfs",
    "load '/tmp/evil.duckdb_extension'",
    "pragma enable_profiling",
    "set enable_external_access = true",
    "reset lock_configuration",
    "set temp_directory = '/tmp'",
    "set global allowed_paths = ['/etc/passwd']",
    "create secret s (type s3)",
    "call enable_logging(storage = 'file', storage_path = 'logs')",
    "from enable_logging(storage = 'file', storage_path = 'logs')",
    "from enable_profiling(save_location = 'profile.json')",
    "from checkpoint()",
    "use memory",
    "begin",
    "prepare q as select 1",
    "select 1; copy posts to 'out.csv'",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("query", [*OUTSIDE, *WRITING])
def test_nothing_outside_can_be_read_and_nothing_written(
    session: Session, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "archive").symlink_to("/nowhere")
    with pytest.raises(ConfigError, match=r"^query.*: ") as told:
        session.ask(query).table()
    assert "\n" not in str(told.value)
    assert "root:" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize(
    "query", [query for query in [*OUTSIDE, *WRITING] if "'" in query and "serialized" not in query]
)
def test_duckdb_itself_refuses_what_the_check_would_let_through(
    root: Path, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second wall: the same connection, asked directly."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "archive").symlink_to(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with open_sql(root) as session:
        connection = session._engine.connection
        try:
            found = str(connection.execute(query).fetchall())
        except duckdb.Error:
            found = ""
        assert "root:" not in found
        assert "rivermint" not in found
        with pytest.raises(duckdb.Error, match="locked"):
            connection.execute("set enable_external_access = true")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_identities_are_open_only_when_asked_for(root: Path) -> None:
    with open_sql(root, restricted=True) as session:
        query = "select author_handle from posts join identities using (uid, sweep, platform) where text = 'boats 5'"
        assert answer(session, query) == [("rivermint5",)]
    with open_sql(root) as session, pytest.raises(ConfigError, match="--restricted"):
        session.ask("from identities")


def test_a_part_that_is_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "archive"
    shutil.copytree(root, copy)
    part = next(copy.glob("posts/sweep=d2026-01-01/*/part-00000.parquet"))
    part.unlink()
    part.symlink_to(next(copy.glob("identities/sweep=d2026-01-01/*/part-00000.parquet")))
    with pytest.raises(ArchiveError, match="reached by a link"), open_sql(copy):
        pass


@pytest.mark.parametrize("path", ["../elsewhere/x.parquet", "/etc/passwd", "identities/sweep=evil/x.parquet"])
def test_a_manifest_leads_nowhere_else(root: Path, tmp_path: Path, path: str) -> None:
    copy = tmp_path / "archive"
    shutil.copytree(root, copy)
    store = open_store(copy)
    manifest = orjson.loads((copy / sweep_manifest_name("d2026-01-02")).read_bytes())
    del manifest["sha256"]
    manifest["sweep"] = "evil"
    manifest["parts"]["posts"][0]["path"] = path
    write_manifest(store, sweep_manifest_name("evil"), manifest)
    with pytest.raises(ArchiveError, match="restore it from a backup"), open_sql(copy):
        pass


def scattered(data: bytes) -> bytes | None:
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    return bytes(byte ^ (0x11 if 100 < n < footer and n % 50 == 0 else 0) for n, byte in enumerate(data))


def missing(data: bytes) -> bytes | None:
    return None


def cut(data: bytes) -> bytes | None:
    return data[: len(data) // 2]


def scrambled(data: bytes) -> bytes | None:
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    return data[:4] + bytes(byte ^ 0x5A for byte in data[4:footer]) + data[footer:]


@pytest.mark.parametrize("damage", [missing, cut, scrambled, scattered])
def test_a_damaged_part_is_a_fault_of_the_archive(
    root: Path, tmp_path: Path, damage: Callable[[bytes], bytes | None]
) -> None:
    copy = tmp_path / "archive"
    shutil.copytree(root, copy)
    part = next(copy.glob("posts/sweep=d2026-01-01/*/part-00000.parquet"))
    data = damage(part.read_bytes())
    part.unlink() if data is None else part.write_bytes(data)
    with pytest.raises(ArchiveError, match="postsweep verify") as told, open_sql(copy) as session:
        session.ask("select max(md5(text)) from posts").table()
    assert str(copy) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["sweep=x/platform=zz", "a*b[1]", "it's {a,b}"])
def test_folders_above_the_archive_have_no_part_in_the_answer(root: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(root, tmp_path / name)
    query = "select sweep, platform, count(*) from posts group by all order by all"
    with open_sql(root) as session, open_sql(tmp_path / name) as other:
        assert answer(other, query) == answer(session, query)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("selec 1", 'query, character 1: syntax error at or near "selec"'),
        ("select nope from posts", 'query: Referenced column "nope" not found in FROM clause!'),
        ("from nothing", "query: no table nothing; there are posts, rejects, runs, scores, sightings, sweeps"),
        ("select 'x'::int", "query: Could not convert string 'x' to INT32"),
        ("select 1 from posts; select 2", "query: 2 statements; give one"),
        ("select " + "-" * 5000 + "1", "query: "),
        ("select " + "(" * 3000 + "1" + ")" * 3000, "query: "),
        ("select 1\0", "query: holds a character that is none"),
    ],
)
def test_a_mistake_is_one_line(session: Session, query: str, told: str) -> None:
    if told == "query: ":
        try:
            session.ask(query).table()
        except ConfigError as error:
            assert "\n" not in str(error)
        return
    with pytest.raises(ConfigError) as error:
        session.ask(query).table()
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_the_command_prints_a_table_that_cannot_steer_a_terminal(root: Path) -> None:
    query = "select text, likes from posts where sweep = 'd2026-01-01' order by likes"
    done = postsweep("sql", str(root), query, cwd=root)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["text", "likes"]
    assert [line.split()[-1] for line in lines[2:9]] == [str(n) for n in range(7)]
    assert lines[-1] == "7 rows"
    assert "\\x1b[2J\\u202eboats 4" in done.stdout
    assert not {"\x1b", "\u202e"} & set(done.stdout)


def test_the_command_shows_so_many_rows_and_says_how_many_more(root: Path) -> None:
    done = postsweep("sql", str(root), "select range as n from range(250)", cwd=root)
    assert len(done.stdout.splitlines()) == 103
    assert done.stdout.splitlines()[-1] == "100 rows; 150 more, see --limit and --out"
    command = [str(Path(sys.executable).with_name("postsweep")), "sql", str(root), "-", "--limit", "1"]
    query = "select repeat('long ', 100) as words, null as n"
    done = subprocess.run(command, input=query, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 row"
    assert "…" in done.stdout


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_answers_go_to_files(root: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"out.{ending}"
    query = "select text, rumor, flags, sum(likes) over () as likes, created_at, input_digest from posts "
    query += "join scores using (uid, sweep, platform) where run = 'plain' order by rumor"
    done = postsweep("sql", str(root), query, "--out", str(out), cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: 7 rows\n"
    if ending == "csv":
        rows = list(csv.DictReader(out.open(encoding="utf-8", newline="")))
        assert rows[3]["text"] == f"'{FORMULA}"  # no formula to a spreadsheet
        assert rows[6] | {"input_digest": ""} == {
            "text": "boats 6", "rumor": "0.6", "flags": '["rumor"]', "likes": "21",
            "created_at": "2026-01-01T12:00:06+00:00", "input_digest": "",
        }  # fmt: skip
    elif ending == "jsonl":
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert [row["rumor"] for row in rows] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
        assert (rows[4]["text"], rows[5]["flags"], rows[6]["likes"]) == (NASTY, ["rumor"], 21)
    else:
        table = pq.read_table(out)
        assert table.column("rumor").to_pylist() == pytest.approx([n / 10 for n in range(7)])
        assert table.column("text").to_pylist()[3:5] == [FORMULA, NASTY]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_columns_of_one_name_are_told_apart(root: Path, tmp_path: Path, ending: str) -> None:
    query = "select a.likes, b.likes from posts a join posts b on a.likes = b.likes + 1 and a.sweep = b.sweep "
    with open_sql(root) as session:
        answer = session.ask(query + "order by a.likes desc, b.likes limit 2")
        rows = [{"likes": 6, "likes_1": 5}, {"likes": 5, "likes_1": 4}]
        assert answer.table().to_pylist() == rows
        out = tmp_path / f"out.{ending}"
        assert answer.write(out) == 2
    if ending == "csv":
        assert out.read_text() == "likes,likes_1\n6,5\n5,4\n"
    elif ending == "jsonl":
        assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    else:
        assert pq.read_table(out).to_pylist() == rows


@pytest.mark.parametrize("out", [(), ("-o", "out.csv"), ("-o", "out.jsonl")])
def test_a_time_beyond_the_calendar_is_a_mistake_of_the_query(
    root: Path, tmp_path: Path, out: tuple[str, ...]
) -> None:
    done = postsweep("sql", str(root), "select max(created_at) + interval 9000 year from posts", *out, cwd=tmp_path)
    assert done.returncode == 2
    assert "cast it to varchar" in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_leads_back_to_people_goes_to_a_file_of_its_owner_alone(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    done = postsweep("sql", str(root), "from identities", "--restricted", "-o", str(out), "--limit", "2", cwd=root)
    assert done.stdout == f"{out}: 2 rows\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_no_answer_is_written_into_the_archive(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root / "posts")
    for out in (root / "posts" / "sweep=d2026-01-01" / "more.parquet", root / "out.csv", tmp_path / "link" / "out.csv"):
        done = postsweep("sql", str(root), "from posts", "-o", str(out), cwd=tmp_path)
        assert done.returncode == 2
        assert "lies in the archive" in done.stderr
        assert not out.exists()


def test_the_command_ends_with_the_code_of_whose_fault_it_is(root: Path, tmp_path: Path) -> None:
    for arguments in (["selec"], ["from nothing"], ["from posts", "-o", "x.txt"], ["from posts", "-o", "no/x.csv"]):
        done = postsweep("sql", str(root), *arguments, cwd=root)
        assert done.returncode == 2, done.stderr
        assert [line.startswith("error: ") for line in done.stderr.splitlines()].count(True) == 1, done.stderr
    assert postsweep("sql", str(tmp_path), "select 1", cwd=root).returncode == 1
    done = postsweep("sql", str(root), "select interval 1 day as i", "-o", str(tmp_path / "x.parquet"), cwd=root)
    assert done.returncode == 2
    assert "cast it to varchar" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
def test_a_query_stops_when_told_to(root: Path, tmp_path: Path, order: signal.Signals) -> None:
    out = tmp_path / "out.csv"
    query = "select md5(i::varchar) as word from range(100000000000) t(i)"
    with running("sql", str(root), query, "-o", str(out), cwd=root, until="write: begins") as child:
        child.send_signal(order)
        _, told = child.communicate(timeout=60)
    assert child.returncode == 128 + order
    assert "interrupted" in told
    assert not list(tmp_path.iterdir())


def test_only_the_main_thread_is_needed_to_open_an_archive(root: Path) -> None:
    code = (
        "import sys, threading; from pathlib import Path; from pipelines.sql import open_sql\n"
        "def ask():\n"
        f"    with open_sql(Path({str(root)!r})) as session: print(session.ask('from posts').count())\n"
        "thread = threading.Thread(target=ask); thread.start(); thread.join()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("12\n", "")
