"""What the tests of wren-core share."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

# Who started the tests may have had Ctrl-C ignored, as shells do for jobs in the background, or the end of a terminal,
# as nohup does; and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)


class RunPython(Protocol):
    """Runs a program in a Python process of its own, in an empty folder, and returns what it printed."""

    def __call__(self, program: str, *, measured: bool = True) -> str:
        """Not `measured`: without coverage, whose tracer an interrupt may leave with its lock taken."""


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    def run(program: str, *, measured: bool = True) -> str:
        env = {name: value for name, value in os.environ.items() if measured or not name.startswith("COVERAGE_")}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
