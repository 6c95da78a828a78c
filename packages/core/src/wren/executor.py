"""`FunctionExecutor`, what most users see.  `wren.factories` has the functions that make one."""

import operator
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeAlias, TypeVar

from wren import binding, callbacks
from wren.config import Config
from wren.defaults import MODULES, NOTHING_EXCLUDED, RUNTIME_MEMORY, TIMEOUT, left_out, number
from wren.engine import Engine
from wren.errors import BindingError, Unsupported
from wren.futures import Future
from wren.job import CallOptions, Choice, RetryOn
from wren.plots import Times
from wren.results import ALL_COMPLETED, Futures, Results, checked
from wren.signatures import CallAsync, Map, MapReduce
from wren.spelling import also_spelled
from wren.spi import Feature
from wren.table import CallTable
from wren.worker.nested import process

if TYPE_CHECKING:
    from wren.modules.explanation import Explanation
    from wren.worker.objects import Storage

__all__ = ["FunctionExecutor"]

T = TypeVar("T")
Extra: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
Env: TypeAlias = Mapping[str, Any] | None
Modules: TypeAlias = Iterable[Any] | None

MIB = 1 << 20
MOST_THREADS: Final = 128  # that read results: more of them wait for the processor, not for the storage
_NOTHING_GIVEN: Final = (None, TIMEOUT, RUNTIME_MEMORY, None, None, None, 1, MODULES, NOTHING_EXCLUDED)


