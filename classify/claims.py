"""A second opinion on what an account claims to be: whom its name and bio are most like, by the embedded encoder.

`institutions.py` reads words. Words alone miss most offices that they do not list, and take some private persons for
one. So each account that has such a word in its name is compared with written examples (`institutions.jsonl`): its
nearest ones vote, and no score of the encoder is compared with a number, so that another encoder needs no other rule.
"""

from collections import Counter
from collections.abc import Sequence
from importlib import resources

import numpy as np
import orjson
from numpy.typing import NDArray

from classify.errors import ModelError
from classify.institutions import Claim, claim, organisation_word
from classify.model import Model
from classify.scoring import encode_texts

NEIGHBOURS, NEEDED = 5, 4
"""So many of the nearest examples vote, and so many of them must agree that it is a claim, or that it is none."""

_PRIVATE = "private"
_DIGITS = 6
"""Cosines that agree in so many digits are equal; then the earlier example is nearer."""


class ClaimReader:
    """Reads claims out of names and bios by the words and, where these say that it may be one, by the examples.

    Errors: ModelError when the model's engine gives no vectors of texts.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        lines = resources.files("classify").joinpath("institutions.jsonl").read_bytes().splitlines()
        examples = [orjson.loads(line) for line in lines if line]
        self._types: list[str] = [each["type"] or _PRIVATE for each in examples]
        vectors = self._encoded([_text(each["name"], each["bio"]) for each in examples])
        self._middle = vectors.mean(axis=0)
        self._examples = self._directions(vectors)

    def claims(self, accounts: Sequence[tuple[str | None, str | None]]) -> list[Claim | None]:
        """What each account (display name, bio) claims to be; None for a private person, as far as this tells."""
        read = [(claim(*each), organisation_word(*each)) for each in accounts]
        # Nobody is compared with anything for a private person's name.
        asked = [place for place, (told, word) in enumerate(read) if told is not None or word is not None]
        found: list[Claim | None] = [None] * len(accounts)
        for place, votes in zip(asked, self._votes([accounts[place] for place in asked]), strict=True):
            found[place] = _decided(*read[place], votes)
        return found

    def _votes(self, accounts: Sequence[tuple[str | None, str | None]]) -> list[list[str]]:
        """The types of each account's nearest examples, the nearest first."""
        if not accounts:
            return []
        vectors = self._directions(self._encoded([_text(*each) for each in accounts]))
        likeness = np.round(vectors @ self._examples.T, _DIGITS)
        nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBOURS]
        return [[self._types[place] for place in row] for row in nearest]

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float64]:
        vectors = encode_texts(self._model, texts).astype(np.float64)
        if not np.isfinite(vectors).all():
            raise ModelError("the encoder gives what is no number for an account's name; prepare the model anew")
        return vectors

    def _directions(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unit vectors away from the middle of the examples: what all names have in common says nothing."""
        away = vectors - self._middle
        directions: NDArray[np.float64] = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
        return directions


def _decided(by_words: Claim | None, word: str | None, votes: list[str]) -> Claim | None:
    private = votes.count(_PRIVATE)
    is_like_others = len(votes) - private >= NEEDED
    if by_words is not None:
        if private >= NEEDED:
            return None
        return Claim(by_words.type, by_words.words, "strong" if is_like_others else "weak")
    if not is_like_others or word is None:
        return None
    kinds = Counter(vote for vote in votes if vote != _PRIVATE)
    kind = max(kinds, key=lambda each: (kinds[each], -votes.index(each)))
    return Claim(kind, (word,), "weak")


def _text(name: str | None, bio: str | None) -> str:
    return ". ".join(" ".join(part.split()) for part in (name, bio) if part and part.strip()) or "-"
