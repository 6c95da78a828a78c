"""Hands the calls of jobs to the backend: how many at once, in which portions, and what is handed over again.

What the platform certainly did not take is handed over again and is no new attempt: with growing delays when it was
busy or could not be reached, at once and with a new deployment, but once only, when it did not know the deployment.
"""

import dataclasses
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from wren import callbacks
from wren.errors import BackendError, NotDeployed, Throttled, Unavailable, WrenError
from wren.flights import Flight, Flights
from wren.job import Job
from wren.spi import Compute, Deployment, Feature, Invocation, Report, Runtime, escaped

__all__ = ["Invoker"]

FIRST_DELAY: Final = 0.1  # seconds before what was not delivered is handed over again; doubled each time
LONGEST_DELAY: Final = 20.0
WINDOW: Final = 1_000  # calls in flight where neither the caller nor the backend has a limit


@dataclasses.dataclass(slots=True, eq=False)
class Portion:
    """Calls of a job that are to be handed over, one by one."""

    job: Job
    calls: Sequence[int]
    attempt: int
    delivery: int = 0
    since: float = 0.0

    def take(self) -> Invocation:
        """An invocation of the first call."""
        first, self.calls = self.calls[:1], self.calls[1:]
        made = self.job.invoke(first, self.attempt)
        return dataclasses.replace(made, delivery=self.delivery, since=self.since) if self.delivery else made

    def without(self, unwanted: set[int]) -> list[int]:
        """Take calls out: those of them that were here."""
        taken = [call for call in self.calls if call in unwanted]
        if taken:
            self.calls = [call for call in self.calls if call not in unwanted]
        return taken


