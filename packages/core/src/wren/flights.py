"""What the platform has of a backend that does not queue by itself: each invocation with its deadlines.

    invoker ─▶ add          the clock ─▶ due ─▶ the examiner, which asks what became of it
    tracker ─▶ accepted, beat, undecided, ended

A flight is late when it was not accepted in time, when its worker gives no sign of life, when its calls have run longer
than they may, or when its channel broke and it is time to ask again.
"""

import enum
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from wren import callbacks
from wren.errors import Undecided
from wren.job import Job
from wren.spi import Deployment, Invocation, Receipt

__all__ = ["Flight", "Flights", "Late", "Rules"]

MISSED: Final = 3  # signs of life that may be missed
SOONEST: Final = 0.005  # seconds between two looks at what is late
EXAMINERS: Final = 16  # threads that examine what is late at the same time


class Rules(NamedTuple):
    """Seconds.  `heartbeat` None: the channel does not say when a call starts, nor that its worker lives."""

    start_timeout: float
    heartbeat: float | None
    pause: float  # between two questions about a flight whose channel broke

    @property
    def silence(self) -> float | None:
        """How long a worker may give no sign of life."""
        return None if self.heartbeat is None else MISSED * self.heartbeat


class Late(enum.Enum):
    """Why a flight must be looked at."""

    START = "it was not accepted in time"
    SILENT = "its worker gives no sign of life"
    UNDECIDED = "its channel broke"
    QUIET = "nobody has said anything of it for long"
    RUN = "its calls ran too long"


@dataclass(slots=True, eq=False)
class Flight:
    """An invocation that was handed over, and what is known of it.  Times are of `time.monotonic`."""

    job: Job
    invocation: Invocation
    deployment: Deployment
    open: set[int]  # calls that have not ended
    sent: float = field(default_factory=time.monotonic)
    receipt: Receipt | None = None
    accepted: float | None = None
    heard: float = 0.0  # the last sign of life
    receiving: float = 0.0  # when the last bytes of a status came in
    broken: Exception | None = None  # its channel broke, or is silent
    ask_at: float = 0.0  # when it is asked again then
    examined: bool = False  # somebody is asking
    doubted: float = 0.0  # since when it is asked again and again
    doomed: bool = False  # it is being killed, and its verdict is known

    def deadline(self, rules: Rules) -> float:
        """When its calls must have ended; infinite where they have no timeout."""
        timeout = self.invocation.timeout
        if timeout is None:
            return float("inf")
        seconds = timeout * len(self.invocation.calls) + (rules.silence or MISSED * rules.pause)
        if rules.heartbeat is None:  # then nobody says when they start
            return self.sent + rules.start_timeout + seconds
        return max(self.accepted or self.sent + rules.start_timeout, self.receiving) + seconds

    def late(self, rules: Rules) -> tuple[float, Late]:
        """When it must be looked at, and why."""
        if self.broken is not None:
            return self.ask_at, Late.UNDECIDED
        run = self.deadline(rules), Late.RUN
        if rules.silence is None:
            quiet = (self.heard or self.sent) + rules.start_timeout, Late.QUIET
            return run if run[0] < math.inf or self.receipt is None else quiet
        if self.accepted is None:
            return self.sent + rules.start_timeout, Late.START
        return min((self.heard + rules.silence, Late.SILENT), run, key=lambda each: each[0])


