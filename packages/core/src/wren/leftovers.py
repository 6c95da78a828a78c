"""What jobs that are over have left in the storage, and its removal once nobody can ask for it any more."""

import weakref
from collections.abc import Collection
from functools import partial
from typing import Any

from wren import callbacks
from wren.job import Job
from wren.spi import Storage
from wren.wire import Header, job_prefix

__all__ = ["Leftovers"]


class Leftovers:
    """Those of one engine.  `persist`: they stay, unless the caller wants them removed.  Thread-safe."""

    def __init__(self, storage: Storage[Any], *, persist: bool) -> None:
        self._storage, self._persist = storage, persist
        self._kept: dict[str, Header] = {}  # by job

    def add(self, job: Job) -> None:
        """A job that has stored something is over."""
        header = job.header
        self._kept[header.job] = header
        if not self._persist:
            # The collector runs finalizers anywhere, so that they may only put something into a queue.
            weakref.finalize(job.table, callbacks.clean, partial(self._remove, header.job)).atexit = False

    def discard(self, job: Job) -> None:
        """A job that was prepared will not be launched: remove what was stored for it."""
        if job.stores:
            self._kept[job.header.job] = job.header
            callbacks.clean(partial(self._remove, job.header.job))

    def clean(self, wanted: Collection[str] | None = None) -> None:
        """Remove those of the wanted jobs, by id, or of all."""
        for job_id in self._those(wanted):
            self._remove(job_id)

    def take(self, wanted: Collection[str] | None = None) -> list[str]:
        """Where theirs begin, for the caller to remove."""
        taken = [header for job_id in self._those(wanted) if (header := self._kept.pop(job_id, None)) is not None]
        return [job_prefix(header.executor, header.job) for header in taken]

    def tidy(self) -> None:
        """At the end of a program: remove what no other one is to read."""
        if not self._persist:
            self.clean()

    def _those(self, wanted: Collection[str] | None) -> list[str]:
        return [job_id for job_id in list(self._kept) if wanted is None or job_id in wanted]

    def _remove(self, job_id: str) -> None:
        header = self._kept.pop(job_id, None)
        if header is not None:
            prefix = job_prefix(header.executor, header.job)
            self._storage.delete(header.bucket, [info.key for info in self._storage.list(header.bucket, prefix)])
