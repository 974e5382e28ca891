"""Scoring: texts in, a table of calibrated probabilities and flags out, row by row.

The same text gets the same bits whatever it is scored with: batches change only how fast. A long text is scored in
windows and takes the highest probability of any of them, since a harm in one paragraph is not undone by the others.
Heads are calibrated on first windows, so the highest of several is no calibrated probability of the whole text.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classify.batching import Window, batches, windows
from classify.errors import ModelError
from classify.language import detect_language
from classify.model import Model, mean_vector

TOKEN_BUDGET = 512
"""Tokens of a batch, padding counted. 256 to 1024 are equally fast on a processor with 1 MB of cache a core."""

_TOKENISED_CHARS = 2**19


def score_texts(model: Model, texts: Sequence[str | None], token_budget: int = TOKEN_BUDGET) -> pa.Table:
    """Scores texts: the same number of rows in the same order.

    Columns: `lang` (detected; null without letters), `windows` (int32; 0 when not scored), a float32 per label (null
    for no text and for languages that the model does not know) and `flags` (names of the labels at or over their
    threshold). Errors: ModelError when the encoder cannot run or gives no numbers.
    """
    languages = [None if text is None else detect_language(text) for text in texts]
    places: dict[str, list[int]] = {}
    for row, (text, language) in enumerate(zip(texts, languages, strict=True)):
        if text is not None and language in model.languages:
            places.setdefault(text, []).append(row)
    distinct = list(places)
    cut = [windows(ids, model.shape) for ids in tokenised(model, distinct)]
    vectors = encode_windows(model, [window for each in cut for window in each], token_budget)
    if not np.isfinite(vectors).all():
        raise ModelError(f"{model.ref.folder}: the encoder gives no numbers (NaN or infinite); its weights are damaged")
    counts = np.zeros(len(texts), np.int32)
    scores = np.full((len(texts), len(model.labels)), np.nan, np.float32)
    at = 0
    for text, each in zip(distinct, cut, strict=True):
        rows = places[text]
        if each:
            logits = model.heads.logits(vectors[at : at + len(each)])
            scores[rows] = model.heads.probabilities(logits, str(languages[rows[0]])).max(axis=0)
            counts[rows] = len(each)
        at += len(each)
    return _table(model, languages, counts, scores)


def encode_texts(model: Model, texts: Sequence[str], token_budget: int = TOKEN_BUDGET) -> NDArray[np.float32]:
    """The vector of each text's first window, `[texts, width]`: what heads are trained on."""
    first = [windows(ids, model.shape)[:1] for ids in tokenised(model, texts)]
    if not all(first):
        raise ValueError("a text without a token cannot be encoded")
    return encode_windows(model, [each[0] for each in first], token_budget)


def encode_windows(model: Model, cut: Sequence[Window], token_budget: int) -> NDArray[np.float32]:
    """Mean vectors `[windows, width]`; equal windows are encoded once."""
    distinct = {window: index for index, window in enumerate(dict.fromkeys(cut))}
    inputs = list(distinct)
    encoded = np.zeros((len(inputs), model.heads.weight.shape[1]), np.float32)
    for batch in batches([len(window) for window in inputs], token_budget):
        longest = len(inputs[batch[-1]])
        ids = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, index in enumerate(batch):
            window = inputs[index]
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        hidden = model.engine.encode(ids, mask)
        for row, index in enumerate(batch):
            encoded[index] = mean_vector(hidden[row], len(inputs[index]))
    if not cut:
        return encoded
    return encoded[[distinct[window] for window in cut]]


def tokenised(model: Model, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids without specials and prefix; a lone surrogate, which no tokenizer takes, reads as a question mark."""
    skip = len(model.shape.before) - len(model.described["begin"])
    for group in _groups(texts):
        clean = [model.prefix + text.encode("utf-8", "replace").decode("utf-8") for text in group]
        for encoding in model.tokenizer.encode_batch(clean, add_special_tokens=False):
            yield encoding.ids[skip:]


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in groups that a tokenizer takes at once: while it works it holds about 100 bytes a character."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > _TOKENISED_CHARS:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


def _table(
    model: Model, languages: list[str | None], counts: NDArray[np.int32], scores: NDArray[np.float32]
) -> pa.Table:
    unscored = counts == 0
    columns = {
        label.name: pa.array(scores[:, index], pa.float32(), mask=unscored) for index, label in enumerate(model.labels)
    }
    over = ~unscored[:, None] & model.heads.flagged(scores)
    flags = [[label.name for label, hit in zip(model.labels, row, strict=True) if hit] for row in over]
    return pa.table(
        {
            "lang": pa.array(languages, pa.string()),
            "windows": pa.array(counts, pa.int32()),
            **columns,
            "flags": pa.array(flags, pa.list_(pa.string())),
        }
    )
