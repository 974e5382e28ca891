"""A model's folder: what is wrong with it is one line, told before a text is scored, and nothing in it is ever run."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from classify.errors import ModelError
from classify.graph_file import read_graph
from classify.model import load, prepare
from classify.scoring import score_texts
from tests import small_model
from tests.jobs import postsweep

COUNT = len(small_model.CODEBOOK)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_model.make(tmp_path / "model")


def refused(folder: Path) -> str:
    """What the one line says."""
    with pytest.raises(ModelError) as caught:
        load(prepare(str(folder)))
    said = str(caught.value)
    assert "\n" not in said
    assert str(folder) in said
    return said


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_small_model_scores_and_comes_out_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    texts = ["The ferry leaves at nine.", "今天的雪下得很大。", "Hoy ha llovido toda la mañana.", None]
    again = small_model.make(tmp_path / "again")
    scores = score_texts(load(prepare(str(folder))), texts)
    assert [value is not None for value in scores.column("rumor").to_pylist()] == [True, True, False, False]
    assert scores.equals(score_texts(load(prepare(str(again))), texts))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in again.iterdir()
    }


def test_a_post_that_writes_a_special_token_of_any_model_gets_letters(folder: Path) -> None:
    tokenizer = load(prepare(str(folder))).tokenizer
    ids = tokenizer.encode("one </s> two <s>", add_special_tokens=False).ids
    assert not {tokenizer.token_to_id(name) for name in small_model.SPECIALS} & set(ids)
    assert len(ids) == len("one < /s> two < s>")


@pytest.mark.parametrize(
    ("name", "called"), [("tiny model=1", "tiny-model-1"), ("模型", "model"), ("v1.2_b", "v1.2_b"), ("..a*", "a")]
)
def test_a_model_is_called_by_what_can_stand_in_a_path(tmp_path: Path, name: str, called: str) -> None:
    assert prepare(str(small_model.make(tmp_path / name))).name == called


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "heads.safetensors", "heads.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"without {name}" in refused(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "heads.safetensors", "heads.json"])
def test_a_changed_file_is_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert f"{name}: wrong digest" in refused(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "heads.safetensors", "heads.json"])
@pytest.mark.parametrize("content", [b"", b"not what it should be", b"\x00\xff" * 40, b"[" * 100_000, b'{"a": NaN}'])
def test_a_file_of_another_kind_is_named_even_under_its_digest(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    small_model.write_description(folder)
    assert f"{name}: " in refused(folder)


@pytest.mark.parametrize("name", ["model.bin", "weights.pt", "model.onnx", "weights.safetensors", "data"])
@pytest.mark.parametrize("zipped", [False, True])
def test_pickled_weights_are_refused_whatever_they_are_called(tmp_path: Path, name: str, zipped: bool) -> None:
    folder, sprung = tmp_path / "model", tmp_path / "sprung"
    folder.mkdir()
    data = pickle.dumps(Bomb(sprung))
    if zipped:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("archive/data.pkl", data)
    else:
        (folder / name).write_bytes(data)
    assert f"{name}: pickled weights can run code and are refused" in refused(folder)
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "heads.safetensors", "heads.json"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_in_a_models_place_is_never_loaded(folder: Path, tmp_path: Path, name: str, protocol: int) -> None:
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "sprung"), protocol))
    small_model.write_description(folder)
    said = refused(folder)
    assert name in said
    assert protocol == 0 or "pickled" in said
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_beside_a_whole_model_has_no_part_in_it(folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "sprung")))
    score_texts(load(prepare(str(folder))), ["The ferry leaves at nine."])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside", "..", ".", "", "sub/file", "sub\\file", "model.json"])
def test_files_outside_the_folder_are_refused_by_name(folder: Path, name: str) -> None:
    (folder.parent / "outside").write_text("x")
    described = json.loads((folder / "model.json").read_text())
    small_model.write_description(folder, files={**described["files"], name: "0" * 64})
    assert "is no file beside it" in refused(folder)


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_not(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    (folder / "tokenizer.json").rename(outside)
    (folder / "tokenizer.json").symlink_to(outside)
    assert "link that leads out" in refused(folder)
    outside.rename(folder / "kept.json")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("kept.json")
    load(prepare(str(folder)))


def with_external_data(folder: Path, location: str) -> None:
    """Moves the embeddings' weights to a file `words.bin` of the folder, which the graph looks for at `location`."""
    path = folder / "encoder.onnx"
    graph = onnx.load(path)
    words = graph.graph.initializer[0]
    (folder / "words.bin").write_bytes(words.raw_data)
    words.ClearField("raw_data")
    words.data_location = onnx.TensorProto.EXTERNAL
    words.external_data.add(key="location", value=location)
    path.write_bytes(graph.SerializeToString())


