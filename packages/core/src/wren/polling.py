"""The storage monitor: calls are over when their statuses are listed.

The state of a call is in the name of its status's key, so waiting reads no object and makes no request for each call:
one listing for each thousand calls that are not all over, with at least `interval` seconds between two rounds.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar

import pluggy

from wren.errors import ConfigError
from wren.spi import Check, Listed, Monitor, Storage
from wren.stored import list_statuses
from wren.wire import SHARD, Handle, Header

hookimpl = pluggy.HookimplMarker("wren")


@dataclass(frozen=True, slots=True)
class StorageMonitorOptions:
    """Section `[storage]` of the configuration."""

    interval: float = 1.0  # seconds, at least, between two rounds of listings


@dataclass(slots=True)
class _Watched:
    header: Header
    storage: Storage[Any]
    open_calls: dict[int, set[int]]  # by shard, those that have not succeeded
    seen: dict[tuple[int, int], float] = field(default_factory=dict)  # by call and attempt, when it was written

    def new(self) -> Iterator[Listed]:
        """Statuses that are listed for the first time."""
        for shard, missing in self.open_calls.items():
            if not missing:
                continue
            for listed in list_statuses(self.storage, self.header, shard):
                # One that is written again may be the true one, of an attempt that did not exist at first.
                if self.seen.get((listed.call, listed.attempt)) != listed.stopped:
                    self.seen[listed.call, listed.attempt] = listed.stopped
                    if listed.state == "ok" and self._plausible(listed):
                        missing.discard(listed.call)
                    yield listed

    def _plausible(self, listed: Listed) -> bool:
        """Whether there may have been such an attempt: others can write to the bucket, and the true one may follow."""
        return not listed.attempt or (listed.call, listed.attempt - 1) in self.seen


class StorageMonitor(Monitor[StorageMonitorOptions]):
    """Lists the statuses of the open jobs."""

    name: ClassVar[str] = "storage"
    options_type: ClassVar[type] = StorageMonitorOptions

    def __init__(self, options: StorageMonitorOptions) -> None:
        super().__init__(options)
        if not options.interval > 0:  # nor NaN
            raise ConfigError(f"interval in section [storage] is {options.interval}: give seconds above 0")
        self._jobs: dict[tuple[str, str], _Watched] = {}
        self._changed = threading.Condition()
        self._listed = float("-inf")
        self._over = False

    def open_job(self, header: Header, calls: int, storage: Storage[Any]) -> Handle | None:
        with self._changed:
            shards = {first // SHARD: set(range(first, min(first + SHARD, calls))) for first in range(0, calls, SHARD)}
            self._jobs[header.executor, header.job] = _Watched(header, storage, shards)
            self._changed.notify_all()
        return None

    def events(self, timeout: float) -> Sequence[Listed]:
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                due = self._listed + self.options.interval if self._jobs else deadline
                now = time.monotonic()
                if now < due or not self._jobs:
                    if now >= deadline or self._over:
                        return []
                    self._changed.wait(min(due, deadline) - now)
                    continue
                jobs = list(self._jobs.values())
                self._listed = now
            found: list[Listed] = []
            try:
                for listed in chain.from_iterable(job.new() for job in jobs):
                    found.append(listed)  # noqa: PERF402 - what came before an error must not be lost
            except Exception:
                if not found:
                    raise
                # Nobody would be told of these later; the next round fails again, or goes on.
            if found:
                return found

    def close_job(self, header: Header) -> None:
        with self._changed:
            self._jobs.pop((header.executor, header.job), None)

    def check(self) -> Iterator[Check]:
        """There is nothing to reach but the storage, which has a check of its own."""
        yield Check("interval", True, f"statuses are listed every {self.options.interval:g} s")

    def close(self) -> None:
        with self._changed:
            self._over = True
            self._jobs.clear()
            self._changed.notify_all()


@hookimpl
def wren_monitor() -> type[StorageMonitor]:
    """The plugin."""
    return StorageMonitor
