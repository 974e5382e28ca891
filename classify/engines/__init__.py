"""Engines run an encoder on a device. Whatever runs one fits behind `Engine`; nothing else in the package changes."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """Runs an encoder. `exactness` is the class of determinism: `exact` or `tolerance`."""

    name: str
    device: str
    dtype: str
    exactness: str

    def encode(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Last hidden states, float32 `[batch, length, width]`, of token ids and mask, int64 `[batch, length]`."""
