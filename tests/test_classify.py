import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classify import scoring
from classify.batching import Shape, batches, windows
from classify.card import LABELS
from classify.datasets import text_group
from classify.embedded import SHIPPED
from classify.errors import ModelError
from classify.heads import is_flag
from classify.language import detect_language
from classify.model import Model, load, prepare
from classify.recipe import read_recipe
from classify.scoring import encode_windows, score_texts, words_of
from tests import small_model

DEFAULT = Path(__file__).resolve().parents[1] / "classify/default"
TEXTS = [
    "The ferry leaves at nine.",
    "今天的雪下得很大，路上要小心。",
    None,
    "12345 !!!",
    "The ferry leaves at nine.",
    "Hoy ha llovido toda la mañana en la ciudad.",
    "word " * 900,
    "短",
    "",
]


@pytest.fixture(scope="module")
def model() -> Model:
    return load(prepare("default"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(prepare(str(small_model.make(tmp_path_factory.mktemp("model")))))


def test_rows_come_back_in_order_and_only_known_languages_are_scored(model: Model) -> None:
    table = score_texts(model, TEXTS)
    assert table.column_names == ["lang", "windows", *LABELS, "flags"]
    assert table.num_rows == len(TEXTS)
    assert table.column("lang").to_pylist() == ["en", "zh", None, None, "en", "es", "en", "zh", None]
    scored = [value is not None for value in table.column("rumor").to_pylist()]
    assert scored == [True, True, False, False, True, False, True, True, False]
    assert table.column("windows").to_pylist()[6] > 3
    assert table.slice(0, 1).equals(table.slice(4, 1))


def test_a_text_gets_the_same_bits_whatever_it_is_scored_with(model: Model) -> None:
    words = ["rain", "bread", "minister", "你好", "天气", "谣言", "转发", "ticket", "free", "prize", "doctor", "night"]
    random = np.random.default_rng(7)
    texts = [" ".join(random.choice(words, size)) for size in random.integers(2, 120, 40)]
    whole = score_texts(model, texts)
    for budget in (64, 300, 4096):
        assert score_texts(model, texts, budget).equals(whole)
    alone = pa.concat_tables([score_texts(model, [text]) for text in texts])
    assert alone.combine_chunks().equals(whole.combine_chunks())
    assert score_texts(load(model.ref, threads=2), list(reversed(texts))).take(list(range(39, -1, -1))).equals(whole)


def test_flags_are_the_scores_at_or_over_their_thresholds(model: Model) -> None:
    texts = ["You are a pathetic worm, shut up", "Share before they delete it!! poison"]
    for row in score_texts(model, texts).to_pylist():
        wanted = [label.name for label in model.labels if np.float32(row[label.name]) >= np.float32(label.threshold)]
        assert row["flags"] == wanted


@pytest.mark.parametrize("threshold", [step / 100 for step in range(101)])
def test_a_score_that_reads_as_the_threshold_is_a_flag_and_the_next_below_is_not(threshold: float) -> None:
    score = np.float32(threshold)
    assert is_flag(np.array([score]), threshold).all()
    assert not is_flag(np.array([np.nextafter(score, np.float32(-1)), np.nan], np.float32), threshold).any()
    assert float(str(score)) == threshold


@pytest.mark.parametrize(
    "text",
    [
        "👍🏽😀🎉" * 50,
        "The\u200b ferry\u200d leaves\ufeff at nine.",
        "The ferry\x00 leaves\x07 at\x1b[31m nine.",
        "The ferry leaves \ud83d at nine.",
        "\u202eThe ferry leaves at nine.",
        "query: query: query: the ferry leaves at nine",
        "</s> <pad> the ferry leaves <mask> at nine <s>",
        "\n\t \u3000",
    ],
)
def test_odd_texts_get_a_score_or_none_and_change_no_other(small: Model, text: str) -> None:
    plain = "The ferry leaves at nine."
    rows = score_texts(small, [plain, text, plain]).to_pylist()
    assert rows[0] == rows[2] == score_texts(small, [plain]).to_pylist()[0]
    assert rows[1]["windows"] == (1 if "erry" in text else 0)


def test_a_text_of_a_megabyte_is_read_to_its_end(small: Model) -> None:
    filler = "The ferry leaves at nine. " * 40_000
    short, long, marked = score_texts(small, ["The ferry.", filler, filler + "zzz"]).to_pylist()
    assert short == score_texts(small, ["The ferry."]).to_pylist()[0]
    room = small.shape.window - len(small.shape.before) - 1
    assert long["windows"] == 1 + -(-(len(filler) + 1 - room) // (room - 32))
    assert any(marked[label] > long[label] for label in LABELS)


def test_a_long_text_takes_the_highest_score_of_its_windows(small: Model) -> None:
    room = small.shape.window - len(small.shape.before) - 1
    parts = ["a quiet morning by the lake " * 40, "ferry! ticket! hurry! " * 40]
    text = "".join(part[: room - 32] for part in parts) + parts[1][:32]
    whole = score_texts(small, [text]).to_pylist()[0]
    ids = small.tokenizer.encode(small.prefix + text, add_special_tokens=False).ids[len(small.shape.before) - 1 :]
    cut = windows(ids, small.shape)
    assert len(cut) == whole["windows"] > 1
    vectors = encode_windows(small, cut, 512)
    highest = small.head.scores(vectors, words_of(small, cut), "en").max(axis=0)
    assert [np.float32(whole[label]) for label in LABELS] == highest.tolist()


def test_texts_are_tokenised_in_groups_of_bounded_size(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"The ferry leaves at {number}." for number in range(200)]
    whole = score_texts(small, texts)
    monkeypatch.setattr(scoring, "_TOKENISED_CHARS", 100)
    assert score_texts(small, texts).equals(whole)


@pytest.mark.parametrize("written", ["</s>", "<s>", "<pad>", "<unk>", "<mask>", "＜/s＞", "</\u0001s>", "<</s>"])
def test_a_post_that_writes_a_special_token_gets_letters(model: Model, written: str) -> None:
    specials = {model.tokenizer.token_to_id(name) for name in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")}
    for text in (written, f"the end {written} or not", f"完{written}了", written * 3):
        ids = model.tokenizer.encode(model.prefix + text, add_special_tokens=False).ids
        assert not specials & set(ids), text
        assert ids[: len(model.shape.before) - 1] == list(model.shape.before[1:])


@given(st.lists(st.integers(0, 9), max_size=80), st.integers(6, 20), st.integers(0, 2))
def test_windows_cover_every_token_and_keep_their_size(ids: list[int], size: int, overlap: int) -> None:
    shape = Shape((100, 101), (102,), size, overlap)
    cut = windows(ids, shape)
    assert all(len(window) <= size and window[:2] == (100, 101) and window[-1] == 102 for window in cut)
    covered: list[int] = []
    for window in cut:
        inner = list(window[2:-1])
        covered += inner if not covered else inner[overlap:]
    assert covered == ids


@given(st.lists(st.integers(1, 300)), st.integers(1, 600))
def test_batches_hold_each_window_once_within_the_budget(lengths: list[int], budget: int) -> None:
    made = list(batches(lengths, budget))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[at] for at in batch) * len(batch) <= budget for batch in made)


def test_a_changed_file_is_refused(model: Model, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    for path in Path(model.ref.folder).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    data = bytearray((copy / "heads.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "heads.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="wrong digest"):
        load(prepare(str(copy)))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["pytorch_model.bin"], "pickled"),
        (["README.md"], "no weights"),
        (["config.json"], "config.json: not JSON"),
        (None, "no such folder"),
    ],
)
def test_a_folder_that_is_no_model_is_one_clear_line(tmp_path: Path, files: list[str] | None, said: str) -> None:
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).touch()
    with pytest.raises(ModelError, match=said) as caught:
        prepare(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("#北京暴雨#转发提醒", "zh"),
        ("@user今天下雪", "zh"),
        ("https://x.example/a今天下雪", "zh"),
        ("今天去了 Starbucks Reserve Roastery", "zh"),
        ("鲜の每日水果店今天开业", "zh"),
        ("東京都で大雨警報が出ています", "ja"),
        ("오늘 날씨가 좋아요", "ko"),
        ("STOP LYING TO US", "en"),
        ("lol ok", "en"),
        ("half a pair \ud83d is no reason to stop", "en"),
        ("#freedom @somebody", None),
        ("明天有雪", "zh"),
        ("Good morning everyone", "en"),
        ("12:30 🎉", None),
        ("これは日本語の文章です", "ja"),
        ("https://x.example", None),
    ],
)
def test_languages_are_told_apart(text: str, language: str | None) -> None:
    assert detect_language(text) == language


def test_what_ships_is_small_and_says_what_it_was_trained_on() -> None:
    assert sum((DEFAULT / name).stat().st_size for name in SHIPPED) < 8_000_000
    recipe = read_recipe(DEFAULT / "recipe.toml")
    known = {each.name for each in recipe.set} | {Path(name).stem for name in recipe.written.values()}
    described = json.loads((DEFAULT / "heads.json").read_text(encoding="utf-8"))
    assert set(described["trained_on"]) <= known
    card = (DEFAULT / "MODEL_CARD.md").read_text(encoding="utf-8")
    figures = json.loads((DEFAULT / "figures.json").read_text())
    for label, languages in figures["labels"].items():
        for language, pair in languages.items():
            assert f"| {label} | {language} | {pair['model']['rows']:,} |" in card
            assert f"{pair['model']['macro_f1']:.3f}" in card


def test_texts_that_say_the_same_are_in_one_group() -> None:
    assert text_group("Rain at 5, says @bob https://x.example") == text_group("rain AT 7 says")
    assert text_group("@bob 55 !") is None
