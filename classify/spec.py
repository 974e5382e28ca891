"""What is asked of a model, and what names a prepared one: both small, hashable and fit to travel to a worker."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from classify.errors import ModelError

DEFAULT = "default"
OFFICIAL = "default-official"
EMBEDDED = (DEFAULT, OFFICIAL)

EngineName = Literal["auto", "onnxruntime", "torch"]
Dtype = Literal["float32", "bfloat16", "float16"]

DEVICE = r"cpu|cuda(:[0-9]{1,3})?"
"""What names a device."""

_PINNED = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)@(?P<revision>[0-9a-f]{40})")
_UNPINNED = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]*)?")


@dataclass(frozen=True)
class ModelSpec:
    """One model of a run, as a sweep file says it."""

    model: str
    """`default`, `default-official`, a folder's path, or `owner/name@<commit>` of the hub, 40 hex digits."""
    name: str | None = None
    """What the run calls it; None: after `model`."""
    labels: tuple[tuple[str, str], ...] | None = None
    """Pairs of the model's own label and the column it becomes, others are left out; None: all, under valid names."""
    thresholds: tuple[tuple[str, float], ...] = ()
    """By column, over what the folder says; where nobody says one it is 0.5."""
    definitions: tuple[tuple[str, str], ...] = ()
    """By column, over what the folder says."""
    engine: EngineName = "auto"
    """`auto`: onnxruntime where the folder has ONNX and the device is `cpu`, else torch."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:1`."""
    dtype: Dtype = "float32"


@dataclass(frozen=True)
class ModelRef:
    """A prepared model: where it lies on disk, and the digest that stands for all its files."""

    name: str
    folder: str
    digest: str
    spec: ModelSpec
    revision: str | None = None
    """The hub's commit, for a model of the hub."""
    files: tuple[tuple[str, str], ...] = ()
    """The SHA-256 of each file that has a part in the model."""

    @property
    def public(self) -> str:
        """What the model is called where strangers read it: never a path of this machine."""
        if self.spec.model in EMBEDDED or self.revision is not None:
            return self.spec.model
        return self.folder.replace("\\", "/").rstrip("/").rpartition("/")[2]


def checked(spec: ModelSpec) -> ModelSpec:
    """The same spec. Errors: ModelError for a device, dtype, engine or name that cannot be."""
    if spec.engine not in get_args(EngineName):
        raise ModelError(f"model {spec.model}: unknown engine {spec.engine!r}; use {' or '.join(get_args(EngineName))}")
    if spec.dtype not in get_args(Dtype):
        raise ModelError(f"model {spec.model}: unknown dtype {spec.dtype!r}; use {' or '.join(get_args(Dtype))}")
    if not re.fullmatch(DEVICE, spec.device):
        raise ModelError(f"model {spec.model}: unknown device {spec.device!r}; use cpu, cuda or cuda:<number>")
    if spec.name is not None and path_safe(spec.name) != spec.name:
        raise ModelError(f"model {spec.model}: {spec.name!r} cannot be its name; use letters, digits, '.', '_' and '-'")
    return spec


def path_safe(name: str) -> str:
    """A name that can stand in a path: runs are called after their model."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def hub_id(model: str) -> tuple[str, str] | None:
    """Repository and commit of a pinned model of the hub, None for what is no such id."""
    found = _PINNED.fullmatch(model)
    return (found["repo"], found["revision"]) if found else None


def located(model: str, beside: Path) -> str:
    """A model as a file in the folder `beside` names it: a folder's path from there, any other name as it is."""
    if model in EMBEDDED or hub_id(model):
        return model
    path = beside / Path(model).expanduser()
    return str(path) if path.is_dir() or not looks_unpinned(model) else model


def looks_unpinned(model: str) -> bool:
    """Whether this reads as a hub's id without a commit."""
    return _UNPINNED.fullmatch(model) is not None
