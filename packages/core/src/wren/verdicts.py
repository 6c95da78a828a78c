"""What only the client knows of a job that persists, stored for whoever reads its results elsewhere.

Workers store the statuses of calls that came to an end.  Of one that was lost, killed or cancelled only the client
knows, and so it does of a call whose function returned futures, which ends with theirs.
"""

import pickle
from itertools import chain
from typing import Any, Final

from wren import wire
from wren.errors import CallCancelled
from wren.job import Job
from wren.spi import Storage, Stored
from wren.stored import list_statuses, read_status
from wren.table import FAILED, OK
from wren.wire import CallStatus, Failure
from wren.worker.run import failure, store_status

__all__ = ["BY_CLIENT", "complete"]

BY_CLIENT: Final = "client"  # the worker of statuses that clients have stored: no other attempt will follow


def complete(storage: Storage[Any], job: Job) -> None:
    """Store those statuses of a job that is over which no worker has.  Raises StorageError."""
    header, table = job.header, job.table
    shards = range(-(-len(table) // wire.SHARD))
    stored_by_workers = chain.from_iterable(list_statuses(storage, header, shard) for shard in shards)
    known = {(each.call, each.attempt, each.state) for each in stored_by_workers}
    for call, state in enumerate(table.states):
        attempt = job.current.get(call, 0)
        final = attempt >= job.options.retries
        if state == OK:
            attempt = job.attempts.get(call, 0)
            if (call, attempt, "ok") not in known:
                store_status(storage, header, _status(job, call, attempt, "ok"))
        elif isinstance(stored := table.values[call], Stored):
            if not final:
                store_status(storage, header, read_status(storage, header, call, stored)._replace(worker=BY_CLIENT))
        elif (call, attempt, "err") not in known or not final:
            store_status(storage, header, _status(job, call, attempt, "err"))


def _status(job: Job, call: int, attempt: int, state: wire.State) -> CallStatus:
    header, table = job.header, job.table
    return CallStatus(
        header.executor,
        header.job,
        call,
        attempt,
        state,
        table.started[call],
        table.stopped[call],
        failure=_failure(job, call) if state == "err" else None,
        logs=table.logs.get(call, ""),
        worker=BY_CLIENT,
        peak_memory=table.peaks.get(call, 0),
        size=table.result_size(call),
    )


def _failure(job: Job, call: int) -> Failure:
    value = job.table.values[call]
    if isinstance(value, Failure):
        return value
    if job.table.states[call] != FAILED or not isinstance(value, BaseException):
        value = CallCancelled(f"call {call} of job {job.table.executor_id}/{job.header.job} was cancelled")
    record: Failure = pickle.loads(failure(value)[0])  # noqa: S301 - made by this line
    return record
