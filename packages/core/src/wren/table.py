"""The calls of a job as the client sees them, in columns; futures are views over them.

A stock future costs 1.6 KB and 6 us, a view 0.1 KB and 0.3 us, and a batch of results settles under one lock.

Two kinds of waiting share the table.  wren's own puts a `Waiter` on it, which is woken once, when what it waits for has
come.  The standard library's (`concurrent.futures.wait` and `as_completed`) holds the `_condition` of each future, in
the order of the futures' ids: those must be locks of their own, and a call must have one future only, or two threads
that wait for overlapping sets would deadlock; the conditions are made when first asked for.  A thread that holds a
future's condition may take `_lock`, never the other way round.

`_lock` is a lock and not a `threading.Condition`, whose methods are Python code: a KeyboardInterrupt inside of one
would leave it locked for ever.  It is reentrant, for signal handlers and finalizers may come to use a future anywhere.

It is one room, if a large one, for all of it shares that lock.
"""

import concurrent.futures
import os
import pickle
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from wren import callbacks
from wren.errors import NoSuchKey, StorageUnavailable
from wren.loading import RAW, load
from wren.references import Reference
from wren.serialize import UNEXPLAINED
from wren.spi import Outcomes, Pickled, Stored
from wren.watches import Callback, Waiter, Watch, call_back, drain
from wren.wire import CallStatus, Failure, Header

__all__ = ["CallTable", "Details", "Owner", "called_back"]

PENDING, RUNNING, CANCELLED, OK, FAILED = range(5)

_lock = threading.RLock()  # of all tables of the process: what they do with it takes microseconds


def _after_fork() -> None:
    """In a forked child the parent's threads are gone, and whatever lock they held would stay locked."""
    global _lock  # noqa: PLW0603 - the one lock of the process, for a new process
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def called_back() -> None:
    """Wait until the callbacks of all that has settled were called; at once where a callback asks."""
    with _lock:
        pass  # who has settled something has handed its callbacks over by now
    drain()


class Details(NamedTuple):
    """What is known of a call besides its result: when it ran, what it printed, and the memory that it had at most."""

    started: float = 0.0  # epoch seconds; 0: not known
    stopped: float = 0.0
    logs: str = ""
    peak_memory: int = 0  # bytes; 0: not known

    @classmethod
    def of(cls, status: CallStatus) -> "Details":
        """Those of a status."""
        return cls(status.started, status.stopped, status.logs, status.peak_memory)


class Owner(Protocol):
    """What a table asks of the engine that its job runs in."""

    def cancel(self, table: "CallTable", calls: Sequence[int]) -> None:
        """Take back those of the calls that have not started, and settle them."""

    def kill(self, table: "CallTable", calls: Sequence[int]) -> Sequence[int]:
        """End those of the calls that run, where the backend can: which ones.  They settle as `CallCancelled`."""

    def fetch(self, job: Header, call: int, stored: Stored) -> Pickled | Failure:
        """A result that was stored, or why there is none.  StorageError; thread-safe."""

    def read_status(self, job: Header, call: int, stored: Stored) -> CallStatus:
        """The stored status of a call."""

    def finished(self, job: str) -> None:
        """Every call of the job has settled.  Called once, in whatever thread settled the last."""


_NOTHING_KNOWN: Final = Details()
_TAKEN: Final = object()  # in the place of a result that the table does not keep


