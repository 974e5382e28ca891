"""The onnxruntime engine: float32 on the processor, bit-identical whatever the batch-mates (DESIGN's class "exact")."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from classify.errors import ModelError


class _Session:
    """A graph that is open."""

    def __init__(self, graph: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The arena keeps the largest batch that ever was; freeing costs little beside the matrix products.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # Whatever the file's content or name says: a graph, and not onnxruntime's own format.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        try:
            self._session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime raises classes of its own without a common base.
            raise ModelError(f"{graph}: onnxruntime cannot open it ({_first_line(error)})") from None
        self._graph = graph

    def inputs(self) -> set[str]:
        return {each.name for each in self._session.get_inputs()}

    def outputs(self) -> set[str]:
        return {each.name for each in self._session.get_outputs()}

    def run(self, output: str, inputs: dict[str, NDArray[np.int64]]) -> NDArray[Any]:
        try:
            found: NDArray[Any] = self._session.run([output], inputs)[0]
        except Exception as error:
            raise ModelError(f"{self._graph}: onnxruntime cannot run it ({_first_line(error)})") from None
        return found


class OnnxEncoder:
    """An encoder in ONNX: `ids` and `mask` in, `hidden` out. Implements `classify.engines.Engine`."""

    def __init__(self, graph: Path, threads: int) -> None:
        self._session = _Session(graph, threads)
        self._graph = graph

    def encode(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Last hidden states, float32 `[batch, length, width]`.

        Errors: ModelError, such as for a token that the encoder does not know.
        """
        hidden = self._session.run("hidden", {"ids": ids, "mask": mask})
        if hidden.dtype != np.float32 or hidden.ndim != 3 or hidden.shape[:2] != ids.shape:
            said = f"{hidden.dtype} {list(hidden.shape)}"
            raise ModelError(f"{self._graph}: gives {said} for {list(ids.shape)} ids, not a float32 row of each")
        return hidden

    def rows(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `classify.engines.Engine`."""
        hidden = self.encode(ids, mask)
        return np.stack([mean_vector(each, int(seen.sum())) for each, seen in zip(hidden, mask, strict=True)])

    def token_budget(self, given: int) -> int:
        """See `classify.engines.Engine`."""
        return given


class OnnxClassifier:
    """A sequence classifier in ONNX as transformers' models are exported. Implements `classify.engines.Engine`."""

    def __init__(self, graph: Path, threads: int) -> None:
        self._session = _Session(graph, threads)
        self._graph = graph
        inputs = self._session.inputs()
        odd = inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if odd or not {"input_ids", "attention_mask"} <= inputs or "logits" not in self._session.outputs():
            raise ModelError(
                f"{graph}: takes {', '.join(sorted(inputs))} and gives {', '.join(sorted(self._session.outputs()))}, "
                "not input_ids and attention_mask for logits; export it for text classification"
            )
        self._takes_types = "token_type_ids" in inputs

    def rows(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `classify.engines.Engine`."""
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._takes_types:
            inputs["token_type_ids"] = np.zeros_like(ids)
        logits = self._session.run("logits", inputs)
        if logits.dtype != np.float32 or logits.ndim != 2 or len(logits) != len(ids):
            said = f"{logits.dtype} {list(logits.shape)}"
            raise ModelError(f"{self._graph}: gives {said}, not float32 logits of {len(ids)} texts; export it again")
        return logits

    def token_budget(self, given: int) -> int:
        """See `classify.engines.Engine`."""
        return given


def mean_vector(hidden: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The mean of one text's hidden states `[length, width]`, summed row by row in float64: the padding has no part."""
    mean: NDArray[np.float64] = hidden[:length].astype(np.float64).sum(axis=0) / length
    return mean.astype(np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:200]
