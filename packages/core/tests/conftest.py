"""What the tests of wren-core share."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Who started the tests may have had Ctrl-C ignored, as shells do for jobs in the background; and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: a failure is never a matter of luck.  `--hypothesis-profile=default` explores.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[[str], str]:
    """Runs a program in a Python process of its own, in an empty folder, and returns what it printed."""

    def run(program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