class FunctionExecutor:
    """Runs functions on a compute backend.  May be shared by threads; used in a `with`, it waits for its calls.

    `config` is a mapping of sections that overrides the configuration file key by key; `backend` and `storage_backend`
    are plugins' names, by default the configuration's, else localhost.  `runtime` is an image, where the backend has
    images, `runtime_memory` the MiB that a call may use.  `rabbitmq_monitor` has finished calls pushed by RabbitMQ.
    `workers` is the most calls at once; `retries` how often a call that was lost may run again (0: a call runs at most
    once); `persist` keeps results in the storage; `log_level` is that of the logger `wren`.

    What else a job has stored is removed once nobody can ask for it; with `data_cleaner` as soon as all of its results
    were read, and with `data_cleaner=False` not before `clean()`.

    In a function that wren runs, an executor runs nothing by itself: what is returned of its futures the caller's own
    executor follows, whatever this one names; a result that is asked for is computed there and then.

    Raises ConfigError, PluginNotFound for a name that no installed package offers, and Unsupported for
    `remote_invoker` where the backend's functions cannot invoke others.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        runtime: str | None = None,
        runtime_memory: int | None = RUNTIME_MEMORY,
        backend: str | None = None,
        storage_backend: str | None = None,
        rabbitmq_monitor: bool = False,
        log_level: str | int | None = None,
        remote_invoker: bool = False,
        *,
        workers: int | None = None,
        retries: int | None = None,
        persist: bool | None = None,
        data_cleaner: bool | None = None,
    ) -> None:
        loaded = Config.load(config)
        loaded.set_log_level(log_level)
        self._retries = loaded.wren.retries if retries is None else retries
        self._timeout = TIMEOUT if loaded.wren.timeout is None else loaded.wren.timeout
        self._times: list[Times] = []  # of every job, for plots
        self._usual: CallOptions | None = None  # those of a call that asks for nothing
        if process.is_worker:
            from wren.deferred import DeferredEngine, InlineResults

            self._engine: Engine | DeferredEngine = DeferredEngine(_given(runtime_memory))
            self._results: Results = InlineResults()
            return
        self._results = Results()
        self._engine = engine = Engine(
            loaded,
            backend=backend,
            storage=storage_backend,
            workers=workers,
            runtime=runtime,
            memory=_given(runtime_memory),
            monitor="rabbitmq" if rabbitmq_monitor else None,
            persist=persist,
            data_cleaner=data_cleaner,
        )
        if remote_invoker and Feature.REMOTE_INVOKE not in engine.compute.features:
            raise Unsupported(
                f"functions on the {engine.compute.name} backend cannot invoke others: leave remote_invoker out"
            )
        self._finalizer = weakref.finalize(self, callbacks.later, engine.close)
        self._finalizer.atexit = False

    @property
    def executor_id(self) -> str:
        """The executor's id, for people."""
        return self._engine.id

    @property
    def storage(self) -> "Storage":
        """The executor's storage, as functions get it for a parameter of that name."""
        return self._engine.objects()

    @also_spelled[CallAsync]()
    def call_async(
        self,
        func: Callable[..., T],
        data: Any,
        extra_env: Env = None,
        runtime_memory: int | None = RUNTIME_MEMORY,
        timeout: float | None = TIMEOUT,
        include_modules: Modules = MODULES,
        exclude_modules: Modules = NOTHING_EXCLUDED,
        *,
        retries: int | None = None,
        retry_on: RetryOn | None = None,
        persist: bool | None = None,
    ) -> Future[T]:
        """Run one call and return its future.

        `data` becomes arguments as an element of `map` does.  `timeout`: seconds that it may run before it is killed.
        """
        options = self._options(
            extra_env, timeout, runtime_memory, retries, retry_on, persist, 1, include_modules, exclude_modules
        )
        bound = binding.bind(func, [data])
        if bound.parted:
            bound, _ = self._bind(func, [data], None, None, None)
            if len(bound.args) > 1:
                raise BindingError(f"{bound.parted} is {data!r}, which is {len(bound.args)} objects: use map")
        table = self._engine.start(f"A{self._engine.number()}", func, bound, options, follows=True)
        table.single = True
        return self._keep(table)[0][0]

    @also_spelled[Map](func="map_function", iterdata="map_iterdata", extra_args="extra_params")
    def map(
        self,
        map_function: Callable[..., T],
        map_iterdata: Iterable[Any],
        extra_params: Extra = None,
        extra_env: Env = None,
        runtime_memory: int | None = RUNTIME_MEMORY,
        timeout: float | None = TIMEOUT,
        include_modules: Modules = MODULES,
        exclude_modules: Modules = NOTHING_EXCLUDED,
        chunk_size: int | None = None,
        chunk_n: int | None = None,
        invoke_pool_threads: int = 500,
        *,
        calls_per_activation: int = 1,
        retries: int | None = None,
        retry_on: RetryOn | None = None,
        persist: bool | None = None,
    ) -> list[Future[T]]:
        """Run one call for each element and return their futures, in order.

        A tuple is the call's positional arguments, a dict its keywords where they fit, anything else its one argument;
        `extra_params` go to every call.  `timeout`: seconds that each call may run before it is killed.
        `calls_per_activation`: how many calls share an activation, one after another.  `retries`, `retry_on`: how often
        and for which exceptions a call runs again, by default for calls that were lost.  `invoke_pool_threads` is
        accepted; no backend needs so many threads.  Raises BindingError and SerializationError, both before anything is
        invoked.
        """
        bound, _ = self._bind(map_function, map_iterdata, extra_params, chunk_size, chunk_n)
        shared = extra_env, timeout, runtime_memory, retries, retry_on, persist, calls_per_activation
        options = self._options(*shared, include_modules, exclude_modules)
        table = self._engine.start(f"M{self._engine.number()}", map_function, bound, options, follows=True)
        return list(self._keep(table)[0])

    @also_spelled[MapReduce](
        func="map_function",
        map_func="map_function",
        iterdata="map_iterdata",
        reduce_func="reduce_function",
        extra_args="extra_params",
    )
    def map_reduce(
        self,
        map_function: Callable[..., Any],
        map_iterdata: Iterable[Any],
        reduce_function: Callable[..., T],
        extra_params: Extra = None,
        reducer_wait_local: bool = False,
        extra_env: Env = None,
        map_runtime_memory: int | None = RUNTIME_MEMORY,
        reduce_runtime_memory: int | None = RUNTIME_MEMORY,
        timeout: float | None = TIMEOUT,
        include_modules: Modules = MODULES,
        exclude_modules: Modules = NOTHING_EXCLUDED,
        chunk_size: int | None = None,
        chunk_n: int | None = None,
        reducer_one_per_object: bool = False,
        invoke_pool_threads: int = 500,
        *,
        calls_per_activation: int = 1,
        retries: int | None = None,
        retry_on: RetryOn | None = None,
        persist: bool | None = None,
    ) -> list[Future[Any]]:
        """`map`, then one call of `reduce_function` with the list of results: the map's futures, then the reducer's.

        The reducer reads the results from the storage; with `reducer_wait_local` they go through this process.  A map
        call that fails fails the reducer with the same exception.  `timeout` holds for the reducer, too.
        """
        bound, objects = self._bind(map_function, map_iterdata, extra_params, chunk_size, chunk_n)
        if reducer_one_per_object and bound.parted is None:
            name = binding.describe_function(map_function)
            raise BindingError(f"{name} has no parameter obj or url, as reducer_one_per_object needs it: leave it out")
        shared, modules = (retries, retry_on, persist), (include_modules, exclude_modules)
        mapping, reducing = self._engine.map_reduce(
            map_function,
            bound,
            reduce_function,
            self._options(extra_env, timeout, map_runtime_memory, *shared, calls_per_activation, *modules),
            self._options(extra_env, timeout, reduce_runtime_memory, *shared, 1, *modules),
            through_client=reducer_wait_local,
            spans=_spans(objects) if reducer_one_per_object else None,
        )
        inputs, reduced = self._keep(mapping, reducing)
        return [*inputs, *reduced]

    def wait(
        self,
        fs: Futures = None,
        throw_except: bool = True,
        return_when: str = ALL_COMPLETED,
        download_results: bool = False,
        timeout: float | None = None,
        THREADPOOL_SIZE: int = 128,  # noqa: N803 - the API's own spelling
        WAIT_DUR_SEC: float = 1,  # noqa: N803 - the API's own spelling
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """Wait until all calls (or any, or none: "ALWAYS") are done: `(done, not_done)`.

        `fs`: which; None: all whose results were not collected yet.  Consumes nothing and does not raise when `timeout`
        seconds are over.  With `throw_except` the first failure in order of submission is raised.
        `download_results`: have the results of what is done here, too, when it returns; those that lie in the storage
        are read by `THREADPOOL_SIZE` threads at most.  `WAIT_DUR_SEC` is accepted: listings have their interval in
        section `[storage]`.
        """
        done, not_done = self._results.wait(fs, throw_except, return_when, timeout)
        if download_results:
            self._results.download(done, _threads(THREADPOOL_SIZE))
        return done, not_done

    def get_result(
        self,
        fs: Futures = None,
        throw_except: bool = True,
        timeout: float | None = None,
        THREADPOOL_SIZE: int = 128,  # noqa: N803 - the API's own spelling
        WAIT_DUR_SEC: float = 1,  # noqa: N803 - the API's own spelling
    ) -> Any:
        """Wait for results and return them: one value after one call_async or map_reduce, else a list in order.

        `fs`: of which calls; None: all that were not collected yet.  With `throw_except` the first failure in order of
        submission is raised, and what was not read stays for the next time; without, it is None in its place.  Raises
        WaitTimeout when `timeout` seconds are over; the calls go on.  The last two are as in `wait`.
        """
        return self._results.get(fs, throw_except, timeout, _threads(THREADPOOL_SIZE))

    def create_execution_plots(self, dst_dir: str | os.PathLike[str], dst_name: str, fs: Futures = None) -> None:
        """Draw when calls ran: `{dst_name}_timeline.png` and `{dst_name}_histogram.png` in `dst_dir`, made if missing.

        `fs`: which calls; None: all of this executor's, also those that were read or cleaned.  Raises Unsupported,
        which says what to install, without matplotlib.
        """
        from pathlib import Path

        from wren.plots import histogram, timeline

        jobs = self._times if fs is None else Times.of_calls(checked(fs))
        folder = Path(dst_dir)
        timeline(jobs, folder / f"{dst_name}_timeline.png")
        histogram(jobs, folder / f"{dst_name}_histogram.png")

    def clean(self, fs: Futures = None, local_execution: bool = True) -> None:
        """Remove what jobs that are over have in the storage, in the background.

        `fs`: the jobs of these calls; None: all of this executor's.  Results that lie there and were not read are gone
        then.  With `local_execution` off a function does it, where the backend's workers can.
        """
        wanted = None if fs is None else self._jobs(fs)
        if local_execution:
            callbacks.clean(lambda: self._engine.clean(wanted))
        else:
            self._engine.clean_remotely(wanted)

    def explain(
        self,
        func: Callable[..., Any],
        data: Any = None,
        include_modules: Modules = MODULES,
        exclude_modules: Modules = NOTHING_EXCLUDED,
    ) -> "Explanation":
        """Print which modules `func` needs, and which of them travel with it, why, and how large they are.

        `data`: elements as they would be mapped over, whose classes count, too.  The rows are returned as well.
        Nothing is invoked.  Raises SerializationError, and ModuleError for what is included and is no module here.
        """
        explanation = self._engine.explain(func, data, Choice.of(include_modules, exclude_modules))
        explanation.show()
        return explanation

    # ---- what all calls share

    def _bind(
        self,
        function: Callable[..., Any],
        data: Iterable[Any],
        extra: Extra,
        chunk_size: int | None,
        chunk_n: int | None,
    ) -> tuple[binding.Bound, Sequence[int]]:
        """The arguments of each call; where the function wants parts of objects, of which object each has one."""
        bound = binding.bind(function, data, extra)
        _check_chunks(function, chunk_size, chunk_n, bound)
        return (bound, ()) if bound.parted is None else self._engine.expand(bound, chunk_size, chunk_n)

    def _jobs(self, fs: Futures) -> set[str]:
        """The jobs of some of this executor's futures: those of others have jobs of the same ids."""
        futures = checked(fs)
        for future in futures:
            if future.executor_id != self.executor_id:
                raise BindingError(f"fs has {future!r}, which is of another executor than {self.executor_id}: ask that")
        return {future.job_id for future in futures}

    def _keep(self, *tables: CallTable) -> list[list[Future[Any]]]:
        """The futures of jobs, which `get_result` and plots will be asked for."""
        kept = []
        for table in tables:
            self._times.append(Times.of(table))
            futures = self._engine.futures(table)
            self._results.add(futures)
            kept.append(futures)
        return kept

    def _options(
        self,
        extra_env: Env,
        timeout: float | None,
        memory: int | None,
        retries: int | None,
        retry_on: RetryOn | None,
        persist: bool | None,
        per_activation: int,
        include: Modules,
        exclude: Modules,
    ) -> CallOptions:
        given = extra_env, timeout, memory, retries, retry_on, persist, per_activation, include, exclude
        usual = all(map(operator.is_, given, _NOTHING_GIVEN))
        if usual and self._usual is not None:
            return self._usual
        options = CallOptions.of(
            extra_env,
            self._timeout if left_out(timeout, TIMEOUT) else timeout,
            self._retries if retries is None else retries,
            limits=self._engine.limits,
            retry_on=retry_on,
            memory=_given(memory),
            per_activation=per_activation,
            persist=persist,
            choice=Choice.of(include, exclude),
        )
        if usual:
            self._usual = options
        return options

    # ---- the end

    def __reduce__(self) -> NoReturn:
        raise TypeError("an executor cannot be pickled: make one where it is needed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._engine.wait()
        except BaseException:  # Ctrl-C
            self._engine.end()
            raise
        finally:
            if kind is not None:
                self._engine.end()
            self._engine.close()


def _given(memory: int | None) -> int | None:
    """MiB that the caller has asked for, None if that was left open."""
    return None if memory is RUNTIME_MEMORY else memory


def _threads(given: object) -> int:
    count = number(given)
    if count is None or not count >= 1:
        raise BindingError(f"THREADPOOL_SIZE is {given!r}: give how many threads may read results, 1 or more")
    return int(min(count, MOST_THREADS))


def _spans(objects: Sequence[int]) -> list[range]:
    """The calls of each object."""
    starts = [at for at, number in enumerate(objects) if not at or objects[at - 1] != number]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], len(objects)], strict=True)]


def _check_chunks(function: Callable[..., Any], size: int | None, number: int | None, bound: binding.Bound) -> None:
    if size is None and number is None:
        return
    for name, given in (("chunk_size", size), ("chunk_n", number)):
        if given is not None and not hasattr(given, "__index__"):  # such as 64e6
            raise BindingError(f"{name} is {given!r}: give a whole number, an int")
    if size is not None and size < MIB:
        raise BindingError(f"chunk_size is {size} bytes: give 1 MiB ({MIB}) or more")
    if number is not None and number < 1:
        raise BindingError(f"chunk_n is {number}: give how many parts, 1 or more")
    if bound.parted is None:
        raise BindingError(
            f"{binding.describe_function(function)} has no parameter obj or url, whose objects chunk_size and chunk_n "
            "would divide: leave them out"
        )
