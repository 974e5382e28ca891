"""Scoring: texts in, a table of calibrated probabilities and flags out, row by row.

By a model of the class "exact" the same text gets the same bits whatever it is scored with: batches change only how
fast. A long text is scored in
windows and takes the highest probability of any of them, since a harm in one paragraph is not undone by the others.
Heads are calibrated on first windows, so the highest of several is no calibrated probability of the whole text.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classify.batching import Window, batches, windows
from classify.heads import is_flag
from classify.language import detect_language
from classify.model import Model, check_numbers, check_together, prefix_ids

TOKEN_BUDGET = 512
"""Tokens of a batch, padding counted. 256 to 1024 are equally fast on a processor with 1 MB of cache a core."""

_TOKENISED_CHARS = 2**19


def score_texts(
    models: Model | Sequence[Model], texts: Sequence[str | None], token_budget: int = TOKEN_BUDGET
) -> pa.Table:
    """Scores texts by one model or several: the same number of rows in the same order.

    Columns: `lang` (detected; null without letters), `windows` (int32: the most windows of any model; 0 when none
    scored), a float32 per label of each model in turn (null for no text, for one without letters and for languages
    that the model does not know) and `flags` (names of the labels at or over their threshold).
    Errors: ModelError when a model cannot run or gives no numbers, or two have a column of one name.
    """
    chosen = [models] if isinstance(models, Model) else list(models)
    check_together([model.entry for model in chosen])
    languages = [None if text is None else detect_language(text) for text in texts]
    found = [_score(model, texts, languages, token_budget) for model in chosen]
    columns = {
        label.name: pa.array(scores[:, place], pa.float32(), mask=counts == 0)
        for model, (counts, scores) in zip(chosen, found, strict=True)
        for place, label in enumerate(model.labels)
    }
    labels = [label for model in chosen for label in model.labels]
    over = is_flag(np.hstack([scores for _, scores in found]), np.array([label.threshold for label in labels]))
    flags = [[label.name for label, hit in zip(labels, row, strict=True) if hit] for row in over]
    return pa.table(
        {
            "lang": pa.array(languages, pa.string()),
            "windows": pa.array(np.max([counts for counts, _ in found], axis=0), pa.int32()),
            **columns,
            "flags": pa.array(flags, pa.list_(pa.string())),
        }
    )


def _score(
    model: Model, texts: Sequence[str | None], languages: Sequence[str | None], token_budget: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Windows of each text and its scores `[texts, labels]` by one model: 0 and NaN where it scores none."""
    places: dict[str, list[int]] = {}
    for row, (text, language) in enumerate(zip(texts, languages, strict=True)):
        if text is not None and language is not None and (model.languages is None or language in model.languages):
            places.setdefault(text, []).append(row)
    cut = [windows(ids, model.shape) for ids in tokenised(model, list(places))]
    rows = encode_windows(model, [window for each in cut for window in each], token_budget)
    check_numbers(model, rows)
    counts = np.zeros(len(texts), np.int32)
    scores = np.full((len(texts), len(model.columns)), np.nan, np.float32)
    kept = [column.place for column in model.columns]
    at = 0
    for same, each in zip(places.values(), cut, strict=True):
        if each:
            # One text at a time, so that its bits do not hang on what stands beside it.
            found = model.head.scores(rows[at : at + len(each)], words_of(model, each), str(languages[same[0]]))
            scores[same] = found.max(axis=0)[kept]
            counts[same] = len(each)
        at += len(each)
    return counts, scores


def first_windows(model: Model, texts: Sequence[str]) -> list[Window]:
    """The first window of each text: what heads are trained and calibrated on."""
    first = [windows(ids, model.shape)[:1] for ids in tokenised(model, texts)]
    if not all(first):
        raise ValueError("a text without a token cannot be encoded")
    return [each[0] for each in first]


def words_of(model: Model, cut: Sequence[Window]) -> list[str]:
    """What each window says, as the tokenizer has it: its pieces without prefix and specials, spaces as `\u2581`."""
    skip, end = len(model.shape.before), len(model.shape.after)
    piece = model.tokenizer.id_to_token
    return ["".join(piece(each) or "" for each in window[skip : len(window) - end]) for window in cut]


def encode_texts(model: Model, texts: Sequence[str], token_budget: int = TOKEN_BUDGET) -> NDArray[np.float32]:
    """The vector of each text's first window, `[texts, width]`."""
    return encode_windows(model, first_windows(model, texts), token_budget)


def encode_windows(model: Model, cut: Sequence[Window], token_budget: int) -> NDArray[np.float32]:
    """What the engine gives for each window `[windows, width]`; equal windows are encoded once."""
    distinct = {window: index for index, window in enumerate(dict.fromkeys(cut))}
    inputs = list(distinct)
    encoded: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(inputs)
    for batch in batches([len(window) for window in inputs], model.engine.token_budget(token_budget)):
        longest = len(inputs[batch[-1]])
        ids = np.full((len(batch), longest), model.shape.pad, np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, index in enumerate(batch):
            window = inputs[index]
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        for index, each in zip(batch, model.engine.rows(ids, mask), strict=True):
            encoded[index] = each
    if not cut:
        return np.zeros((0, 0), np.float32)
    return np.stack(encoded)[[distinct[window] for window in cut]]


def tokenised(model: Model, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids without specials and prefix; a lone surrogate, which no tokenizer takes, reads as a question mark."""
    skip = len(prefix_ids(model.tokenizer, model.prefix))
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
