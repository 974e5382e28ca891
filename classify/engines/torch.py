"""The torch engine: transformers' own models on the processor or a CUDA device, in one of three dtypes.

Its bits change with the shape of a batch (DESIGN's class "within tolerance"). The paths of two devices differ by the
device and the dtype alone. Nothing else of the package imports torch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classify.base import (
    FFN,
    HEADS,
    HIDDEN,
    LAYERS,
    PACKED_GRAPH,
    POSITIONS,
    ROWS,
    bert_name,
    read_weights,
    unpacked,
)
from classify.errors import ModelError

_CHUNK_ROWS = 16_384
_SHARE = 0.5
"""Of the memory that is free on a device, what a batch may take."""
_MOST_TOKENS = 2**18

Run = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From ids and mask `[batch, length]` on the device to rows `[batch, width]`."""


class TorchEngine:
    """A model of transformers, run by `run`. Implements `classify.engines.Engine`."""

    def __init__(self, place: Path, module: Any, run: Run, device: torch.device, token_bytes: int) -> None:
        self.module = module
        self._place = place
        self._run = run
        self._device = device
        self._token_bytes = token_bytes

    def rows(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `classify.engines.Engine`. A batch that the memory does not hold is split in two, down to one window."""
        try:
            with torch.inference_mode():
                given = (torch.from_numpy(each).to(self._device) for each in (ids, mask))
                found: NDArray[np.float32] = self._run(*given).float().cpu().numpy()
            return found
        except (RuntimeError, ValueError, IndexError) as error:
            if not _is_out_of_memory(error):
                raise ModelError(f"{self._place}: torch cannot run it ({_first_line(error)})") from None
        # Outside of the handler, whose traceback holds on to what filled the memory.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if len(ids) == 1:
            raise ModelError(
                f"{self._place}: no memory on {self._device} for one window of {ids.shape[1]} tokens; free some, or "
                "use another device or a smaller dtype"
            )
        half = len(ids) // 2
        return np.concatenate([self._trimmed(ids[at], mask[at]) for at in (slice(0, half), slice(half, None))])

    def _trimmed(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        longest = int(mask.sum(axis=1).max())
        return self.rows(np.ascontiguousarray(ids[:, :longest]), np.ascontiguousarray(mask[:, :longest]))

    def token_budget(self, given: int) -> int:
        """See `classify.engines.Engine`: what was given, or on a CUDA device what its free memory has room for."""
        if self._device.type != "cuda":
            return given
        free, _ = torch.cuda.mem_get_info(self._device)
        return tokens_for(free, self._token_bytes, given)


def tokens_for(free: int, token_bytes: int, given: int) -> int:
    """Tokens of a batch for the bytes that are free on a device: never less than was given, and bounded."""
    return max(given, min(_MOST_TOKENS, int(free * _SHARE) // token_bytes))


def open_classifier(folder: Path, device: str, dtype: str, threads: int) -> TorchEngine:
    """Opens a folder in the layout of transformers, from its safetensors alone. Errors: ModelError."""
    place = _device(folder, device, threads)
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    told_elsewhere: Any = logging
    told_elsewhere.disable_progress_bar()
    told_elsewhere.set_verbosity_error()
    try:
        module, told = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        # transformers raises whatever the model's own code does.
        raise ModelError(f"{folder}: transformers cannot open it ({_first_line(error)})") from None
    wrong = sorted({*told["missing_keys"], *(str(each) for each in told["mismatched_keys"])})
    if wrong:
        raise ModelError(f"{folder}: its weights do not hold {wrong[0]} as its config asks; restore one or the other")
    module.eval().to(place)

    def run(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = module(input_ids=ids, attention_mask=mask).logits
        return logits

    config = module.config
    width = getattr(config, "hidden_size", HIDDEN)
    inner = getattr(config, "intermediate_size", 4 * width)
    return TorchEngine(folder, module, run, place, _token_bytes(width, inner, module.dtype))


def open_encoder(folder: Path, graph: str, device: str, dtype: str, threads: int) -> TorchEngine:
    """Opens the embedded model's encoder from its prepared weights; `graph` says how they lie. Errors: ModelError."""
    place = _device(folder, device, threads)
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=ROWS,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FFN,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        layer_norm_eps=1e-12,
        hidden_act="gelu",
    )
    with torch.device("meta"):
        module: Any = BertModel(config, add_pooling_layer=False)
    module.set_attn_implementation("sdpa")
    state = _bert_state(folder / "weights.bin", graph, place, getattr(torch, dtype))
    module.load_state_dict(state, assign=True)
    # Not among the weights, and on the meta device hence without values.
    module.embeddings.position_ids = torch.arange(POSITIONS, device=place)[None]
    module.embeddings.token_type_ids = torch.zeros((1, POSITIONS), dtype=torch.long, device=place)
    module.eval()

    def run(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = module(input_ids=ids, attention_mask=mask).last_hidden_state
        seen = mask[..., None].double()
        return (hidden.double() * seen).sum(dim=1) / seen.sum(dim=1)

    return TorchEngine(folder, module, run, place, _token_bytes(HIDDEN, FFN, module.dtype))


def _bert_state(path: Path, graph: str, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The prepared weights under BertModel's names; word embeddings are unpacked piece by piece into their place."""
    held = read_weights(path, graph)
    words = torch.empty((ROWS, HIDDEN), dtype=dtype, device=device)
    for start in range(0, ROWS, _CHUNK_ROWS):
        at = slice(start, start + _CHUNK_ROWS)
        rows = unpacked(held["word.packed"][at], held["word.scales"][at]) if graph == PACKED_GRAPH else held["word"][at]
        words[at] = torch.from_numpy(np.array(rows))
    state = {bert_name("emb.word"): words}
    names = {"position": "emb.pos", "type": "emb.type"}
    for name, array in held.items():
        if name.startswith("word"):
            continue
        # Matrices lie as the graph multiplies them; torch keeps them the other way round.
        turned = array.T if array.ndim == 2 and name != "position" else array
        tensor = torch.from_numpy(np.ascontiguousarray(turned[None] if name == "type" else turned).copy())
        state[bert_name(names.get(name, name))] = tensor.to(device=device, dtype=dtype)
    return state


def _device(folder: Path, device: str, threads: int) -> torch.device:
    found = torch.device(device)
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (found.index or 0) >= count:
            raise ModelError(f'{folder}: no device {device} here ({count} CUDA devices); say device = "cpu"')
    else:
        torch.set_num_threads(threads)
    return found


def _token_bytes(width: int, inner: int, dtype: torch.dtype) -> int:
    """About what a token of a batch takes: the widest layer's inputs and outputs, and the residual beside them."""
    return (3 * inner + 10 * width) * dtype.itemsize


def _is_out_of_memory(error: Exception) -> bool:
    told = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in told
        or "CUBLAS_STATUS_ALLOC_FAILED" in told
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
