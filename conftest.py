"""What all tests share: the real services, and job records that are not their user's."""

import os
import tempfile
from collections.abc import Iterator

import pytest

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
