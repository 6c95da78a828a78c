"""A progress bar while the caller waits, on a terminal or in a notebook, for waits of over half a second."""

import sys
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from wren.futures import Future
from wren.table import CallTable

__all__ = ["waiting"]

PATIENCE: Final = 0.5  # seconds before a bar appears
INTERVAL: Final = 0.1  # seconds between two looks
# The terminal's own colours, which can be read on its background, be that light or dark.
STYLES: Final = {
    "bar.back": "dim",
    "bar.complete": "cyan",
    "bar.finished": "green",
    "progress.download": "none",
    "progress.elapsed": "dim",
}


def waiting(futures: Iterable[Future[Any]], wait: Callable[[float | None], bool], timeout: float | None) -> bool:
    """What `wait` returns, given at most `timeout` seconds; where somebody looks, how far the jobs are is shown."""
    deadline = None if timeout is None else time.monotonic() + timeout
    if wait(PATIENCE if timeout is None else min(timeout, PATIENCE)):
        return True
    if not _somebody_looks():
        return wait(None if deadline is None else deadline - time.monotonic())
    tables = {future.table for future in futures}
    with _bar() as bar:
        task = bar.add_task("calls", total=sum(map(len, tables)))
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            done = (left is not None and left <= 0) or wait(INTERVAL if left is None else min(left, INTERVAL))
            ended = sum(len(table) - table.unfinished for table in tables)
            bar.update(task, completed=ended)
            if done or _over(tables):
                return wait(0)


def _over(tables: Collection[CallTable]) -> bool:
    return not any(table.unfinished for table in tables)


def _somebody_looks() -> bool:
    if "ipykernel" in sys.modules:
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # None in a program without one, or closed
        return False


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.theme import Theme

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True, theme=Theme(STYLES)), transient=True)
