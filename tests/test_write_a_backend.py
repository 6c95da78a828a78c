"""docs/write-a-backend.md: what it tells an author to write works, and passes the kit."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from wren.testing import plugged

DOCUMENT = Path(__file__).parent.parent / "docs" / "write-a-backend.md"
# The name of the file that a block is, from the comment above it.
FILE = re.compile(r"^<!-- not run: (\S+\.py), [^>]*-->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROJECT = re.compile(r"^```toml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """The files of the document, installed."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (configuration,) = PROJECT.findall(text)
    points = tomllib.loads(configuration)["project"]["entry-points"]
    for name, code in FILE.findall(text):
        (tmp_path / name).write_text(code, encoding="utf-8")
    with plugged(tmp_path, points, subprocesses=True):
        yield tmp_path


def run(folder: Path, *command: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_backend_of_the_first_screen_runs_calls(project: Path) -> None:
    promised = re.findall(r"^ *print\(.*\) +# (.*)$", (project / "use.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert run(project, "use.py").splitlines() == promised


def test_the_command_line_finds_it(project: Path) -> None:
    assert "here" in run(project, "-c", "from wren.cli import main; main()", "plugins")
    assert run(project, "-c", "from wren.cli import main; main()", "hello", "--backend", "here")


def test_it_passes_the_kit(project: Path) -> None:
    said = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_here.py")
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None, said
    assert int(passed[1]) > 60
    assert not re.search(r"\d (failed|error)", said)
