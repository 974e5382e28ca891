"""What a model's folder says of itself before any of its weights is opened in an engine."""

from dataclasses import dataclass
from typing import Literal

from classify.labels import Label

EngineKind = Literal["onnxruntime", "torch"]
Exactness = Literal["exact", "tolerance"]


@dataclass(frozen=True)
class Description:
    """All that a run must know of a model to plan, state and open it."""

    files: dict[str, str]
    """The SHA-256 of each file that has a part in it, by its name in the folder."""
    digest: str
    """Stands for all files."""
    labels: tuple[Label, ...]
    """Its own labels, in the order of its head."""
    activation: str
    """How logits become probabilities, such as `sigmoid`."""
    engine: EngineKind
    exactness: Exactness
    window: int
    """Tokens of a window in all."""
    overlap: int
    languages: frozenset[str] | None = None
    """The languages that it is for; None: any."""
    base: str | None = None
    """The encoder that it is made of."""
    licence: str | None = None
    prefix: str = ""
    """What is put before every text."""
    begin: tuple[int, ...] | None = None
    """Token ids before every window; None: those that the tokenizer puts there."""
    end: tuple[int, ...] | None = None
    pad: int = 0
    """The token id that fills up a batch."""
    graph: str | None = None
    """The ONNX graph's name in the folder, for onnxruntime."""