def test_tensors_beside_the_graph_give_the_same_scores(folder: Path) -> None:
    texts = ["The ferry leaves at nine."]
    inside = score_texts(load(prepare(str(folder))), texts)
    with_external_data(folder, "words.bin")
    small_model.write_description(folder)
    assert score_texts(load(prepare(str(folder))), texts).equals(inside)


@pytest.mark.parametrize("location", ["../words.bin", "/etc/hostname", "sub/../words.bin", "other.bin", ""])
def test_tensors_from_elsewhere_are_refused(folder: Path, location: str) -> None:
    with_external_data(folder, location)
    small_model.write_description(folder)
    assert f"takes tensors from {location!r}" in refused(folder)


def test_tensors_without_a_digest_are_refused(folder: Path) -> None:
    with_external_data(folder, "words.bin")
    data = (folder / "words.bin").read_bytes()
    (folder / "words.bin").unlink()
    small_model.write_description(folder)
    (folder / "words.bin").write_bytes(data)
    assert "which model.json does not name" in refused(folder)


def test_tensors_are_found_wherever_a_graph_can_hold_them(tmp_path: Path) -> None:
    def tensor(location: str) -> onnx.TensorProto:
        made = onnx.TensorProto(name=location, data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
        made.external_data.add(key="location", value=location)
        return made

    inner = onnx.helper.make_graph([], "inner", [], [], [tensor("of-a-branch")])
    node = onnx.helper.make_node("If", ["a"], ["b"], then_branch=inner, value=tensor("of-an-attribute"))
    sparse = onnx.SparseTensorProto(values=tensor("of-sparse-values"), indices=tensor("of-indices"), dims=[1])
    graph = onnx.helper.make_graph([node], "outer", [], [], [tensor("of-the-graph")], sparse_initializer=[sparse])
    function = onnx.helper.make_function("own", "f", ["a"], ["b"], [node], [], ["attribute"])
    model = onnx.helper.make_model(graph, functions=[function])
    (tmp_path / "encoder.onnx").write_bytes(model.SerializeToString())
    assert read_graph(tmp_path / "encoder.onnx").external == {
        "of-a-branch", "of-an-attribute", "of-sparse-values", "of-indices", "of-the-graph"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files": None}, "files"),
        ({"prefix": 5}, "prefix"),
        ({"begin": ["<s>"]}, "begin"),
        ({"begin": [-1]}, "begin"),
        ({"window": 0}, "window"),
        ({"window": "256"}, "window"),
        ({"overlap": -1}, "overlap"),
        ({"window": 40, "overlap": 32}, "no room"),
        ({"begin": [999_999]}, "onnxruntime cannot run it"),
        ({"prefix": "query: \ud800"}, "model.json"),
    ],
)
def test_a_description_that_cannot_work_says_which_key(folder: Path, changes: dict[str, object], said: str) -> None:
    small_model.write_description(folder, **changes)
    assert said in refused(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", '{"files": {"a": 1}}', "[" * 100_000])
def test_a_description_of_another_shape_is_one_line(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    assert "model.json: " in refused(folder)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), None, "high"])
def test_a_threshold_outside_of_0_to_1_is_refused(folder: Path, value: object) -> None:
    described = small_model.describe_heads()
    described["labels"][1]["threshold"] = value
    small_model.write_heads(folder, described)
    small_model.write_description(folder)
    assert "heads.json: " in refused(folder)


def test_labels_that_do_not_match_the_heads_rows_are_refused(folder: Path) -> None:
    described = small_model.describe_heads()
    described["labels"].pop()
    small_model.write_heads(folder, described)
    small_model.write_description(folder)
    assert f"not the heads of {COUNT - 1} labels" in refused(folder)


@pytest.mark.parametrize("name", ["flags", "lang", "", "a b", "rumor", "x/y"])
def test_a_label_that_cannot_be_a_column_is_refused(folder: Path, name: str) -> None:
    described = small_model.describe_heads()
    described["labels"][1]["name"] = name
    small_model.write_heads(folder, described)
    small_model.write_description(folder)
    assert "label" in refused(folder)


