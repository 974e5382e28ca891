import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"crawlers", "classify", "cluster", "pipelines"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", ["crawlers", "classify", "cluster"])
def test_the_three_packages_under_the_roof_do_not_know_each_other(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        tops = {name.partition(".")[0] for name in imported(path)}
        assert tops & PACKAGES <= {package}, path


def test_spiders_touch_no_storage_and_models_no_network() -> None:
    for path in (ROOT / "crawlers").rglob("*.py"):
        assert not {"pyarrow.parquet", "duckdb"} & imported(path), path
    for path in (ROOT / "classify").rglob("*.py"):
        if path == ROOT / "classify/hub.py":  # which prepares a model and never runs one
            continue
        assert not {"requests", "urllib.request", "httpx", "socket", "huggingface_hub"} & imported(path), path


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {path.stem for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, pipelines.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scrapy", "dask", "distributed", "pyarrow", "onnxruntime", "transformers", "torch"} & set(loaded)
