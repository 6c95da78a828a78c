"""Follows calls whose functions have returned futures: runs what those stand for, and puts it in their place.

    tracker ─▶ follow ─▶ the jobs that the worker has described ─▶ engine
                               │ all are over
       table ◀── their results, in the places of the futures

So no worker waits for another.  What a function has described is never unpickled here, and neither is what the calls
return: a value with their results in it is a pickle of pickles, loaded by whoever asks for it, a reducer for instance.
What is done here may wait for a storage, and has threads of its own.
"""

import hashlib
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from wren import callbacks, wire
from wren.defaults import TIMEOUT
from wren.errors import CallCancelled, CallError
from wren.job import CallOptions, Job, Work
from wren.loading import Composed
from wren.logs import Log
from wren.reducers import prepare_reduction
from wren.serialize import PickledArguments
from wren.spi import Pickled, Stored
from wren.stored import read_result, read_returned
from wren.table import CANCELLED, FAILED, CallTable, Details
from wren.wire import Blob, Buffer, Header, Nested
from wren.worker.nested import DEEPEST, Composition, Place
from wren.worker.run import store
from wren.worker.stream import pickle_chunks

if TYPE_CHECKING:
    from wren.engine import Engine

__all__ = ["Followed", "Follower"]

_log: Final = Log("wren.nested")

THREADS: Final = 8  # of an engine, at most

NestedCall: TypeAlias = tuple[CallTable, Header, int]


@dataclass(slots=True, eq=False)
class Followed:
    """A call whose function has returned futures, until it has their results.  Its times and output are its own."""

    job: Job
    call: int
    attempt: int
    details: Details
    value: Buffer = b""  # see `wire.Returned`
    places: Sequence[NestedCall] = ()
    jobs: Sequence[Job] = ()
    left: int = 0  # jobs that must be over before it is
    wanted: bool = True  # False: somebody has cancelled it
    killed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)  # of the last three


