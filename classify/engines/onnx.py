"""The onnxruntime engine: float32 on the processor, bit-identical whatever the batch-mates (DESIGN's class "exact")."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from classify.errors import ModelError


class OnnxEngine:
    """An encoder in ONNX; its weights may lie beside it as external data. Implements `classify.engines.Engine`."""

    name = "onnxruntime"
    device = "cpu"
    dtype = "float32"
    exactness = "exact"

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

    def encode(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `classify.engines.Engine`. Errors: ModelError, such as for a token that the encoder does not know."""
        try:
            hidden: NDArray[np.float32] = self._session.run(["hidden"], {"ids": ids, "mask": mask})[0]
        except Exception as error:
            raise ModelError(f"{self._graph}: onnxruntime cannot run it ({_first_line(error)})") from None
        return hidden


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:200]