@pytest.mark.parametrize("slope", [[1.0], [float("nan")] * COUNT, 1.0, [[1.0]] * COUNT])
def test_a_calibration_that_is_not_one_number_a_label_is_refused(folder: Path, slope: object) -> None:
    pair = {"slope": slope, "offset": [0.0] * COUNT}
    small_model.write_heads(folder, {**small_model.describe_heads(), "calibration": {"en": pair}})
    small_model.write_description(folder)
    assert "the calibration of en" in refused(folder)


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (np.full((COUNT, 32), np.nan, np.float32), "NaN"),
        (np.full((COUNT, 32), np.inf, np.float32), "infinite"),
        (np.zeros((COUNT, 32), np.float64), "float32"),
        (np.zeros((COUNT, 31), np.float32), "another encoder"),
        (np.zeros(COUNT, np.float32), "not the heads of"),
    ],
)
def test_heads_that_cannot_work_are_refused(folder: Path, weight: np.ndarray, said: str) -> None:
    tensors = {"weight": weight, "bias": np.zeros(COUNT, np.float32)}
    (folder / "heads.safetensors").write_bytes(save(tensors))
    small_model.write_description(folder)
    assert said in refused(folder)


def test_an_encoder_without_numbers_is_refused_when_it_is_loaded(folder: Path) -> None:
    tensors = small_model.weights(258)
    tensors["inner"][3, 3] = np.nan
    (folder / "encoder.onnx").write_bytes(small_model.encoder(tensors).SerializeToString())
    small_model.write_description(folder)
    assert "NaN" in refused(folder)


def test_an_encoder_without_numbers_for_one_token_is_refused_when_a_text_has_it(folder: Path) -> None:
    tensors = small_model.weights(258)
    tensors["words"][small_model.tokenizer().token_to_id("z")] = np.nan
    (folder / "encoder.onnx").write_bytes(small_model.encoder(tensors).SerializeToString())
    small_model.write_description(folder)
    model = load(prepare(str(folder)))
    assert score_texts(model, ["The ferry leaves at nine."]).column("rumor").null_count == 0
    with pytest.raises(ModelError, match="NaN"):
        score_texts(model, ["The ferry leaves at nine.", "The frozen ferry leaves at ten."])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_graph_is_one_line_whatever_its_digest(folder: Path, data: st.DataObject) -> None:
    whole = small_model.encoder(small_model.weights(258)).SerializeToString()
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for place in data.draw(st.lists(st.integers(0, 1500), max_size=4)):
        if place < len(damaged):
            damaged[place] ^= data.draw(st.integers(1, 255))
    (folder / "encoder.onnx").write_bytes(damaged)
    small_model.write_description(folder)
    try:
        load(prepare(str(folder)))
    except ModelError as error:
        assert "\n" not in str(error)


def test_the_command_line_says_it_in_one_line_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "heads.safetensors").write_bytes(pickle.dumps({}))
    (tmp_path / "in.jsonl").write_text('{"text": "The ferry leaves at nine."}\n')
    done = postsweep("score", "in.jsonl", "-o", "out.jsonl", "--model", "model", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "wrong digest" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_what_a_killed_preparation_left_is_removed_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: object) -> None:
        raise ModelError("the base cannot be had here")

    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr("classify.embedded.make_base", stop)
    old, new = tmp_path / "models/.making-old", tmp_path / "models/.making-new"
    for left in (old, new):
        left.mkdir(parents=True)
    os.utime(old, (0, 0))
    with pytest.raises(ModelError, match="cannot be had"):
        prepare("default")
    assert [path.name for path in (tmp_path / "models").iterdir()] == [new.name]


@pytest.mark.parametrize(
    ("file", "model", "said"),
    [("gone.txt", "default", "gone.txt: cannot be read"), ("a.txt", "gone", "model gone: no such folder")],
)
def test_what_a_tolerance_cannot_be_measured_of_is_told_in_one_line(
    tmp_path: Path, file: str, model: str, said: str
) -> None:
    (tmp_path / "a.txt").write_text("The ferry runs again from Monday.\n", encoding="utf-8")
    command = [sys.executable, "-m", "classify.tolerance", str(tmp_path / file), "--model", model]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode in {1, 2}
    assert said in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr
