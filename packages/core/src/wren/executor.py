"""`FunctionExecutor`, what most users see, and the functions that make one."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from wren import binding, callbacks, reducers
from wren.config import Config
from wren.engine import Engine
from wren.futures import Future, futures_of
from wren.job import CallOptions
from wren.results import ALL_COMPLETED, Futures, Results

__all__ = ["FunctionExecutor", "function_executor", "local_executor"]

T = TypeVar("T")
Extra = Sequence[Any] | Mapping[str, Any] | None
Env = Mapping[str, Any] | None


class FunctionExecutor:
    """Runs functions on a compute backend.  May be shared by threads; used in a `with`, it waits for its calls.

    `config` is a mapping of sections that overrides the configuration file key by key; `backend` and `storage_backend`
    are plugins' names, by default the configuration's, else localhost; `workers` is the most calls at once; `retries`
    how often a call that was lost may run again (0: a call runs at most once); `log_level` that of the logger `wren`.
    Raises ConfigError, and PluginNotFound for a name that no installed package offers.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        backend: str | None = None,
        storage_backend: str | None = None,
        workers: int | None = None,
        retries: int | None = None,
        log_level: str | int | None = None,
    ) -> None:
        loaded = Config.load(config)
        loaded.set_log_level(log_level)
        self._retries = loaded.wren.retries if retries is None else retries
        self._engine = Engine(loaded, backend=backend, storage=storage_backend, workers=workers)
        self._results = Results()
        self._finalizer = weakref.finalize(self, callbacks.later, self._engine.close)
        self._finalizer.atexit = False

    @property
    def executor_id(self) -> str:
        """The executor's id, for people."""
        return self._engine.id

    def call_async(
        self,
        func: Callable[..., T],
        data: Any,
        *,
        extra_env: Env = None,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> Future[T]:
        """Run one call and return its future.

        `data` becomes arguments as an element of `map` does.  `timeout`: seconds that it may run before it is killed.
        """
        bound = binding.bind(func, [data])
        options = CallOptions.of(extra_env, timeout, self._retries if retries is None else retries)
        table = self._engine.start(f"A{self._engine.number()}", func, bound, options)
        table.single = True
        futures = futures_of(table)
        self._results.add(futures)
        return futures[0]

    def map(
        self,
        map_function: Callable[..., T],
        map_iterdata: Iterable[Any],
        *,
        extra_params: Extra = None,
        extra_env: Env = None,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> list[Future[T]]:
        """Run one call for each element and return their futures, in order.

        A tuple is the call's positional arguments, a dict its keywords where they fit, anything else its one argument;
        `extra_params` go to every call.  `timeout`: seconds that each call may run before it is killed.  Raises
        BindingError and SerializationError, both before anything is invoked.
        """
        bound = binding.bind(map_function, map_iterdata, extra_params)
        options = CallOptions.of(extra_env, timeout, self._retries if retries is None else retries)
        table = self._engine.start(f"M{self._engine.number()}", map_function, bound, options)
        futures = futures_of(table)
        self._results.add(futures)
        return list(futures)

    def map_reduce(
        self,
        map_function: Callable[..., Any],
        map_iterdata: Iterable[Any],
        reduce_function: Callable[..., T],
        *,
        extra_params: Extra = None,
        reducer_wait_local: bool = False,
        extra_env: Env = None,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> list[Future[Any]]:
        """`map`, then one call of `reduce_function` with the list of results: the map's futures, then the reducer's.

        The reducer reads the results from the storage; with `reducer_wait_local` they go through this process.  A map
        call that fails fails the reducer with the same exception.
        """
        bound = binding.bind(map_function, map_iterdata, extra_params)
        options = CallOptions.of(extra_env, timeout, self._retries if retries is None else retries)
        mapping, reducing = reducers.map_reduce(
            self._engine, map_function, bound, reduce_function, options, through_client=reducer_wait_local
        )
        inputs, reduced = futures_of(mapping), futures_of(reducing)
        self._results.add(inputs)
        self._results.add(reduced)
        return [*inputs, *reduced]

    def wait(
        self,
        fs: Futures = None,
        throw_except: bool = True,
        return_when: str = ALL_COMPLETED,
        timeout: float | None = None,
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """Wait until all calls (or any, or none: "ALWAYS") are done: `(done, not_done)`.

        `fs`: which; None: all whose results were not collected yet.  Consumes nothing and does not raise when `timeout`
        seconds are over.  With `throw_except` the first failure in order of submission is raised.
        """
        return self._results.wait(fs, throw_except, return_when, timeout)

    def get_result(
        self,
        fs: Futures = None,
        throw_except: bool = True,
        timeout: float | None = None,
    ) -> Any:
        """Wait for results and return them: one value after one call_async or map_reduce, else a list in order.

        `fs`: of which calls; None: all that were not collected yet.  With `throw_except` the first failure in order of
        submission is raised, and what was not read stays for the next time; without, it is None in its place.  Raises
        WaitTimeout when `timeout` seconds are over; the calls go on.
        """
        return self._results.get(fs, throw_except, timeout)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an executor cannot be pickled: make one where it is needed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._engine.wait()
        else:
            self._engine.end()
        self._engine.close()


def function_executor(
    config: Mapping[str, Any] | None = None,
    *,
    backend: str | None = None,
    storage_backend: str | None = None,
    workers: int | None = None,
    retries: int | None = None,
    log_level: str | int | None = None,
) -> FunctionExecutor:
    """An executor on the named backend, else on the configuration's."""
    return FunctionExecutor(
        config,
        backend=backend,
        storage_backend=storage_backend,
        workers=workers,
        retries=retries,
        log_level=log_level,
    )


def local_executor(
    config: Mapping[str, Any] | None = None,
    *,
    storage_backend: str | None = None,
    workers: int | None = None,
    retries: int | None = None,
    log_level: str | int | None = None,
) -> FunctionExecutor:
    """An executor that runs calls in local processes."""
    return FunctionExecutor(
        config,
        backend="localhost",
        storage_backend=storage_backend,
        workers=workers,
        retries=retries,
        log_level=log_level,
    )