class Flights:
    """All flights of an engine.  Thread-safe."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.examine: Callable[[Flight, Late], None] = lambda flight, late: None  # in a thread that may wait
        self._lock = threading.Lock()
        self._flights: dict[Invocation, Flight] = {}
        self._calls: dict[tuple[str, int], Flight] = {}  # by job and call
        self._look_at = float("inf")

    @property
    def calls(self) -> int:
        """How many calls are in flight."""
        return len(self._calls)

    def add(self, flight: Flight) -> None:
        """An invocation is about to be handed over."""
        with self._lock:
            self._flights[flight.invocation] = flight
            self._calls.update(dict.fromkeys(((flight.job.header.job, call) for call in flight.open), flight))
        self._look_by(flight.late(self.rules)[0])

    def find(self, invocation: Invocation) -> Flight | None:
        """The flight of an invocation, unless it is over."""
        return self._flights.get(invocation)

    def of(self, job: Job) -> list[Flight]:
        """All of a job."""
        with self._lock:
            return [flight for flight in self._flights.values() if flight.job is job]

    def accepted(self, invocation: Invocation, receipt: Receipt) -> None:
        """The platform has it."""
        flight = self._flights.get(invocation)
        if flight is not None:
            flight.receipt = receipt
            flight.accepted = flight.heard = time.monotonic()
            self._look_by(flight.late(self.rules)[0])

    def beat(self, invocation: Invocation, receiving: bool) -> None:
        """Its worker gave a sign of life."""
        flight = self._flights.get(invocation)
        if flight is not None:
            flight.heard, flight.broken = time.monotonic(), None
            if receiving:
                flight.receiving = flight.heard

    def undecided(self, invocation: Invocation, error: Undecided) -> bool:
        """Its channel broke, and it may be running; False if nobody knows the flight."""
        flight = self._flights.get(invocation)
        if flight is None:
            return False
        flight.broken, flight.ask_at = error, time.monotonic()
        self._look_by(flight.ask_at)
        return True

    def ask_again(self, flight: Flight) -> None:
        """Nothing is known of it yet."""
        flight.ask_at = time.monotonic() + self.rules.pause
        flight.examined = False
        flight.doubted = flight.doubted or time.monotonic()
        self._look_by(flight.ask_at)

    def leave(self, flight: Flight) -> None:
        """It is well, for now."""
        flight.heard, flight.examined = max(flight.heard, time.monotonic()), False
        self._look_by(flight.late(self.rules)[0])

    def ended(self, job: str, calls: Iterable[int]) -> list[Flight]:
        """These calls are over: the flights that are, too.  Idempotent."""
        over = []
        with self._lock:
            for call in calls:
                flight = self._calls.pop((job, call), None)
                if flight is not None:
                    flight.open.discard(call)
                    if not flight.open and self._flights.pop(flight.invocation, None) is not None:
                        over.append(flight)
        return over

    def over(self, invocation: Invocation, calls: Iterable[int]) -> None:
        """These calls of an invocation are over, whatever became of them otherwise.  Idempotent."""
        with self._lock:
            flight = self._flights.get(invocation)
            if flight is None:
                return
            for call in calls:
                flight.open.discard(call)
                if self._calls.get((flight.job.header.job, call)) is flight:
                    del self._calls[flight.job.header.job, call]
            if not flight.open:
                del self._flights[invocation]

    # ---- the clock

    def _look_by(self, at: float) -> None:
        """See that somebody looks at what is late by then."""
        with self._lock:
            if at >= self._look_at:
                return
            self._look_at = at
        # The clock must not keep an engine alive that nobody uses.
        look = weakref.WeakMethod(self._look)
        callbacks.after(max(SOONEST, at - time.monotonic()), lambda: (method := look()) and method(at))

    def _look(self, planned: float) -> None:
        """In the engine's thread: have what is late examined, by threads that may wait."""
        now = time.monotonic()
        with self._lock:
            if planned != self._look_at:
                return  # somebody looks earlier
            self._look_at = float("inf")
            if self.rules.heartbeat is not None and now - planned > self.rules.heartbeat:
                for flight in self._flights.values():  # this process was stopped, or busy: the silence is its own
                    flight.heard = max(flight.heard, now)
            watched = [(flight, *flight.late(self.rules)) for flight in self._flights.values() if not flight.examined]
        late = [flight for flight, at, _ in watched if at <= now]
        for flight in late:
            flight.examined = True
        for first in range(min(EXAMINERS, len(late))):
            callbacks.apart(partial(self._examine, late[first::EXAMINERS]), "wren-examiner")
        self._look_by(min((at for _, at, _ in watched if at > now), default=float("inf")))

    def _examine(self, late: Sequence[Flight]) -> None:
        for flight in late:
            at, why = flight.late(self.rules)  # things may have changed while others were examined
            if at <= time.monotonic():
                self.examine(flight, why)
            else:
                self.leave(flight)
