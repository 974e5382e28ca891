"""The lexical part of a head: runs of characters, hashed, each with a weight per label, beside the encoder's vector.

What a harm is called is told by words that an encoder rounds off: where they carry the label, TF-IDF has the better
figures. Hashing: K. Weinberger et al., Feature hashing for large scale multitask learning, ICML 2009.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Lexicon:
    """Weights int8 `[labels, buckets]` and the size of a step of each label's, float64 `[labels]`; runs up to `run`.

    A text's logit of a label is the sum of the weights of its distinct buckets, over the root of their number. Sums of
    integers are exact, so it has the same bits whatever it is computed beside.
    """

    weight: NDArray[np.int8]
    step: NDArray[np.float64]
    run: int

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """`[texts, labels]`."""
        found = np.zeros((len(texts), len(self.weight)))
        for row, text in enumerate(texts):
            buckets = buckets_of(text, self.run, self.weight.shape[1])
            total = self.weight[:, buckets].sum(axis=1, dtype=np.int64)
            found[row] = total * self.step / np.sqrt(max(1, len(buckets)))
        return found


def buckets_of(text: str, run: int, count: int) -> NDArray[np.int64]:
    """The distinct buckets of a text's runs of 1 to `run` characters, ascending; `count` is a power of two."""
    codes = np.frombuffer(text.lower().encode("utf-32-le", "replace"), "<u4").astype(np.uint64) + np.uint64(1)
    found = [np.zeros(0, np.uint64)]
    hashed = np.zeros(len(codes) + 1, np.uint64)
    with np.errstate(over="ignore"):
        for length in range(1, min(run, len(codes)) + 1):
            last = codes[length - 1 :]
            hashed = (hashed[: len(last)] ^ last) * _ODD
            hashed = (hashed ^ (hashed >> _HALF)) * _MIX
            found.append((hashed ^ (hashed >> _HALF)) & np.uint64(count - 1))
    return np.unique(np.concatenate(found)).astype(np.int64)


def rows_of(texts: Sequence[str], run: int, count: int) -> csr_array:
    """The texts as rows `[texts, count]` of unit length, for a fit."""
    each = [buckets_of(text, run, count) for text in texts]
    sizes = np.array([len(buckets) for buckets in each])
    values = np.repeat(1 / np.sqrt(np.maximum(1, sizes)), sizes)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    return csr_array((values, np.concatenate(each), ends), shape=(len(texts), count))


def in_steps(weight: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Weights `[labels, buckets]` in 255 steps of each label's largest."""
    step = np.abs(weight).max(axis=1) / 127
    step[step == 0] = 1
    return np.round(weight / step[:, None]).astype(np.int8), step.astype(np.float64)
