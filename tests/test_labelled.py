"""A user's labelled files: what they may look like, and what is wrong with them in one line."""

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classify.datasets import Example
from classify.errors import ModelError
from classify.labelled import Columns, Labelled, read_labelled
from classify.recipe import SplitPart
from classify.user_texts import UserTexts, user_texts
from tests.labelled_posts import written

FERRY, SNOW, WORM = "The ferry leaves at nine.", "今天的雪下得很大，路上要小心。", "You are a worm, shut up."
SHARES = SplitPart(calibrate=0.2, test=0.2)


def lines(folder: Path, *rows: Mapping[str, object], name: str = "posts.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table(folder: Path, *rows: str, name: str = "posts.csv") -> Path:
    path = folder / name
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def refused(paths: Sequence[Path], columns: Columns = Columns(), known: Sequence[str] | None = None) -> str:  # noqa: B008
    with pytest.raises(ModelError) as caught:
        read_labelled(paths, columns, known)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_column_of_one_name_a_row_says_of_each_label_of_the_file_yes_or_no(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label", f"{FERRY},none", f"{SNOW},rumor", f'"{WORM}",abuse')
    found = read_labelled([path], Columns())
    assert found.labels == ("abuse", "rumor")
    assert [(row.text, row.lang, dict(row.marks)) for row in found.rows] == [
        (FERRY, "en", {"rumor": 0, "abuse": 0}),
        (SNOW, "zh", {"rumor": 1, "abuse": 0}),
        (WORM, "en", {"rumor": 0, "abuse": 1}),
    ]
    assert found.told == ()


def test_a_column_of_lists_and_names_with_commas_say_several_labels(tmp_path: Path) -> None:
    one = lines(tmp_path, {"text": FERRY, "labels": []}, {"text": WORM, "labels": ["abuse", "hate"]})
    other = lines(tmp_path, {"text": SNOW, "labels": "hate, abuse"}, name="more.jsonl")
    assert [dict(row.marks) for row in read_labelled([one, other], Columns()).rows] == [
        {"abuse": 0, "hate": 0}, {"abuse": 1, "hate": 1}, {"hate": 1, "abuse": 1}
    ]  # fmt: skip


def test_a_column_per_label_may_say_nothing(tmp_path: Path) -> None:
    path = table(
        tmp_path, "id,text,abuse,rumor,lang,part,group", f"1,{FERRY},0,,en,train,7", f'2,"{WORM}",1,0,en,test,1',
        f"5,{SNOW},,True,zh,train,0",
    )  # fmt: skip
    found = read_labelled([path], Columns())
    assert found.labels == ("abuse", "rumor")
    assert [dict(row.marks) for row in found.rows] == [{"abuse": 0}, {"abuse": 1, "rumor": 0}, {"rumor": 1}]
    assert [(row.part, row.group) for row in found.rows] == [("train", "7"), ("test", "1"), ("train", "0")]


def test_values_are_mapped_to_labels(tmp_path: Path) -> None:
    path = table(tmp_path, "body,class", f"{FERRY},NOT", f'"{WORM}",HATE')
    columns = Columns(text="body", label="class", values={"HATE": ["hate", "abuse"], "NOT": []})
    assert [dict(row.marks) for row in read_labelled([path], columns).rows] == [
        {"hate": 0, "abuse": 0}, {"hate": 1, "abuse": 1}
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "ndjson", "csv", "csv.gz", "parquet"])
def test_the_same_rows_are_read_from_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    rows = [{"text": FERRY, "label": "none"}, {"text": 'A "quoted", long\nline', "label": "abuse"}]
    path = tmp_path / f"posts.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if "csv" in ending:
            text = '\ufefftext,label\nThe ferry leaves at nine.,none\n"A ""quoted"", long\nline",abuse\n'
        path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    found = read_labelled([path], Columns())
    assert [(row.text, row.marks["abuse"]) for row in found.rows] == [(FERRY, 0), (rows[1]["text"], 1)]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = table(
        tmp_path, "text,label", f"{FERRY},none", ",abuse", '"12:30 !!",none', "https://t.example/a,abuse",
        f'"{WORM}",abuse', f'"{WORM.upper()}",abuse', f"{FERRY} https://t.example/b,none",
    )  # fmt: skip
    found = read_labelled([path], Columns())
    assert [row.text for row in found.rows] == [FERRY, WORM]
    assert found.told == (
        f"{path}: 3 rows without a text that has a letter left out",
        "2 rows repeating a text with the same labels left out",
    )


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        (["body,label", f"{FERRY},none"], Columns(), "no column 'text' (it has body, label)"),
        (["text,label", f"{FERRY},none"], Columns(label="class"), "no column 'class' (it has text, label)"),
        (["text,note", f"{FERRY},hello"], Columns(), "no labels (it has text, note)"),
        (["text,label"], Columns(), "no row"),
        (["text,label", ",abuse", "12,none"], Columns(), "no row has a text with a letter"),
        (["text,label", f"{FERRY},none", f"{SNOW},"], Columns(), "names no label in any row"),
        (["text,label", f"{FERRY},very bad"], Columns(), "row 1: 'very bad' cannot be a label's name"),
        (["text,label", f"{FERRY},flags"], Columns(), "row 1: 'flags' cannot be a label's name"),
        (["text,label", f"{FERRY},0", f"{SNOW},1"], Columns(), "row 1: '0' cannot be a label's name"),
        (["text,label", f"{FERRY},Abuse", f"{SNOW},abuse"], Columns(), "'Abuse' and 'abuse' would be one column"),
        (
            ["text,label", f"{FERRY},NOT", f"{SNOW},OFF"], Columns(values={"OFF": ["abuse"]}),
            "row 1: label is 'NOT', which is not among the values that were mapped",
        ),
        (
            ["text,label", f"{FERRY},abuse", f"{FERRY.upper()},none"], Columns(),
            "stands there twice, once as abuse and once not",
        ),
        (["text,label", f"{FERRY},none,abuse"], Columns(), "line 2: more cells than columns"),
        (["text,label", f'"{FERRY},none'], Columns(), "cannot be read (unexpected end of data)"),
        (["text,label", *(f"{FERRY} {n},label{n}" for n in range(60))], Columns(), "more than 50 labels"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(
    tmp_path: Path, rows: list[str], columns: Columns, told: str
) -> None:
    path = table(tmp_path, *rows)
    said = refused([path], columns)
    assert told in said
    assert path.name in said or "one column" in said


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert refused([tmp_path / "gone.csv"]) == f"{tmp_path / 'gone.csv'}: cannot be read (No such file or directory)"
    assert "cannot tell what it is" in refused([table(tmp_path, "x", name="posts.xlsx")])
    assert "line 2: no JSON" in refused([table(tmp_path, '{"text": "a", "label": "b"}', "{text}", name="a.jsonl")])
    assert "line 1: no JSON object" in refused([table(tmp_path, "[1]", name="a.jsonl")])
    (tmp_path / "latin.csv").write_bytes("text,label\nça va,none\n".encode("latin-1"))
    assert "latin.csv: cannot be read ('utf-8' codec" in refused([tmp_path / "latin.csv"])
    assert "broken.parquet: cannot be read" in refused([table(tmp_path, "x", name="broken.parquet")])


def test_a_label_that_the_model_does_not_have_is_an_error_with_those_that_it_has(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label", f"{FERRY},insult")
    assert "'insult' is no label of the model (hate, abuse)" in refused([path], known=("hate", "abuse"))


def test_a_language_is_read_by_its_first_part(tmp_path: Path) -> None:
    path = table(
        tmp_path, "text,label,lang", f"{FERRY},a,en-GB", f"{SNOW},none,zh_CN", "Bonjour à tous,a,FR", "明天停水,a,",
    )  # fmt: skip
    assert [row.lang for row in read_labelled([path], Columns()).rows] == ["en", "zh", "fr", "zh"]


def own(rows: Sequence[Mapping[str, object]], folder: Path, drop_duplicates: bool = False) -> UserTexts:
    return user_texts(read_labelled([lines(folder, *rows)], Columns()), SHARES, drop_duplicates)


def posts(count: int, part: str | None = None) -> list[dict[str, object]]:
    """Rows of distinct texts, half of them with the label."""
    chosen: list[Example] = []
    for mark in (0, 1):
        chosen += [each for each in written("en", "abuse") if each.marks["abuse"] == mark][: count // 2]
    rows = [{"text": each.text, "label": "abuse" if each.marks["abuse"] else "none", "lang": "en"} for each in chosen]
    return [row if part is None else {**row, "part": part} for row in rows]


@pytest.mark.parametrize(
    ("label", "told"), [("abuse", "all of them are abuse; add texts that are not"), ("none", "names no label")]
)
def test_one_class_only_says_which_and_what_is_missing(tmp_path: Path, label: str, told: str) -> None:
    with pytest.raises(ModelError) as caught:
        own([{**row, "label": label} for row in posts(40)], tmp_path)
    assert told in str(caught.value)


def test_a_column_per_label_of_one_class_says_which_and_what_is_missing(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "lang": "en", "abuse": at % 2, "hate": 0} for at, row in enumerate(posts(40))]
    with pytest.raises(ModelError, match="label hate: one class only, of 40 texts none is; add some"):
        own(rows, tmp_path)


def test_languages_with_few_texts_are_left_out_and_told(tmp_path: Path) -> None:
    few: list[dict[str, object]] = [
        {"text": "Hoy llueve en la ciudad", "label": "none", "lang": "es"},
        {"text": "Il pleut sur la ville", "label": "none", "lang": "fr"},
    ]
    found = own([*posts(40), *few], tmp_path)
    assert {each.lang for each in found.examples} == {"en"}
    assert found.told == (
        "2 texts in es, fr left out: fewer than 20 of a language (a column `lang` says which it is)",
    )
    with pytest.raises(ModelError, match="at most 10 texts of a language, and 20 are needed"):
        own(posts(10), tmp_path)


def test_parts_that_the_file_says_stay(tmp_path: Path) -> None:
    rows = posts(60)
    said = [("train", "dev", "test")[at % 3] for at in range(len(rows))]
    found = own([{**row, "part": part} for row, part in zip(rows, said, strict=True)], tmp_path)
    assert Counter(each.part for each in found.examples) == {"train": 20, "calibrate": 20, "test": 20}
    assert [each.part.replace("calibrate", "dev") for each in found.examples] == said


def test_a_calibrate_part_that_is_missing_is_taken_from_the_train_part(tmp_path: Path) -> None:
    rows = posts(200)
    found = own([{**row, "part": "test" if at % 4 == 0 else "train"} for at, row in enumerate(rows)], tmp_path)
    parts = Counter(each.part for each in found.examples)
    assert parts["test"] == 50
    assert 15 <= parts["calibrate"] <= 45
    assert parts["train"] + parts["calibrate"] == 150
    assert found.told == ("no part is calibrate: 20% of the train part became it",)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("held-out", "part 'held-out' of the text"),
        ("", "1 of 40 texts have no part"),
        (None, "1 of 40 texts have no part"),
    ],
)
def test_a_part_that_is_missing_or_unknown_is_an_error_that_shows_a_text(
    tmp_path: Path, part: str | None, told: str
) -> None:
    rows = posts(40, "train")
    rows[3]["part"] = part
    with pytest.raises(ModelError) as caught:
        own(rows, tmp_path)
    assert told in str(caught.value)
    assert str(rows[3]["text"])[:40] in str(caught.value)


def test_without_a_train_part_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no text's part is train"):
        own(posts(40, "test"), tmp_path)


STORY = "The council has closed the old bridge until Monday because of the high water"


@pytest.mark.parametrize("other", [STORY, f"BREAKING: {STORY}!!", f"{STORY}, says the mayor"])
def test_a_text_in_two_parts_is_an_error_or_stays_with_the_part_that_is_kept_from_training(
    tmp_path: Path, other: str
) -> None:
    rows = posts(60)
    parts = ("train", "calibrate", "test")
    rows = [{**row, "part": parts[at % 3]} for at, row in enumerate(rows)]
    rows += [
        {"text": STORY, "label": "none", "part": "train", "lang": "en"},
        {"text": other, "label": "none", "part": "test", "lang": "en"},
    ]
    with pytest.raises(ModelError) as caught:
        own(rows, tmp_path)
    said = str(caught.value)
    assert "1 text in another part too, word for word or nearly, such as" in said
    assert "in train and" in said
    assert "--drop-duplicates" in said
    found = own(rows, tmp_path, drop_duplicates=True)
    assert {each.text: each.part for each in found.examples}.get(other) == "test"
    assert sum(each.text in (STORY, other) for each in found.examples) == 1
    assert found.told == ("1 text that a part kept from training repeats left out",)


def test_labels_of_two_files_are_silent_about_each_others_rows(tmp_path: Path) -> None:
    one = table(tmp_path, "text,label", f"{FERRY},none", f'"{WORM}",abuse', name="one.csv")
    other = table(tmp_path, "text,label", f"{SNOW},rumor", "The bridge is open,none", name="other.csv")
    found: Labelled = read_labelled([one, other], Columns())
    assert found.labels == ("abuse", "rumor")
    assert [dict(row.marks) for row in found.rows] == [{"abuse": 0}, {"abuse": 1}, {"rumor": 1}, {"rumor": 0}]
    assert [row.file for row in found.rows] == ["one.csv", "one.csv", "other.csv", "other.csv"]
