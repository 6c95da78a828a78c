"""What these tests share."""

import os
import signal
import warnings
from collections.abc import Callable

import pytest


@pytest.fixture
def in_child() -> Callable[[Callable[[], bytes]], bytes]:
    """What an action gives in a child of a fork, which ends after 20 s in any case."""

    def run(action: Callable[[], bytes]) -> bytes:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads
            pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(20)
                with os.fdopen(writing, "wb") as file:
                    file.write(b"it gave " + action())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            said = file.read()
        os.waitpid(pid, 0)
        assert said.startswith(b"it gave ")
        return said.removeprefix(b"it gave ")

    return run
