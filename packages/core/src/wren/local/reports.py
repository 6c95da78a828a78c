"""What the pool tells of calls: results in columns, and how a worker ended, in words."""

import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from wren.errors import WorkerLost
from wren.local.process import NestedCalls, Results
from wren.spi import Invocation, Outcomes, Stored
from wren.wire import CallStatus
from wren.worker.deaths import ending

T = TypeVar("T")

_EPOCH: Final = time.time() - time.monotonic()  # what makes a monotonic time one since the epoch


def outcomes(results: Results, calls: Sequence[int], start: int, stop: int, invocation: Invocation) -> Outcomes:
    """The results from `start` to `stop`, which belong to `calls`."""
    values, starts, stops = results.values[start:stop], results.started[start:stop], results.stopped[start:stop]
    if invocation.header.gathered or invocation.header.persist:
        values = [
            Stored(invocation.attempt, size=value.size) if isinstance(value, Stored) else value for value in values
        ]
    return Outcomes(
        calls,
        values,
        [*map(_EPOCH.__add__, starts)],
        [*map(_EPOCH.__add__, stops)],
        _by_call(results.logs, calls, start, stop) if results.logs else {},
        _by_call(results.peaks, calls, start, stop) if results.peaks else {},
    )


def _by_call(column: Mapping[int, T], calls: Sequence[int], start: int, stop: int) -> dict[int, T]:
    return {calls[at - start]: value for at, value in column.items() if start <= at < stop}


def status(results: Results, call: int, at: int, invocation: Invocation) -> CallStatus:
    """What is no result at position `at`: a failure, or nested calls."""
    value = results.values[at]
    nested = isinstance(value, NestedCalls)
    return CallStatus(
        executor=invocation.header.executor,
        job=invocation.header.job,
        call=call,
        attempt=invocation.attempt,
        state="nested" if nested else "err",
        started=results.started[at] + _EPOCH,
        stopped=results.stopped[at] + _EPOCH,
        result=value.returned if nested else None,
        failure=None if nested else value,
        logs=results.logs.get(at, ""),
        peak_memory=results.peaks.get(at, 0),
    )


def lost(pid: int, job: str, calls: Sequence[int], code: int, output: str) -> WorkerLost:
    """What the call that a dead worker ran is told."""
    ran = f"call {calls[0]}" if len(calls) == 1 else f"{len(calls)} calls"
    return WorkerLost(f"the worker process {pid} that ran {ran} of job {job} is gone: {ending(code, output)}")
