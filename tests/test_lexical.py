"""The lexical part of a head: hashed runs of characters."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from classify.lexical import Lexicon, buckets_of, in_steps, rows_of

ODD = st.sampled_from(["The ferry", "今天下雪", "\ud83d", ""])
TEXTS = st.lists(st.text(max_size=40) | ODD, min_size=1, max_size=8)


def lexicon(buckets: int = 2**12, labels: int = 3, run: int = 3) -> Lexicon:
    random = np.random.default_rng(8)
    return Lexicon(*in_steps(random.normal(size=(labels, buckets))), run)


def test_buckets_are_the_same_on_every_machine_and_in_every_version() -> None:
    assert buckets_of("雪 Ab", 3, 2**18).tolist() == [
        11799, 45482, 98242, 122702, 154587, 166807, 224401, 238552, 252282
    ]  # fmt: skip
    assert buckets_of("a", 4, 2**8).tolist() == [194]
    assert buckets_of("", 4, 2**8).tolist() == []


@given(TEXTS)
def test_a_text_has_the_same_bits_whatever_it_stands_beside(texts: list[str]) -> None:
    made = lexicon()
    whole = made.logits(texts)
    alone = np.concatenate([made.logits([text]) for text in texts])
    assert whole.tobytes() == alone.tobytes()
    assert made.logits(texts[::-1])[::-1].tobytes() == whole.tobytes()


@given(TEXTS, st.integers(1, 8))
def test_a_logit_is_the_weights_of_a_rows_columns(texts: list[str], run: int) -> None:
    made = lexicon(run=run)
    rows = rows_of(texts, run, 2**12)
    assert np.allclose(np.linalg.norm(rows.toarray(), axis=1), [bool(text) for text in texts])
    assert np.allclose(rows @ (made.weight * made.step[:, None]).T, made.logits(texts))


def test_a_bucket_counts_once_whatever_the_case_and_runs_are_in_order() -> None:
    assert buckets_of("aaa", 1, 2**16).size == 1
    assert buckets_of("ABC", 3, 2**16).tolist() == buckets_of("abc", 3, 2**16).tolist()
    assert set(buckets_of("a", 1, 2**16)) < set(buckets_of("ab", 3, 2**16))
    assert buckets_of("ab", 2, 2**16).tolist() != buckets_of("ba", 2, 2**16).tolist()


def test_weights_are_kept_to_half_a_step() -> None:
    weight = np.random.default_rng(1).normal(size=(3, 500))
    weight[2] = 0
    steps, step = in_steps(weight)
    assert steps.dtype == np.int8
    assert (np.abs(steps * step[:, None] - weight) <= step[:, None] / 2 + 1e-12).all()
    assert np.abs(steps[:2]).max(axis=1).tolist() == [127, 127]
    assert not steps[2].any()