class Follower:
    """The calls of one engine that are followed.  Thread-safe."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._threads = _Threads()

    def follow(self, outer: Followed, returned: bytes | None) -> None:
        """Run what a call has described, and settle it then; None: that is stored."""
        self._threads.put(partial(self._begin, outer, returned))

    def cancel(self, job: Job, calls: Iterable[int]) -> None:
        """Take back what these calls have described, as far as it has not started.

        A call of which something was taken back is cancelled, when the rest is over.
        """
        for outer in _followed(job, calls):
            self._stop(outer)
            if not outer.jobs or _is_lost(outer):
                job.table.cancelled(outer.call)

    def kill(self, job: Job, calls: Iterable[int]) -> list[int]:
        """End what these calls have described, as far as the backend can, and the calls: which ones."""
        killed = []
        for outer in _followed(job, calls):
            self._stop(outer, kill=True)
            self._fail(outer, CallCancelled(f"{_name(outer)} was killed, and what it had returned futures of"))
            killed.append(outer.call)
        return killed

    def _stop(self, outer: Followed, *, kill: bool = False) -> None:
        """Take back what has not started, and with `kill` end what runs; what is not launched yet will be stopped."""
        with outer.lock:
            outer.wanted, outer.killed = False, kill or outer.killed
            jobs = outer.jobs
        for inner in jobs:
            self._engine.take_back(inner.table, range(len(inner.table)))
            if kill:
                self._engine.end_calls(inner.table, range(len(inner.table)))

    # ---- the beginning

    def _begin(self, outer: Followed, returned: Buffer | None) -> None:
        try:
            groups = self._prepare(outer, returned)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the call's future must not wait for ever
            self._fail(outer, error)
            return
        jobs = [job for group in groups for job in group]
        with outer.lock:
            outer.jobs, outer.left = jobs, len(jobs)
            wanted = outer.wanted
        if not wanted:
            for job in jobs:
                self._engine.leftovers.discard(job)
            return
        for group in groups:
            for job in group:
                job.then = partial(_both, job.then, partial(self._threads.put, partial(self._over, outer)))
            try:
                self._engine.launch(*group)
            except BaseException as error:  # noqa: BLE001 - likewise
                self._fail(outer, error)
        if not outer.wanted:  # before all of them could be taken back
            self._stop(outer, kill=outer.killed)
            if _is_lost(outer):
                outer.job.table.cancelled(outer.call)

    def _prepare(self, outer: Followed, returned: Buffer | None) -> list[tuple[Job, ...]]:
        """The jobs that a call has described, those together that must be launched together, the last to end last."""
        job, engine = outer.job, self._engine
        if job.depth >= DEEPEST:
            raise CallError(
                f"{_name(outer)} returned a future as {job.depth} calls before it did, and there it ends: "
                "does its function return a future of itself?"
            )
        if returned is None:
            returned = read_returned(engine.storage, job.header, outer.call, outer.attempt)
        record = wire.decode_returned(returned)
        if not record.places:
            raise ValueError(f"{_name(outer)} says that it returned futures, and names none")
        works = [self._work(nested) for nested in record.jobs]
        maps = {nested.inputs for nested in record.jobs}
        prepared: dict[int, Job] = {}
        groups: list[tuple[Job, ...]] = []
        try:
            for index, nested in enumerate(record.jobs):
                if nested.inputs is not None:
                    pair = works[nested.inputs], works[index]
                    both = prepare_reduction(engine, engine.number(), *pair, nested.parameter, outer=job)
                    prepared[nested.inputs], prepared[index] = both
                    groups.append(both)
                elif index not in maps:
                    prepared[index] = engine.maker.make(f"M{engine.number()}", works[index], outer=job)
                    groups.append((prepared[index],))
        except BaseException:  # none of them will be launched, whatever it is
            for each in prepared.values():
                engine.leftovers.discard(each)
            raise
        outer.value = bytes(record.value)
        outer.places = [(prepared[index].table, prepared[index].header, call) for index, call in record.places]
        return groups

    def _work(self, nested: Nested) -> Work:
        """The same checks as if it were asked for here, where the backend's limits are known."""
        code = bytes(nested.code)
        options = CallOptions.of(
            nested.env,
            self._engine.timeout if nested.timeout == TIMEOUT else nested.timeout,
            nested.retries,
            limits=self._engine.compute.limits,
            retry_on=pickle.loads(nested.retry_on) if nested.retry_on else None,  # noqa: S301 - as authentic as a result
            memory=nested.memory,
            per_activation=nested.per_activation,
        )
        arguments = PickledArguments([[bytes(call)] for call in nested.calls])
        blob = Blob(hashlib.sha256(code).hexdigest(), len(code))
        return Work(blob, [code], arguments, nested.inject, options)

    # ---- the end

    def _over(self, outer: Followed) -> None:
        """One of its jobs is over."""
        with outer.lock:
            outer.left -= 1
            if outer.left:
                return
        try:
            self._conclude(outer)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the call's future must not wait for ever
            self._fail(outer, error)

    def _conclude(self, outer: Followed) -> None:
        """All that it waited for is over."""
        header = outer.job.header
        for table, _, call in outer.places:
            if table.states[call] == CANCELLED and not outer.wanted:
                outer.job.table.cancelled(outer.call)
                return
            if table.states[call] in (FAILED, CANCELLED):
                error = table.outcome(call)[1] or CallCancelled(f"call {call} of job {table.job_id} was cancelled")
                self._fail(outer, error)
                return
        value = self._value(outer)
        if header.gathered or header.persist:
            pickled = _pickle(value)
            store(self._engine.storage, header, outer.call, outer.attempt, [pickled])
            rides = header.inline is None or len(pickled) <= header.inline
            value = Pickled(pickled) if rides else Stored(outer.attempt, size=len(pickled))
        self._settle(outer, value)

    def _value(self, outer: Followed) -> Any:
        """What the call has for a result."""
        if outer.value:
            return Composed(outer.value, partial(self._parts, outer.places))
        ((table, _, call),) = outer.places
        value = table.values[call]
        if type(value) is Stored:  # in another job's place
            return Composed(pickle.dumps(Place(0), 5), partial(self._parts, outer.places))
        return value

    def _parts(self, places: Sequence[NestedCall]) -> list[bytes]:
        """The pickles of what nested calls have returned."""
        return [self._pickle_of(*place) for place in places]

    def _pickle_of(self, table: CallTable, header: Header, call: int) -> bytes:
        value = table.values[call]
        if type(value) is Stored:
            return bytes(read_result(self._engine.storage, header, call, value))
        return _pickle(value)

    def _settle(self, outer: Followed, value: Any) -> None:
        job, call = outer.job, outer.call
        if outer.attempt:
            job.attempts[call] = outer.attempt
        job.table.settle_one(call, value, outer.details)
        job.nested.pop(call, None)

    def _fail(self, outer: Followed, error: BaseException) -> None:
        outer.job.table.fail(outer.call, error, outer.details)
        outer.job.nested.pop(outer.call, None)


def _both(first: Callable[[], None] | None, second: Callable[[], None]) -> None:
    if first is not None:
        first()
    second()


def _followed(job: Job, calls: Iterable[int]) -> list[Followed]:
    """Those of the calls that are followed."""
    return [outer for call in calls if (outer := job.nested.get(call)) is not None] if job.nested else []


def _is_lost(outer: Followed) -> bool:
    """Whether nothing of what it had described runs any more, and not all of it has run."""
    over = not any(job.table.unfinished for job in outer.jobs)
    return over and any(table.states[call] == CANCELLED for table, _, call in outer.places)


def _pickle(value: Any) -> bytes:
    """The pickle of what a call returned, and the table has as it came."""
    match value:
        case Pickled():
            return bytes(value.data)
        case Composed():
            return b"".join(pickle_chunks(Composition(bytes(value.value), value.parts())))
        case _:
            return pickle.dumps(value, 5)  # a scalar


def _name(outer: Followed) -> str:
    return f"call {outer.call} of job {outer.job.header.job}"


class _Threads:
    """A few threads, which live while there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], object]] = deque()
        self._working = 0

    def put(self, action: Callable[[], object]) -> None:
        """Have it done soon."""
        with self._lock:
            self._waiting.append(action)
            if self._working >= THREADS:
                return
            self._working += 1
        callbacks.apart(self._work, "wren-nested")

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._working -= 1
                    return
                action = self._waiting.popleft()
            try:
                action()
            except BaseException:  # noqa: BLE001 - the others that wait are of other calls
                _log.exception("%r raised in a thread for nested calls", action)
