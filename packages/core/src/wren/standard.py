"""`wren.Executor`: the standard library's executor interface on a compute backend.

It never binds, injects or follows anything: what is given to `submit` is what the function gets.  Code that was written
for ProcessPoolExecutor runs unchanged.
"""

import concurrent.futures
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, TypeVar

from wren import callbacks
from wren.binding import Bound
from wren.config import Config
from wren.engine import Engine
from wren.errors import WaitTimeout
from wren.futures import Future, futures_of, wait_all
from wren.job import CallOptions

__all__ = ["Executor"]

P = ParamSpec("P")
T = TypeVar("T")


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` whose calls run on `backend`, at most `max_workers` at once.

    Calls may run again after their worker was lost, `retries` times.  Raises ConfigError, and PluginNotFound for a name
    that no installed package offers.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        backend: str | None = None,
        storage_backend: str | None = None,
        retries: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        loaded = Config.load(config)
        loaded.set_log_level(None)
        self._engine = Engine(loaded, backend=backend, storage=storage_backend, workers=max_workers)
        self._options = CallOptions.of(None, None, loaded.wren.retries if retries is None else retries)
        self._shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` and return its future."""
        return self._start("A", fn, Bound([args], [kwargs] if kwargs else None))[0]

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
        return _results(self._start("M", fn, Bound(list(zip(*iterables, strict=False)), None)), deadline, timeout)

    def _start(self, letter: str, fn: Callable[..., Any], bound: Bound) -> list[Future[Any]]:
        # Under no lock: what is pickled may submit itself, and so may what the garbage collector finds meanwhile.
        if self._shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        return futures_of(self._engine.start(f"{letter}{self._engine.number()}", fn, bound, self._options))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; with `wait` until those that there are have ended, with `cancel_futures` drop those
        that have not started.
        """
        self._shut_down = True
        if cancel_futures:
            self._engine.drop()
        if wait:
            self._engine.wait()
            self._engine.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an executor cannot be pickled: make one where it is needed")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if interrupted:
            self._engine.end()
        self.shutdown(wait=not interrupted)


def _results(futures: list[Future[T]], deadline: float | None, timeout: float | None) -> Iterator[T]:
    try:
        futures.reverse()
        while futures:  # each is let go before its result is handed out: nobody keeps it then
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not wait_all(futures[-1:], left):
                raise WaitTimeout(f"{len(futures)} results were not there after {timeout:g} s")
            yield futures.pop().result()
    finally:
        # The garbage collector may close this in any thread: nothing may be waited for here.
        callbacks.later(lambda: [future.cancel() for future in futures])
