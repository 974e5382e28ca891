import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.jobs import postsweep

ROWS = [{"id": str(number), "body": text} for number, text in enumerate(["=SUM(A1)", "今天下雪", "", "a, \"b\"\nc"])]


def write(path: Path) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "body"])
            writer.writeheader()
            writer.writerows(ROWS)
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("source", "out"), [("in.jsonl", "out.parquet"), ("in.csv", "out.jsonl"), ("in.parquet", "out.csv")]
)
def test_a_file_comes_back_row_by_row_with_scores(tmp_path: Path, source: str, out: str) -> None:
    write(tmp_path / source)
    done = postsweep("score", source, "-o", out, "--text-field", "body", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if out.endswith("parquet"):
        rows = pq.read_table(tmp_path / out).to_pylist()
        assert isinstance(rows[1]["rumor"], float)
    elif out.endswith("jsonl"):
        rows = [json.loads(line) for line in (tmp_path / out).read_text().splitlines()]
        assert rows[1]["flags"] == []
    else:
        with (tmp_path / out).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["body"] == "'=SUM(A1)"
        assert float(rows[1]["rumor"]) < 1
    assert [row["id"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[3]["body"] == ROWS[3]["body"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["in.jsonl", "-o", "out.parquet"], 2, "no column 'text'"),
        (["in.jsonl", "-o", "out.xlsx"], 2, "unknown ending"),
        (["gone.csv", "-o", "out.csv"], 2, "no such file"),
        (["in.jsonl", "-o", "nowhere/out.csv"], 2, "folder does not exist"),
        (["broken.jsonl", "-o", "out.csv"], 1, "broken.jsonl:2: not JSON"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    write(tmp_path / "in.jsonl")
    (tmp_path / "broken.jsonl").write_text('{"text": "x"}\n{"text": \n')
    before = sorted(tmp_path.iterdir())
    done = postsweep("score", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before
