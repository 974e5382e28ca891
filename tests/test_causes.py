import copy
from typing import Any

import pytest

from pipelines.causes import causes

RUN: dict[str, Any] = {
    "sweep": "d2026-01-01",
    "generation": 0,
    "redacted": [],
    "models": [
        {
            "name": "default", "model": "default", "digest": "6e" * 32,
            "files": {"heads.json": "12" * 32, "encoder.onnx": "34" * 32},
            "labels": [], "languages": ["en", "zh"], "window": 256, "overlap": 32,
            "engine": "onnxruntime", "device": "cpu", "dtype": "float32", "exactness": "exact",
        }
    ],
    "labels": [
        {"name": "rumor", "definition": "untrue", "threshold": 0.5, "model": "default", "of": "rumor"},
        {"name": "scam", "definition": "deceit", "threshold": 0.4, "model": "default", "of": "scam"},
    ],
    "exactness": "exact",
    "tolerance": 0.0,
    "token_budget": 4096,
    "environments": [
        {"processor": "Xeon avx2", "machine": "x86_64", "python": "3.11.7", "packages": {"numpy": "2.1"}, "parts": 2}
    ],
    "software": {
        "postsweep": "0.1.0", "commit": "ab" * 20, "python": "3.11.7", "machine": "x86_64", "processor": "Xeon avx2",
        "packages": {"numpy": "2.1", "duckdb": "2.0.0"},
    },
}  # fmt: skip


def changed(*steps: Any) -> dict[str, Any]:
    """The run with one value changed: the keys that lead to it, then the value; ... removes it."""
    run = copy.deepcopy(RUN)
    *path, key, value = steps
    place: Any = run
    for step in path:
        place = place[step]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return run


def test_equal_manifests_have_no_cause() -> None:
    assert causes(RUN, copy.deepcopy(RUN)) == []


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (changed("sweep", "d2026-01-02"), "sweep: d2026-01-01, then d2026-01-02"),
        (changed("generation", 1), "generation of the sweep: 0, then 1"),
        (changed("redacted", ["2026-02-01"]), "redactions since it was scored: none, then 2026-02-01"),
        (changed("models", 0, "digest", "7f" * 32), f"digest of model default: {'6e' * 8}, then {'7f' * 8}"),
        (changed("models", 0, "name", "small"), "model: default, then small"),
        (
            changed("models", 0, "files", "heads.json", "56" * 32),
            f"file heads.json of model default: {'12' * 8}, then {'56' * 8}",
        ),
        (
            changed("models", 0, "files", "heads.json", ...),
            f"file heads.json of model default: {'12' * 8}, then not there",
        ),
        (changed("models", 0, "engine", "torch"), "engine of model default: onnxruntime, then torch"),
        (changed("models", 0, "device", "cuda"), "device of model default: cpu, then cuda"),
        (changed("models", 0, "dtype", "float16"), "dtype of model default: float32, then float16"),
        (changed("models", 0, "languages", ["en"]), "languages of model default: en and zh, then en"),
        (changed("models", 0, "window", 512), "window of model default: 256, then 512"),
        (changed("labels", 1, "threshold", 0.6), "threshold of label scam: 0.4, then 0.6"),
        (changed("labels", 1, "definition", "deceit for money"), "definition of label scam: reworded"),
        (changed("labels", RUN["labels"][:1]), "label scam: from model default, then not there"),
        (changed("labels", 1, "of", "fraud"), "output of the model that label scam is: scam, then fraud"),
        (changed("exactness", "tolerance"), "class of exactness: exact, then tolerance"),
        (changed("token_budget", 8192), "token budget: 4096, then 8192"),
        (changed("environments", 0, "processor", "Epyc"), "processor that scored: Xeon avx2, then Epyc"),
        (
            changed("environments", 0, "packages", "numpy", "2.2"),
            "package numpy where it was scored: 2.1, then 2.2",
        ),
        (changed("environments", None), "machines that scored: Xeon avx2, then not recorded"),
        (changed("software", "postsweep", "0.2.0"), "postsweep version: 0.1.0, then 0.2.0"),
        (changed("software", "commit", "cd" * 20), f"commit of the code: {'ab' * 8}, then {'cd' * 8}"),
        (changed("software", "processor", None), "processor: Xeon avx2, then not recorded"),
        (changed("software", "packages", "duckdb", "2.1.0"), "package duckdb: 2.0.0, then 2.1.0"),
    ],
)
def test_each_difference_is_named_in_one_line(new: dict[str, Any], text: str) -> None:
    assert [cause.text for cause in causes(RUN, new)] == [text]
    (back,) = causes(new, RUN)
    (cause,) = causes(RUN, new)
    assert (back.old, back.new) == (cause.new, cause.old)


def test_that_labels_come_from_another_model_is_said_where_there_are_several() -> None:
    second = {**RUN["models"][0], "name": "tone"}
    both = {**RUN, "models": [second, *RUN["models"]]}
    moved = {**both, "labels": [{**RUN["labels"][0], "model": "tone"}, RUN["labels"][1]]}
    assert [cause.text for cause in causes(both, moved)] == ["model of label rumor: default, then tone"]
    renamed = changed("models", 0, "name", "small")
    renamed["labels"] = [{**label, "model": "small"} for label in renamed["labels"]]
    assert [cause.text for cause in causes(RUN, renamed)] == ["model: default, then small"]


def test_models_of_several_are_matched_by_name() -> None:
    second = {**RUN["models"][0], "name": "tone", "digest": "99" * 32}
    both = {**RUN, "models": [second, *RUN["models"]]}
    assert causes(both, {**both, "models": both["models"][::-1]}) == []
    assert [cause.text for cause in causes(RUN, both)] == [f"model tone: not there, then {'99' * 8}"]


def test_machines_of_several_kinds_are_compared_as_a_set() -> None:
    one = RUN["environments"][0]
    mixed = {**RUN, "environments": [{**one, "processor": "Epyc", "parts": 1}, {**one, "parts": 1}]}
    assert [cause.text for cause in causes(RUN, mixed)] == ["processor that scored: Xeon avx2, then Epyc and Xeon avx2"]
    assert causes(RUN, {**RUN, "environments": [{**one, "parts": 1}, {**one, "parts": 1}]}) == []


def test_what_one_manifest_does_not_say_at_all_is_not_compared() -> None:
    planned = {key: RUN[key] for key in ("sweep", "models", "labels")}
    assert causes(RUN, planned) == []
    assert [cause.what for cause in causes({"software": {"commit": "a"}}, {"software": {"commit": "b"}})] == [
        "commit of the code"
    ]


def test_what_weighs_most_comes_first() -> None:
    new = changed("software", "postsweep", "0.2.0")
    new["labels"][0]["threshold"] = 0.6
    new["models"][0]["digest"] = "7f" * 32
    new["generation"] = 1
    assert [cause.what for cause in causes(RUN, new)] == [
        "generation of the sweep", "digest of model default", "threshold of label rumor", "postsweep version",
    ]  # fmt: skip
