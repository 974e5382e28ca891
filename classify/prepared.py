"""The models that were prepared on this machine, by digest: where a rerun finds the model of an old run again.

A note per model lies in the cache folder, `known/<digest>.json`. It says where the model's folder is; that the folder
still holds the same model is checked when it is loaded.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from classify.cache import cache_folder
from classify.errors import ModelError
from classify.spec import EMBEDDED, ModelRef


@dataclass(frozen=True)
class Known:
    """A model that was prepared here: what was asked for (`default`, an id of a hub, a folder) and where it lies."""

    name: str
    model: str
    folder: str
    digest: str


def note(ref: ModelRef) -> None:
    """Remembers a prepared model. Errors: ModelError when the cache cannot be written."""
    model = ref.spec.model if ref.spec.model in EMBEDDED or ref.revision else ref.folder
    path = _folder() / f"{ref.digest[:32]}.json"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(asdict(Known(ref.name, model, ref.folder, ref.digest))), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ModelError(f"{path}: not writable ({error.strerror}); free space, or set POSTSWEEP_CACHE") from error


def known() -> list[Known]:
    """All that was prepared and is still there, by name. Errors: ModelError when the cache cannot be read."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            each = Known(**json.loads(path.read_text(encoding="utf-8")))
            if Path(each.folder).is_dir():
                found.append(each)
        except (OSError, ValueError, TypeError):
            continue  # a note that cannot be read is a model that must be named again, no more
    return sorted(found, key=lambda each: (each.name, each.digest))


def find(digest: str) -> str | None:
    """What to ask for to have the model of this digest (an embedded name, an id of a hub or a folder), or None."""
    return next((each.model for each in known() if each.digest == digest), None)


def _folder() -> Path:
    folder = cache_folder() / "known"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made ({error.strerror}); name another in POSTSWEEP_CACHE") from error
    return folder
