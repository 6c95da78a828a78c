"""What an executor holds: its plugins, and the way of its jobs through them.

    executor ─▶ engine.start(job) ─▶ invoker ─▶ compute backend
                     ▲                              │
    futures ◀─ table ◀────────── tracker ◀──────────┘

The engine knows no executor: one that is garbage while its futures are not resolved goes on until they are.
"""

import atexit
import itertools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from logging import INFO
from typing import TYPE_CHECKING, Any, Final

from wren import callbacks, plugins
from wren.binding import Bound, reducer_parameter
from wren.clients import Clients
from wren.config import Config
from wren.defaults import TIMEOUT
from wren.errors import CallLost, ConfigError
from wren.examiner import Examiner
from wren.flights import Flights, Rules
from wren.futures import Future, futures_of, wait_all
from wren.invoker import Invoker
from wren.job import CallOptions, Choice, Job
from wren.leftovers import Leftovers
from wren.logs import Log
from wren.maker import Maker
from wren.nested import Follower
from wren.recorder import recorder
from wren.reducers import prepare_reduction
from wren.serialize import argument_sizes, pickle_function
from wren.spi import Compute, Feature, Limits, Monitor, Pickled, Runtime, Shell, Storage, Stored
from wren.stored import fetch, read_status
from wren.table import CANCELLED, CallTable
from wren.tracker import Tracker
from wren.verdicts import complete
from wren.watcher import Watcher
from wren.wire import CallStatus, Failure, Header
from wren.worker.nested import process
from wren.worker.run import remove
from wren.worker.stream import cloudpickle_chunks

if TYPE_CHECKING:
    from wren.modules.explanation import Explanation
    from wren.observers import Observers
    from wren.partition import Parts
    from wren.worker.objects import Storage as Objects

__all__ = ["Engine"]

_log: Final = Log("wren.engine")

_executors: Final = itertools.count()
_session = os.urandom(3).hex()
_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def _after_fork() -> None:
    global _session  # noqa: PLW0603 - names that the parent does not give, too
    _session = os.urandom(3).hex()
    for engine in list(_engines):
        engine.forked()


os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _at_exit() -> None:
    """A program that ends without waiting has asked for its calls all the same, unless it was interrupted."""
    interactive = hasattr(sys, "ps1")  # then an interrupt ended some line long ago
    interrupted = not interactive and getattr(sys, "last_type", None) is KeyboardInterrupt
    for engine in list(_engines):
        for step in (engine.end if interrupted else engine.wait, engine.leftovers.tidy, engine.close, engine.flush):
            try:
                step()
            except Exception:  # noqa: BLE001 - one executor's trouble must not cost the calls of the others
                _log.exception("the end of executor %s failed", engine.id, executor=engine.id)


def _new_id() -> str:
    return f"{_session}-{next(_executors)}"


