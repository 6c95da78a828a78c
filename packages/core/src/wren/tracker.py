"""Takes in what backends and monitors say of calls, settles the futures, and decides what is tried again.

A success of any attempt counts; a failure only if it is of the call's current attempt.  What comes later, comes twice
or was not written by the job's own worker is dropped, and counted in `dropped`.
"""

import threading
from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any, Final, Protocol

from wren import callbacks, wire
from wren.errors import (
    CallCancelled,
    NotDeployed,
    RemoteError,
    SerializationError,
    Throttled,
    Unavailable,
    Undecided,
    WorkerLost,
    WrenError,
)
from wren.flights import Flight, Flights
from wren.job import RETRIED, Job
from wren.logs import Log
from wren.nested import Followed, Follower
from wren.serialize import UNEXPLAINED, failure_type, load_failure
from wren.spi import Invocation, Listed, Outcomes, Pickled, Receipt, Storage, Stored
from wren.stored import read_status
from wren.table import RUNNING, Details
from wren.wire import CallStatus, Failure, WireMismatch

__all__ = ["Sender", "Tracker"]

_log: Final = Log("wren.tracker")


class Sender(Protocol):
    """What the tracker asks of the invoker."""

    def invoke(self, job: Job, calls: Sequence[int], attempt: int) -> None:
        """Have calls of a job run."""

    def deliver_again(self, flight: Flight, calls: Sequence[int], error: Exception) -> bool:
        """Hand over again what certainly was not delivered; False if that is of no use any more."""

    def stop(self, flight: Flight) -> None:
        """Nobody needs its calls any more."""

    def pump(self) -> None:
        """There is room for calls that wait."""


