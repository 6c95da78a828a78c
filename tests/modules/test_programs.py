"""Programs whose functions are in `__main__`, and what those refer to beside them."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Write: TypeAlias = Callable[[Path, Mapping[str, str]], None]

PROGRAM = """
import json, sys, wren
config = json.loads(sys.argv[1])
executor = wren.FunctionExecutor(config, backend="template", storage_backend="template", workers=2)
"""
END = "\nprint(executor.get_result())\nexecutor.__exit__(None, None, None)\n"


@pytest.fixture
def run_program(template_config: Mapping[str, Any], tmp_path: Path) -> Any:
    def run(*command: str) -> str:
        folder = tmp_path / "program"
        done = subprocess.run(
            [sys.executable, *command, json.dumps(template_config)],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_a_script_with_a_module_beside_it_runs(write: Write, tmp_path: Path, run_program: Any) -> None:
    script = "import helper\nclass C:\n  def __init__(self, x): self.x = x\ndef f(c): return helper.g(c.x)\n"
    write(
        tmp_path / "program",
        {
            "app/main.py": f"{PROGRAM}{script}executor.map(f, [C(1), C(2)]){END}",
            "app/helper.py": "import helper2\ndef g(x): return helper2.k * x",
            "app/helper2.py": "k = 3",
        },
    )
    assert run_program("app/main.py") == "[3, 6]"


def test_a_package_that_is_run_runs(write: Write, tmp_path: Path, run_program: Any) -> None:
    script = """
from . import helper
from .helper import g as h
def f(x):
    from .late import k
    return helper.g(h(x)) + k
"""
    write(
        tmp_path / "program",
        {
            "app/__init__.py": "",
            "app/__main__.py": f"{PROGRAM}{script}executor.map(f, [1, 2]){END}",
            "app/helper.py": "def g(x): return 2 * x",
            "app/late.py": "k = 1",
        },
    )
    assert run_program("-m", "app") == "[5, 9]"


def test_a_notebook_with_modules_beside_it_runs(write: Write, tmp_path: Path, run_program: Any) -> None:
    # Given cells, whose code has no file
    cells = ["import helper", "def f(x):\n  from late import k\n  return helper.g(x) + k", "executor.map(f, [1, 2])"]
    kernel = """
import sys; sys.path.insert(0, '')
for number, cell in enumerate(cells):
    exec(compile(cell, f'<cell {number}>', 'exec'), globals())
"""
    write(
        tmp_path / "program",
        {
            "kernel.py": f"{PROGRAM}\ncells = {cells!r}\n{kernel}{END}",
            "helper.py": "def g(x): return 2 * x",
            "late.py": "k = 1",
        },
    )
    assert run_program("kernel.py") == "[3, 5]"
