"""Futures: what callers hold of a call, a small view over its job's `wren.table.CallTable`."""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from wren.errors import WaitTimeout
from wren.references import Role
from wren.serialize import pickling
from wren.table import CANCELLED, FAILED, OK, PENDING, RUNNING, CallTable
from wren.watches import Waiter

__all__ = ["Future", "futures_of", "wait_all", "wait_any"]

T = TypeVar("T")

_STANDARD: Final = ("PENDING", "RUNNING", "CANCELLED_AND_NOTIFIED", "FINISHED", "FINISHED")


class Future(concurrent.futures.Future[T], Generic[T]):
    """The result of one call, a `concurrent.futures.Future` in every respect."""

    __slots__ = ("call", "table")

    def __init__(self, table: CallTable, call: int) -> None:
        # The base class's own fields are not made: the properties below answer for them from the table.
        self.table = table
        self.call = call

    @property
    def executor_id(self) -> str:
        """The executor's id, as people see it."""
        return self.table.executor_id

    @property
    def job_id(self) -> str:
        """The job's id: a letter (A call_async, M map, R reduce) and a number."""
        return self.table.job_id

    @property
    def call_id(self) -> str:
        """The call's number within its job, zero-padded."""
        return f"{self.call:05d}"

    @property
    def logs(self) -> str:
        """What the function printed, empty until the call has ended."""
        self.table.read_details(self.call)
        return self.table.logs.get(self.call, "")

    @property
    def stats(self) -> Mapping[str, float]:
        """What is known of the call, as far as it is.

        `submitted`, `started`, `stopped` (epoch seconds) and `seconds`; `argument_bytes` and `result_bytes` of their
        pickles (of scalar arguments the job's mean); `peak_memory` in bytes, of the process that ran it, while it did;
        `attempts`, which are more than 1 only with `retries`.
        """
        table, call = self.table, self.call
        table.read_details(call)
        started, stopped = table.started[call], table.stopped[call]
        known = {
            "submitted": table.submitted,
            "started": started,
            "stopped": stopped,
            "argument_bytes": table.argument_sizes[call] if table.argument_sizes else 0,
            "result_bytes": table.result_size(call),
            "peak_memory": table.peaks.get(call, 0),
            "attempts": 1 + table.retried.get(call, 0),
        }
        stats = {name: value for name, value in known.items() if value}
        if started and stopped:
            stats["seconds"] = stopped - started
        return stats

    def result(self, timeout: float | None = None) -> T:
        """The function's result, waiting at most `timeout` seconds; raises what the call raised, or WaitTimeout.

        It counts as read then: `get_result()` does not bring it again.
        """
        self._wait(timeout)
        self.table.collected[self.call] = 1
        try:
            value: T = self.table.result(self.call)
        finally:
            self.table.was_read()
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or None, waiting at most `timeout` seconds."""
        self._wait(timeout)
        # A result that cannot be loaded is a failure, too.  But `concurrent.futures.wait` asks while it holds locks:
        # nothing is fetched then, and no code of the user's run.
        if not self.table.held([self.call]):
            self.table.outcome(self.call)
        return self._exception

    def _wait(self, timeout: float | None) -> None:
        if self.table.states[self.call] <= RUNNING and not self.table.wait(self.call, timeout):
            name = f"call {self.executor_id}/{self.job_id}/{self.call_id}"
            raise WaitTimeout(f"{name} has not ended after {timeout} s; it goes on")

    def done(self) -> bool:
        """Whether it has a result, has failed or was cancelled."""
        return self.table.states[self.call] > RUNNING

    def running(self) -> bool:
        """Whether the platform has said that it runs."""
        return self.table.states[self.call] == RUNNING

    def cancelled(self) -> bool:
        """Whether it was cancelled before it started."""
        return self.table.states[self.call] == CANCELLED

    def cancel(self) -> bool:
        """Cancel it if it has not started; True if it is cancelled."""
        return self.table.cancel(self.call)

    def kill(self) -> bool:
        """Cancel it if it has not started, else end it, where the backend can: its result is CallCancelled soon.

        True if it is cancelled or being ended; False if it is done, or the backend cannot.
        """
        return self.table.kill(self.call)

    def add_done_callback(self, fn: Callable[["concurrent.futures.Future[T]"], object]) -> None:
        """Call `fn(self)` once it is done: in a thread of wren's own, in the one that cancels it, or here and now."""
        self.table.add_callback(self.call, self, fn)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    def __reduce__(self) -> tuple[Any, ...]:
        from wren.attached import attach, settled

        table, call = self.table, self.call
        role = Role(table.single, table.reduced_by)
        if pickling.for_a_call:
            raise TypeError(f"{self!r} is no argument of a call: pass what it returned, future.result()")
        if table.reference is not None:
            return attach, (table.reference()._replace(role=role), call)
        if not self.done():
            raise TypeError(f"{self!r} cannot be pickled before it is done: ask for its call with persist=True")
        state, value = table.outcome(call)
        number, details = int(self.call_id), table.details(call)
        return settled, (self.executor_id, self.job_id, number, state, value, details, dict(self.stats), role)

    def __repr__(self) -> str:
        state = ("pending", "running", "cancelled", "done", "failed")[self.table.states[self.call]]
        return f"<wren.Future {self.executor_id}/{self.job_id}/{self.call_id} {state}>"

    # ---- for tests, as in the standard library: the executor settles its futures through their table

    def set_result(self, result: T) -> None:
        """Settle it; InvalidStateError if it is done."""
        self._settle(OK, result)

    def set_exception(self, exception: BaseException | None) -> None:
        """Have it fail; InvalidStateError if it is done."""
        self._settle(FAILED, exception)

    def set_running_or_notify_cancel(self) -> bool:
        """Say that it runs; False if it was cancelled, InvalidStateError if it runs already or is done."""
        if self.table.states[self.call] not in {PENDING, CANCELLED}:
            raise concurrent.futures.InvalidStateError(f"{self._state}: {self!r}")
        self.table.run(self.call)
        return self.running()

    def _settle(self, state: int, value: Any) -> None:
        if not self.table.settle(self.call, state, value):
            raise concurrent.futures.InvalidStateError(f"{self._state}: {self!r}")

    # ---- what concurrent.futures.wait and as_completed look at

    if not TYPE_CHECKING:  # to type checkers they are the base class's own, or standard functions would not take us

        @property
        def _condition(self) -> threading.Condition:
            return self.table.watch(self.call, self).condition

        @property
        def _waiters(self) -> list[Any]:
            return self.table.watch(self.call, self).waiters

        @property
        def _state(self) -> str:
            return _STANDARD[self.table.states[self.call]]

        @property
        def _exception(self) -> BaseException | None:
            state = self.table.states[self.call]
            if state == CANCELLED:
                raise concurrent.futures.CancelledError
            exception: BaseException | None = self.table.outcome(self.call)[1] if state == FAILED else None
            return exception


