import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from crawlers.safety import ALLOWED_HOSTS
from pipelines.config import ClassifyPart, ClusterPart, RecheckPart, SourcePart, SweepPart
from pipelines.imports.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"crawlers", "classify", "cluster", "pipelines"}
SETTINGS = ROOT / "docs/settings.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("classify/default/*.md")])


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


def test_the_page_of_settings_tells_each_key_of_a_sweep_file() -> None:
    parts: tuple[type[BaseModel], ...] = (SweepPart, SourcePart, ClusterPart, ClassifyPart, RecheckPart)
    keys = {key for part in parts for key in part.model_fields}
    assert keys <= set(re.findall(r"`(\w+)`", SETTINGS.read_text(encoding="utf-8")))


def test_the_page_of_settings_tells_each_variable_of_the_environment_that_is_read() -> None:
    sources = [path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    read = {name for text in sources for name in re.findall(r"\"((?:POSTSWEEP|HF|DASK)_[A-Z_]+)\"", text)}
    assert read - {ALLOWED_HOSTS} <= set(re.findall(r"`(\w+)`", SETTINGS.read_text(encoding="utf-8")))


def test_each_kind_of_import_and_each_checker_has_a_row_on_its_page() -> None:
    checkers = {path.stem for path in (ROOT / "crawlers/rechecks").glob("[a-z]*.py")}
    for page, names in (("imports.md", {"table", *KINDS}), ("recheck.md", checkers)):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert names <= set(re.findall(r"^\| `?([\w-]+)", text, re.MULTILINE)), page


def test_links_between_pages_lead_to_files_and_headings_that_are_there() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)]+)\)", path.read_text(encoding="utf-8")):
            name, _, heading = target.partition("#")
            there = path.parent / name if name else path
            assert there.exists(), f"{path.name}: {target}"
            assert not heading or heading in headings(there), f"{path.name}: {target}"


def headings(path: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, pipelines.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scrapy", "dask", "distributed", "pyarrow", "onnxruntime", "transformers", "torch"} & set(loaded)
