import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.jobs import environment

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_works_outside_the_clone_beside_folders_of_the_same_names(tmp_path: Path) -> None:
    """Dependencies come from this environment; postsweep itself from the wheel alone."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    venv.create(tmp_path / "venv", with_pip=False)
    site = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = tmp_path / "venv/bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--force-reinstall", str(next(tmp_path.glob("*.whl")))], check=True)
    work = tmp_path / "work"
    for name in ("cluster", "classify", "crawlers", "pipelines"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('shadowed')\n")
    (work / "in.jsonl").write_text('{"text": "The ferry leaves at nine."}\n')
    for arguments in (["score", "in.jsonl", "-o", "out.csv"], ["demo", "--out", "out"]):
        done = subprocess.run(
            [str(tmp_path / "venv/bin/postsweep"), *arguments],
            cwd=work, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    asked = [str(python), "-P", "-c", "import pipelines; print(pipelines.__file__)"]
    where = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert Path(where.strip()).is_relative_to(tmp_path / "venv")
    assert (work / "out.csv").read_text().startswith("text,rumor")
    assert "</html>" in (work / "out/report.html").read_text()