def futures_of(table: CallTable) -> list[Future[Any]]:
    """The future of each call.  To be asked once: what the caller gets are the ones."""
    return [Future(table, call) for call in range(len(table))]


def wait_all(futures: Iterable[Future[Any]], timeout: float | None, *, until_failure: bool = False) -> bool:
    """Wait at most `timeout` seconds until all are done; False if the time was too short.

    With `until_failure` the waiting is over, too, once a call of a job that is waited for has failed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pending = [future for future in futures if future.table.states[future.call] <= RUNNING]
    for future in reversed(pending):  # the last is likely to end last
        if future.table.states[future.call] > RUNNING:
            continue
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not future.table.wait(future.call, left, until_failure=until_failure):
            return until_failure and future.table.failures > 0
    return True


def wait_any(futures: Iterable[Future[Any]], timeout: float | None) -> bool:
    """Wait at most `timeout` seconds until one is done; whether one is."""
    watched = list(futures)
    tables = {id(future.table): future.table for future in watched}.values()
    deadline = None if timeout is None else time.monotonic() + timeout
    while not any(future.done() for future in watched):
        left = None if deadline is None else deadline - time.monotonic()
        if not watched or (left is not None and left <= 0):
            return False
        waiter = Waiter(None)
        try:
            for table in tables:
                table.watch_any(waiter)
            if not any(future.done() for future in watched):
                waiter.wait(left)
        finally:
            for table in tables:
                table.unwatch(waiter)
    return True
