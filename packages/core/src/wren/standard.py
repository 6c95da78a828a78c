"""`wren.Executor`: the standard library's executor interface on a compute backend.

It never binds, injects or follows anything: what is given to `submit` is what the function gets.  Code that was written
for ProcessPoolExecutor runs unchanged.
"""

import concurrent.futures
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from wren.binding import Bound
from wren.config import Config
from wren.engine import Engine
from wren.futures import CallTable, Future, wait_all
from wren.job import CallOptions

__all__ = ["Executor"]

P = ParamSpec("P")
T = TypeVar("T")


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` whose calls run on `backend`, at most `workers` at once."""

    def __init__(
        self,
        backend: str | None = None,
        *,
        storage_backend: str | None = None,
        workers: int | None = None,
        retries: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        loaded = Config.load(config)
        options = loaded.wren
        self._engine = Engine(
            loaded,
            backend=backend or options.backend or "localhost",
            storage=storage_backend or options.storage or "localhost",
            workers=options.workers if workers is None else workers,
        )
        self._options = CallOptions(retries=retries)
        self._lock = threading.Lock()
        self._shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` and return its future."""
        return Future(self._start("A", fn, Bound([args], [kwargs] if kwargs else None)), 0)

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """Run `fn` over the iterables' elements; an iterator of the results in order.

        It raises TimeoutError for a result that is not there `timeout` seconds after this call.  `chunksize` is
        accepted and not needed: batches adapt.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        deadline = None if timeout is None else time.monotonic() + timeout
        table = self._start("M", fn, Bound(list(zip(*iterables, strict=False)), None))
        return _results(table.futures(), deadline)

    def _start(self, letter: str, fn: Callable[..., Any], bound: Bound) -> CallTable:
        with self._lock:
            if self._shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            return self._engine.start(f"{letter}{self._engine.number()}", fn, bound, self._options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; with `wait` until those that there are have ended, with `cancel_futures` drop those
        that have not started.
        """
        with self._lock:
            self._shut_down = True
        tables = self._engine.unfinished()
        futures = itertools.chain.from_iterable(table.futures() for table in tables)
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait:
            for table in tables:
                wait_all(table.futures(), None)
            self._engine.close()


def _results(futures: list[Future[T]], deadline: float | None) -> Iterator[T]:
    try:
        wait_all(futures, None if deadline is None else deadline - time.monotonic(), until_failure=True)
        futures.reverse()
        while futures:  # each is let go before its result is handed out: nobody keeps it then
            yield futures.pop().result(None if deadline is None else max(0.0, deadline - time.monotonic()))
    finally:
        for future in futures:
            future.cancel()
