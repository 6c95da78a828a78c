"""`FunctionExecutor`, what most users see, and the functions that make one."""

import enum
import logging
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from wren import binding, callbacks, reducers
from wren.config import Config
from wren.engine import Engine
from wren.errors import BindingError, WaitTimeout
from wren.futures import CallTable, Future, wait_all, wait_any
from wren.job import CallOptions
from wren.progress import waiting

__all__ = [
    "ALL_COMPLETED",
    "ALWAYS",
    "ANY_COMPLETED",
    "FunctionExecutor",
    "ReturnWhen",
    "function_executor",
    "local_executor",
]

T = TypeVar("T")
Extra = Sequence[Any] | Mapping[str, Any] | None
Env = Mapping[str, Any] | None


class ReturnWhen(enum.StrEnum):
    """When `wait` returns."""

    ALL_COMPLETED = "ALL_COMPLETED"
    ANY_COMPLETED = "ANY_COMPLETED"
    ALWAYS = "ALWAYS"


ALL_COMPLETED, ANY_COMPLETED, ALWAYS = ReturnWhen


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
        options = loaded.wren
        level = log_level if log_level is not None else options.log_level
        if level is not None:
            logging.getLogger("wren").setLevel(level)
        self._retries = options.retries if retries is None else retries
        self._engine = Engine(
            loaded,
            backend=backend or options.backend or "localhost",
            storage=storage_backend or options.storage or "localhost",
            workers=options.workers if workers is None else workers,
        )
        self._tables: list[CallTable] = []  # those whose results were not all collected, in order of submission
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
        self._tables.append(table)
        return Future(table, 0)

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
        self._tables.append(table)
        return table.futures()

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
        self._tables += [mapping, reducing]
        return [*mapping.futures(), *reducing.futures()]

    def wait(
        self,
        fs: Future[Any] | Iterable[Future[Any]] | None = None,
        throw_except: bool = True,
        return_when: str = ALL_COMPLETED,
        timeout: float | None = None,
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """Wait until all calls (or any, or none: "ALWAYS") are done: `(done, not_done)`.

        `fs`: which; None: all whose results were not collected yet.  Consumes nothing and does not raise when `timeout`
        seconds are over.  With `throw_except` the first failure in order of submission is raised.
        """
        if return_when not in ReturnWhen.__members__:
            raise BindingError(f"return_when is {return_when!r}: give one of {', '.join(ReturnWhen)}")
        futures = self._uncollected(inputs=True) if fs is None else [fs] if isinstance(fs, Future) else list(fs)
        if return_when == ANY_COMPLETED:
            waiting(_tables(futures), lambda left: wait_any(futures, left), timeout)
        elif return_when == ALL_COMPLETED:
            waiting(_tables(futures), lambda left: wait_all(futures, left), timeout)
        done = [future for future in futures if future.done()]
        if throw_except:
            for future in done:
                if not future.cancelled() and (error := future.exception()) is not None:
                    raise error
        return done, [future for future in futures if not future.done()]

    def get_result(
        self,
        fs: Future[Any] | Iterable[Future[Any]] | None = None,
        throw_except: bool = True,
        timeout: float | None = None,
    ) -> Any:
        """Wait for results and return them: one value after one call_async or map_reduce, else a list in order.

        `fs`: of which calls; None: all that were not collected yet.  With `throw_except` the first failure in order of
        submission is raised, and what was not read stays for the next time; without, it is None in its place.  Raises
        WaitTimeout when `timeout` seconds are over; the calls go on.
        """
        if isinstance(fs, Future):
            return self._collect([fs], throw_except, timeout)[0]
        given = None if fs is None else list(fs)
        futures = self._uncollected() if given is None else _without_inputs(given)
        results = self._collect(futures, throw_except, timeout)
        whole = given is None or len(futures) < len(given)
        if whole and len(futures) == 1 and futures[0].table.single:
            return results[0]
        return results

    def _collect(self, futures: list[Future[Any]], throw_except: bool, timeout: float | None) -> list[Any]:
        if not waiting(_tables(futures), lambda left: wait_all(futures, left, until_failure=throw_except), timeout):
            missing = sum(not future.done() for future in futures)
            raise WaitTimeout(f"{missing} of {len(futures)} calls have not ended after {timeout} s; they go on")
        results = []
        for future in futures:
            try:
                results.append(future.result())
            except BaseException:
                if not future.done():
                    raise  # the caller's own KeyboardInterrupt
                if throw_except:
                    self._mark([future])
                    raise
                results.append(None)
        self._mark(futures)
        return results

    def _uncollected(self, *, inputs: bool = False) -> list[Future[Any]]:
        """The futures that get_result has not read; with `inputs` also those that a reducer has not."""
        return [
            Future(table, call)
            for table in self._tables
            if inputs or table.reduced_by is None
            for call, seen in enumerate(table.collected)
            if not seen
        ]

    def _mark(self, futures: Iterable[Future[Any]]) -> None:
        """The caller has read these, and with a reducer's result the inputs of it."""
        for future in futures:
            future.table.collected[future.call] = 1
        read = {table.job_id for table in self._tables if all(table.collected)}
        self._tables = [table for table in self._tables if not {table.job_id, table.reduced_by} & read]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for table in self._engine.unfinished():
            if kind is None:
                wait_all(table.futures(), None)
            else:
                for future in table.futures():
                    _ = future.cancel() or self._engine.kill(future.job_id, future.call)
        self._finalizer()


def function_executor(
    config: Mapping[str, Any] | None = None, *, backend: str | None = None, **options: Any
) -> FunctionExecutor:
    """An executor on the named backend, else on the configuration's."""
    return FunctionExecutor(config, backend=backend, **options)


def local_executor(config: Mapping[str, Any] | None = None, **options: Any) -> FunctionExecutor:
    """An executor that runs calls in local processes."""
    return FunctionExecutor(config, backend="localhost", **options)


def _without_inputs(futures: list[Future[Any]]) -> list[Future[Any]]:
    """What `map_reduce` returned, without the calls whose results its reducer has."""
    given = {(future.executor_id, future.job_id) for future in futures}
    return [future for future in futures if (future.executor_id, future.table.reduced_by) not in given]


def _tables(futures: list[Future[Any]]) -> list[CallTable]:
    return list({id(future.table): future.table for future in futures}.values())
