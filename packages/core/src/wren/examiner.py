"""Finds out what became of a late flight: asks the storage, then the platform, then kills what is left and says so.

Runs in threads of its own, since all that it asks may take its time.
"""

import math
import time
from typing import Any, Final

from wren.errors import CallLost, CallTimeout, OutOfMemory, WorkerLost, WrenError
from wren.flights import Flight, Flights, Late
from wren.logs import Log
from wren.spi import Alive, Compute, Exited, Feature, Storage
from wren.stored import list_statuses
from wren.tracker import Tracker
from wren.wire import SHARD

__all__ = ["Examiner"]

_log: Final = Log("wren.tracker")


class Examiner:
    """What `Flights.examine` calls for each flight that is late."""

    def __init__(self, compute: Compute[Any], storage: Storage[Any], flights: Flights, tracker: Tracker) -> None:
        self._compute, self._storage, self._flights, self._tracker = compute, storage, flights, tracker

    def examine(self, flight: Flight, why: Late) -> None:
        """Settle the flight's calls, or see that it is asked again."""
        try:
            known = self._find_statuses(flight)
            if known is None and self._may_answer(flight):
                self._flights.ask_again(flight)
                return
            if not flight.open:
                return
            found = self._probe(flight)
            if isinstance(found, Exited):
                known = self._find_statuses(flight)  # of what ended in between
                if known is None and self._may_answer(flight):
                    self._flights.ask_again(flight)
                elif flight.open:
                    self._lose(flight, why, found)
            elif why is Late.QUIET:
                self._flights.leave(flight)
            elif self._worth_waiting(flight, why, found):
                self._flights.ask_again(flight)
            else:
                self._kill(flight)
                self._lose(flight, why, None)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the calls must not wait for ever
            _log.exception(
                "the examination of %s failed",
                _calls(flight),
                about=flight.job,
                calls=flight.open,
                attempt=flight.invocation.attempt,
            )
            self._fail(flight, WorkerLost(f"{_calls(flight)} could not be followed: {error}"))

    def _worth_waiting(self, flight: Flight, why: Late, found: Alive | None) -> bool:
        """Whether a status may still come although the channel is of no use any more."""
        persist = flight.job.header.persist
        if why in {Late.START, Late.RUN} or not (persist or found):
            return False
        if why is Late.SILENT:
            if found is None or not persist:
                return False
            flight.broken = _silence(flight)
        rules = self._flights.rules
        until = flight.deadline(rules)
        if found is None and until == math.inf:  # nobody will say that it is over
            until = (flight.accepted or flight.sent) + rules.start_timeout
        return time.monotonic() < until

    def _may_answer(self, flight: Flight) -> bool:
        """Whether a storage that does not answer gets more time: it is the truth, and is not given up soon."""
        return not flight.doubted or time.monotonic() < flight.doubted + self._flights.rules.start_timeout

    # ---- asking

    def _find_statuses(self, flight: Flight) -> bool | None:
        """Take in what the storage has of the flight's calls; None if it does not answer."""
        header = flight.job.header
        if not header.persist:
            return True
        for shard in sorted({call // SHARD for call in flight.open}):
            try:
                found = list(list_statuses(self._storage, header, shard))
            except WrenError as error:
                _say(flight, "storage", self._storage.name, "did not answer", error)
                return None
            for listed in found:
                if listed.call in flight.open and listed.attempt == flight.invocation.attempt:
                    self._tracker.listed(listed)
        return True

    def _probe(self, flight: Flight) -> Alive | Exited | None:
        """What the platform says of it; None if it says nothing."""
        if flight.receipt is None or Feature.PROBE not in self._compute.features:
            return None
        try:
            return self._compute.probe(flight.deployment, flight.receipt)
        except WrenError as error:
            _say(flight, "backend", self._compute.name, "did not answer", error)
            return None

    def _kill(self, flight: Flight) -> None:
        flight.doomed = True  # that it was cancelled is not what its calls are told
        if Feature.KILL in self._compute.features:
            try:
                self._compute.kill(flight.deployment, flight.invocation, sorted(flight.open))
            except WrenError as error:
                _say(flight, "backend", self._compute.name, "could not kill it", error)

    # ---- verdicts

    def _lose(self, flight: Flight, why: Late, end: Exited | None) -> None:
        what, rules = _calls(flight), self._flights.rules
        said = f"; the {self._compute.name} backend says: {end.reason}" if end else ""
        match why:
            case _ if end and end.out_of_memory:
                error: WrenError = OutOfMemory(f"{what} ran in a container that was killed for its memory{said}")
            case Late.START:
                error = CallLost(
                    f"{what} did not start within {rules.start_timeout:g} s, the start_timeout in section [wren]{said}"
                )
            case Late.RUN:
                error = CallTimeout(f"{what} ran longer than its timeout of {flight.invocation.timeout:g} s{said}")
            case Late.SILENT:
                error = WorkerLost(f"{_silence(flight)}{said}")
            case Late.QUIET:
                error = WorkerLost(f"{what} ended without a status{said}")
            case _ if flight.accepted is None:
                error = WorkerLost(f"{what} was sent, but {flight.broken}{said}; it may have run")
            case _:
                error = WorkerLost(f"{what} ran when {flight.broken}{said}")
        self._fail(flight, error)

    def _fail(self, flight: Flight, error: WrenError) -> None:
        flight.doomed = True
        self._tracker.give_up(flight, error)


def _silence(flight: Flight) -> WorkerLost:
    worker = f"the worker {flight.receipt.id} of" if flight.receipt else "the worker of"
    silent = time.monotonic() - flight.heard
    return WorkerLost(f"{worker} {_calls(flight)} has given no sign of life for {silent:.3g} s")


def _calls(flight: Flight) -> str:
    """The flight's calls, for people."""
    calls, job = sorted(flight.open), flight.job.header.job
    return f"call {calls[0]} of job {job}" if len(calls) == 1 else f"{len(calls)} calls of job {job}"


def _say(flight: Flight, kind: str, name: str, what: str, error: WrenError) -> None:
    _log.info(
        "%s was examined: the %s %s %s: %s", _calls(flight), name, kind, what, error,
        about=flight.job, calls=flight.open, attempt=flight.invocation.attempt,
    )  # fmt: skip
