"""Futures: small views over the columns of their job's `CallTable`.

A stock future costs 1.6 KB and 6 us, a view 0.1 KB and 0.3 us, and a batch of results settles under one lock.

Two kinds of waiting share the table.  wren's own (`result`, `wait_all`) use one condition, `_settled`, for all futures
of the process and look at a predicate each time that it wakes them.  The standard library's (`concurrent.futures.wait`
and `as_completed`) hold the `_condition` of each future, in the order of the futures' ids: those must be locks of their
own, or two threads that wait for overlapping sets would deadlock; they are made when first asked for.  A thread that
holds a future's condition may take `_settled`, never the other way round.
"""

import concurrent.futures
import os
import pickle
import threading
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from wren import callbacks
from wren.errors import WaitTimeout
from wren.serialize import load_failure
from wren.spi import Outcomes, Pickled, Stored
from wren.wire import Failure, Header

__all__ = ["CallTable", "Future", "Owner", "wait_all", "wait_any"]

T = TypeVar("T")

PENDING, RUNNING, CANCELLED, OK, FAILED = range(5)
_STANDARD: Final = ("PENDING", "RUNNING", "CANCELLED_AND_NOTIFIED", "FINISHED", "FINISHED")

_settled = threading.Condition(threading.Lock())
_impatient = 0  # how many threads want to wake whenever anything settles; under _settled


def _after_fork() -> None:
    """In a forked child the parent's threads are gone, and whatever lock they held would stay locked."""
    global _settled, _impatient
    _settled, _impatient = threading.Condition(threading.Lock()), 0


os.register_at_fork(after_in_child=_after_fork)


class Owner(Protocol):
    """What a table asks of the engine that its job runs in."""

    def cancel(self, job: str, call: int) -> bool:
        """Take back a call that has not started; True if it will not run."""

    def load(self, job: Header, call: int, stored: Stored) -> Any:
        """The value of a result that was stored; raises the exception of a failure that was."""

    def finished(self, job: str) -> None:
        """Every call of the job has settled.  Called once, in whatever thread settled the last."""


@dataclass(slots=True)
class _Watch:
    """What the standard library's waiters and callbacks need of one future."""

    future: "Future[Any]"
    condition: threading.Condition = field(default_factory=threading.Condition)
    waiters: list[Any] = field(default_factory=list)
    callbacks: list[Callable[["Future[Any]"], object]] = field(default_factory=list)


