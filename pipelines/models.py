"""What the command line says of models: which are known here, what one is, and whether its files are whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from classify.model import describe_model, load, prepare
from classify.prepared import known, note
from classify.scoring import score_texts
from classify.spec import EMBEDDED, ModelSpec
from pipelines.progress import Progress

_PROBE = ("The ferry leaves at nine from the old harbour.", "今天的雪下得很大，路上要小心。")


def list_models() -> list[dict[str, str]]:
    """The embedded models, prepared or not, and whatever else was prepared on this machine."""
    found = known()
    rows = [
        {"name": each.name, "state": "prepared", "digest": each.digest, "model": each.model, "folder": each.folder}
        for each in found
    ]
    rows += [
        {"name": name, "state": "not prepared", "digest": "", "model": name, "folder": ""}
        for name in EMBEDDED
        if name not in {each.model for each in found}
    ]
    return sorted(rows, key=lambda row: (row["model"] not in EMBEDDED, row["name"], row["digest"]))


def prepare_model(spec: ModelSpec, progress: Progress) -> dict[str, Any]:
    """Makes a model ready on this machine's disk, remembers it and says what it is (a run's manifest entry, with the
    folder and the bytes of its files). Errors: ModelError."""
    with progress.stage("prepare model"):
        ref = prepare(spec)
        note(ref)
    described = describe_model(ref)
    sizes = {name: (Path(ref.folder) / name).stat().st_size for name in described["files"]}
    return {**described, "folder": ref.folder, "sizes": sizes}


def verify_model(spec: ModelSpec, progress: Progress) -> dict[str, Any]:
    """Checks every file of a model by digest, loads it and scores two sentences.

    Returns what `prepare_model` does, with `scored`, how many of the sentences it scores. Errors: ModelError.
    """
    described = prepare_model(spec, progress)
    with progress.stage("load model"):
        scores = score_texts(load(prepare(spec)), _PROBE)
    return {**described, "scored": pc.sum(pc.greater(scores.column("windows"), 0)).as_py()}


def told(described: dict[str, Any]) -> Iterator[str]:
    """A model's description, line by line."""
    languages = ", ".join(described["languages"] or ["any"])
    yield f"{described['name']}: {described['model']}"
    yield f"  digest      {described['digest']}"
    yield f"  folder      {described['folder']}"
    yield f"  base        {described['base'] or 'not said'}"
    yield f"  licence     {described['licence'] or 'not said'}"
    yield f"  engine      {described['engine']} on {described['device']}, {described['dtype']}"
    yield f"  exactness   {described['exactness']}"
    yield f"  reads       windows of {described['window']} tokens, languages: {languages}"
    yield f"  labels      {described['activation']}"
    for label in described["labels"]:
        of = "" if label["of"] == label["name"] else f" (its {label['of']})"
        yield f"    {label['name']}{of}, flag at {label['threshold']:g}: {label['definition']}"
    yield f"  files       {sum(described['sizes'].values()):,} bytes"
    for name, digest in described["files"].items():
        yield f"    {name}, {described['sizes'][name]:,} bytes, sha256 {digest}"
