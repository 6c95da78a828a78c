"""Takes in what backends and monitors say of calls, settles the futures, and decides what is tried again."""

import logging
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from wren import wire
from wren.errors import CallLost, StorageError, WorkerLost
from wren.job import Job
from wren.serialize import load_failure
from wren.spi import Invocation, Outcomes, Pickled, Receipt, Report, Storage, Stored
from wren.wire import CallStatus, Failure, Header

__all__ = ["Tracker", "load_stored"]

_log = logging.getLogger("wren.tracker")

RETRIED = (WorkerLost, CallLost)


class Tracker:
    """The `wren.spi.Report` of one engine.  Thread-safe: a job's table has the lock."""

    def __init__(
        self,
        again: Callable[[Job, Sequence[int], int], None],
        deliver_again: Callable[[Invocation, Sequence[int], Exception, Report], bool],
        ended: Callable[[str, Sequence[int]], None],
    ) -> None:
        self._again = again  # invokes calls of a job once more, as the given attempt
        self._deliver_again = deliver_again  # hands over again what was not delivered; whether it will
        self._ended = ended  # is told which calls of a job make room for others
        self._jobs: dict[str, Job] = {}

    def add(self, job: Job) -> None:
        """Begin to track a job."""
        self._jobs[job.header.job] = job

    def find(self, job_id: str) -> Job | None:
        """A job that has unfinished calls."""
        return self._jobs.get(job_id)

    def forget(self, job_id: str) -> Job | None:
        """The job is over; what still comes of it is dropped."""
        return self._jobs.pop(job_id, None)

    def unfinished(self) -> list[Job]:
        """The jobs that have unfinished calls, oldest first."""
        return list(self._jobs.values())

    # ---- wren.spi.Report

    def accepted(self, invocation: Invocation, receipt: Receipt) -> None:
        _log.debug("accepted as %s", receipt.id, extra=_fields(invocation))
        job = self._jobs.get(invocation.header.job)
        if job is not None:
            for call in invocation.calls:
                job.table.run(call)

    def heartbeat(self, invocation: Invocation) -> None:
        _log.debug("heartbeat", extra=_fields(invocation))

    def succeeded(self, invocation: Invocation, outcomes: Outcomes) -> None:
        job = self._jobs.get(invocation.header.job)
        if job is not None:
            if invocation.attempt:
                job.attempts.update(dict.fromkeys(outcomes.calls, invocation.attempt))
            job.table.succeed(outcomes)
            self._ended(job.header.job, outcomes.calls)

    def status(self, invocation: Invocation, status: CallStatus) -> None:
        job = self._jobs.get(invocation.header.job)
        if job is not None:
            self._settle(job, status)

    def listed(self, status: CallStatus) -> None:
        """What a monitor says of a call.  It may repeat itself, and what a call returned is in the storage."""
        job = self._jobs.get(status.job)
        if job is not None and job.header.executor == status.executor:
            self._settle(job, status)

    def _settle(self, job: Job, status: CallStatus) -> None:
        times = {"started": status.started, "stopped": status.stopped}
        if status.state == "err":
            error = status.failure or Stored(status.attempt, "err")
            job.table.fail(status.call, error, **times, logs=status.logs)
            self._ended(job.header.job, [status.call])
            return
        value: Any = Pickled(status.result) if isinstance(status.result, bytes) else Stored(status.attempt)
        if status.attempt:
            job.attempts[status.call] = status.attempt
        logs = {status.call: status.logs} if status.logs else {}
        job.table.succeed(Outcomes([status.call], [value], [status.started], [status.stopped], logs))
        self._ended(job.header.job, [status.call])

    def failed(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str = "") -> None:
        job = self._jobs.get(invocation.header.job)
        if job is None:
            return
        _log.info("%d calls failed: %s", len(calls), error, extra=_fields(invocation))
        self._ended(job.header.job, calls)
        if self._deliver_again(invocation, calls, error, self):
            return
        if isinstance(error, RETRIED) and invocation.attempt < job.options.retries:
            self._again(job, calls, invocation.attempt + 1)
            return
        for call in calls:
            job.table.fail(call, error, logs=logs)


def load_stored(storage: Storage[Any], job: Header, call: int, stored: Stored) -> Any:
    """The value of a stored result, or raises the exception of a stored failure.

    Nothing is unpickled that the job's own worker did not seal: StorageError then.
    """
    identity = (job.executor, job.job, call, stored.attempt)
    key = wire.result_key(*identity) if stored.state == "ok" else wire.status_key(*identity, "err")
    sealed = storage.get(job.bucket, key)
    try:
        content = wire.unseal(job.mac_key, *identity, stored.state, sealed)
    except ValueError as error:
        raise StorageError(f"{error}: {job.bucket}/{key} in the {storage.name} storage was not read") from error
    if stored.state == "ok":
        return pickle.loads(content)  # noqa: S301 - unsealed with the job's key
    failure = wire.decode_status(content).failure
    raise load_failure(failure or Failure("lost", "WorkerLost", "the worker gave no reason", ""))


def _fields(invocation: Invocation) -> dict[str, Any]:
    header = invocation.header
    return {"executor": header.executor, "job": header.job, "attempt": invocation.attempt}
