"""What an executor holds: its plugins, and the way of its jobs through them.

    executor ─▶ engine.start(job) ─▶ invoker ─▶ compute backend
                     ▲                              │
    futures ◀─ table ◀────────── tracker ◀──────────┘

The engine knows no executor: one that is garbage while its futures are not resolved goes on until they are.
"""

import itertools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from wren import callbacks, plugins
from wren.binding import Bound
from wren.config import Config
from wren.errors import ConfigError
from wren.futures import CallTable
from wren.invoker import Invoker
from wren.job import CallOptions, Job, make_header, pickle_blob
from wren.serialize import pickle_arguments
from wren.spi import Arguments, Compute, Feature, Runtime, Storage, Stored
from wren.tracker import Tracker, load_stored
from wren.watcher import Watcher
from wren.wire import Header

__all__ = ["Engine"]

logging.getLogger("wren").addHandler(logging.NullHandler())  # quiet, unless the program that uses wren says otherwise

_executors: Final = itertools.count()
_session: Final = os.urandom(3).hex()


class Engine:
    """The running part of one executor.  Thread-safe."""

    def __init__(self, config: Config, *, backend: str, storage: str, workers: int | None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers is {workers}: give the number of calls that may run at once, 1 or more")
        compute_type, storage_type = plugins.load_compute(backend), plugins.load_storage(storage)
        self.compute: Compute[Any] = compute_type(config.options(backend, compute_type.options_type))
        self.storage: Storage[Any] = storage_type(config.options(storage, storage_type.options_type))
        self.id = f"{_session}-{next(_executors)}"
        self._uuid = os.urandom(16).hex()
        self._numbers = itertools.count()
        self._invoker = Invoker(self.compute, Runtime(workers=workers))
        self._tracker = Tracker(self._again, self._invoker.ended)
        self._then: dict[str, Callable[[], None]] = {}  # what waits for a job to be over, by its id
        self._watcher = None if Feature.DIRECT in self.compute.features else self._open_monitor(config)

    def _open_monitor(self, config: Config) -> Watcher:
        """What brings the statuses that the backend does not bring itself."""
        monitor_type = plugins.load_monitor("storage")
        monitor = monitor_type(config.options("storage", monitor_type.options_type))
        return Watcher(monitor, self.storage, self._tracker)

    # ---- jobs

    def number(self) -> str:
        """The number of a new job."""
        return f"{next(self._numbers):03d}"

    def start(
        self, job_id: str, function: Callable[..., Any], bound: Bound, options: CallOptions, *, gathered: bool = False
    ) -> CallTable:
        """Pickle everything and have it run.  Raises SerializationError before anything is invoked."""
        job = self.prepare(job_id, function, pickle_arguments(bound), options, bound.inject, gathered=gathered)
        self.launch(job)
        return job.table

    def prepare(
        self,
        job_id: str,
        function: Callable[..., Any],
        arguments: Arguments,
        options: CallOptions,
        inject: tuple[str, ...] = (),
        *,
        gathered: bool = False,
        reads_storage: bool = False,
    ) -> Job:
        """A job of which nothing runs yet.

        `gathered`: its workers store the results, for a reducer.  `reads_storage`: it is such a reducer.
        """
        blob, chunks = pickle_blob(function)
        persist = Feature.DIRECT not in self.compute.features
        uses_storage = gathered or reads_storage or persist
        header = make_header(
            self._uuid,
            job_id,
            blob,
            options,
            inject=inject,
            storage=self.storage.worker() if uses_storage else None,
            bucket=self.storage.bucket if uses_storage else "",
            persist=persist,
            gathered=gathered,
        )
        table = CallTable(self.id, job_id, len(arguments), self, header)
        job = Job(header, chunks, arguments, table, options)
        if len(table):
            self._tracker.add(job)
        return job

    def launch(self, job: Job) -> None:
        """Have all calls of a job run."""
        if not len(job.table):
            self.finished(job.header.job)
        else:
            if self._watcher is not None:
                self._watcher.open(job)
            self._invoker.invoke(job, range(len(job.table)), 0, self._tracker)

    def when_finished(self, job: Job, action: Callable[[], None]) -> None:
        """Before a job is launched: call `action`, in a thread of wren's, when each of its calls has settled."""
        self._then[job.header.job] = action

    def _again(self, job: Job, calls: Sequence[int], attempt: int) -> None:
        self._invoker.invoke(job, calls, attempt, self._tracker)

    # ---- wren.futures.Owner

    def cancel(self, job_id: str, call: int) -> bool:
        """Take back a call; True if it has not started and will not."""
        job = self._tracker.find(job_id)
        return job is not None and self._invoker.withdraw(job, call)

    def load(self, job: Header, call: int, stored: Stored) -> Any:
        """The value of a stored result; raises the exception of a stored failure."""
        return load_stored(self.storage, job, call, stored)

    def finished(self, job_id: str) -> None:
        """Every call of a job has settled: what waited for it may go on."""
        job = self._tracker.forget(job_id)
        if job is not None and self._watcher is not None:
            self._watcher.close(job)
        action = self._then.pop(job_id, None)
        if action is not None:
            callbacks.later(action)

    # ---- the end

    def kill(self, job_id: str, call: int) -> bool:
        """End a running call where the backend can; True if it was running."""
        job = self._tracker.find(job_id)
        return job is not None and self._invoker.kill(job, call)

    def unfinished(self) -> list[CallTable]:
        """The tables of the jobs that have unfinished calls."""
        return [job.table for job in self._tracker.unfinished()]

    def close(self) -> None:
        """Let go of the plugins' connections.  Idempotent; what runs goes on."""
        self.compute.close()
        self.storage.close()
        if self._watcher is not None:
            self._watcher.end()
