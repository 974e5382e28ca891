"""Files of texts, as people have them: what comes back is what was given, with scores, or one clear line."""

import contextlib
import csv
import json
import signal
import subprocess
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classify.labels import CODEBOOK
from classify.model import load, prepare
from classify.scoring import score_texts
from pipelines.errors import ConfigError, PostsweepError
from pipelines.progress import Progress
from pipelines.score_file import score_file
from tests import small_model
from tests.jobs import postsweep, start

LABELS = [label.name for label in CODEBOOK]
ADDED = [*LABELS, "flags"]
FERRY = "The ferry leaves at nine."


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_model.make(tmp_path_factory.mktemp("model")))


def scored(source: Path, out: Path, model: str, field: str = "text") -> list[dict[str, Any]]:
    """Scores a file in this process and reads what came of it."""
    counts = score_file(source, out, field, model, Progress())
    rows = read(out)
    assert counts["rows"] == len(rows)
    return rows


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def refused(source: Path, model: str, error: type[PostsweepError], out: str = "out.jsonl", field: str = "text") -> str:
    """What the one line says; nothing is left behind."""
    before = sorted(source.parent.iterdir())
    with pytest.raises(error) as caught:
        score_file(source, source.parent / out, field, model, Progress())
    assert type(caught.value) is error
    assert sorted(source.parent.iterdir()) == before
    said = str(caught.value)
    assert "\n" not in said
    return said


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what was added."""
    return [{key: value for key, value in row.items() if key not in ADDED} for row in rows]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("before", ["jsonl", "csv", "parquet"])
def test_rows_come_back_in_order_with_the_same_scores_in_every_format(
    tmp_path: Path, model: str, before: str, ending: str
) -> None:
    texts = {"a": FERRY, "b": "今天下雪\n路上小心", "c": 'They said "yes", and then it rained all day.'}
    rows = [{"id": name, "text": text} for name, text in texts.items()]
    source = tmp_path / f"in.{before}"
    if before == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif before == "csv":
        with source.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id", "text"], *(row.values() for row in rows)])
    else:
        pq.write_table(pa.Table.from_pylist(rows), source)
    found = scored(source, tmp_path / f"out.{ending}", model)
    assert bare(found) == rows
    assert list(found[0]) == ["id", "text", *ADDED]
    numbers = [[round(float(row[label]), 6) for label in LABELS] for row in found]
    assert numbers == [[round(value, 6) for value in row] for row in score_lists(model, [row["text"] for row in rows])]


def score_lists(model: str, texts: list[str]) -> list[list[float]]:
    return [[row[label] for label in LABELS] for row in score_texts(load(prepare(model)), texts).to_pylist()]


def test_the_command_says_what_it_did(tmp_path: Path, model: str) -> None:
    (tmp_path / "in.csv").write_text(f"id,body\n1,{FERRY}\n2,\n")
    done = postsweep("score", "in.csv", "-o", "out.parquet", "--text-field", "body", "--model", model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out.parquet: 2 rows, 1 scored, ")
    assert read(tmp_path / "out.parquet")[1]["rumor"] is None


def test_the_embedded_model_scores_a_file(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "今天下雪"}) + "\n")
    done = postsweep("score", "in.jsonl", "-o", "out.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 0 < read(tmp_path / "out.jsonl")[0]["rumor"] < 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["in.jsonl", "-o", "out.parquet", "--text-field", "body"], 2, "no column 'body'; there are id, text"),
        (["in.jsonl", "-o", "out.xlsx"], 2, "unknown ending"),
        (["gone.csv", "-o", "out.csv"], 2, "no such file"),
        (["in.jsonl", "-o", "nowhere/out.csv"], 2, "folder does not exist"),
        (["in.jsonl", "-o", "in.jsonl"], 2, "would replace the file that is read"),
        (["in.jsonl", "-o", "folder.csv"], 2, "a folder; name a file"),
        (["broken.jsonl", "-o", "out.csv"], 1, "broken.jsonl:2: not JSON"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path: Path, model: str, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": 1, "text": "x"}\n')
    (tmp_path / "broken.jsonl").write_text('{"text": "x"}\n{"text": \n')
    (tmp_path / "folder.csv").mkdir()
    before = sorted(tmp_path.iterdir())
    done = postsweep("score", *arguments, "--model", model, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_link_to_the_input_does_not_replace_it(tmp_path: Path, model: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "out.jsonl").symlink_to("in.jsonl")
    assert "would replace" in refused(tmp_path / "in.jsonl", model, ConfigError)


# JSONL


def test_a_line_of_json_comes_back_as_it_was_written(tmp_path: Path, model: str) -> None:
    lines = [
        '{"id": 12345678901234567890123, "price": 1.10, "text": "The ferry leaves at nine."}',
        '{"text" : "half a pair \\ud83d" , "nested": {"b": [1, 2.50, {"c": null}]}, "big": 1e400}',
        '{"text": null, "x": "\\u00e9"}',
        "{}",
        '{"x": "é", "text": "caf\\u00e9"  }',
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    scored(tmp_path / "in.jsonl", tmp_path / "out.jsonl", model)
    for line, found in zip(lines, (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines(), strict=True):
        assert found.startswith(line[:-1].rstrip())
        assert found.count('"flags":') == 1
        json.loads(found)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"", b"\r\n \t\n"])
def test_byte_order_marks_and_blank_lines_are_no_part_of_jsonl(tmp_path: Path, model: str, content: bytes) -> None:
    (tmp_path / "in.jsonl").write_bytes(content + b'{"text": "a b"}\r\n\r\n{"text": "c"}')
    assert bare(scored(tmp_path / "in.jsonl", tmp_path / "out.jsonl", model)) == [{"text": "a b"}, {"text": "c"}]


def test_keys_may_differ_from_line_to_line(tmp_path: Path, model: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": 1}\n{"text": "x", "more": [1, {"a": "é"}]}\n')
    rows = bare(scored(tmp_path / "in.jsonl", tmp_path / "out.parquet", model))
    assert rows == [{"id": 1, "text": None, "more": None}, {"id": None, "text": "x", "more": '[1, {"a": "é"}]'}]
    assert bare(scored(tmp_path / "in.jsonl", tmp_path / "out.csv", model)) == [
        {"id": "1", "text": "", "more": ""}, {"id": "", "text": "x", "more": '[1, {"a": "é"}]'}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "null", "-9007199254740993"], pa.int64()),
        (["1", "2.5"], pa.float64()),
        (["true", "null"], pa.bool_()),
        (["1", '"1"'], pa.string()),
        (["9007199254740993", "0.5"], pa.string()),
        (["18446744073709551616"], pa.string()),
        (["null"], pa.string()),
    ],
)
def test_a_json_column_has_a_type_in_parquet_when_all_its_values_have_it(
    tmp_path: Path, model: str, values: list[str], kind: pa.DataType
) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "x", "n": {value}}}\n' for value in values))
    found = scored(tmp_path / "in.jsonl", tmp_path / "out.parquet", model)
    assert pq.read_schema(tmp_path / "out.parquet").field("n").type == kind
    given_values = [json.loads(value) for value in values]
    assert [row["n"] for row in found] == [
        value if kind != pa.string() or value is None else str(value) for value in given_values
    ]


def test_half_a_surrogate_pair_is_marked_where_utf8_cannot_hold_it(tmp_path: Path, model: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "half \\ud83d", "k\\udc00": "v"}\n')
    for ending in ("csv", "parquet"):
        row = scored(tmp_path / "in.jsonl", tmp_path / f"out.{ending}", model)[0]
        assert (row["text"], row["k\ufffd"]) == ("half \ufffd", "v")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": ', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b'{"text": 5}', "text is a number, not a text"),
        (b'{"text": ["a"]}', "text is a list, not a text"),
        (b'{"text": "x", "n": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"text": "x", "n": ' + b"[" * 100_000 + b"}", "not JSON"),
    ],
)
def test_a_broken_line_is_told_by_its_number(tmp_path: Path, model: str, line: bytes, said: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "x"}\n\n' + line + b"\n")
    told = refused(tmp_path / "in.jsonl", model, PostsweepError)
    assert said in told
    assert "in.jsonl:3: " in told


def test_a_column_that_the_scores_would_take_is_refused_on_any_line(tmp_path: Path, model: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "x"}\n' * 3 + '{"text": "x", "flags": ["mine"]}\n')
    assert "has a column 'flags' already" in refused(tmp_path / "in.jsonl", model, ConfigError)
    (tmp_path / "in.csv").write_text("text,rumor\nx,mine\n")
    assert "has a column 'rumor' already" in refused(tmp_path / "in.csv", model, ConfigError)
    pq.write_table(pa.table({"text": ["x"], "scam": [1]}), tmp_path / "in.parquet")
    assert "has a column 'scam' already" in refused(tmp_path / "in.parquet", model, ConfigError)


# CSV


def test_csv_keeps_its_cells_whatever_they_hold(tmp_path: Path, model: str) -> None:
    rows = [["id", "text", ""], ["-5", 'a "b"\r\nc,d', " x "], ["+3.5e-7", "今天", "'quoted'"], ["007", "", "\u2028"]]
    with (tmp_path / "in.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(rows)
    scored(tmp_path / "in.csv", tmp_path / "out.csv", model)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert [row[:3] for row in found] == rows
    assert found[0][3:] == ADDED


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("=SUM(A1)", "'=SUM(A1)"),
        ("@user hello", "'@user hello"),
        ("+1 for that", "'+1 for that"),
        ("-5+cmd|' /C calc'!A0", "'-5+cmd|' /C calc'!A0"),
        ("\t=1", "'\t=1"),
        ("＝1+1", "'＝1+1"),
        ("-100123456789", "-100123456789"),
        ("+1.5E3", "+1.5E3"),
        ("'=SUM(A1)", "'=SUM(A1)"),
        ("a=b", "a=b"),
    ],
)
def test_formulas_are_disarmed_in_csv_and_numbers_are_not(tmp_path: Path, model: str, cell: str, wanted: str) -> None:
    pq.write_table(pa.table({"text": [cell]}), tmp_path / "in.parquet")
    assert scored(tmp_path / "in.parquet", tmp_path / "out.csv", model)[0]["text"] == wanted
    assert scored(tmp_path / "in.parquet", tmp_path / "out.jsonl", model)[0]["text"] == cell


@pytest.mark.parametrize("content", [b"text\n", b"text", b"\xef\xbb\xbftext\r\n\r\n"])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_header_alone_gives_no_rows(tmp_path: Path, model: str, content: bytes, ending: str) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    assert scored(tmp_path / "in.csv", tmp_path / f"out.{ending}", model) == []
    if ending == "csv":
        assert (tmp_path / "out.csv").read_text().split() == [",".join(["text", *ADDED])]
    if ending == "parquet":
        assert pq.read_schema(tmp_path / "out.parquet").names == ["text", *ADDED]


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", ConfigError, "there are none: the file is empty"),
        (b"a,a\n1,2\n", ConfigError, "two columns are called 'a'"),
        (b"id;text\n1;x\n", ConfigError, "no column 'text'; there are id;text"),
        (b"id,text\n1,x\n2,y,z\n", PostsweepError, "in.csv:3: 3 cells, 2 in the header"),
        (b"id,text\n1\n", PostsweepError, "in.csv:2: 1 cells, 2 in the header"),
        (b'id,text\n1,"never closed\n2,x\n', PostsweepError, "not CSV (unexpected end of data)"),
        (b"id,text\n1,x\n2,\xe9\n", PostsweepError, "in.csv:3: not UTF-8"),
        ("id,text\n1,x\n".encode("utf-16"), PostsweepError, "in.csv:1: not UTF-8"),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(
    tmp_path: Path, model: str, content: bytes, error: type[PostsweepError], said: str
) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    assert said in refused(tmp_path / "in.csv", model, error)


# Parquet


def test_parquet_keeps_its_types_and_metadata(tmp_path: Path, model: str) -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "text": pa.array([FERRY, "今天下雪", FERRY, None]).dictionary_encode(),
            "tags": pa.array([["a"], [], None, ["b", "c"]], pa.list_(pa.large_string())),
            "at": pa.array([1767268800000000001] * 4, pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.10")] * 4, pa.decimal128(10, 2)),
            "raw": pa.array([b"\xff"] * 4, pa.binary()),
            "where": pa.array([{"x": 1.5}, None, {"x": None}, {"x": float("nan")}]),
            "seen": pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int8())),
            "day": pa.array([moment.date()] * 4, pa.date32()),
            "count": pa.array([1, 2, 3, None], pa.uint64()),
        }
    )
    table = table.cast(
        pa.schema([field.with_metadata({b"unit": b"none"}) for field in table.schema], {b"origin": b"a survey"})
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    score_file(tmp_path / "in.parquet", tmp_path / "out.parquet", "text", model, Progress())
    found = pq.read_table(tmp_path / "out.parquet")
    given_table = pq.read_table(tmp_path / "in.parquet")
    kept = found.select(table.column_names)
    assert kept.schema.equals(given_table.schema, check_metadata=True)
    assert str(kept.to_pylist()) == str(given_table.to_pylist())  # as texts, since NaN is not equal to itself
    assert found.schema.names == [*table.column_names, *ADDED]
    assert found.schema.metadata[b"origin"] == b"a survey"
    assert found.schema.field("at").metadata[b"unit"] == b"none"
    assert found.schema.field("text").type == table.schema.field("text").type


def test_parquet_values_are_plain_in_csv_and_jsonl(tmp_path: Path, model: str) -> None:
    table = pa.table(
        {
            "text": pa.array([FERRY], pa.large_string()),
            "at": pa.array([1767268800000000001], pa.timestamp("ns", "UTC")),
            "micro": pa.array([datetime(2026, 1, 1, 12, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            "day": pa.array([date(2026, 1, 1)]),
            "price": pa.array([Decimal("1.10")], pa.decimal128(10, 2)),
            "raw": pa.array([b"\xff\x00"]),
            "yes": [True],
            "took": pa.array([5_000_000_000], pa.duration("ns")),
            "where": pa.array([{"x": date(2026, 1, 1)}]),
            "none": pa.array([None]),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    wanted = {
        "text": FERRY, "at": "2026-01-01 12:00:00.000000001Z", "micro": "2026-01-01T12:00:00+00:00",
        "day": "2026-01-01", "price": "1.10", "raw": "/wA=", "took": "5000000000", "none": "",
    }  # fmt: skip
    found = bare(scored(tmp_path / "in.parquet", tmp_path / "out.csv", model))[0]
    assert found == wanted | {"yes": "true", "where": '{"x": "2026-01-01"}'}
    found = bare(scored(tmp_path / "in.parquet", tmp_path / "out.jsonl", model))[0]
    assert found == wanted | {"yes": True, "where": {"x": "2026-01-01"}, "took": 5_000_000_000, "none": None}


@pytest.mark.parametrize("values", [[1], [1.5], [["a"]], [b"a"]])
def test_a_parquet_column_that_holds_no_texts_is_refused(tmp_path: Path, model: str, values: list[object]) -> None:
    pq.write_table(pa.table({"text": values}), tmp_path / "in.parquet")
    assert "not a text" in refused(tmp_path / "in.parquet", model, ConfigError)


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path, model: str) -> None:
    (tmp_path / "in.parquet").write_bytes(b"PAR1 not really")
    assert "not Parquet" in refused(tmp_path / "in.parquet", model, PostsweepError)
    pq.write_table(pa.table({"text": [f"post {number}" for number in range(9000)]}), tmp_path / "in.parquet")
    data = bytearray((tmp_path / "in.parquet").read_bytes())
    data[200:4000] = bytes(3800)
    (tmp_path / "in.parquet").write_bytes(data)
    refused(tmp_path / "in.parquet", model, PostsweepError)


@pytest.mark.parametrize("column", ["text", "more"])
def test_parquet_text_that_is_not_utf8_is_one_line(tmp_path: Path, model: str, column: str) -> None:
    offsets, data = pa.py_buffer(np.array([0, 2], np.int32).tobytes()), pa.py_buffer(b"a\xff")
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, data])
    columns = {"text": pa.array(["x"]), "more": pa.array(["y"]), column: broken}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    for out in ("out.parquet", "out.csv", "out.jsonl"):
        assert "UTF8" in refused(tmp_path / "in.parquet", model, PostsweepError, out)


# Whole or not at all, and bounded


def test_a_score_reads_the_same_in_every_format(tmp_path: Path, model: str) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "post {number}"}}\n' for number in range(200)))
    exact = [row["rumor"] for row in scored(tmp_path / "in.jsonl", tmp_path / "out.parquet", model)]
    for ending in ("csv", "jsonl"):
        rows = scored(tmp_path / "in.jsonl", tmp_path / f"out.{ending}", model)
        assert pa.array([float(row["rumor"]) for row in rows], pa.float32()).to_pylist() == exact
        assert all(len(str(row["rumor"])) < 16 for row in rows)


@pytest.mark.parametrize("out", ["out.csv", "out.parquet", "out.jsonl"])
def test_a_killed_command_leaves_what_stood_under_the_name(tmp_path: Path, model: str, out: str) -> None:
    with (tmp_path / "in.jsonl").open("w") as file:
        file.writelines(f'{{"text": "post number {number} of a long file"}}\n' for number in range(100_000))
    (tmp_path / out).write_text("what stood there")
    child = start("score", "in.jsonl", "-o", out, "--model", model, cwd=tmp_path)
    parts: list[Path] = []
    while not any(part.stat().st_size > 100_000 for part in parts):
        parts = list(tmp_path.glob(f".{out}.*"))
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert (tmp_path / out).read_text() == "what stood there"


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path, model: str) -> None:
    tensors = small_model.weights(258)
    tensors["words"][small_model.tokenizer().token_to_id("z")] = float("nan")
    folder = small_model.make(tmp_path / "model")
    (folder / "encoder.onnx").write_bytes(small_model.encoder(tensors).SerializeToString())
    small_model.write_description(folder)
    (tmp_path / "in.jsonl").write_text('{"text": "The ferry leaves."}\n' * 3000 + '{"text": "A frozen ferry."}\n')
    before = sorted(tmp_path.iterdir())
    done = postsweep("score", "in.jsonl", "-o", "out.csv", "--model", "model", cwd=tmp_path)
    assert done.returncode == 1
    assert "NaN" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def peak(tmp_path: Path, model: str, ending: str, rows: int) -> int:
    """The largest resident set of a command that scores so many rows of 10 kB; in Parquet they are one row group."""
    source = tmp_path / f"in.{ending}"
    filler = "x" * 10_000
    if ending == "parquet":
        table = pa.table({"text": [str(row) for row in range(rows)], "more": [f"{row}{filler}" for row in range(rows)]})
        pq.write_table(table, source, row_group_size=rows, compression=None, use_dictionary=False)
    else:
        with source.open("w") as file:
            file.write("text,more\n" if ending == "csv" else "")
            line = "{},{}\n" if ending == "csv" else '{{"text": "{}", "more": "{}"}}\n'
            file.writelines(line.format(row, filler) for row in range(rows))
    child = start("score", source.name, "-o", "out.parquet", "--model", model, cwd=tmp_path)
    largest = 0
    while child.returncode is None:
        # Not the kernel's own account of a child's peak: that begins at what this process holds.
        with contextlib.suppress(psutil.Error):
            largest = max(largest, psutil.Process(child.pid).memory_info().rss)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.01)
    assert child.returncode == 0, (tmp_path / "log.txt").read_text()
    return largest


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, model: str, ending: str) -> None:
    small, large = peak(tmp_path, model, ending, 2_000), peak(tmp_path, model, ending, 16_000)
    assert large - small < 60 * 2**20, (small, large)  # the file grew by 140 MB


TEXTS = st.none() | st.text(max_size=40).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text))
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=3), st.lists(PLAIN), max_size=3)
NAMES = st.text(max_size=5).filter(lambda name: name not in [*ADDED, "text"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, st.dictionaries(NAMES, VALUES, max_size=3)), min_size=1, max_size=5))
def test_any_json_rows_come_back_the_same(tmp_path: Path, model: str, rows: list[tuple[Any, dict[str, Any]]]) -> None:
    objects = [{**more, "text": text} for text, more in rows]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in objects))
    assert bare(scored(tmp_path / "in.jsonl", tmp_path / "out.jsonl", model)) == objects


CELLS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_any_cells_come_back_the_same_but_for_formulas(tmp_path: Path, model: str, rows: list[tuple[str, str]]) -> None:
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "b"], *rows])
    found = scored(tmp_path / "in.csv", tmp_path / "out.jsonl", model)
    assert [(row["text"], row["b"]) for row in found] == rows
    with_apostrophes = scored(tmp_path / "in.csv", tmp_path / "out.csv", model)
    for (text, more), row in zip(rows, with_apostrophes, strict=True):
        assert row["text"] in (text, f"'{text}")
        assert row["b"] in (more, f"'{more}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, st.integers(-(2**63), 2**63 - 1) | st.none(), st.floats() | st.none()), max_size=5))
def test_any_table_comes_back_the_same(tmp_path: Path, model: str, rows: list[tuple[Any, ...]]) -> None:
    kinds = {"text": pa.large_string(), "n": pa.int64(), "x": pa.float64()}
    columns = list(zip(*rows, strict=True)) or [[], [], []]
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, kinds.values(), strict=True)], [*kinds])
    pq.write_table(table, tmp_path / "in.parquet")
    score_file(tmp_path / "in.parquet", tmp_path / "out.parquet", "text", model, Progress())
    found = pq.read_table(tmp_path / "out.parquet").select([*kinds])
    assert found.schema == table.schema
    assert str(found.to_pylist()) == str(table.to_pylist())
