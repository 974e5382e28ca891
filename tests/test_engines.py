"""Models of any kind: what a folder in the layout of transformers gives, what is refused and in which words."""

import json
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import quantize_dynamic
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from classify.columns import valid_names
from classify.engines.torch import TorchEngine, tokens_for
from classify.errors import ModelError
from classify.model import Model, ModelSpec, describe_model, load, prepare
from classify.scoring import score_texts
from classify.spec import located
from classify.tolerance import measured_tolerance
from tests import small_classifiers, small_model
from tests.recombined import posts

TEXTS = [
    "The ferry leaves at nine.",
    "今天的雪下得很大，路上要小心。",
    "Hoy ha llovido toda la mañana en la ciudad.",
    "no",
    "You would not believe what the minister said about the bridge and the new timetable!!",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with safetensors and ONNX. Read it, change nothing."""
    folder = small_classifiers.make(tmp_path_factory.mktemp("classifier") / "tiny-toxic")
    small_classifiers.export(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, with safetensors alone."""
    copy = tmp_path / "tiny-toxic"
    shutil.copytree(whole, copy)
    (copy / "model.onnx").unlink()
    return copy


def refused(spec: ModelSpec | str) -> str:
    """What the one line says."""
    with pytest.raises(ModelError) as caught:
        load(prepare(spec))
    said = str(caught.value)
    assert "\n" not in said
    return said


def scores(model: Model, text: str) -> list[float]:
    row = score_texts(model, [text]).to_pylist()[0]
    return [row[label.name] for label in model.labels]


def test_a_folder_of_transformers_scores_as_transformers_does(folder: Path) -> None:
    model = load(prepare(str(folder)))
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for text in TEXTS:
        ids = torch.tensor([small_classifiers.tokenizer().encode(text).ids])
        with torch.inference_mode():
            wanted = theirs(input_ids=ids).logits.softmax(dim=1)[0].tolist()
        assert scores(model, text) == pytest.approx(wanted, abs=1e-6)


def test_onnx_is_taken_on_the_processor_where_it_is_there_and_torch_elsewhere(whole: Path, folder: Path) -> None:
    (folder / "onnx").mkdir()
    engines = {}
    for path in (whole, folder):
        entry = describe_model(prepare(str(path)))
        engines[path] = (entry["engine"], entry["exactness"], sorted(entry["files"]))
    assert engines[whole] == ("onnxruntime", "exact", ["config.json", "model.onnx", "tokenizer.json"])
    assert engines[folder] == ("torch", "tolerance", ["config.json", "model.safetensors", "tokenizer.json"])
    shutil.copy(whole / "model.onnx", folder / "onnx/model.onnx")
    assert "onnx/model.onnx" in describe_model(prepare(str(folder)))["files"]
    assert describe_model(prepare(ModelSpec(str(whole), device="cuda")))["engine"] == "torch"


def test_a_manifest_says_what_was_planned_and_never_a_path(whole: Path) -> None:
    spec = ModelSpec(
        str(whole), labels=(("toxic", "abuse"), ("off topic!", "stray")), thresholds=(("abuse", 0.7),),
        definitions=(("abuse", "Insults somebody."),),
    )  # fmt: skip
    ref = prepare(spec)
    model = load(pickle.loads(pickle.dumps(ref)))
    entry = model.manifest()
    assert entry == describe_model(ref)
    assert entry["labels"] == [
        {"name": "abuse", "definition": "Insults somebody.", "threshold": 0.7, "of": "toxic"},
        {
            "name": "stray", "definition": "What tiny-toxic was trained to call 'off topic!'.", "threshold": 0.5,
            "of": "off topic!",
        },
    ]  # fmt: skip
    assert str(whole.parent) not in json.dumps(entry)
    assert {key: entry[key] for key in ("name", "model", "base", "activation", "languages", "window", "overlap")} == {
        "name": "tiny-toxic", "model": "tiny-toxic", "base": "BertForSequenceClassification", "activation": "softmax",
        "languages": None, "window": 96, "overlap": 12,
    }  # fmt: skip
    table = score_texts(model, TEXTS)
    assert table.column_names == ["lang", "windows", "abuse", "stray", "flags"]
    every = score_texts(load(prepare(str(whole))), TEXTS)
    assert table.column("abuse").equals(every.column("toxic"))
    assert every.column_names == ["lang", "windows", "calm", "toxic", "off_topic", "flags"]


def test_a_plan_needs_no_torch_and_scoring_by_onnxruntime_imports_none(whole: Path, folder: Path) -> None:
    code = (
        "import sys; from classify.model import *; from classify.scoring import score_texts\n"
        "describe_model(prepare(ModelSpec(sys.argv[2], device='cuda', dtype='bfloat16')))\n"
        "score_texts(load(prepare(sys.argv[1])), ['The ferry leaves at nine.'])\n"
        "print(*({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(whole), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_torch_that_is_not_installed_is_one_line(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from classify.model import *\n"
        "try: load(prepare(sys.argv[1]))\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("the engine torch is not installed; install the extra `postsweep[torch]`")


def test_a_model_that_was_prepared_is_opened_without_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: object) -> None:
        raise AssertionError("a model is opened without a network")

    ref = prepare(str(folder))
    monkeypatch.setattr(socket.socket, "connect", call)
    monkeypatch.setattr(socket, "getaddrinfo", call)
    score_texts(load(ref), TEXTS)


@pytest.mark.parametrize(
    ("labels", "problem", "kind"),
    [
        (("calm", "toxic"), None, "softmax"),
        (("calm", "toxic"), "single_label_classification", "softmax"),
        (("insult", "threat", "spam"), "multi_label_classification", "sigmoid"),
        (("toxic",), None, "sigmoid"),
    ],
)
def test_logits_become_probabilities_by_the_kind_of_problem(
    tmp_path: Path, labels: tuple[str, ...], problem: str | None, kind: str
) -> None:
    folder = small_classifiers.make(tmp_path / "model", labels=labels, problem_type=problem)
    model = load(prepare(str(folder)))
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.tensor([small_classifiers.tokenizer().encode(TEXTS[0]).ids])
    with torch.inference_mode():
        logits = theirs(input_ids=ids).logits[0]
    wanted = logits.softmax(dim=0) if kind == "softmax" else logits.sigmoid()
    assert scores(model, TEXTS[0]) == pytest.approx(wanted.tolist(), abs=1e-6)
    assert model.manifest()["activation"] == kind


def test_a_model_without_languages_scores_whatever_has_a_letter(whole: Path) -> None:
    table = score_texts(load(prepare(str(whole))), [*TEXTS, "12:30 !!!", "", None])
    assert table.column("windows").to_pylist() == [1] * 5 + [0, 0, 0]
    assert table.column("toxic").null_count == 3


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_long_text_takes_the_highest_score_of_windows_that_fit_the_positions(tmp_path: Path, kind: str) -> None:
    folder = small_classifiers.make(tmp_path / "model", kind)
    model = load(prepare(str(folder)))
    assert model.shape.window == small_classifiers.LONGEST
    text = "A quiet morning by the lake. " * 20
    ids = small_classifiers.tokenizer().encode(text, add_special_tokens=False).ids
    room, step = 94, 82
    starts = range(0, len(ids) - room + step, step)
    row = score_texts(model, [text]).to_pylist()[0]
    assert row["windows"] == len(starts) > 5
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for start in starts:
        window = [small_classifiers.BEGIN, *ids[start : start + room], small_classifiers.END]
        with torch.inference_mode():
            found.append(theirs(input_ids=torch.tensor([window])).logits.softmax(dim=1)[0].numpy())
    assert [row[label.name] for label in model.labels] == pytest.approx(np.max(found, axis=0).tolist(), abs=1e-6)


def test_the_tokenizers_own_limit_counts_where_it_is_lower(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    assert describe_model(prepare(str(folder)))["window"] == 64
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 10**30}))
    assert describe_model(prepare(str(folder)))["window"] == 96


