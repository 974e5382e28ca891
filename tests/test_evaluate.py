"""Judging a model: what is scored, what counts as an error and what does not, and the command."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from classify.errors import ModelError
from classify.evaluate import ALL, Scored, choose_thresholds, compare, judge, score_rows
from classify.labelled import Columns, Row, read_labelled
from classify.labels import Label
from classify.model import Model, load, prepare
from classify.recipe import ThresholdPart
from classify.scoring import score_texts
from pipelines.cli import app
from pipelines.errors import ConfigError
from tests import small_model

LABELS = (Label("hate", "", 0.5), Label("abuse", "", 0.6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model.make(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture(scope="module")
def small(folder: Path) -> Model:
    return load(prepare(str(folder)))


def invented(rows: Sequence[tuple[Row, Sequence[float]]], labels: tuple[Label, ...] = LABELS) -> Scored:
    """Rows with the scores that some model gave them."""
    scores = np.array([each for _, each in rows], np.float32)
    entry = {"name": "invented", "digest": "d" * 64, "model": "invented"}
    return Scored(entry, labels, tuple(row for row, _ in rows), scores, tuple(row.lang for row, _ in rows))


def row(number: int, marks: Mapping[str, int], **changes: Any) -> Row:
    return replace(Row(f"post {number}", "en", marks, "posts.jsonl", "criticism", number=number), **changes)


NEITHER = {"hate": 0, "abuse": 0}
SUITE = invented(
    [
        (row(1, NEITHER, id="a"), (0.1, 0.2)),
        (row(2, NEITHER, id="b"), (0.7, 0.1)),
        (row(3, NEITHER, id="c"), (0.1, 0.6)),
        (row(4, {"hate": 1}, id="d", pair="a"), (0.8, 0.9)),
        (row(5, {"hate": 1}, id="e", pair="b"), (0.4, 0.9)),
        (row(6, {"abuse": 1}, id="f", pair="c"), (0.9, 0.6)),
    ]
)


def test_another_flag_on_a_harmful_post_is_no_error() -> None:
    found = judge(SUITE, draws=5)
    hate, abuse = (each.figures for each in found.slices if each.by == ALL)
    # The abuse on hateful posts, and the hate on an abusive one, are in no row of the other label.
    assert (hate.rows, hate.positive, hate.cuts["stored"].flagged) == (5, 2, 2)
    assert (abuse.rows, abuse.positive, abuse.cuts["stored"].flagged) == (4, 1, 2)
    assert hate.cuts["stored"].precision.value == 0.5


def test_harmless_posts_count_as_flagged_with_any_label_and_harmful_ones_as_found_with_their_own() -> None:
    (group,) = judge(SUITE, draws=5).groups
    assert (group.group, group.flagged.hits, group.flagged.rows) == ("criticism", 2, 3)
    assert {label: each.hits for label, each in group.flagged_by_label.items()} == {"hate": 1, "abuse": 1}
    # A score that reads as its threshold is a flag; post 5 is flagged, though not with its label.
    assert (group.found.hits, group.found.rows) == (2, 3)
    assert {label: (each.hits, each.rows) for label, each in group.found_by_label.items()} == {
        "hate": (1, 2),
        "abuse": (1, 1),
    }


def test_a_pair_is_in_order_when_the_harmful_post_has_the_higher_score_of_its_label() -> None:
    pairs = judge(SUITE, draws=5).pairs
    assert {name: (each.hits, each.rows) for name, each in pairs.items()} == {
        "all": (1, 3),  # b beats e, and equal scores put nothing in order
        "en hate": (1, 2),
        "en abuse": (0, 1),
    }


def test_a_pair_is_drawn_together() -> None:
    assert SUITE.clusters.tolist() == [0, 1, 2, 0, 1, 2]


def test_thresholds_of_one_half_and_chosen_ones_stand_beside_the_models() -> None:
    found = judge(SUITE, {"abuse": 0.95}, draws=5)
    abuse = next(each.figures for each in found.slices if (each.label, each.by) == ("abuse", ALL))
    assert {name: cut.threshold for name, cut in abuse.cuts.items()} == {"stored": 0.6, "0.5": 0.5, "chosen": 0.95}
    assert abuse.cuts["chosen"].flagged == 0
    assert abuse.cuts["chosen"].precision.value is None


def test_figures_are_by_language_and_by_file_where_these_are_not_the_same() -> None:
    rows = [
        (row(number, {"hate": number % 2, "abuse": 0}, lang=lang, file=file), (0.3, 0.1))
        for number, (lang, file) in enumerate([("zh", "one"), ("en", "one"), ("zh", "two"), ("zh", "two")] * 2)
    ]
    found = judge(invented(rows), draws=5)
    hate = {(each.by, each.name): each.figures.rows for each in found.slices if each.label == "hate"}
    assert hate == {(ALL, ALL): 8, ("language", "zh"): 6, ("language", "en"): 2, ("file", "one"): 4, ("file", "two"): 4}
    alone = judge(invented(rows[:1]), draws=5)
    assert [(each.by, each.name) for each in alone.slices if each.label == "hate"] == [(ALL, ALL)]


def test_texts_are_scored_as_a_sweep_would_and_those_without_a_score_are_told(small: Model) -> None:
    texts = ["Il traghetto parte alle nove dal porto vecchio.", "The ferry leaves at nine.", "ok", "渡轮九点从码头出发"]
    marks = {label.name: 1 for label in small.labels}
    rows = [row(number, marks, text=text, lang="zh" if number == 3 else "en") for number, text in enumerate(texts)]
    advanced: list[int] = []
    scored = score_rows(small, rows, advanced.append)
    table = score_texts(small, texts)
    assert scored.detected == tuple(table.column("lang").to_pylist())
    assert np.array_equal(scored.scores[:, 0], table.column("rumor").to_numpy(), equal_nan=True)
    assert [[small.labels[at].name for at in np.flatnonzero(each)] for each in scored.flags] == (
        table.column("flags").to_pylist()
    )
    assert sum(advanced) == 4
    found = judge(scored, draws=5)
    assert found.unscored == sum(count == 0 for count in table.column("windows").to_pylist()) >= 1
    said = "1 row in en not scored, for the language it is taken for (it 1): counted as not flagged"
    assert said in found.told


def drawn(seed: int, better: float = 0.0) -> Scored:
    random = np.random.default_rng(seed)
    rows = []
    for number in range(400):
        hate = int(random.random() < 0.3)
        score = 1 / (1 + np.exp(-(random.normal() + (1 + better if hate else -1))))
        rows.append((row(number, {"hate": hate}, lang=("en", "zh")[number % 2], group=None), (score, 0.1)))
    return invented(rows)


def test_a_better_model_is_told_per_label_and_language_and_what_only_one_has_is_left_out() -> None:
    found = compare(drawn(1), drawn(1, better=2.0), draws=100)
    assert [(each.label, each.name) for each in found] == [("hate", "all"), ("hate", "en"), ("hate", "zh")]
    whole = found[0].difference
    assert whole.macro_f1.low is not None and whole.macro_f1.low > 0
    assert whole.p <= whole.adjusted < 0.01
    other = replace(drawn(1), labels=(Label("insult", ""), Label("spam", "")))
    with pytest.raises(ModelError, match="no label in common; the second has insult, spam"):
        compare(drawn(1), other)
    with pytest.raises(ValueError, match="the same rows"):
        compare(drawn(1), replace(drawn(1), rows=drawn(1).rows[::-1]))


def test_thresholds_are_chosen_for_the_target_and_told_where_it_is_out_of_reach() -> None:
    dev = drawn(2, better=2.0)
    (hate,) = choose_thresholds(dev, ThresholdPart(target="precision", value=0.9))
    flags = dev.scores[:, 0] >= hate.threshold
    truth = dev.marks[:, 0] == 1
    by_language = [truth[flags & langs].mean() for langs in (np.arange(400) % 2 == 0, np.arange(400) % 2 == 1)]
    assert np.mean(by_language) >= 0.9
    assert hate.told is None
    (hate,) = choose_thresholds(dev, ThresholdPart(target="review", value=0.2))
    assert (dev.scores[:, 0] >= hate.threshold).mean() <= 0.2
    (hate,) = choose_thresholds(drawn(2, better=-2.0), ThresholdPart(target="precision", value=0.99))
    assert hate.told == "hate: no threshold up to 0.95 gives precision 0.99 on the development split"


def test_a_label_that_the_split_has_one_class_of_keeps_its_threshold() -> None:
    calm = invented([(row(number, {"abuse": 0}), (0.1, number / 10)) for number in range(10)])
    (abuse,) = choose_thresholds(calm, ThresholdPart())
    assert (abuse.label, abuse.threshold) == ("abuse", 0.6)
    assert abuse.told == "abuse: the development split has not both kinds of rows; 0.6 stays"


def test_a_text_that_contradicts_itself_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    lines = [("The ferry is late.", "OFF"), ("the ferry is late!", "NOT"), ("Nine o'clock it is.", "NOT")]
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in lines))
    columns = Columns(values={"OFF": ["abuse"], "NOT": []})
    with pytest.raises(ModelError, match="stands there twice"):
        read_labelled([path], columns, ["abuse"])
    found = read_labelled([path], columns, ["abuse"], settled=False)
    assert [(each.number, each.marks) for each in found.rows] == [(3, {"abuse": 0})]
    assert found.told == ("2 rows whose text stands twice, with other labels, left out",)


# The command


NAMES = ["Anna", "Bruno", "Clara", "Dario", "Elena", "Fabio", "Greta", "Hugo", "Irene", "Jonas"]


def write(path: Path, count: int, first: int = 0) -> Path:
    """Posts about a ferry and its passengers, no two alike, every third of them marked."""
    lines = []
    for number in range(first, first + count):
        said = f"{NAMES[number % 10]} and {NAMES[number // 10]} take the ferry at nine, and the wind is strong."
        label = "OFF" if number % 3 == 0 else "NOT"
        lines.append({"text": said, "label": label, "group": ("pier", "office")[number % 2]})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


VALUES = ("--value", "OFF=abuse", "--value", "NOT=none")


def run(*given: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, given)])
    if isinstance(done.exception, ConfigError | ModelError):
        return done.exception.exit_code if isinstance(done.exception, ConfigError) else 1, "", str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_command_prints_tables_and_writes_what_they_are_made_of(folder: Path, tmp_path: Path) -> None:
    data, out = write(tmp_path / "posts.jsonl", 40), tmp_path / "made" / "judged"
    dev = write(tmp_path / "dev.jsonl", 30, first=60)
    given = (folder, data, *VALUES, "--against", folder, "--dev", dev, "--target", "review=0.3", "--out", out)
    code, printed, _ = run(*given)
    assert code == 0
    for line in (
        "posts.jsonl",
        "pier",
        "office",
        "Thresholds that the development split gives for review 0.3",
        "Against",
    ):
        assert line in printed
    found = json.loads((out / "evaluation.json").read_text())
    scores = pq.read_table(out / "scores.parquet").to_pylist()
    (abuse,) = [each["figures"] for each in found["judgement"]["slices"]]
    flagged = [each for each in scores if "abuse" in each["flags"]]
    assert (abuse["rows"], abuse["positive"]) == (40, 14)
    assert abuse["cuts"]["stored"]["flagged"] == len(flagged)
    assert [each["row"] for each in scores] == list(range(1, 41))
    assert [each["labels"] for each in scores[:3]] == [["abuse"], [], []]
    assert not any("ferry" in str(each) for each in scores)
    (difference,) = [each["difference"] for each in found["compared"]]
    assert (difference["macro_f1"]["value"], difference["p"]) == (0, 1)
    assert (out / "scores-against.parquet").is_file()
    assert set(found["files"]) == {"posts.jsonl"}


def test_the_page_is_whole_offline_and_escapes_what_files_say(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "<b>posts.jsonl"
    lines = [json.loads(line) for line in write(data, 20).read_text().splitlines()]
    data.write_text("".join(json.dumps({**line, "group": "<script>alert(1)</script>"}) + "\n" for line in lines))
    code, _, _ = run(folder, data, *VALUES, "--out", tmp_path)
    page = (tmp_path / "evaluation.html").read_text()
    assert code == 0
    assert "<script" not in page and "<b>posts" not in page and "&lt;script&gt;" in page
    assert "http://www.w3.org" not in page.replace('xmlns="http://www.w3.org', "") or "src=" not in page
    assert page.count("<svg") == 2
    assert "Reliability of abuse" in page and "Precision and recall of abuse" in page


def test_a_suite_is_data_by_name_and_json_is_for_programs(folder: Path, tmp_path: Path) -> None:
    code, printed, _ = run(folder, "--suite", "fairness", "--json")
    assert code == 0
    judged = json.loads(printed)["judgement"]
    assert [each["file"] for each in judged["files"]] == ["fairness_zh.jsonl", "fairness_en.jsonl"]
    assert [each["flagged"]["rows"] for each in judged["files"]] == [352, 352]
    assert len(judged["groups"]) == 44
    # Rows that are two harms at once are two comparisons.
    assert judged["pairs"]["all"]["rows"] == 232 + 7 + 235 + 3


def test_rows_that_stand_in_the_development_split_too_are_told(folder: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "posts.jsonl", 30)
    _, printed, _ = run(folder, data, *VALUES, "--dev", data, "--target", "macro_f1")
    assert "30 rows stand in the development split too: figures at the chosen thresholds are too good" in printed


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "nothing to judge by; name files of labelled texts, or a suite with --suite fairness"),
        (("--suite", "kindness"), "kindness: no suite of that name; there is fairness"),
        (("absent.jsonl",), "absent.jsonl: cannot be read (No such file or directory)"),
        (("posts.jsonl",), "posts.jsonl, row 1: 'OFF' is no label of the model"),
        (("posts.jsonl", *VALUES, "--target", "macro_f1"), "--dev and --target go together"),
        (
            ("posts.jsonl", *VALUES, "--dev", "posts.jsonl", "--target", "recall=0.9"),
            "--target recall=0.9: write macro_f1",
        ),
        (("posts.jsonl", *VALUES, "--dev", "posts.jsonl", "--target", "review"), "--target review: write macro_f1"),
        (("posts.jsonl", *VALUES, "--out", "posts.jsonl"), "--out posts.jsonl: a file; name a folder"),
        (("posts.jsonl", "posts.jsonl", *VALUES), "posts.jsonl: two files of that name"),
    ],
)
def test_what_cannot_be_judged_is_one_line_and_bad_usage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "posts.jsonl", 4)
    code, _, error = run(folder, *given)
    assert code == 2
    assert error.startswith(said)
    assert "\n" not in error


def test_files_that_contradict_themselves_throughout_are_told(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "posts.jsonl"
    lines = [{"text": "The ferry is late.", "label": label} for label in ("OFF", "NOT")]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _, error = run(folder, data, *VALUES)
    assert (code, error) == (
        2, "no row is left to judge by (2 rows whose text stands twice, with other labels, left out)"
    )  # fmt: skip