class CallTable:
    """The calls of one job, in columns: states, values and times by call id."""

    __slots__ = (
        "__weakref__", "_header", "_owner", "_result_sizes", "_waiters", "_watches", "argument_sizes", "collected",
        "executor_id", "failures", "job_id", "listed", "loaded", "logs", "on_read", "peaks", "raised", "reduced_by",
        "reference", "retried", "single", "started", "states", "stopped", "submitted", "unfinished", "values",
    )  # fmt: skip

    def __init__(
        self,
        executor_id: str,
        job_id: str,
        count: int,
        owner: Owner,
        header: Header | None = None,
    ) -> None:
        self.executor_id, self.job_id, self._owner = executor_id, job_id, owner
        self._header = header  # of a job whose results may lie in the storage
        self.single = False  # the job's result is one value, not a list
        self.reduced_by: str | None = None  # the reducer's job, when it has one
        self.on_read: Callable[[], None] | None = None  # called once, when all results were read
        self.reference: Callable[[], Reference] | None = None  # of a job that persists, for other processes
        self.raised: Callable[[BaseException], BaseException] | None = None  # what a failure is for who asks
        self.submitted = time.time()
        self.unfinished = count
        self.failures = 0
        self.states = bytearray(count)
        self.collected = bytearray(count)  # 1: somebody has read it
        self.values: list[Any] = [None] * count
        self.loaded = bytearray(count)  # 1: the value is what is returned or raised, whatever its type
        self.started = array("d", bytes(8 * count))
        self.stopped = array("d", bytes(8 * count))
        self.logs: dict[int, str] = {}
        self.peaks: dict[int, int] = {}  # bytes of memory at most
        self.listed: dict[int, Stored] = {}  # those of whom a stored status has times and logs that nobody has read
        self.argument_sizes: Sequence[int] = ()  # bytes; empty, or 0: not known
        self._result_sizes: dict[int, int] = {}  # of what does not tell by itself any more
        self.retried: Mapping[int, int] = {}  # how often, where a call was
        self._waiters: list[Waiter] = []
        self._watches: dict[int, Watch] = {}

    def __len__(self) -> int:
        return len(self.states)

    # ---- the engine's side

    def succeed(self, outcomes: Outcomes) -> int:
        """Settle calls that have results, and return how many; those that are settled already stay as they are."""
        calls, values, starts, stops, logs, peaks = outcomes
        if len(calls) == 1:  # somebody waits for it
            (call,) = calls
            return self._finish(
                call, OK, values[0], Details(starts[0], stops[0], logs.get(call, ""), peaks.get(call, 0))
            )
        if isinstance(calls, range) and calls.step == 1 and self._succeed_together(outcomes, calls):
            return len(calls)
        return sum(
            self._finish(call, OK, value, Details(started, stopped, logs.get(call, ""), peaks.get(call, 0)))
            for call, value, started, stopped in zip(calls, values, starts, stops, strict=True)
        )

    def settle_one(self, call: int, value: Any, details: Details) -> None:
        """The same for one call."""
        self._finish(call, OK, value, details)

    def _succeed_together(self, outcomes: Outcomes, calls: range) -> bool:
        first, stop = calls.start, calls.stop
        with _lock:
            if self._watches or self.states[first:stop].count(PENDING) != len(calls):
                return False
            self.values[first:stop] = outcomes.values
            self.started[first:stop] = array("d", outcomes.started)
            self.stopped[first:stop] = array("d", outcomes.stopped)
            self.logs.update(outcomes.logs)
            self.peaks.update(outcomes.peaks)
            self.states[first:stop] = bytes((OK,)) * len(calls)
            self.unfinished -= len(calls)
            for waiter in self._waiters:
                if waiter.call is None or first <= waiter.call < stop:
                    waiter.wake()
            over = not self.unfinished
        if over:
            self._owner.finished(self.job_id)
        return True

    def fail(self, call: int, error: BaseException | Failure | Stored, details: Details = _NOTHING_KNOWN) -> None:
        """Settle a call that has no result."""
        self._finish(call, FAILED, error, details)

    def _finish(self, call: int, state: int, value: Any, details: Details) -> bool:
        """Settle one call; False if it was settled before."""
        with _lock:
            watch = self._watches.get(call)
            done = watch is None and self._set(call, state, value, details)
        if watch is not None:
            done = self._finish_watched(watch, call, state, value, details)
        if done and not self.unfinished:
            self._owner.finished(self.job_id)
        return done

    def _finish_watched(self, watch: Watch, call: int, state: int, value: Any, details: Details) -> bool:
        with watch.condition:
            with _lock:
                if not self._set(call, state, value, details):
                    return False
                if not watch.claims:
                    watch.hand_over()
            for waiter in watch.waiters:
                add = {CANCELLED: waiter.add_cancelled, OK: waiter.add_result, FAILED: waiter.add_exception}[state]
                add(watch.future)
            watch.condition.notify_all()
        return True

    def _set(self, call: int, state: int, value: Any, details: Details) -> bool:
        if self.states[call] > RUNNING:
            return False
        self.values[call] = value
        self._describe(call, details)
        self.states[call] = state
        self.unfinished -= 1
        self.failures += state == FAILED
        for waiter in self._waiters:
            if waiter.call is None or waiter.call == call or (waiter.until_failure and state == FAILED):
                waiter.wake()
        return True

    def _describe(self, call: int, details: Details) -> None:
        self.started[call], self.stopped[call] = details.started, details.stopped or time.time()
        if details.logs:
            self.logs[call] = details.logs
        if details.peak_memory:
            self.peaks[call] = details.peak_memory

    def details(self, call: int) -> Details:
        """What is known of a settled call besides its result."""
        self.read_details(call)
        return Details(self.started[call], self.stopped[call], self.logs.get(call, ""), self.peaks.get(call, 0))

    def run(self, call: int) -> None:
        """The call is running: too late to cancel it."""
        with _lock:
            if self.states[call] == PENDING:
                self.states[call] = RUNNING

    def wait_again(self, call: int) -> None:
        """The function has ended, but what it returned has not: until it is, the call can be cancelled again."""
        with _lock:
            if self.states[call] == RUNNING:
                self.states[call] = PENDING

    # ---- the futures' side

    def cancel(self, call: int) -> bool:
        """Cancel a call that has not started; True if it will not run."""
        if self.states[call] == PENDING:
            with self._calling_back(call):
                self._owner.cancel(self, [call])
        return self.states[call] == CANCELLED

    def kill(self, call: int) -> bool:
        """Cancel a call that has not started, or end it where the backend can; True if it will have no result."""
        return self.cancel(call) or bool(self.states[call] <= RUNNING and self._owner.kill(self, [call]))

    def settle(self, call: int, state: int, value: Any, details: Details = _NOTHING_KNOWN) -> bool:
        """Settle a call by hand, as the standard library lets tests do; False if it was settled before."""
        with self._calling_back(call):
            done = self._finish(call, state, value, details)
            if done:
                self.loaded[call] = 1
        return done

    @contextmanager
    def _calling_back(self, call: int) -> Iterator[None]:
        """If a call is settled meanwhile, its callbacks are called in this thread, as the standard library does."""
        watch = self._watches.get(call)
        if watch is None:
            yield
            return
        with watch.condition:
            watch.claims += 1
        waiting: list[Callback] = []
        try:
            yield
        finally:
            with watch.condition:
                watch.claims -= 1
                if self.states[call] > RUNNING and not watch.claims:
                    waiting, watch.callbacks = watch.callbacks, []
            call_back(waiting, watch.future)

    def cancelled(self, call: int) -> None:
        """Settle a call that was taken back before it started."""
        self._finish(call, CANCELLED, None, _NOTHING_KNOWN)

    def held(self, calls: Sequence[int]) -> bool:
        """Whether the current thread has a lock that settling one of the calls needs."""
        # What threading.Condition asks of its own lock.
        locks = [_lock, *(watch.condition for call in calls if (watch := self._watches.get(call)) is not None)]
        return any(lock._is_owned() for lock in locks)  # type: ignore[attr-defined]

    def abandon(self, error: Exception) -> None:
        """In a forked child, where no other thread is: fail what the parent's engine will settle in the parent only."""
        self._watches.clear()
        for call, state in enumerate(self.states):
            if state <= RUNNING:
                self.states[call], self.values[call] = FAILED, error
        self.unfinished = 0

    def wait(self, call: int, timeout: float | None, *, until_failure: bool = False) -> bool:
        """Wait at most `timeout` seconds for a call to settle, or for any to fail; whether it has settled."""
        waiter = Waiter(call, until_failure)
        with _lock:
            if self.states[call] > RUNNING or (until_failure and self.failures):
                return self.states[call] > RUNNING
            self._waiters.append(waiter)
        try:
            waiter.wait(timeout)
        finally:
            self.unwatch(waiter)
        return self.states[call] > RUNNING

    def watch_any(self, waiter: Waiter) -> None:
        """Have a waiter woken by whatever settles next."""
        with _lock:
            self._waiters.append(waiter)

    def unwatch(self, waiter: Waiter) -> None:
        """Wake it no more."""
        with _lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def outcome(self, call: int) -> tuple[int, Any]:
        """State and value of a settled call; unpickles it the first time, in the caller's thread."""
        with _lock:
            state, value, loaded, size = self.states[call], self.values[call], self.loaded[call], 0
        if loaded or (state != FAILED and type(value) not in RAW):
            return state, value
        if type(value) in RAW:
            size = _size(value)
            name = f"call {call} of job {self.executor_id}/{self.job_id}"
            value, error = load(value, partial(self._fetch, call=call), name, succeeded=state == OK)
            if isinstance(error, StorageUnavailable):
                return FAILED, error  # what is stored is still there: the next one who asks may get it
            state, value = (state, value) if error is None else (FAILED, error)
        if state == FAILED and self.raised is not None:
            value = self.raised(value)
        with _lock:  # of two threads that load it, both get what the first one got
            if not self.loaded[call]:
                self.states[call], self.values[call], self.loaded[call] = state, value, 1
                if size:
                    self._result_sizes[call] = size
            return self.states[call], self.values[call]

    def result(self, call: int) -> Any:
        """The value of a settled call, or raises its exception."""
        value = self.values[call]
        if self.states[call] == OK and type(value) not in RAW:
            return value
        state, value = self.outcome(call)
        if state == CANCELLED:
            raise concurrent.futures.CancelledError
        if state == FAILED:
            try:
                raise value
            finally:
                value = None  # the traceback refers to this frame: no cycle
        return value

    def was_read(self) -> None:
        """Somebody has read results; if it was the last of them, say so."""
        if self.on_read is None or 0 in self.collected or any(type(value) is Stored for value in self.values):
            return
        action, self.on_read = self.on_read, None
        action()

    def take(self, call: int) -> Any:
        """As `result`, for a call whose result nobody else asks for: the table does not keep it."""
        value = self.result(call)
        self.values[call] = _TAKEN
        return value

    def _fetch(self, stored: Stored, call: int) -> Pickled | Failure:
        assert self._header is not None
        return self._owner.fetch(self._header, call, stored)

    def fetch(self, call: int) -> Pickled | Failure | None:
        """What the storage has of a settled call, None where nothing has to be fetched.  StorageError."""
        with _lock:
            value, loaded = self.values[call], self.loaded[call]
        return None if loaded or not isinstance(value, Stored) else self._fetch(value, call)

    def fetched(self, call: int, content: Pickled | Failure) -> None:
        """That was fetched: it is loaded when somebody asks."""
        with _lock:
            if not self.loaded[call] and isinstance(self.values[call], Stored):
                self.values[call] = content

    def read_details(self, call: int) -> None:
        """Fetch times and logs where only the name of the status was looked at.  StorageError."""
        stored = self.listed.get(call)
        if stored is None or self.states[call] <= RUNNING or self._header is None:
            return
        try:
            status = self._owner.read_status(self._header, call, stored)
        except NoSuchKey:
            return  # it was cleaned away, and nobody knows any more
        with _lock:
            self.listed.pop(call, None)
            self._describe(call, Details.of(status))
            self._result_sizes[call] = status.size

    def failure(self, call: int) -> BaseException | Failure:
        """Why a call has failed, as far as that was loaded: no code of the user's runs here.  StorageError."""
        value: BaseException | Failure | Stored = self.values[call]
        if not isinstance(value, Stored):
            return value
        assert self._header is not None
        return self._owner.read_status(self._header, call, value).failure or UNEXPLAINED

    def result_size(self, call: int) -> int:
        """Bytes of a result's pickle; 0 where there is none, or nobody knows."""
        if self.states[call] != OK:
            return 0
        value = self.values[call]
        if call in self._result_sizes or self.loaded[call] or value is _TAKEN:
            return self._result_sizes.get(call, 0)
        return _size(value) if type(value) in RAW else len(pickle.dumps(value, 5))  # a scalar, as it came

    def watch(self, call: int, future: concurrent.futures.Future[Any]) -> Watch:
        """What the standard library's waiters need of a call's future, made when first asked for."""
        with _lock:
            return self._watches.setdefault(call, Watch(future))

    def add_callback(self, call: int, future: concurrent.futures.Future[Any], callback: Callback) -> None:
        """Have the callback called once the call has settled, or now."""
        callbacks.start(users=True)
        watch = self.watch(call, future)
        with watch.condition:
            if self.states[call] <= RUNNING:
                watch.callbacks.append(callback)
                return
        call_back([callback], future)


def _size(raw: Any) -> int:
    match raw:
        case Pickled():
            return len(raw.data)
        case Stored():
            return raw.size
        case _:
            return 0