def test_several_models_score_side_by_side(whole: Path, tmp_path: Path) -> None:
    own = load(prepare(str(small_model.make(tmp_path / "own"))))
    other = load(prepare(ModelSpec(str(whole), labels=(("toxic", "toxic"),))))
    texts = ["The ferry leaves at nine.", "Hoy ha llovido toda la mañana en la ciudad.", None, "ferry " * 50]
    table = score_texts([own, other], texts)
    alone = [score_texts(model, texts) for model in (own, other)]
    for label in own.labels:
        assert table.column(label.name).equals(alone[0].column(label.name))
    assert table.column("toxic").equals(alone[1].column("toxic"))
    counts = [each.column("windows").to_pylist() for each in alone]
    assert table.column("windows").to_pylist() == [max(pair) for pair in zip(*counts, strict=True)]
    flags = [one + two for one, two in zip(*(each.column("flags").to_pylist() for each in alone), strict=True)]
    assert table.column("flags").to_pylist() == flags
    assert table.column("rumor").to_pylist()[1] is None
    assert table.column("toxic").to_pylist()[1] is not None


def test_two_models_with_one_column_are_named(whole: Path, folder: Path) -> None:
    one = load(prepare(ModelSpec(str(whole), name="first")))
    two = load(prepare(ModelSpec(str(folder), name="second", labels=(("calm", "Toxic"),))))
    with pytest.raises(ModelError, match="first and second both give a column 'Toxic'; map one of them"):
        score_texts([one, two], TEXTS)
    with pytest.raises(ModelError, match="two models of the run are called first; give one another name"):
        score_texts([one, one], TEXTS)


