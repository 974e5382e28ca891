"""What a command line asks for: a run's request out of a sweep file or an archive, and changes of its models."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from classify.columns import is_column
from classify.labelled import NONE
from classify.scoring import TOKEN_BUDGET
from classify.spec import DEVICE, Dtype, EngineName, ModelSpec, located
from cluster.open import ClusterSpec
from pipelines.classify import RunRequest
from pipelines.config import load_sweep, named_place
from pipelines.errors import ConfigError

WORKERS = 2


def request_for(target: Path, sweep: str | None, workers: int | None) -> RunRequest:
    """The request of a sweep file; or, for an archive's folder and a sweep's id, one of the embedded model.

    Errors: ConfigError.
    """
    if (place := named_place(target, sweep)) is not None:
        return RunRequest(*place, (ModelSpec("default"),), local_cluster(workers), TOKEN_BUDGET)
    request = RunRequest.of(load_sweep(target))
    return request if workers is None else replace(request, cluster=local_cluster(workers))


def local_cluster(workers: int | None) -> ClusterSpec:
    """A cluster of processes on this machine."""
    return ClusterSpec(workers=workers or WORKERS)


def changed(  # noqa: PLR0917 - the command's own options
    request: RunRequest,
    models: Sequence[str],
    thresholds: Sequence[str],
    device: str | None,
    dtype: str | None,
    engine: str | None,
) -> RunRequest:
    """The request with other models, thresholds, device, dtype or engine. Errors: ConfigError."""
    specs = tuple(spec_of(model, None, None, None) for model in models) or request.models
    given = tuple((label, _number("--threshold", label, value)) for label, value in pairs("--threshold", thresholds))
    if given and len(specs) > 1:
        raise ConfigError("--threshold goes with one model; for several, write thresholds in the sweep file")
    if given:
        specs = tuple(replace(spec, thresholds=_over(spec.thresholds, given)) for spec in specs)
    request = replace(request, models=tuple(_computed(spec, device, dtype, engine) for spec in specs))
    return request if device is None else request.where_gpus_are()


def spec_of(model: str, device: str | None, dtype: str | None, engine: str | None) -> ModelSpec:
    """A model as a command line names it: folders relative to where it is run. Errors: ConfigError."""
    return _computed(ModelSpec(located(model, Path.cwd())), device, dtype, engine)


def asked_values(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The labels of each value: `OFF=abuse`, `HATE=hate,abuse`, `NOT=none`. Errors: ConfigError."""
    found = {}
    for value, names in pairs("--value", given):
        labels = () if names.casefold() in NONE else tuple(each.strip() for each in names.split(","))
        for label in labels:
            if not is_column(label):
                raise ConfigError(f"--value {value}={names}: {label!r} cannot be a label's name (letters, digits, _)")
        found[value] = labels
    return found


def pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """`KEY=VALUE`, each once. Errors: ConfigError."""
    found = [tuple(each.partition("=")[::2]) for each in given]
    for (key, value), each in zip(found, given, strict=True):
        if not key or not value:
            raise ConfigError(f"{option} {each}: write KEY=VALUE")
    return [(key, value) for key, value in found]


def _number(option: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise ConfigError(f"{option} {key}={value}: not a number from 0 to 1")
    return number


def _over(before: tuple[tuple[str, float], ...], given: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    return tuple({**dict(before), **dict(given)}.items())


def check_workers(workers: int | None, device: str | None) -> None:
    """Errors: ConfigError for a number of workers where there is one for each GPU."""
    if workers is not None and device == "cuda":
        raise ConfigError(
            f"--workers {workers}: with --device cuda there is one worker for each GPU; leave --workers out, and "
            "choose GPUs in CUDA_VISIBLE_DEVICES"
        )


def check_device(device: str) -> None:
    """Errors: ConfigError for what is no device."""
    if not re.fullmatch(DEVICE, device):
        raise ConfigError(f"--device {device}: use cpu, cuda or cuda:<number>")


def _computed(spec: ModelSpec, device: str | None, dtype: str | None, engine: str | None) -> ModelSpec:
    if device is not None:
        check_device(device)
    for option, value, known in (("--dtype", dtype, get_args(Dtype)), ("--engine", engine, get_args(EngineName))):
        if value is not None and value not in known:
            raise ConfigError(f"{option} {value}: use {', '.join(known)}")
    asked = {"device": device, "dtype": dtype, "engine": engine}
    return replace(spec, **{key: value for key, value in asked.items() if value is not None})  # type: ignore[arg-type]
