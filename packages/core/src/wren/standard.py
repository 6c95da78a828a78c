"""`wren.Executor`: the standard library's executor interface on a compute backend.

It never binds, injects or follows anything: what is given to `submit` is what the function gets.  Code that was written
for ProcessPoolExecutor runs unchanged.
"""

import concurrent.futures
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, TypeVar

from wren import callbacks
from wren.binding import Bound, describe_function
from wren.config import Config
from wren.engine import Engine
from wren.errors import WaitTimeout
from wren.futures import Future, futures_of, wait_all
from wren.job import CallOptions
from wren.spi import Shell
from wren.table import called_back
from wren.worker.managers import accepted

__all__ = ["Executor"]

P = ParamSpec("P")
T = TypeVar("T")


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` whose calls run on `backend`, at most `max_workers` at once.

    Calls may run again after their worker was lost, `retries` times.  Raises ConfigError, PluginNotFound for a name
    that no installed package offers, and ValueError for a `max_workers` below 1.
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
        if isinstance(max_workers, int) and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0: it is {max_workers}; leave it out for the default")
        loaded = Config.load(config)
        loaded.set_log_level(None)
        self._engine = Engine(loaded, backend=backend, storage=storage_backend, workers=max_workers)
        self._options = CallOptions.of(None, None, loaded.wren.retries if retries is None else retries)
        self._shut_down = False
        self._finalizer = weakref.finalize(self, callbacks.later, self._engine.close)
        self._finalizer.atexit = False

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
            raise ValueError(f"chunksize is {chunksize}: give 1 or more, or leave it out")
        deadline = None if timeout is None else time.monotonic() + timeout
        return _results(self._start("M", fn, Bound(list(zip(*iterables, strict=False)), None)), deadline, timeout)

    def _start(self, letter: str, fn: Callable[..., Any], bound: Bound) -> list[Future[Any]]:
        # Under no lock: what is pickled may submit itself, and so may what the garbage collector finds meanwhile.
        if self._shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if not threading.main_thread().is_alive():  # what would run them may be gone before they have ended
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if "multiprocessing.managers" in sys.modules and self._engine.compute.shell is Shell.PIPE:
            fn = _Accepted(fn)
        table = self._engine.start(f"{letter}{self._engine.number()}", fn, bound, self._options)
        table.raised = _as_of_a_pool
        return futures_of(table)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and with `cancel_futures` drop those that have not started; with `wait` return when all
        have ended and their callbacks were called.
        """
        self._shut_down = True
        if cancel_futures:
            self._engine.drop()
        if wait:
            self._engine.wait()
            called_back()
        self._engine.close()  # once what runs has ended

    def __reduce__(self) -> NoReturn:
        raise TypeError("an executor cannot be pickled: make one where it is needed")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if interrupted:
            self._engine.end()
        self.shutdown(wait=not interrupted)


class _Accepted:
    """A function that takes a local worker into the family: unpickled, it is the function itself.

    `multiprocessing` gives its key to the processes that it starts, so that they may use its managers' queues and such.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__qualname__ = describe_function(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Callable[..., Any], bytes]]:
        from multiprocessing import current_process

        return accepted, (self._function, bytes(current_process().authkey))


def _as_of_a_pool(error: BaseException) -> BaseException:
    from wren.broken import as_of_a_pool

    return as_of_a_pool(error)


def _results(futures: list[Future[T]], deadline: float | None, timeout: float | None) -> Iterator[T]:
    try:
        futures.reverse()
        while futures:  # each is let go before its result is handed out: nobody keeps it then
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not wait_all(futures[-1:], left):
                raise WaitTimeout(f"{len(futures)} results were not there after {timeout:g} s; their calls go on")
            future = futures.pop()
            table, call = future.table, future.call
            del future
            yield table.take(call)
    finally:
        # The garbage collector may close this in any thread: nothing may be waited for here.
        callbacks.later(lambda: [future.cancel() for future in futures])