class Tracker:
    """The `wren.spi.Report` of one engine.  Thread-safe: a job's table has the lock."""

    def __init__(self, flights: Flights, storage: Storage[Any], queues: bool) -> None:
        self._flights, self._storage = flights, storage
        self._queues = queues  # the backend does, and there are no flights
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()  # of `Job.current`
        self.sender: Sender  # the invoker, which is made with this tracker
        self.follower: Follower  # likewise
        self.dropped: Counter[str] = Counter()  # "late", "forged", "foreign"

    def add(self, job: Job) -> None:
        """Begin to track a job."""
        self._jobs[job.header.job] = job

    def find(self, job_id: str) -> Job | None:
        """A job that has unfinished calls."""
        return self._jobs.get(job_id)

    def forget(self, job_id: str) -> Job | None:
        """The job is over; what still comes of it is dropped."""
        job = self._jobs.pop(job_id, None)
        if job is not None and not self._queues and self._flights.calls:
            self._flights.ended(job.header.job, range(len(job.table)))
            self.sender.pump()
        return job

    def unfinished(self) -> list[Job]:
        """The jobs that have unfinished calls, oldest first."""
        return list(self._jobs.values())

    # ---- wren.spi.Report

    def accepted(self, invocation: Invocation, receipt: Receipt) -> None:
        self._flights.accepted(invocation, receipt)
        job = self._jobs.get(invocation.header.job)
        if job is not None:
            _log.debug("accepted by %s", receipt.id, about=job, calls=invocation.calls, attempt=invocation.attempt)
            for call in invocation.calls:
                if call not in job.nested:
                    job.table.run(call)

    def heartbeat(self, invocation: Invocation, *, receiving: bool = False) -> None:
        self._flights.beat(invocation, receiving)

    def succeeded(self, invocation: Invocation, outcomes: Outcomes) -> None:
        job = self._job(invocation)
        if job is not None:
            self._succeed(job, outcomes, invocation.attempt)

    def status(self, invocation: Invocation, status: CallStatus) -> None:
        header = invocation.header
        job = self._job(invocation)
        if job is None:
            return
        same = (status.executor, status.job, status.attempt) == (header.executor, header.job, invocation.attempt)
        if same and status.call in invocation.calls:
            self._settle(job, status)
        else:
            self.dropped["foreign"] += 1
            _log.warning(
                "a status of call %s of job %s was reported for another, and dropped", status.call, status.job,
                about=job, calls=invocation.calls, attempt=invocation.attempt,
            )  # fmt: skip

    def failed(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str = "") -> None:
        flight = self._flights.find(invocation)
        if flight is None and not self._queues:
            self.dropped["late"] += len(calls)  # of an earlier delivery, or of what is settled
            return
        if flight is not None:
            if flight.doomed and isinstance(error, CallCancelled):
                return
            if flight.accepted is not None and isinstance(error, Throttled | Unavailable | NotDeployed):
                error = Undecided(str(error))  # it says that it was not delivered, but it was accepted
        if isinstance(error, Undecided):
            if self._flights.undecided(invocation, error):
                return
            error = WorkerLost(f"{error}; it may have run")
        self._fail(invocation, calls, error, logs)

    # ---- what monitors and the examiner say

    def listed(self, listed: Listed) -> None:
        """A status was stored.  It may be listed again, and what the call returned is in the storage."""
        job = self._jobs.get(listed.job)
        if job is None or job.header.executor != listed.executor or listed.call >= len(job.table):
            return
        if listed.attempt > job.current.get(listed.call, 0):
            self.dropped["forged"] += 1  # there was no such attempt
            return
        stored = Stored(listed.attempt, listed.state)
        if job.table.states[listed.call] <= RUNNING:
            job.table.listed[listed.call] = stored
        if listed.state == "ok":
            self._succeed(job, Outcomes([listed.call], [stored], [0.0], [listed.stopped]), listed.attempt)
        elif listed.state == "nested":
            self._follow(job, Followed(job, listed.call, listed.attempt, Details(stopped=listed.stopped)), None)
        elif listed.attempt < job.options.retries:
            self._read_failure(job, listed)  # whether it is tried again depends on what it was
        else:
            self._conclude(job, listed.call, listed.attempt, stored, Details(stopped=listed.stopped))

    def message(self, message: bytes) -> None:
        """A sealed status came from a monitor, which others may be able to write to."""
        try:
            claimed = wire.read_sealed(message)
            job = self._jobs.get(claimed.job)
            if job is None or job.header.executor != claimed.executor or claimed.call >= len(job.table):
                self.dropped["late"] += 1  # of a job that is over, or of another client's
                return
            identity = (claimed.executor, claimed.job, claimed.call, claimed.attempt, claimed.state)
            wire.unseal_status(job.header.mac_key, *identity, message)
        except WireMismatch as error:
            _log.warning("a monitor's message was dropped: %s", error)
        except ValueError:
            self.dropped["forged"] += 1
            _log.warning("a monitor's message that no worker of this executor has sealed was dropped")
        else:
            self._settle(job, claimed)

    def give_up(self, flight: Flight, error: WrenError) -> None:
        """The calls of a flight that have not ended will not any more."""
        self._fail(flight.invocation, sorted(flight.open), error, "")

    def refuse(self, job: Job, calls: Sequence[int], attempt: int, error: WrenError) -> None:
        """Calls that were never handed over will not be."""
        for call in self._current(job, calls, attempt):
            job.table.fail(call, error)

    def withdrawn(self, job: Job, calls: Sequence[int]) -> None:
        """These calls were taken back before they started."""
        for call in calls:
            job.table.cancelled(call)
        self._ended(job, calls)

    # ---- settling

    def _job(self, invocation: Invocation) -> Job | None:
        job = self._jobs.get(invocation.header.job)
        if job is None:
            self.dropped["late"] += 1
            self._flights.over(invocation, invocation.calls)
        return job

    def _settle(self, job: Job, status: CallStatus) -> None:
        if status.state == "ok":
            value: Any = Stored(status.attempt, size=status.size) if status.result is None else Pickled(status.result)
            job.stores = job.stores or status.result is None
            logs = {status.call: status.logs} if status.logs else {}
            peaks = {status.call: status.peak_memory} if status.peak_memory else {}
            outcomes = Outcomes([status.call], [value], [status.started], [status.stopped], logs, peaks)
            self._succeed(job, outcomes, status.attempt)
            return
        if status.state == "nested":
            outer = Followed(job, status.call, status.attempt, Details.of(status))
            self._follow(job, outer, status.result)
            return
        self._conclude(job, status.call, status.attempt, status.failure or UNEXPLAINED, Details.of(status))

    def _follow(self, job: Job, outer: Followed, returned: bytes | None) -> None:
        """A function has returned futures: the call ends when their calls do, and nothing else that comes of it counts.

        `returned` is the encoded record; None: it is stored.
        """
        call = outer.call
        if self._refuses(job, outer):
            return
        job.stores = job.stores or returned is None
        with self._lock:
            first = job.table.states[call] <= RUNNING and call not in job.nested
            if first:
                job.nested[call] = outer
                job.current[call] = outer.attempt
        if not first:
            self.dropped["late"] += 1
        self._stop_others(job, [call], outer.attempt)
        if first:
            job.table.wait_again(call)
            self.follower.follow(outer, returned)

    def _refuses(self, job: Job, outer: Followed) -> bool:
        """Whether a job does not follow futures; the call has failed then."""
        if job.follows and job.wanted:
            return False
        if self._current(job, [outer.call], outer.attempt):
            self._ended(job, [outer.call])
            name = f"call {outer.call} of job {job.header.job}"
            error: WrenError = CallCancelled(f"{name} had returned futures when its executor was ended")
            if not job.follows:
                error = SerializationError(
                    f"{name} returned futures of an executor that its function made, and wren.Executor follows none: "
                    "return what they give, future.result()"
                )
            job.table.fail(outer.call, error, outer.details)
        return True

    def _succeed(self, job: Job, outcomes: Outcomes, attempt: int) -> None:
        if job.nested and not job.nested.keys().isdisjoint(outcomes.calls):
            left = _without(outcomes, job.nested)
            self.dropped["late"] += len(outcomes.calls) - len(left.calls)
            outcomes = left
        if attempt:
            states = job.table.states
            job.attempts.update((call, attempt) for call in outcomes.calls if states[call] <= RUNNING)
        settled = job.table.succeed(outcomes)
        if settled < len(outcomes.calls):
            self.dropped["late"] += len(outcomes.calls) - settled
        if not self._queues:
            self._stop_others(job, outcomes.calls, attempt)

    def _stop_others(self, job: Job, calls: Sequence[int], attempt: int) -> None:
        """These calls have ended by that attempt."""
        for flight in self._ended(job, calls):
            if flight.invocation.attempt != attempt:
                self.sender.stop(flight)  # an attempt that was given up has succeeded after all

    def _fail(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str) -> None:
        flight = self._flights.find(invocation)
        self._flights.over(invocation, calls)
        job = self._job(invocation)
        if job is None:
            return
        _log.info(
            "calls failed: %d, by %s: %s",
            len(calls),
            type(error).__name__,
            error,
            about=job,
            calls=calls,
            attempt=invocation.attempt,
        )
        current = self._current(job, calls, invocation.attempt)
        self._ended(job, current)
        if not current or (flight is not None and self.sender.deliver_again(flight, current, error)):
            return
        job.stores = job.stores or (job.header.storage is not None and not self._queues)  # it may have stored a result
        if isinstance(error, Throttled):
            error = Unavailable(str(error))  # to the end
        again = isinstance(error, job.options.retry_on) and invocation.attempt < job.options.retries
        if again:
            self._try_again(job, current, invocation.attempt)
            return
        for call in current:
            job.table.fail(call, error, Details(logs=logs))

    def _conclude(self, job: Job, call: int, attempt: int, failure: Failure | Stored, details: Details) -> None:
        """An attempt of one call has failed."""
        if not self._current(job, [call], attempt):
            return
        self._ended(job, [call])
        if isinstance(failure, Failure):  # what the user's exception says is theirs
            _log.info("calls failed: 1, by %s", failure.name, about=job, call=call, attempt=attempt)
        fail = partial(job.table.fail, call, failure, details)
        if attempt >= job.options.retries or not isinstance(failure, Failure):
            fail()
        elif failure.kind != "exception":
            self._try_again_or(fail, job, call, attempt, failure, failure_type(failure))
        elif job.options.retry_on == RETRIED:
            fail()
        else:  # which of the user's exceptions it is takes loading it, which may take its time, or use wren
            callbacks.apart(lambda: self._load_and_decide(fail, job, call, attempt, failure), "wren-loading")

    def _load_and_decide(self, fail: Callable[[], None], job: Job, call: int, attempt: int, failure: Failure) -> None:
        try:
            kind = type(load_failure(failure))
        except BaseException:  # noqa: BLE001 - it is the user's code; who asks for the result will meet it
            fail()
        else:
            self._try_again_or(fail, job, call, attempt, failure, kind)

    def _try_again_or(
        self,
        fail: Callable[[], None],
        job: Job,
        call: int,
        attempt: int,
        failure: Failure,
        kind: type[BaseException],
    ) -> None:
        # Of an exception that did not come, for it cannot be loaded or has ended its function, there is but the name.
        absent = (failure.kind == "exception" and kind is RemoteError) or failure.kind == "exit"
        named = absent and any(each.__qualname__ == failure.name for each in job.options.retry_on)
        if named or issubclass(kind, job.options.retry_on):
            self._try_again(job, [call], attempt)
        else:
            fail()

    def _current(self, job: Job, calls: Sequence[int], attempt: int) -> list[int]:
        """Those of the calls that have not ended and whose current attempt this is; others are dropped."""
        states, nested = job.table.states, job.nested
        current = [
            call
            for call in calls
            if states[call] <= RUNNING and job.current.get(call, 0) == attempt and call not in nested
        ]
        self.dropped["late"] += len(calls) - len(current)
        return current

    def _try_again(self, job: Job, calls: Sequence[int], attempt: int) -> None:
        """Run the calls once more; each failure of an attempt comes here once, whatever brings it twice."""
        with self._lock:
            first = [call for call in calls if job.current.get(call, 0) == attempt]
            job.current.update(dict.fromkeys(first, attempt + 1))
        if first:
            _log.info("calls that run again: %d", len(first), about=job, calls=first, attempt=attempt + 1)
            self.sender.invoke(job, first, attempt + 1)

    def _read_failure(self, job: Job, listed: Listed) -> None:
        stored = Stored(listed.attempt, listed.state)
        try:
            status = read_status(self._storage, job.header, listed.call, stored)
        except Exception as error:  # noqa: BLE001 - a plugin's bug, too, must not leave the call waiting
            _log.warning(
                "a stored status cannot be read: %s", error, about=job, call=listed.call, attempt=listed.attempt
            )
            self._conclude(job, listed.call, listed.attempt, stored, Details(stopped=listed.stopped))
        else:
            self._settle(job, status)

    def _ended(self, job: Job, calls: Sequence[int]) -> list[Flight]:
        """These calls make room for others: the flights that are over."""
        # Nothing is in flight where the backend queues by itself.
        over = self._flights.ended(job.header.job, calls) if self._flights.calls else []
        self.sender.pump()
        return over


def _without(outcomes: Outcomes, unwanted: Container[int]) -> Outcomes:
    """The outcomes of the other calls."""
    kept = [at for at, call in enumerate(outcomes.calls) if call not in unwanted]
    return Outcomes(
        [outcomes.calls[at] for at in kept],
        [outcomes.values[at] for at in kept],
        [outcomes.started[at] for at in kept],
        [outcomes.stopped[at] for at in kept],
        outcomes.logs,
        outcomes.peaks,
    )
