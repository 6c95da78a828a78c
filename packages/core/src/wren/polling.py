"""The storage monitor: calls are over when their statuses are listed.

The state of a call is in the name of its status's key, so waiting reads no object and makes no request for each call:
one listing for each thousand calls that are not all over, with at least `interval` seconds between two rounds.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pluggy

from wren import wire
from wren.spi import Monitor, Storage
from wren.wire import CallStatus, Handle, Header

hookimpl = pluggy.HookimplMarker("wren")


@dataclass(frozen=True, slots=True)
class StorageMonitorOptions:
    """Section `[storage]` of the configuration."""

    interval: float = 1.0  # seconds, at least, between two rounds of listings


@dataclass(slots=True)
class _Watched:
    header: Header
    calls: int
    storage: Storage[Any]
    seen: set[tuple[int, int]] = field(default_factory=set)  # (call, attempt)
    open_calls: dict[int, int] = field(default_factory=dict)  # by shard, how many have not succeeded

    def __post_init__(self) -> None:
        for first in range(0, self.calls, wire.SHARD):
            self.open_calls[first // wire.SHARD] = min(wire.SHARD, self.calls - first)

    def new(self) -> list[CallStatus]:
        """Statuses that are listed for the first time."""
        found = []
        for shard in [shard for shard, count in self.open_calls.items() if count > 0]:
            prefix = wire.status_prefix(self.header.executor, self.header.job, shard)
            for info in self.storage.list(self.header.bucket, prefix):
                call, attempt, state = wire.parse_status_key(info.key)
                if (call, attempt) in self.seen:
                    continue
                self.seen.add((call, attempt))
                if state == "ok":
                    self.open_calls[shard] -= 1
                found.append(
                    CallStatus(
                        self.header.executor, self.header.job, call, attempt, state, started=0.0, stopped=info.mtime
                    )
                )
        return found


class StorageMonitor(Monitor[StorageMonitorOptions]):
    """Lists the statuses of the open jobs."""

    name: ClassVar[str] = "storage"
    options_type: ClassVar[type] = StorageMonitorOptions

    def __init__(self, options: StorageMonitorOptions) -> None:
        super().__init__(options)
        self._jobs: dict[tuple[str, str], _Watched] = {}
        self._changed = threading.Condition()
        self._listed = float("-inf")

    def open_job(self, header: Header, calls: int, storage: Storage[Any]) -> Handle | None:
        with self._changed:
            self._jobs[header.executor, header.job] = _Watched(header, calls, storage)
            self._changed.notify_all()
        return None

    def events(self, timeout: float) -> Sequence[CallStatus]:
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                due = self._listed + self.options.interval if self._jobs else deadline
                now = time.monotonic()
                if now < due or not self._jobs:
                    if now >= deadline:
                        return []
                    self._changed.wait(min(due, deadline) - now)
                    continue
                jobs = list(self._jobs.values())
                self._listed = now
            if found := [status for job in jobs for status in job.new()]:
                return found

    def close_job(self, header: Header) -> None:
        with self._changed:
            self._jobs.pop((header.executor, header.job), None)

    def close(self) -> None:
        with self._changed:
            self._jobs.clear()
            self._changed.notify_all()


@hookimpl
def wren_monitor() -> type[StorageMonitor]:
    """The plugin."""
    return StorageMonitor