class CallTable:
    """The calls of one job, in columns: states, values and times by call id."""

    __slots__ = (
        "__weakref__", "_awaited", "_header", "_owner", "_watches", "collected", "executor_id", "failures", "job_id",
        "loaded", "logs", "reduced_by", "single", "started", "states", "stopped", "submitted", "unfinished", "values",
    )  # fmt: skip

    def __init__(self, executor_id: str, job_id: str, count: int, owner: Owner, header: Header | None = None) -> None:
        self.executor_id, self.job_id, self._owner = executor_id, job_id, owner
        self._header = header  # of a job whose results may lie in the storage
        self.single = False  # the job's result is one value, not a list
        self.reduced_by: str | None = None  # the reducer's job, when it has one
        self.submitted = time.time()
        self.unfinished = count
        self.failures = 0
        self.states = bytearray(count)
        self.collected = bytearray(count)  # 1: the caller of get_result has seen it
        self.values: list[Any] = [None] * count
        self.loaded = bytearray(count)  # 1: the value is what the function returned, whatever its type
        self.started = array("d", bytes(8 * count))
        self.stopped = array("d", bytes(8 * count))
        self.logs: dict[int, str] = {}
        self._awaited: dict[int, int] = {}  # call ids that threads wait for
        self._watches: dict[int, _Watch] = {}

    def __len__(self) -> int:
        return len(self.states)

    def futures(self) -> "list[Future[Any]]":
        """A new view of each call."""
        return [Future(self, call) for call in range(len(self.states))]

    # ---- the engine's side

    def succeed(self, outcomes: Outcomes) -> None:
        """Settle calls that have results; those that are settled already stay as they are."""
        calls, values = outcomes.calls, outcomes.values
        if isinstance(calls, range) and calls.step == 1 and self._succeed_together(outcomes, calls):
            return
        for at, call in enumerate(calls):
            self._finish(call, OK, values[at], outcomes.started[at], outcomes.stopped[at], outcomes.logs.get(call, ""))

    def _succeed_together(self, outcomes: Outcomes, calls: range) -> bool:
        first, stop = calls.start, calls.stop
        with _settled:
            if self._watches or self.states[first:stop].count(PENDING) != len(calls):
                return False
            self.values[first:stop] = outcomes.values
            self.started[first:stop] = array("d", outcomes.started)
            self.stopped[first:stop] = array("d", outcomes.stopped)
            self.logs.update(outcomes.logs)
            self.states[first:stop] = bytes((OK,)) * len(calls)
            self.unfinished -= len(calls)
            if _impatient or not self.unfinished or any(first <= call < stop for call in self._awaited):
                _settled.notify_all()
            over = not self.unfinished
        if over:
            self._owner.finished(self.job_id)
        return True

    def fail(
        self,
        call: int,
        error: BaseException | Failure | Stored,
        *,
        started: float = 0.0,
        stopped: float = 0.0,
        logs: str = "",
    ) -> None:
        """Settle a call that has no result."""
        self._finish(call, FAILED, error, started, stopped or time.time(), logs)

    def _finish(self, call: int, state: int, value: Any, started: float, stopped: float, logs: str) -> bool:
        """Settle one call; False if it was settled before."""
        with _settled:
            watch = self._watches.get(call)
            done = watch is None and self._set(call, state, value, started, stopped, logs)
        if watch is not None:
            done = self._finish_watched(watch, call, state, value, started, stopped, logs)
        if done and not self.unfinished:
            self._owner.finished(self.job_id)
        return done

    def _finish_watched(self, watch: _Watch, call: int, state: int, value: Any, *rest: Any) -> bool:
        with watch.condition:
            with _settled:
                if not self._set(call, state, value, *rest):
                    return False
            for waiter in watch.waiters:
                add = {CANCELLED: waiter.add_cancelled, OK: waiter.add_result, FAILED: waiter.add_exception}[state]
                add(watch.future)
            watch.condition.notify_all()
            waiting, watch.callbacks = watch.callbacks, []
        for callback in waiting:
            callbacks.run(callback, watch.future)
        return True

    def _set(self, call: int, state: int, value: Any, started: float, stopped: float, logs: str) -> bool:
        if self.states[call] > RUNNING:
            return False
        self.values[call] = value
        self.started[call], self.stopped[call] = started, stopped
        if logs:
            self.logs[call] = logs
        self.states[call] = state
        self.unfinished -= 1
        self.failures += state == FAILED
        if _impatient or not self.unfinished or state == FAILED or call in self._awaited:
            _settled.notify_all()
        return True

    def run(self, call: int) -> None:
        """The call is running: too late to cancel it."""
        with _settled:
            if self.states[call] == PENDING:
                self.states[call] = RUNNING

    # ---- the futures' side

    def cancel(self, call: int) -> bool:
        """Cancel a call that has not started; True if it will not run."""
        if self.states[call] == PENDING and self._owner.cancel(self.job_id, call):
            self._finish(call, CANCELLED, None, 0.0, time.time(), "")
        return self.states[call] == CANCELLED

    def wait(self, call: int, timeout: float | None, *, until_failure: bool = False) -> bool:
        """Wait at most `timeout` seconds for a call to settle, or for any to fail; whether it has settled."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with _settled:
            self._awaited[call] = self._awaited.get(call, 0) + 1
            try:
                while self.states[call] <= RUNNING:
                    if until_failure and self.failures:
                        return False
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return False
                    _settled.wait(left)
            finally:
                self._awaited[call] -= 1
                if not self._awaited[call]:
                    del self._awaited[call]
        return True

    def outcome(self, call: int) -> tuple[int, Any]:
        """State and value of a settled call; unpickles it the first time, in the caller's thread."""
        state, value = self.states[call], self.values[call]
        if not self.loaded[call] and isinstance(value, Pickled | Stored | Failure):
            try:
                value = self._load(call, value)
            except BaseException as error:  # unpickling runs the user's code
                if isinstance(error, KeyboardInterrupt):
                    raise  # the caller's own
                state, value = FAILED, error
            with _settled:  # of two threads that load it, both get what the first one got
                if not self.loaded[call]:
                    self.states[call], self.values[call], self.loaded[call] = state, value, 1
                state, value = self.states[call], self.values[call]
        return state, value

    def _load(self, call: int, value: Pickled | Stored | Failure) -> Any:
        match value:
            case Pickled():
                return pickle.loads(value.data)  # noqa: S301 - authenticated by its channel
            case Stored():
                assert self._header is not None
                return self._owner.load(self._header, call, value)
            case Failure():
                return load_failure(value)

    def watch(self, future: "Future[Any]") -> _Watch:
        """What the standard library's waiters need of a future, made when first asked for."""
        with _settled:
            return self._watches.setdefault(future.call, _Watch(future))

    def add_callback(self, future: "Future[Any]", callback: Callable[["Future[Any]"], object]) -> None:
        """Have the callback called once the call has settled, or now."""
        watch = self.watch(future)
        with watch.condition:
            if self.states[future.call] <= RUNNING:
                watch.callbacks.append(callback)
                return
        callbacks.run_now(callback, future)


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
        return self.table.logs.get(self.call, "")

    @property
    def stats(self) -> Mapping[str, float]:
        """`submitted`, `started`, `stopped` (epoch seconds) and `seconds`, as far as they are known."""
        table, call = self.table, self.call
        known = {"submitted": table.submitted, "started": table.started[call], "stopped": table.stopped[call]}
        stats = {name: at for name, at in known.items() if at}
        if "started" in stats and "stopped" in stats:
            stats["seconds"] = stats["stopped"] - stats["started"]
        return stats

    def result(self, timeout: float | None = None) -> T:
        """The function's result, waiting at most `timeout` seconds; raises what the call raised, or WaitTimeout."""
        state, value = self._outcome(timeout)
        if state == FAILED:
            try:
                raise value
            finally:
                value = None  # the traceback refers to this frame: no cycle
        return value  # type: ignore[no-any-return]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or None, waiting at most `timeout` seconds."""
        state, value = self._outcome(timeout)
        return value if state == FAILED else None

    def _outcome(self, timeout: float | None) -> tuple[int, Any]:
        if self.table.states[self.call] <= RUNNING and not self.table.wait(self.call, timeout):
            raise WaitTimeout(f"call {self.executor_id}/{self.job_id}/{self.call_id} has not ended after {timeout} s")
        state, value = self.table.outcome(self.call)
        if state == CANCELLED:
            raise concurrent.futures.CancelledError
        return state, value

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

    def add_done_callback(self, fn: Callable[["concurrent.futures.Future[T]"], object]) -> None:
        """Call `fn(self)` once it is done: in a thread of wren's own, or here and now if it is done already."""
        self.table.add_callback(self, fn)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    def __repr__(self) -> str:
        state = ("pending", "running", "cancelled", "done", "failed")[self.table.states[self.call]]
        return f"<wren.Future {self.executor_id}/{self.job_id}/{self.call_id} {state}>"

    # ---- what concurrent.futures.wait and as_completed look at

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # the base class assigns it
        return self.table.watch(self).condition

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]  # the base class assigns it
        return self.table.watch(self).waiters

    @property
    def _state(self) -> str:  # type: ignore[override]  # the base class assigns it
        return _STANDARD[self.table.states[self.call]]

    @property
    def _exception(self) -> BaseException | None:  # type: ignore[override]  # the base class assigns it
        state, value = self.table.outcome(self.call)
        return value if state == FAILED else None


def wait_all(futures: Iterable[Future[Any]], timeout: float | None, *, until_failure: bool = False) -> bool:
    """Wait at most `timeout` seconds until all are done; False if the time was too short.

    With `until_failure` the waiting is over, too, once a call of a job that is waited for has failed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    for future in reversed([future for future in futures if not future.done()]):  # the last is likely to end last
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not future.table.wait(future.call, left, until_failure=until_failure):
            return until_failure and future.table.failures > 0
    return True


def wait_any(futures: Iterable[Future[Any]], timeout: float | None) -> bool:
    """Wait at most `timeout` seconds until one is done; whether one is."""
    global _impatient  # noqa: PLW0603 - guarded by the condition
    watched = list(futures)
    deadline = None if timeout is None else time.monotonic() + timeout
    with _settled:
        _impatient += 1
        try:
            while not any(future.done() for future in watched):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                _settled.wait(left)
        finally:
            _impatient -= 1
    return True