class Engine:
    """The running part of one executor.  Thread-safe."""

    def __init__(
        self,
        config: Config,
        *,
        backend: str | None = None,
        storage: str | None = None,
        workers: int | None = None,
        runtime: str | None = None,
        memory: int | None = None,
        monitor: str | None = None,
        persist: bool | None = None,
        data_cleaner: bool | None = None,
    ) -> None:
        plugins.check_sections(config)
        options = config.wren
        options = replace(
            options,
            monitor=monitor or options.monitor,
            persist=options.persist if persist is None else persist,
            data_cleaner=options.data_cleaner if data_cleaner is None else data_cleaner,
        )
        backend, storage = backend or options.backend or "localhost", storage or options.storage or "localhost"
        workers = options.workers if workers is None else workers
        if workers is not None and (type(workers) is not int or workers < 1):
            raise ConfigError(
                f"workers is {workers!r}: give how many calls may run at once, 1 or more, or leave it out"
            )
        compute_type, storage_type = plugins.load_compute(backend), plugins.load_storage(storage)
        self.id = _new_id()
        self._observers = _observe(options.observer_names, self.id, backend) if options.observers else None
        self.compute: Compute[Any] = compute_type(config.options(backend, compute_type.options_type))
        self.storage: Storage[Any] = storage_type(config.options(storage, storage_type.options_type))
        self._numbers = itertools.count()
        if self.compute.shell is Shell.PIPE:  # what a configuration says of runtimes is meant for containers
            options = replace(options, runtime=None, runtime_memory=None)
        memory = options.runtime_memory if memory is None else memory
        if memory is not None and (type(memory) is not int or memory < 1):
            raise ConfigError(f"runtime_memory is {memory!r}: give a number of MiB, 1 or more, or leave it out")
        self._runtime = Runtime(runtime or options.runtime, memory, workers=workers)
        self._config, self._options = config, options
        self._records = options.records and not process.is_worker
        self._place = backend, storage
        self.timeout = TIMEOUT if options.timeout is None else options.timeout  # of calls that are given none
        self._opening = threading.Lock()
        self._closing = False
        self._ending: set[str] = set()  # jobs that `finished` is about
        self._connect()
        callbacks.start()
        if Feature.QUEUE not in self.compute.features:
            callbacks.start_clock()
        _engines.add(self)
        if self._records:
            recorder.follow(self)

    def _connect(self) -> None:
        """Make the parts that jobs go through: at first, and again in a forked child."""
        options = self._options
        self.leftovers = Leftovers(self.storage, cleans=options.data_cleaner)
        self._clients = Clients(self._config, self._own, self._renew)
        shared = self.compute, self.storage, options, self._runtime, self.leftovers, self._clients
        self.maker = Maker(self, self.id, *shared)
        beats = options.heartbeat if Feature.HEARTBEAT in self.compute.features else None
        flights = Flights(Rules(options.start_timeout, beats, options.heartbeat))
        self._tracker = Tracker(flights, self.storage, Feature.QUEUE in self.compute.features)
        self._invoker = Invoker(self.id, self.compute, self._runtime.workers, self._secrets, flights, self._tracker)
        self._follower = Follower(self)
        self._tracker.sender, self._tracker.follower = self._invoker, self._follower
        flights.examine = Examiner(self.compute, self.storage, flights, self._tracker).examine
        self._watch()

    def _watch(self) -> None:
        self._watchers = [Watcher(self.id, monitor, self.storage, self._tracker) for monitor in self._monitors()]
        self._closed = False

    def _monitors(self) -> Iterator[Monitor[Any]]:
        """What brings the statuses that the backend does not bring itself: a monitor, and the sweep of the storage."""
        name = self._options.monitor or ("storage" if Feature.DIRECT not in self.compute.features else None)
        if name is None:
            return
        kind = plugins.load_monitor(name)
        yield kind(self._config.options(name, kind.options_type))
        if name != "storage":
            sweep = plugins.load_monitor("storage")
            yield sweep(sweep.options_type(interval=self._options.sweep))

    def _secrets(self) -> Mapping[str, str]:
        """What workers need to open the storage, to make clients and to report."""
        secrets = dict(self.storage.secrets()) if Feature.WORKER in self.storage.features else {}
        for watcher in self._watchers:
            secrets |= watcher.secrets()
        secrets |= self._clients.secrets()
        return secrets

    def _renew(self) -> None:
        """Workers need other secrets."""
        self._invoker.renew()

    def _own(self) -> Iterator[Storage[Any] | Monitor[Any]]:
        yield self.storage
        for watcher in self._watchers:
            yield watcher.monitor

    def objects(self) -> "Objects":
        """The storage as users see it."""
        from wren.worker.objects import Storage as Objects

        return Objects.over(self.storage, self.storage.name, self.storage.bucket)

    @property
    def limits(self) -> Limits:
        """What the backend can take."""
        return self.compute.limits

    def explain(self, function: Callable[..., Any], data: Any, choice: Choice) -> "Explanation":
        """Which modules a call needs, and what of them travels.  SerializationError, ModuleError, BackendError."""
        from wren.modules.explanation import explain

        return explain(pickle_function(function), cloudpickle_chunks(data), choice, self.maker.runtime_info())

    # ---- jobs

    def expand(self, bound: Bound, chunk_size: int | None, chunk_n: int | None) -> "Parts":
        """A call for each part of the objects, or URLs, that each call was bound to.  StorageError."""
        from wren.partition import expand

        return expand(bound, self.storage, chunk_size, chunk_n)

    def number(self) -> str:
        """The number of a new job."""
        return f"{next(self._numbers):03d}"

    def start(
        self,
        job_id: str,
        function: Callable[..., Any],
        bound: Bound,
        options: CallOptions,
        *,
        follows: bool = False,
    ) -> CallTable:
        """Pickle everything and have it run.  Raises SerializationError before anything is invoked.

        `follows`: futures that the function returns are followed.
        """
        job = self.maker.make(job_id, self.maker.work(function, bound, options))
        job.follows = follows
        self.launch(job)
        return job.table

    def map_reduce(
        self,
        map_function: Callable[..., Any],
        bound: Bound,
        reduce_function: Callable[..., Any],
        options: CallOptions,
        reduce_options: CallOptions,
        *,
        through_client: bool,
        spans: Sequence[range] | None = None,
    ) -> tuple[CallTable, CallTable]:
        """Have a map job run, and its reducer when that is done: the tables of both.  Both follow futures.

        `spans`: calls of the map that have a reducer of their own, which starts when they are done.
        """
        parameter, inject = reducer_parameter(reduce_function)
        mapping, reducing = prepare_reduction(
            self,
            self.number(),
            self.maker.work(map_function, bound, options),
            self.maker.work(reduce_function, Bound([], None, inject), reduce_options),
            parameter,
            through_client=through_client,
            spans=spans,
        )
        mapping.follows = reducing.follows = True
        self.launch(mapping, reducing)
        return mapping.table, reducing.table

    def futures(self, table: CallTable) -> list[Future[Any]]:
        """The future of each call, to be asked for once."""
        return futures_of(table)

    def launch(self, job: Job, *expected: Job, calls: Sequence[int] | None = None) -> None:
        """Have all calls of a job run, or those that were held until now.

        `expected` are jobs that are launched when it is over, so not over before.
        """
        jobs = (job, *expected)
        try:
            with self._opening:
                # Else a reducer's turn has come, or a nested job's, and nobody's use begins.
                if self._tracker.find(job.header.job) is None and not job.depth:
                    if self._closed:  # by an earlier end of its use
                        self._watch()
                    self._closing = False
                for each in jobs:
                    self._tracker.add(each)
            again, job.launched = job.launched, True
            if job.table.unfinished:
                self._invoke(job, range(len(job.table)) if calls is None else calls, again=again)
                for each in jobs:  # while they run
                    each.table.argument_sizes = argument_sizes(each.arguments)
            else:
                self.finished(job.header.job)  # it has no calls, or they were cancelled
            if again:
                return
            if self._records and not recorder.stirred:
                recorder.stir()
            if _log.logger.isEnabledFor(INFO):  # asked so for the sake of short calls
                _log.info("%s was submitted to %s, calls: %d", job.name, self.compute.name, len(job.table), about=job)
            if self._observers is not None:
                self._observers.submitted(jobs if job.inputs is None else expected)  # a reducer was expected before
        except BaseException as error:
            callbacks.later(partial(self._abandon, jobs, error))
            raise

    def _invoke(self, job: Job, calls: Sequence[int], *, again: bool) -> None:
        self._invoker.deploy(job.runtime)  # what is wrong with it is the caller's to know
        if self._watchers and not again:
            reporters = [watcher.open(job) for watcher in self._watchers]
            if any(reporters):
                job.header = job.header._replace(reporter=reporters[0])
        self._invoker.invoke(job, calls, 0)

    def _abandon(self, jobs: Sequence[Job], error: BaseException) -> None:
        """Nobody has the futures of these jobs, and nothing may wait for them."""
        for job in jobs:
            self.take_back(job.table, range(len(job.table)))
            for call in range(len(job.table)):
                job.table.fail(call, CallLost(f"call {call} of job {job.header.job} was not submitted: {error!r}"))

    def running(self) -> Iterator[tuple[Job, tuple[str, str]]]:
        """The jobs that are not over, for their records."""
        return ((job, self._place) for job in self._tracker.unfinished())

    # ---- wren.futures.Owner

    def cancel(self, table: CallTable, calls: Sequence[int]) -> None:
        """Take back those of the calls that have not started, and settle them."""
        callbacks.do(lambda: self.take_back(table, calls), lambda: table.held(calls))

    def take_back(self, table: CallTable, calls: Sequence[int]) -> None:
        """The same, in a thread of wren's own."""
        job = self._tracker.find(table.job_id)
        if job is not None:
            held = [call for call in calls if job.release(call)] if job.held else []
            self._tracker.withdrawn(job, [*held, *self._invoker.withdraw(job, calls)] if job.launched else calls)
            self._follower.cancel(job, calls)

    def kill(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        """End those of the calls that run, where the backend can: which ones.  They settle as `CallCancelled`."""
        killed: list[int] = []
        callbacks.do(lambda: killed.extend(self.end_calls(table, calls)), lambda: table.held(calls))
        return killed

    def end_calls(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        """The same, in a thread of wren's own."""
        job = self._tracker.find(table.job_id)
        return [] if job is None else [*self._follower.kill(job, calls), *self._invoker.kill(job, calls)]

    def fetch(self, job: Header, call: int, stored: Stored) -> Pickled | Failure:
        """A stored result, or why there is none."""
        return fetch(self.storage, job, call, stored)

    def read_status(self, job: Header, call: int, stored: Stored) -> CallStatus:
        """The stored status of a call."""
        return read_status(self.storage, job, call, stored)

    def finished(self, job_id: str) -> None:
        """Every call of a job has settled: what waited for it may go on."""
        self._ending.add(job_id)
        try:
            job = self._tracker.forget(job_id)
            if job is not None:
                self._end_of(job)
        finally:
            self._ending.discard(job_id)

    def _end_of(self, job: Job) -> None:
        if self._records:
            recorder.ended(job, self._place)
        for watcher in self._watchers:
            callbacks.clean(partial(watcher.close, job))  # it may take its time, and this thread has others' reports
        if job.keeps:
            callbacks.clean(partial(complete, self.storage, job))
        if job.stores:
            self.leftovers.add(job)
        if self._closing and not self._tracker.unfinished():
            callbacks.later(self._close)
        action, job.then = job.then, None  # it knows the job: no cycle
        if action is not None:
            callbacks.later(action)
        if _log.logger.isEnabledFor(INFO):
            table = job.table
            seconds = time.time() - table.submitted
            counts = len(table), table.failures, table.states.count(CANCELLED)
            _log.info("it ended after %.3f s, calls: %d, failed: %d, cancelled: %d", seconds, *counts, about=job)

    def clean(self, wanted: Collection[str] | None = None) -> None:
        """Remove what jobs that are over have stored: the wanted ones, by id, or all."""
        self._catch_up()
        self.leftovers.clean(wanted)

    def _catch_up(self) -> None:
        """Wait for the moment between a job's last result and the end of `finished`, in the thread that settles it."""
        while self._ending or any(not job.table.unfinished for job in self._tracker.unfinished()):
            time.sleep(0.001)

    def clean_remotely(self, wanted: Collection[str] | None = None) -> None:
        """Remove what jobs that are over have stored by a call, which is waited for.

        Unsupported where workers cannot open the storage.
        """
        self._catch_up()
        prefixes = self.leftovers.take(wanted)
        if prefixes:
            bound = Bound([(self.storage.worker(), self.storage.bucket, prefixes)], None)
            table = self.start(f"C{self.number()}", remove, bound, CallOptions())
            wait_all(futures_of(table), None)
            table.result(0)

    # ---- the end

    def wait(self) -> None:
        """Until every call has settled."""
        for job in self._tracker.unfinished():
            wait_all(futures_of(job.table), None)
        self._catch_up()

    def drop(self) -> None:
        """Cancel every call that has not started."""
        for job in self._tracker.unfinished():
            self.cancel(job.table, range(len(job.table)))

    def end(self) -> None:
        """Cancel every call that has not started, and kill those that run, where the backend can."""
        self.drop()
        for job in self._tracker.unfinished():
            job.wanted = False  # what it still returns is not followed
            self._invoker.kill(job, range(len(job.table)))

    def forked(self) -> None:
        """In a forked child: what runs is the parent's, and new jobs go their own way, under a name of their own."""
        for job in self._tracker.unfinished():  # and nothing of the parent's other parts, which may be locked
            job.table.abandon(
                CallLost(f"job {self.id}/{job.header.job} belongs to the process that this one was forked from")
            )
        self._opening, self._ending, self.id = threading.Lock(), set(), _new_id()
        if self._observers is not None:
            self._observers.forked(self.id)
        self._connect()  # with storage keys of its own, and what the parent has stored is not its to remove

    def close(self) -> None:
        """Let go of what the plugins hold, once what runs has ended.  Idempotent."""
        self._closing = True
        self._close()

    def _close(self) -> None:
        with self._opening:
            if not self._closing or self._tracker.unfinished():
                return
            self._invoker.forget()
            watching = (watcher.end for watcher in self._watchers)
            for close in (self.compute.close, *watching, self._clients.close, self.storage.close):
                try:
                    close()
                except Exception:  # noqa: BLE001 - what cannot be closed must not keep the rest open
                    _log.warning("not all of executor %s could be closed", self.id, exc_info=True, executor=self.id)
            self._closed = True
            _log.debug("executor %s was closed", self.id, executor=self.id)
            if self._observers is not None:
                self._observers.closed()

    def flush(self) -> None:
        """The program ends: what observers have not seen is told to them."""
        if self._observers is not None:
            self._observers.flush()


def _observe(names: Sequence[str], executor_id: str, backend: str) -> "Observers | None":
    from wren.observers import Observers

    return Observers(names, executor_id, backend)