@pytest.mark.parametrize(
    ("own", "names"),
    [
        (["toxic", "severe_toxic"], ["toxic", "severe_toxic"]),
        (["off topic!", "off-topic"], ["off_topic", "off_topic_2"]),
        (["Hate", "hate"], ["Hate", "hate_2"]),
        (["run", "platform"], ["label_run", "label_platform"]),
        (["仇恨", "辱骂"], ["label_0", "label_1"]),
        (["flags", "UID", "5 stars"], ["label_flags", "label_UID", "label_5_stars"]),
        (["LABEL_0", "LABEL_1"], ["LABEL_0", "LABEL_1"]),
        (["", " ", "😀"], ["label_0", "label_1", "label_2"]),
    ],
)
def test_labels_of_any_characters_become_columns_of_their_own(own: list[str], names: list[str]) -> None:
    assert valid_names(own) == names


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": (("hateful", "hate"),)}, "has no label 'hateful'; it has 'calm', 'toxic', 'off topic!'"),
        ({"labels": ()}, "keep none"),
        ({"labels": (("toxic", "uid"),)}, "'uid' cannot be a column"),
        ({"labels": (("toxic", "a b"),)}, "'a b' cannot be a column"),
        ({"labels": (("toxic", "bad"), ("calm", "Bad"))}, "become one column"),
        ({"thresholds": (("off topic!", 0.5),)}, "thresholds name 'off topic!', which is no column"),
        ({"thresholds": (("toxic", 1.5),)}, "the threshold of toxic is 1.5, not from 0 to 1"),
        ({"thresholds": (("toxic", float("nan")),)}, "not from 0 to 1"),
        ({"definitions": (("abuse", "x"),)}, "definitions name 'abuse'"),
        ({"name": "a/b"}, "'a/b' cannot be its name"),
        ({"device": "tpu"}, "unknown device 'tpu'; use cpu, cuda or cuda:<number>"),
        ({"engine": "tensorrt"}, "unknown engine 'tensorrt'"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"engine": "onnxruntime", "dtype": "bfloat16"}, "onnxruntime computes in float32 here"),
        ({"engine": "onnxruntime", "device": "cuda"}, "onnxruntime runs on the cpu here"),
    ],
)
def test_a_spec_that_cannot_be_says_which_key(whole: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refused(replace(ModelSpec(str(whole)), **changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told_when_a_worker_opens_the_model(folder: Path) -> None:
    assert "no device cuda here (0 CUDA devices)" in refused(ModelSpec(str(folder), device="cuda"))


def test_an_engine_that_a_folder_has_nothing_for_is_told(folder: Path, whole: Path, tmp_path: Path) -> None:
    assert "holds no model.onnx" in refused(ModelSpec(str(folder), engine="onnxruntime"))
    shutil.copytree(whole, tmp_path / "graph", ignore=shutil.ignore_patterns("*.safetensors"))
    assert "nothing that torch reads" in refused(ModelSpec(str(tmp_path / "graph"), engine="torch"))
    own = small_model.make(tmp_path / "own")
    assert "nothing that torch reads" in refused(ModelSpec(str(own), engine="torch"))


def _rows(folder: Path, count: int) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = tensors["classifier.weight"].repeat(count, 1)[:count].contiguous()
    tensors["classifier.bias"] = torch.zeros(count)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _labels(folder: Path, names: list[str]) -> None:
    small_classifiers.change(folder, id2label={str(place): name for place, name in enumerate(names)}, label2id=None)


def _many(folder: Path, count: int) -> None:
    _rows(folder, count)
    _labels(folder, [f"topic {place}" for place in range(count)])


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _slow(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("a\n")


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _disguised(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weights": [0.5] * 100}, 4))


def _headless(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: each for name, each in tensors.items() if "classifier" not in name}, folder / "model.safetensors")


def _damaged(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"][1] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _change(**changes: object) -> Callable[[Path], None]:
    return lambda folder: small_classifiers.change(folder, **changes)


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: _rows(folder, 4), "config.json: id2label names 3 labels, but the classifier's weights have 4"),
        (lambda folder: _many(folder, 500), "config.json: 500 labels, not 1 to 100"),
        (_change(id2label={}), "config.json: 0 labels, not 1 to 100"),
        (_change(id2label={"0": "a", "2": "b", "3": "c"}), "config.json: id2label does not name the labels 0, 1, 2"),
        (_change(id2label={"0": "a", "1": "a", "2": "c"}), "config.json: id2label names one label twice"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (_slow, "a slow tokenizer's files alone (vocab.txt); make tokenizer.json"),
        (_write("tokenizer.json", "{}"), "tokenizer.json: not a tokenizer"),
        (_pickled, "pytorch_model.bin: pickled weights can run code and are refused; convert them to safetensors"),
        (_disguised, "model.safetensors: "),
        (_cut, "model.safetensors: shorter than its header says"),
        (_headless, "do not hold classifier.bias"),
        (_damaged, "gives no numbers (NaN or infinite)"),
        (_write("model.safetensors", ""), "model.safetensors: not a whole safetensors file (0 bytes)"),
        (lambda folder: (folder / "model.safetensors").unlink(), "add model.safetensors or model.onnx"),
        (_change(auto_map={"AutoModel": "modeling.Tiny"}), "config.json: auto_map asks for code of its own"),
        (_change(architectures=["GPT2LMHeadModel"]), "config.json: a generative model (GPT2LMHeadModel)"),
        (_change(architectures=["Qwen2ForCausalLM"]), "config.json: a generative model (Qwen2ForCausalLM)"),
        (_change(architectures=["T5ForConditionalGeneration"]), "config.json: a generative model"),
        (_change(architectures=["BertModel"]), "config.json: architectures (BertModel) have no head"),
        (_change(architectures=None), "config.json: architectures (none) have no head"),
        (_change(quantization_config={"bits": 4}), "config.json: its weights are quantised"),
        (_change(problem_type="regression"), "config.json: problem_type is regression"),
        (lambda folder: _labels(folder, ["entailment", "neutral", "contradiction"]), "a model of sentence pairs"),
        (lambda folder: _labels(folder, ["Not-Entailment", "ENTAILMENT", "x"]), "a model of sentence pairs"),
        (_change(finetuning_task="mrpc"), "a model of sentence pairs (finetuning_task mrpc)"),
        (_change(sentence_transformers={"version": "5.1"}), "a model of sentence pairs (a cross-encoder's config)"),
        (_write("README.md", "---\npipeline_tag: text-ranking\n---\n"), "a model of sentence pairs (pipeline_tag"),
        (_write("adapter_config.json", "{}"), "adapter_config.json: not a whole model; merge the adapter"),
        (_write("config.json", "{"), "config.json: not JSON"),
        (_write("config.json", "[]"), "config.json: not an object"),
    ],
)
def test_what_cannot_be_a_model_of_posts_is_one_line(
    folder: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(folder)
    told = refused(str(folder))
    assert said in told
    assert str(folder) in told


def test_labels_without_a_name_are_kept_and_said_to_have_none(folder: Path) -> None:
    small_classifiers.change(folder, id2label=None, label2id=None)
    labels = describe_model(prepare(str(folder)))["labels"]
    assert [label["name"] for label in labels] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert labels[1]["definition"] == "LABEL_1 of tiny-toxic, which does not say what it means: look at its model card."


def test_a_card_gives_the_licence(folder: Path) -> None:
    assert describe_model(prepare(str(folder)))["licence"] is None
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\n")
    assert describe_model(prepare(str(folder)))["licence"] == "apache-2.0"


def sharded(folder: Path) -> None:
    """Splits the weights over two files and an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard, {"format": "pt"})
        places |= dict.fromkeys(part, shard)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_give_the_same_scores_as_one_file(folder: Path) -> None:
    one = score_texts(load(prepare(str(folder))), TEXTS)
    sharded(folder)
    ref = prepare(str(folder))
    assert len(ref.files) == 5
    assert score_texts(load(ref), TEXTS).equals(one)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(), "names the shard model-00002-of"),
        (lambda folder: shutil.copy(folder / "model-00001-of-00002.safetensors",
                                    folder / "model-00002-of-00002.safetensors"), "which model.safetensors.index.json"),
        (_write("model.safetensors.index.json", '{"weight_map": {"a": "../a.safetensors"}}'), "no safetensors file"),
        (_write("model.safetensors.index.json", '{"weight_map": {"a": "weights.bin"}}'), "no safetensors file"),
        (_write("model.safetensors.index.json", "{}"), "names no shards"),
    ],
)  # fmt: skip
def test_shards_that_do_not_agree_with_their_index_are_told(
    folder: Path, spoil: Callable[[Path], object], said: str
) -> None:
    sharded(folder)
    spoil(folder)
    assert said in refused(str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_changed_after_it_was_prepared_is_named(folder: Path, name: str) -> None:
    ref = prepare(str(folder))
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=rf"{name}: wrong digest"):
        load(ref)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(tmp_path / "elsewhere")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    assert "a link that leads out of the model's folder" in refused(str(folder))


def test_a_graph_for_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copy(small_model.make(tmp_path / "own") / "encoder.onnx", folder / "model.onnx")
    assert "takes ids, mask and gives hidden, not input_ids" in refused(str(folder))


def test_a_graph_with_other_labels_is_refused(folder: Path, whole: Path) -> None:
    shutil.copy(whole / "model.onnx", folder)
    _many(folder, 4)
    assert "3 logits, and 4 labels" in refused(str(folder))


@pytest.mark.parametrize(
    "model", ["intfloat/multilingual-e5-small", "unitary/toxic-bert@main", "unitary/toxic-bert@v1.0", "a/b@abc"]
)
def test_a_model_of_the_hub_without_a_commit_says_how_to_pin_one(model: str) -> None:
    assert "pin one as owner/name@<commit>, the 40 hex digits" in refused(model)


def test_what_a_file_names_is_a_folder_beside_it_or_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "models/tiny").mkdir(parents=True)
    pinned = f"unitary/toxic-bert@{'0a' * 20}"
    for model in ("default", "default-official", pinned, "unitary/toxic-bert", "unitary/toxic-bert@main"):
        assert located(model, tmp_path) == model
    for model in ("models/tiny", "gone", "./models/gone", "../x/y/z"):
        assert located(model, tmp_path) == str(tmp_path / model)
    assert located("/srv/models/tiny", tmp_path) == "/srv/models/tiny"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_torch_computes_in_smaller_dtypes_on_the_processor(folder: Path, dtype: Any) -> None:
    exact, rough = (load(prepare(ModelSpec(str(folder), dtype=each))) for each in ("float32", dtype))
    assert rough.manifest()["dtype"] == dtype
    for text in TEXTS:
        assert scores(rough, text) == pytest.approx(scores(exact, text), abs=0.05)
    assert scores(rough, TEXTS[0]) != scores(exact, TEXTS[0])


def test_a_batch_that_the_memory_does_not_hold_is_split_down_to_one_window(folder: Path) -> None:
    model = load(prepare(str(folder)))
    texts = [f"The ferry leaves at {hour} from pier {pier}." for hour in range(9) for pier in range(9)]
    whole = score_texts(model, texts, 4096)
    assert isinstance(model.engine, TorchEngine)
    sizes: list[int] = []
    most = 3

    def hold(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate more than there is.")

    model.engine.module.register_forward_pre_hook(hold, with_kwargs=True)
    split = score_texts(model, texts, 4096)
    assert max(sizes) > 60
    for label in model.labels:
        assert split.column(label.name).to_pylist() == pytest.approx(whole.column(label.name).to_pylist(), abs=1e-6)
    most = 0
    with pytest.raises(ModelError, match="no memory on cpu for one window of") as caught:
        score_texts(model, texts, 4096)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("free", "tokens"), [(0, 512), (512 * 2000, 512), (4 * 10**9, 1_000_000), (80 * 10**9, 2**18)]
)
def test_a_devices_free_memory_decides_the_tokens_of_a_batch(free: int, tokens: int) -> None:
    assert tokens_for(free, 2000, 512) == min(tokens, 2**18)


def test_a_graph_that_takes_its_scales_from_the_batch_is_not_called_exact(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quantised"
    shutil.copytree(whole, folder)
    quantize_dynamic(whole / "model.onnx", folder / "model.onnx", extra_options={"MatMulConstBOnly": True})
    entry = describe_model(prepare(str(folder)))
    assert (entry["engine"], entry["dtype"], entry["exactness"]) == ("onnxruntime", "float32", "tolerance")
    model = load(prepare(str(folder)))
    assert 0 < measured_tolerance(model, posts(60), 512) < 0.1


def test_tensors_beside_a_classifiers_graph_have_a_part_in_its_digest(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "beside"
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.onnx"))
    (folder / "onnx").mkdir()
    graph = onnx.load(whole / "model.onnx")
    path = folder / "onnx/model.onnx"
    onnx.save(graph, path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    ref = prepare(str(folder))
    assert [name for name, _ in ref.files] == [
        "config.json", "onnx/model.onnx", "onnx/model.onnx_data", "tokenizer.json"
    ]  # fmt: skip
    assert score_texts(load(ref), TEXTS).equals(score_texts(load(prepare(str(whole))), TEXTS))
    (folder / "onnx/model.onnx_data").unlink()
    assert "takes tensors from model.onnx_data, which is missing" in refused(str(folder))


@pytest.mark.parametrize("location", ["../config.json", "/etc/hostname", "sub/data"])
def test_tensors_of_a_classifiers_graph_from_elsewhere_are_refused(
    whole: Path, folder: Path, location: str
) -> None:
    graph = onnx.load(whole / "model.onnx")
    tensor = next(each for each in graph.graph.initializer if each.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    assert f"takes tensors from {location!r}" in refused(str(folder))
