"""Has a monitor say which calls are over, in a thread, for backends whose own channel does not bring the statuses."""

import logging
import threading
from dataclasses import replace
from typing import Any, Final

from wren.job import Job
from wren.spi import Monitor, Storage
from wren.tracker import Tracker

__all__ = ["Watcher"]

_log = logging.getLogger("wren.tracker")

TURN: Final = 5.0  # seconds that one question to the monitor may take


class Watcher:
    """A monitor and the thread that asks it, which lives while there are jobs to watch."""

    def __init__(self, monitor: Monitor[Any], storage: Storage[Any], tracker: Tracker) -> None:
        self._monitor, self._storage, self._tracker = monitor, storage, tracker
        self._lock = threading.Lock()
        self._jobs: set[str] = set()
        self._asking = False
        self._ended = False

    def open(self, job: Job) -> None:
        """Watch a job, before anything of it is invoked."""
        reporter = self._monitor.open_job(job.header, len(job.table), self._storage)
        job.header = replace(job.header, reporter=reporter)
        with self._lock:
            self._jobs.add(job.header.job)
            if self._asking:
                return
            self._asking = True
        threading.Thread(target=self._ask, name="wren-monitor", daemon=True).start()

    def close(self, job: Job) -> None:
        """The job is over.  Idempotent."""
        self._monitor.close_job(job.header)
        with self._lock:
            self._jobs.discard(job.header.job)
            over = self._ended and not self._jobs
        if over:
            self._monitor.close()

    def end(self) -> None:
        """Close the monitor, once the last job is over."""
        with self._lock:
            self._ended = True
            over = not self._jobs
        if over:
            self._monitor.close()

    def _ask(self) -> None:
        while True:
            try:
                for status in self._monitor.events(TURN):
                    self._tracker.listed(status)
            except Exception:  # noqa: BLE001 - a monitor is a hint: what it loses the next question finds
                _log.exception("the %s monitor failed", self._monitor.name)
                threading.Event().wait(1.0)
            with self._lock:
                if not self._jobs:
                    self._asking = False
                    return
