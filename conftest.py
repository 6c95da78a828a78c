"""What all tests share: real services, the same examples in every run, a user's folder, and a place for job records."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples in every run: a failure is never a matter of luck.  `--hypothesis-profile=default` explores.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

# Nothing starts before a test asks for it.
pytest_plugins = ["tests.services.fixtures"]


@pytest.fixture(scope="session", autouse=True)
def state_of_their_own() -> Iterator[None]:
    """A state directory for the whole run; a test that looks into it has one of its own."""
    with tempfile.TemporaryDirectory(prefix="wren-state-", ignore_cleanup_errors=True) as folder:
        before = os.environ.get("XDG_STATE_HOME")
        os.environ["XDG_STATE_HOME"] = folder
        yield
        if before is None:
            del os.environ["XDG_STATE_HOME"]
        else:
            os.environ["XDG_STATE_HOME"] = before


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in sys.path for a user's code; what is imported from it is forgotten after the test."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name, module in list(sys.modules.items()):
        locations: list[Any] = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        if any(location and str(location).startswith(str(tmp_path)) for location in locations):
            del sys.modules[name]
