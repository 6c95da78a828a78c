"""Runs what is a stranger's in a thread of its own, as nobody knows whether it ends; for `wren doctor`."""

import threading
from collections.abc import Callable
from typing import Any, Final

__all__ = ["begin", "hangs"]

NAME: Final = "wren-doctor"


def begin(work: Callable[..., object], *arguments: Any) -> threading.Thread:
    """Have it run, and not wait for it."""
    thread = threading.Thread(target=work, args=arguments, name=NAME, daemon=True)
    thread.start()
    return thread


def hangs() -> bool:
    """Whether something is still at it."""
    return any(thread.name == NAME for thread in threading.enumerate())
