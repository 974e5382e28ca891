"""Near-duplicates: which texts repeat each other but for some words, as a post that many people pass on does.

Two texts are near-duplicates when one has at least half of the shingles of the other: that is the containment of
A. Broder, On the resemblance and containment of documents, 1997, counted exactly. Sketches would only estimate it, and
tens of thousands of posts need none: few shingles are in more than one text.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

SHINGLE = {"zh": 6, "ja": 6, "ko": 6, "en": 16}
"""Letters of a shingle, by language: about three words of any. A language that is not named is taken as English is."""

_BLOCK = 2000


def letters(text: str) -> str:
    """What a text says: its letters in one case, without links, mentions, digits, spaces and punctuation."""
    plain = re.sub(r"https?://\S+|@\w+", "", unicodedata.normalize("NFKC", text).casefold())
    return "".join(char for char in plain if unicodedata.category(char)[0] == "L")


def near_duplicates(texts: Sequence[str], langs: Sequence[str]) -> NDArray[np.int32]:
    """The number of each text's group: near-duplicates are in one group, as are texts that a chain of them links.

    Shingles are the runs of letters of a length that goes by language; a text of fewer letters is one shingle.
    """
    if not texts:
        return np.zeros(0, np.int32)
    shingles = _shingles(texts, langs)
    counts = np.diff(shingles.indptr)
    others = shingles.T.tocsr()
    pairs = []
    for start in range(0, len(texts), _BLOCK):
        shared = (shingles[start : start + _BLOCK] @ others).tocoo()
        one, other = shared.row + start, shared.col
        near = 2 * shared.data >= np.minimum(counts[one], counts[other])
        pairs.append(np.stack([one[near], other[near]]))
    one, other = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(texts), len(texts)))
    groups: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return groups


def _shingles(texts: Sequence[str], langs: Sequence[str]) -> csr_array:
    """Ones where a text (row) has a shingle (column)."""
    columns: dict[str, int] = {}
    places: list[int] = []
    ends = [0]
    for text, lang in zip(texts, langs, strict=True):
        said, size = letters(text), SHINGLE.get(lang, SHINGLE["en"])
        runs = {said[start : start + size] for start in range(max(1, len(said) - size + 1))}
        places += [columns.setdefault(run, len(columns)) for run in runs]
        ends.append(len(places))
    return csr_array((np.ones(len(places), np.int32), places, ends), shape=(len(texts), len(columns)))
