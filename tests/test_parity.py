"""The engines give the same scores, and onnxruntime the same bits whatever a text is scored with.

`pytest tests/test_parity.py -m slow -s` prints the largest differences over thousands of posts.
"""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from classify.engines.torch import TorchEngine
from classify.model import Model, ModelSpec, load, prepare
from classify.scoring import score_texts
from classify.tolerance import measured_tolerance
from tests import small_classifiers
from tests.recombined import posts
from tests.shared_data import SHARED

WITHIN = 1e-5
KINDS = ("bert", "roberta", "xlm-roberta", "deberta")
HEADS = {
    "softmax of three": (("calm", "toxic", "spam"), None),
    "sigmoid of three": (("calm", "toxic", "spam"), "multi_label_classification"),
    "softmax of two": (("calm", "toxic"), None),
    "one logit": (("toxic",), None),
}


def largest_difference(one: pa.Table, other: pa.Table, labels: list[str]) -> float:
    """Of all scores; both tables must have scores for the same texts."""
    assert one.select(["lang", "windows"]).equals(other.select(["lang", "windows"]))
    columns = [(one.column(label).to_numpy(), other.column(label).to_numpy()) for label in labels]
    assert all(np.array_equal(np.isnan(mine), np.isnan(theirs)) for mine, theirs in columns)
    return float(max(np.nanmax(np.abs(mine.astype(np.float64) - theirs)) for mine, theirs in columns))


def pair(model: str) -> tuple[Model, Model]:
    """A model in both engines."""
    exact, other = (load(prepare(ModelSpec(model, engine=engine))) for engine in ("onnxruntime", "torch"))
    assert [each.manifest()["exactness"] for each in (exact, other)] == ["exact", "tolerance"]
    return exact, other


@pytest.fixture(scope="module")
def default() -> tuple[Model, Model]:
    return pair("default")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """A classifier of every architecture with every head, with safetensors and ONNX."""
    made = {}
    for kind in KINDS:
        for head, (labels, problem) in HEADS.items():
            folder = tmp_path_factory.mktemp("models") / kind
            made[kind, head] = small_classifiers.make(folder, kind, labels, problem)
            small_classifiers.export(folder, types=kind == "bert")
    return made


def test_the_default_scores_alike_in_both_engines(default: tuple[Model, Model]) -> None:
    exact, other = default
    texts = [*posts(150), *(" ".join(posts(30, seed)) for seed in (1, 2))]
    scores = score_texts(exact, texts)
    assert scores.column("windows").to_pylist()[-1] > 1
    labels = [label.name for label in exact.labels]
    difference = largest_difference(scores, score_texts(other, texts), labels)
    assert 0 < difference < WITHIN
    assert isinstance(other.engine, TorchEngine)
    assert other.engine.module.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("kind", "attention"), [("bert", "sdpa"), ("roberta", "sdpa"), ("deberta", "eager")])
def test_torch_takes_sdpa_attention_where_the_architecture_has_it(
    folders: dict[tuple[str, str], Path], kind: str, attention: str
) -> None:
    engine = load(prepare(ModelSpec(str(folders[kind, "one logit"]), engine="torch"))).engine
    assert isinstance(engine, TorchEngine)
    assert engine.module.config._attn_implementation == attention


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_scores_alike_in_both_engines(
    folders: dict[tuple[str, str], Path], kind: str, head: str
) -> None:
    exact, other = pair(str(folders[kind, head]))
    texts = posts(200)
    scores = score_texts(exact, texts)
    labels = [label.name for label in exact.labels]
    assert scores.column("toxic").to_numpy().std() > 0.003
    assert largest_difference(scores, score_texts(other, texts), labels) < WITHIN


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_in_onnx_gives_the_same_bits_whatever_a_text_is_scored_with(
    folders: dict[tuple[str, str], Path], kind: str
) -> None:
    ref = prepare(str(folders[kind, "softmax of three"]))
    model, texts = load(ref), posts(60)
    whole = score_texts(model, texts)
    for budget in (1, 64, 300, 8192):
        assert score_texts(model, texts, budget).equals(whole)
    alone = pa.concat_tables([score_texts(model, [text]) for text in texts])
    assert alone.combine_chunks().equals(whole.combine_chunks())
    order = random.Random(3).sample(range(60), 60)
    dealt = score_texts(load(ref, threads=2), [texts[place] for place in order], 1000)
    assert dealt.equals(whole.take(order))


def test_a_measured_tolerance_holds_for_other_batches_and_is_nothing_for_exact_models(
    folders: dict[tuple[str, str], Path]
) -> None:
    exact, other = pair(str(folders["bert", "one logit"]))
    texts = posts(40)
    assert measured_tolerance(exact, texts, 512) == 0.0
    tolerance = measured_tolerance(other, texts, 512)
    assert 0 < tolerance < WITHIN
    assert tolerance == measured_tolerance(other, texts, 512)
    alone = pa.concat_tables([score_texts(other, [text], 512) for text in texts])
    assert largest_difference(alone, score_texts(other, texts, 512), ["toxic"]) <= tolerance
    assert measured_tolerance(other, ["12:30", ""], 512) == measured_tolerance(other, [], 512) == 0.0


def real_posts(count: int) -> list[str]:
    """Distinct texts of every development set, the same number of each as far as it goes."""
    assert SHARED is not None
    made: dict[str, None] = {}
    for path in sorted((SHARED / "datasets/train").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts = [str(json.loads(line)["text"]) for line in lines]
        made |= dict.fromkeys(random.Random(path.name).sample(texts, min(len(texts), count // 20)))
    return random.Random(1).sample(list(made), count)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["recombined", "real"])
def test_the_default_scores_five_thousand_posts_alike_in_both_engines(
    default: tuple[Model, Model], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "real" and SHARED is None:
        pytest.skip("the development sets are not here")
    exact, other = default
    texts = posts(5000) if kind == "recombined" else real_posts(5000)
    assert len(set(texts)) == 5000
    labels = [label.name for label in exact.labels]
    scores, theirs = score_texts(exact, texts), score_texts(other, texts)
    difference = largest_difference(scores, theirs, labels)
    pairs = zip(*(each.column("flags").to_pylist() for each in (scores, theirs)), strict=True)
    flags = sum(one != two for one, two in pairs)
    with capsys.disabled():
        print(f"\n{kind}: largest difference {difference:.2e} over 5,000 posts, flags of {flags} differ")  # noqa: T201
    assert difference < WITHIN


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_scores_five_thousand_posts_alike_in_both_engines(
    folders: dict[tuple[str, str], Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exact, other = pair(str(folders[kind, "sigmoid of three"]))
    texts = posts(5000)
    labels = [label.name for label in exact.labels]
    difference = largest_difference(score_texts(exact, texts), score_texts(other, texts), labels)
    with capsys.disabled():
        print(f"\n{kind}: largest difference {difference:.2e} over 5,000 posts")  # noqa: T201
    assert difference < WITHIN
