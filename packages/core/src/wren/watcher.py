"""Has a monitor say which calls are over, in a thread, for jobs whose statuses do not come on the backend's channel.

Beside any other monitor the storage's own works as the sweep: slowly, for it only finds what the other has lost.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from wren import callbacks
from wren.errors import WrenError
from wren.job import Job
from wren.logs import Log
from wren.spi import Listed, Monitor, Storage
from wren.tracker import Tracker
from wren.wire import Handle

__all__ = ["Watcher"]

_log: Final = Log("wren.tracker")

T = TypeVar("T")

TURN: Final = 5.0  # seconds that one question to the monitor may take
PAUSE: Final = 1.0  # seconds before a monitor that failed is asked again


class Watcher:
    """A monitor and the thread that asks it, which lives while there are jobs to watch."""

    def __init__(self, executor_id: str, monitor: Monitor[Any], storage: Storage[Any], tracker: Tracker) -> None:
        self._executor_id, self._storage, self._tracker = executor_id, storage, tracker
        self.monitor = monitor
        self._lock = threading.Lock()
        self._jobs: set[str] = set()
        self._asking = False
        self._ended = False
        self._failed = False  # and that was said
        self._resume = threading.Event()

    def open(self, job: Job) -> Handle | None:
        """Watch a job, before anything of it is invoked: how its workers report, None if they need not."""
        reporter = self._try(lambda: self.monitor.open_job(job.header, len(job.table), self._storage))
        with self._lock:
            self._jobs.add(job.header.job)
            if self._asking:
                return reporter
            self._asking = True
        callbacks.apart(self._ask, f"wren-monitor-{self.monitor.name}")
        return reporter

    def close(self, job: Job) -> None:
        """The job is over.  Idempotent."""
        self._try(lambda: self.monitor.close_job(job.header))
        with self._lock:
            self._jobs.discard(job.header.job)
            over = self._ended and not self._jobs
        if over:
            self._try(self.monitor.close)

    def end(self) -> None:
        """Close the monitor, once the last job is over."""
        with self._lock:
            self._ended = True
            over = not self._jobs
        if over:
            self._try(self.monitor.close)

    def secrets(self) -> Mapping[str, str]:
        """What reporters need where they run."""
        return self._try(self.monitor.secrets) or {}

    def _ask(self) -> None:
        while True:
            events = self._try(lambda: self.monitor.events(TURN))
            self._failed = events is None
            for event in events or ():
                self._tell(event)
            if self._failed:
                self._resume.wait(PAUSE)
            with self._lock:
                if not self._jobs:
                    self._asking = False
                    return

    def _tell(self, event: bytes | Listed) -> None:
        try:
            if isinstance(event, Listed):
                self._tracker.listed(event)
            else:
                self._tracker.message(event)
        except Exception:  # noqa: BLE001 - one event, of whoever can write to the monitor, must not end the watching
            _log.exception(
                "an event of the %s monitor could not be taken in", self.monitor.name, executor=self._executor_id
            )

    def _try(self, action: Callable[[], T]) -> T | None:
        """What the action returns, None if the monitor failed, which is said once: a monitor is a hint."""
        try:
            result = action()
        except Exception as error:  # noqa: BLE001 - a plugin's bug must not end the watching
            if not self._failed:
                _log.warning(
                    "the %s monitor fails, the storage is swept instead: %s",
                    self.monitor.name,
                    error,
                    exc_info=None if isinstance(error, WrenError) else error,
                    executor=self._executor_id,
                )
            self._failed = True  # until it brings events again
            return None
        return result
