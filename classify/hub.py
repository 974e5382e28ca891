"""Models of the hub at a pinned commit: the one place of this package that uses a network, and only to prepare.

What a model needs is fetched once into the cache: its small files first, so that what is refused costs no download of
weights. Pickles and code are never fetched.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classify.cache import cache_folder, making
from classify.checkpoint import GRAPHS, INDEX, READ, WEIGHTS, check_config, no_tokenizer
from classify.errors import ModelError
from classify.files import digest_of
from classify.graph_file import read_graph
from classify.spec import ModelSpec

_LISTING = "listing.json"
_SMALL = (*READ, "README.md", "adapter_config.json")

Listing = dict[str, dict[str, Any]]
"""Of each file of a repository at a commit: `size` in bytes, and `sha256` where the hub says it, else None."""


def hub_folder(spec: ModelSpec, repo: str, revision: str) -> Path:
    """The folder with the files of a hub's model that its spec needs, fetched where they are missing.

    Errors: ModelError when the hub cannot be reached or has no such model, or for a model that is refused.
    """
    folder = cache_folder() / f"{repo.replace('/', '--')}@{revision}"
    listing = _noted(folder / _LISTING)
    if listing is None:
        listing = _list(repo, revision)
        with making(folder.parent) as place:
            (place / _LISTING).write_text(json.dumps(listing), encoding="utf-8")
            folder.mkdir(exist_ok=True)
            (place / _LISTING).replace(folder / _LISTING)
    if "tokenizer.json" not in listing:
        raise no_tokenizer(spec.model, listing)
    _complete(folder, repo, revision, listing, [name for name in _SMALL if name in listing])
    check_config(folder)
    first = _weights(spec, listing)
    _complete(folder, repo, revision, listing, [first])
    _complete(folder, repo, revision, listing, _further(folder, first))
    return folder


def fetch(repo: str, revision: str, names: Sequence[str], folder: Path) -> None:
    """Downloads files of a repository at a commit into a folder. Errors: ModelError."""
    from huggingface_hub import snapshot_download

    # Asked for first: it fails at once where there is no hub, while a download tries for a while.
    listing = _list(repo, revision)
    for name in names:
        if name not in listing:
            raise ModelError(f"{repo}@{revision}: the hub has no {name} there; look at the repository's files")
    try:
        endpoint = os.environ.get("HF_ENDPOINT")
        snapshot_download(repo, revision=revision, allow_patterns=list(names), local_dir=folder, endpoint=endpoint)
    except Exception as error:
        # The hub's client raises its own, its transport's and the system's errors.
        raise _unreachable(repo, revision, error) from None


def _noted(path: Path) -> Listing | None:
    """A listing that was kept; None where none was, or where it cannot be read."""
    try:
        listing: Listing = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return listing


def _list(repo: str, revision: str) -> Listing:
    from huggingface_hub import HfApi

    try:
        info = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(repo, revision=revision, files_metadata=True)
    except Exception as error:
        raise _unreachable(repo, revision, error) from None
    return {
        each.rfilename: {"size": each.size, "sha256": each.lfs.sha256 if each.lfs else None}
        for each in info.siblings or []
    }


def _complete(folder: Path, repo: str, revision: str, listing: Listing, names: Sequence[str]) -> None:
    """Fetches those of the files that are not there whole; each appears under its name when it is."""
    for name in names:
        if name not in listing or not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{repo}@{revision}: needs {name}, which it does not have; name another commit")
    missing = [name for name in names if not _is_there(folder / name, listing[name]["size"])]
    if not missing:
        return
    with making(folder.parent) as fetched:
        fetch(repo, revision, missing, fetched)
        for name in missing:
            wanted = listing[name]["sha256"]
            if wanted is not None and digest_of(fetched / name) != wanted:
                raise ModelError(f"{repo}@{revision}: {name} came with a wrong digest; try again")
            (folder / name).parent.mkdir(exist_ok=True)
            (fetched / name).replace(folder / name)


def _is_there(path: Path, size: int | None) -> bool:
    return path.is_file() and size in (None, path.stat().st_size)


def _weights(spec: ModelSpec, listing: Listing) -> str:
    """The file that the weights begin with, for the engine that the spec means."""
    graph = next((name for name in GRAPHS if name in listing), None)
    tensors = next((name for name in (WEIGHTS, INDEX) if name in listing), None)
    onnx = spec.engine == "onnxruntime" or (spec.engine == "auto" and spec.device == "cpu" and graph is not None)
    found = graph if onnx else tensors
    if found is not None:
        return found
    known = re.compile(r"(onnx/)?(pytorch_)?model.*\.(bin|onnx|safetensors)")
    weights = [name for name in sorted(listing) if known.fullmatch(name)]
    held = ", ".join(weights)
    if weights and all(name.endswith(".bin") for name in weights):
        raise ModelError(
            f"{spec.model}: has pickled weights alone ({held}), which can run code and are refused; name a commit with "
            "model.safetensors"
        )
    wanted = "model.onnx" if onnx else "model.safetensors"
    said = f"has no {wanted} for the engine {spec.engine} (it has {held or 'no weights'})"
    raise ModelError(f"{spec.model}: {said}; name another model or engine")


def _further(folder: Path, first: str) -> list[str]:
    """The files that the first names: shards, or tensors beside a graph."""
    if first == INDEX:
        try:
            return sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ModelError(f"{folder / INDEX}: names no shards (weight_map); use another commit") from None
    if first in GRAPHS:
        within = first.rpartition("/")[0]
        return [f"{within}/{name}" if within else name for name in sorted(read_graph(folder / first).external)]
    return []


def _unreachable(repo: str, revision: str, error: Exception) -> ModelError:
    said = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return ModelError(
        f"{repo}@{revision}: cannot be fetched from the hub ({said}); check the id and commit, and connect to it once"
    )