class Invoker:
    """The way to one deployment.

    A backend that queues by itself gets a job's calls at once.  To any other each call goes on its own, no more of them
    in flight than the executor's `workers` and the backend's limit allow; and in the engine's thread, where no
    KeyboardInterrupt comes between taking a call and handing it over.
    """

    def __init__(
        self,
        compute: Compute[Any],
        runtime: Runtime,
        secrets: Callable[[], Mapping[str, str]],
        flights: Flights,
        report: Report,
    ) -> None:
        self._compute, self._runtime, self._secrets = compute, runtime, secrets
        self._flights, self._report = flights, report
        self._queues = Feature.QUEUE in compute.features
        self._lock = threading.Lock()  # of the next two; never held while the backend is called
        self._waiting: deque[Portion] = deque()
        self._delayed: set[Portion] = set()
        known = [number for number in (runtime.workers, compute.limits.concurrency) if number is not None]
        self._window = min(known, default=WINDOW)
        self._deploying = threading.Lock()
        self._deployment: Deployment | None = None
        self._redeploying = False

    def deploy(self) -> Deployment:
        """The deployment, made on first use and when the platform has forgotten it."""
        with self._deploying:
            if self._deployment is None:
                try:
                    self._deployment = self._compute.deploy(self._runtime, self._secrets())
                except WrenError:
                    raise
                except Exception as error:  # a backend's bug
                    raise escaped(self._compute.name, error) from error
            return self._deployment

    def forget(self) -> None:
        """The deployment may be gone."""
        with self._deploying:
            self._deployment = None

    def invoke(self, job: Job, calls: Sequence[int], attempt: int) -> None:
        """Have calls of a job run; what becomes of them goes to the tracker."""
        if self._queues:
            invocation = job.invoke(calls, attempt)
            job.invocations.append(invocation)
            self._submit(self.deploy(), [invocation])
            return
        with self._lock:
            self._waiting.append(Portion(job, calls, attempt))
        callbacks.later(self._pump)

    def pump(self) -> None:
        """There is room for calls that wait."""
        if self._waiting:
            callbacks.later(self._pump)

    # ---- what was not delivered

    def deliver_again(self, flight: Flight, calls: Sequence[int], error: Exception) -> bool:
        """Hand over again what certainly was not delivered; False if that is of no use any more."""
        invocation = flight.invocation
        delay = self._delay(flight, error)
        if delay is None:
            return False
        since = invocation.since or flight.sent
        portion = Portion(flight.job, calls, invocation.attempt, invocation.delivery + 1, since)
        with self._lock:
            self._delayed.add(portion)
        callbacks.after(delay, lambda: self._due(portion))
        return True

    def _delay(self, flight: Flight, error: Exception) -> float | None:
        """Seconds to wait before the next delivery; None if there should be none."""
        invocation = flight.invocation
        if isinstance(error, NotDeployed) and not invocation.delivery:
            with self._deploying:
                if self._deployment is flight.deployment:  # else another call has seen to it
                    self._deployment = None
            return 0.0
        if not isinstance(error, Throttled | Unavailable):
            return None
        # Apart from each other, so that they do not all come at the same time again.
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(invocation.delivery, 30)) * random.uniform(0.5, 1.0)
        if isinstance(error, Throttled) and error.delay is not None:
            delay = max(delay, error.delay)
        since = invocation.since or flight.sent
        return delay if time.monotonic() + delay < since + self._flights.rules.start_timeout else None

    def _due(self, portion: Portion) -> None:
        with self._lock:
            if portion not in self._delayed:
                return  # it was withdrawn
            self._delayed.remove(portion)
            self._waiting.appendleft(portion)
        self._pump()

    # ---- taking back

    def withdraw(self, job: Job, calls: Sequence[int]) -> list[int]:
        """Take back calls; those that have not started and will not."""
        wanted, taken = set(calls), list[int]()
        with self._lock:
            for portion in [*self._waiting, *self._delayed]:
                if portion.job is job:
                    taken += portion.without(wanted)
            self._waiting = deque(portion for portion in self._waiting if portion.calls)
            self._delayed = {portion for portion in self._delayed if portion.calls}
        if Feature.WITHDRAW in self._compute.features:
            for deployment, invocation in self._handed_over(job):
                taken += self._compute.withdraw(deployment, invocation, calls)
        return taken

    def kill(self, job: Job, calls: Sequence[int]) -> list[int]:
        """End running calls where the backend can; those that were running."""
        if Feature.KILL not in self._compute.features:
            return []
        return [
            call
            for deployment, invocation in self._handed_over(job)
            for call in self._compute.kill(deployment, invocation, calls)
        ]

    def stop(self, flight: Flight) -> None:
        """Nobody needs its calls any more."""
        if Feature.KILL in self._compute.features:
            callbacks.later(lambda: self._compute.kill(flight.deployment, flight.invocation, flight.invocation.calls))

    def _handed_over(self, job: Job) -> list[tuple[Deployment, Invocation]]:
        if self._queues:
            return [(self.deploy(), invocation) for invocation in job.invocations]
        return [(flight.deployment, flight.invocation) for flight in self._flights.of(job)]

    # ---- handing over, in the engine's thread

    def _pump(self) -> None:
        """Hand over what there is room for."""
        deployment = self._deployment
        if deployment is None:
            if self._waiting:
                self._deploy_apart()
            return
        flights: list[Flight] = []
        with self._lock:
            room = self._window - self._flights.calls
            while self._waiting and len(flights) < room:
                portion = self._waiting[0]
                invocation = portion.take()
                if not portion.calls:
                    self._waiting.popleft()
                flights.append(Flight(portion.job, invocation, deployment, set(invocation.calls)))
        for flight in flights:
            self._flights.add(flight)
        if flights:
            self._submit(deployment, [flight.invocation for flight in flights])

    def _deploy_apart(self) -> None:
        """Deploy in a thread of its own, for it may take minutes, and go on then."""
        with self._lock:
            if self._redeploying:
                return
            self._redeploying = True
        threading.Thread(target=self._redeploy, name="wren-deploy", daemon=True).start()

    def _redeploy(self) -> None:
        callbacks.own_thread()
        deadline, delay = time.monotonic() + self._flights.rules.start_timeout, FIRST_DELAY
        while True:
            try:
                self.deploy()
            except WrenError as error:
                if isinstance(error, Throttled | Unavailable) and time.monotonic() + delay < deadline:
                    time.sleep(delay)
                    delay = min(LONGEST_DELAY, 2 * delay)
                    continue
                with self._lock:
                    waiting, self._waiting = self._waiting, deque()
                for portion in waiting:
                    self._report.failed(portion.job.invoke(portion.calls, portion.attempt), portion.calls, error)
            break
        with self._lock:
            self._redeploying = False
        callbacks.later(self._pump)

    def _submit(self, deployment: Deployment, invocations: Sequence[Invocation]) -> None:
        """Hand over; what the backend raises is what becomes of the calls."""
        try:
            self._compute.submit(deployment, invocations, self._report)
            return
        except BackendError as error:
            raised = error
        except Exception as error:  # noqa: BLE001 - a backend's bug must fail its calls, not leave them waiting
            raised = escaped(self._compute.name, error)
        for invocation in invocations:
            self._report.failed(invocation, invocation.calls, raised)
