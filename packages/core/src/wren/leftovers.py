"""What jobs that are over have left in the storage, and its removal once nobody can ask for it any more."""

import weakref
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

from wren import callbacks
from wren.job import Job
from wren.spi import Storage
from wren.wire import Header, job_prefix

__all__ = ["Leftovers"]


class Leftovers:
    """Those of one engine.  Thread-safe.

    `cleans`: they are removed as soon as all of a job's results were read; None: once nobody can ask for these; False:
    not before the caller wants them removed, or the program ends.  Those of a job that `keeps` them stay after that.
    """

    def __init__(self, storage: Storage[Any], *, cleans: bool | None) -> None:
        self._storage, self._cleans = storage, cleans
        self._kept: dict[str, Header] = {}  # by job
        self._persistent: set[str] = set()  # those of them that stay
        self._read: set[str] = set()  # jobs, of which there may be something yet

    def add(self, job: Job) -> None:
        """A job that has stored something is over."""
        header = job.header
        if job.keeps:
            self._persistent.add(header.job)
        self._kept[header.job] = header
        if job.keeps or self._cleans is False:
            return
        # The collector runs finalizers anywhere, so that they may only put something into a queue.
        weakref.finalize(job.table, callbacks.clean, partial(self._remove, header.job)).atexit = False
        if header.job in self._read:
            self.read([header.job])

    def read(self, job_ids: Iterable[str]) -> None:
        """All results of these jobs were read; that the last has ended may be said only later."""
        for job_id in job_ids:
            self._read.add(job_id)
            if job_id in self._kept and job_id not in self._persistent:
                callbacks.clean(partial(self._remove, job_id))

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
        self.clean(self._kept.keys() - self._persistent)

    def _those(self, wanted: Collection[str] | None) -> list[str]:
        return [job_id for job_id in list(self._kept) if wanted is None or job_id in wanted]

    def _remove(self, job_id: str) -> None:
        header = self._kept.pop(job_id, None)
        self._read.discard(job_id)
        self._persistent.discard(job_id)
        if header is not None:
            prefix = job_prefix(header.executor, header.job)
            self._storage.delete(header.bucket, [info.key for info in self._storage.list(header.bucket, prefix)])
