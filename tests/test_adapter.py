"""The adapter: added with numpy as peft would add it, to the bit, and read from peft's files alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save

from classify import adapter
from classify.adapter import Adapter, adapted, read_adapter, write_adapter
from classify.adapter_training import SCALE, TARGETS
from classify.base import PACKED_GRAPH, bert_name
from classify.embedded import default_folder
from classify.engines.torch import open_encoder
from classify.errors import ModelError

NAMES = {"l11.q.w": (384, 384), "l11.fi.w": (1536, 384), "l11.fo.w": (384, 1536)}

MATRIX = "base_model.model.encoder.layer.11.attention.self.query"


def factors(rank: int = 4, scale: float = 0.1) -> dict[str, NDArray[np.float32]]:
    """peft's tensors for three matrices of the last layer."""
    random = np.random.default_rng(6)
    found = {}
    for name, (out, into) in NAMES.items():
        inside = f"base_model.model.{bert_name(name).removesuffix('.weight')}"
        found[f"{inside}.lora_A.default.weight"] = random.normal(0, scale, (rank, into)).astype(np.float32)
        found[f"{inside}.lora_B.default.weight"] = random.normal(0, scale, (out, rank)).astype(np.float32)
    return found


def written(folder: Path, **changes: object) -> tuple[bytes, bytes]:
    write_adapter(folder, factors(), ["query", "intermediate.dense", "output.dense"], SCALE, "base")
    said = {**json.loads((folder / adapter.CONFIG).read_text()), **changes}
    return (folder / adapter.WEIGHTS).read_bytes(), json.dumps(said).encode()


def base(name: str, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(len(name)).normal(0, 0.05, shape).astype(np.float32)


def test_what_is_written_is_read_back_in_half_precision(tmp_path: Path) -> None:
    found = read_adapter(*written(tmp_path), "here")
    assert found.scale == SCALE
    assert set(found.factors) == {bert_name(name) for name in NAMES}
    for name, (up, down) in found.factors.items():
        inside = f"base_model.model.{name.removesuffix('.weight')}"
        assert np.array_equal(up, factors()[f"{inside}.lora_B.default.weight"].astype(np.float16))
        assert np.array_equal(down, factors()[f"{inside}.lora_A.default.weight"].astype(np.float16))


def test_the_sum_has_the_same_bits_in_any_order(tmp_path: Path) -> None:
    found = read_adapter(*written(tmp_path), "here")
    order = np.random.default_rng(1).permutation(4)
    turned = Adapter({name: (up[:, order], down[order]) for name, (up, down) in found.factors.items()}, found.scale)
    for name, shape in NAMES.items():
        whole = adapted(base, found)(name, *shape)
        assert whole.dtype == np.float32
        assert adapted(base, turned)(name, *shape).tobytes() == whole.tobytes()
        up, down = (each.astype(np.float64) for each in found.factors[bert_name(name)])
        one_by_one = sum((np.outer(up[:, at], down[at]) for at in order), np.zeros(shape))
        by_hand = (base(name, *shape).astype(np.float64) + found.scale * one_by_one).astype(np.float32)
        assert by_hand.tobytes() == whole.tobytes()
    assert adapted(base, found)("l3.q.w", 384, 384).tobytes() == base("l3.q.w", 384, 384).tobytes()


def test_the_sum_is_that_of_pefts_merged_weights(tmp_path: Path) -> None:
    network = open_encoder(default_folder(), PACKED_GRAPH, "cpu", "float32", 1).module
    before = {name: network.get_parameter(bert_name(name)).detach().numpy().copy() for name in NAMES}
    config = LoraConfig(
        r=4, lora_alpha=SCALE * 4, target_modules=list(TARGETS), layers_to_transform=[11], layers_pattern="layer"
    )
    with pytest.warns(FutureWarning):
        network = get_peft_model(network, config)
    state = network.state_dict()
    for name, each in factors().items():
        state[name].copy_(torch.from_numpy(each.astype(np.float16).astype(np.float32)))
    merged = network.merge_and_unload()
    found = adapted(lambda name, *_: before[name], read_adapter(*written(tmp_path), "here"))
    for name, shape in NAMES.items():
        theirs = merged.get_parameter(bert_name(name)).detach().numpy()
        ours = found(name, *shape)
        assert np.abs(ours - before[name]).max() > 1e-3
        assert np.abs(ours - theirs).max() < 1e-6


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "IA3"}, "another kind of adapter than plain LoRA"),
        ({"bias": "all"}, "another kind of adapter than plain LoRA"),
        ({"use_rslora": True}, "another kind of adapter than plain LoRA"),
        ({"r": 0}, "ZeroDivisionError"),
        ({"lora_alpha": None}, "TypeError"),
    ],
)
def test_an_adapter_of_another_kind_is_one_line(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(ModelError, match="here: the adapter cannot be read") as caught:
        read_adapter(*written(tmp_path, **changes), "here")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("up", "down", "told"),
    [
        (np.ones((384, 4), np.float32), np.ones((4, 384), np.float32), "not two float16 matrices of one rank"),
        (np.ones((384, 4), np.float16), np.ones((3, 384), np.float16), "not two float16 matrices of one rank"),
        (np.full((384, 4), 4, np.float16), np.full((4, 384), 3, np.float16), "too large"),
        (np.full((384, 4), np.nan, np.float16), np.ones((4, 384), np.float16), "too large, or no numbers"),
        (np.full((384, 4), np.inf, np.float16), np.ones((4, 384), np.float16), "too large, or no numbers"),
    ],
)
def test_factors_that_would_not_add_exactly_are_refused(
    tmp_path: Path, up: NDArray[np.floating], down: NDArray[np.floating], told: str
) -> None:
    _, config = written(tmp_path)
    with pytest.raises(ModelError, match=told):
        read_adapter(save({f"{MATRIX}.lora_A.weight": down, f"{MATRIX}.lora_B.weight": up}), config, "here")


def test_an_adapter_of_another_encoder_is_one_line(tmp_path: Path) -> None:
    found = read_adapter(*written(tmp_path), "here")
    with pytest.raises(ModelError, match=r"the adapter's l11.q.w is 384 by 384, and the encoder's \(768, 768\)"):
        adapted(base, found)("l11.q.w", 768, 768)
