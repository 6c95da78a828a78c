"""Hands the calls of jobs to the backend: how many at once, in which portions, and what is handed over again.

What the platform certainly did not take is handed over again and is no new attempt: with growing delays when it was
busy or could not be reached, at once and with a new deployment, but once only, when it did not know the deployment.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from wren import callbacks
from wren.errors import BackendError, NotDeployed, Throttled, Unavailable, WrenError
from wren.flights import Flight, Flights
from wren.job import Job
from wren.logs import Log
from wren.portions import Portion
from wren.spi import Compute, Deployment, Feature, Invocation, Runtime, escaped
from wren.tracker import Tracker

__all__ = ["Invoker"]

_log: Final = Log("wren.invoker")

FIRST_DELAY: Final = 0.1  # seconds before what was not delivered is handed over again; doubled each time
LONGEST_DELAY: Final = 20.0
WINDOW: Final = 1_000  # calls in flight where neither the caller nor the backend has a limit


class _Closed(BackendError):
    """A deployment that nobody needs any more."""


class Invoker:
    """The way to a backend's deployments, one for each runtime.

    A backend that queues by itself gets a job's calls at once.  To any other go activations, no more calls in flight
    than the executor's `workers` and the backend's limit allow; and in the engine's thread, where no KeyboardInterrupt
    comes between taking a call and handing it over.
    """

    def __init__(
        self,
        executor_id: str,
        compute: Compute[Any],
        workers: int | None,
        secrets: Callable[[], Mapping[str, str]],
        flights: Flights,
        tracker: Tracker,
    ) -> None:
        self._executor_id, self._compute, self._secrets = executor_id, compute, secrets
        self._flights, self._tracker = flights, tracker
        self._queues = Feature.QUEUE in compute.features
        self._lock = threading.Lock()  # of the next two; never held while the backend is called
        self._waiting: deque[Portion] = deque()
        self._delayed: set[Portion] = set()
        known = [number for number in (workers, compute.limits.concurrency) if number is not None]
        self._window = min(known, default=WINDOW)
        self._deploying = threading.Lock()
        self._deployments: dict[Runtime, Deployment] = {}
        self._uses = 0  # how often they were forgotten
        self._redeploying = False

    def deploy(self, runtime: Runtime) -> Deployment:
        """The runtime's deployment, made on first use and when the platform has forgotten it."""
        known = self._deployments.get(runtime)
        if known is not None:
            return known
        with self._deploying:
            with self._lock:
                found, uses = self._deployments.get(runtime), self._uses
            if found is not None:
                return found
            try:
                found = self._compute.deploy(runtime, self._secrets())
            except WrenError:
                raise
            except Exception as error:  # a backend's bug
                raise escaped(self._compute.name, error) from error
            _log.info("%s was deployed to %s", found.name, self._compute.name, executor=self._executor_id)
            with self._lock:
                if uses == self._uses:
                    self._deployments[runtime] = found
                    return found
            # Its executor was closed meanwhile, and nobody else would remove it.
            self._compute.undeploy(found)
            raise _Closed(f"the executor was closed while {found.name} was deployed")

    def renew(self) -> None:
        """Workers need other secrets: what is handed over from now on goes to deployments that have them."""
        with self._deploying, self._lock:  # one that is being made may not have them
            self._deployments.clear()

    def forget(self) -> None:
        """The deployments may be gone."""
        with self._lock:
            self._deployments.clear()
            self._uses += 1

    def invoke(self, job: Job, calls: Sequence[int], attempt: int) -> None:
        """Have calls of a job run; what becomes of them goes to the tracker."""
        if self._queues:
            invocation = job.invoke(calls, attempt)
            job.invocations.append(invocation)
            self._submit(self.deploy(job.runtime), invocation)
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
        portion = Portion(
            flight.job,
            calls,
            invocation.attempt,
            delivery=invocation.delivery + 1,
            since=invocation.since or flight.sent,
            redeployed=invocation.redeployed or isinstance(error, NotDeployed),
        )
        _log.info(
            "calls that were not delivered: %d, and again in %.1f s: %s", len(calls), delay, error,
            about=flight.job, calls=calls, attempt=invocation.attempt,
        )  # fmt: skip
        with self._lock:
            self._delayed.add(portion)
        callbacks.after(delay, lambda: self._due(portion))
        return True

    def _delay(self, flight: Flight, error: Exception) -> float | None:
        """Seconds to wait before the next delivery; None if there should be none."""
        invocation = flight.invocation
        if isinstance(error, NotDeployed) and not invocation.redeployed:
            with self._lock:
                if self._deployments.get(flight.job.runtime) is flight.deployment:  # else another call has seen to it
                    del self._deployments[flight.job.runtime]
            return 0.0
        if not isinstance(error, Throttled | Unavailable):
            return None
        import random

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
        taken: list[int] = []
        with self._lock:
            for portion in itertools.chain(self._waiting, self._delayed):
                if portion.job is job:
                    taken += portion.without(calls)
        if Feature.WITHDRAW in self._compute.features:
            for deployment, invocation in self._handed_over(job):
                taken += self._ask(self._compute.withdraw, job, deployment, invocation, calls)
        return taken

    def kill(self, job: Job, calls: Sequence[int]) -> list[int]:
        """End running calls where the backend can; those that were running."""
        if Feature.KILL not in self._compute.features:
            return []
        return [
            call
            for deployment, invocation in self._handed_over(job)
            for call in self._ask(self._compute.kill, job, deployment, invocation, calls)
        ]

    def stop(self, flight: Flight) -> None:
        """Nobody needs its calls any more."""
        if Feature.KILL in self._compute.features:
            job, deployment, invocation = flight.job, flight.deployment, flight.invocation
            callbacks.later(lambda: self._ask(self._compute.kill, job, deployment, invocation, invocation.calls))

    def _ask(
        self,
        question: Callable[[Deployment, Invocation, Sequence[int]], Sequence[int]],
        job: Job,
        deployment: Deployment,
        invocation: Invocation,
        calls: Sequence[int],
    ) -> Sequence[int]:
        """What the backend answers; one that cannot be asked has done nothing, and what comes after it goes on."""
        try:
            return question(deployment, invocation, calls)
        except Exception as error:  # noqa: BLE001 - it must not cost what comes after it, nor hide why this is asked
            _log.warning(
                "the %s backend could not end calls of job %s: %s", self._compute.name, job.header.job, error,
                about=job, calls=calls, attempt=invocation.attempt,
            )  # fmt: skip
            return []

    def _handed_over(self, job: Job) -> list[tuple[Deployment, Invocation]]:
        if self._queues:
            return [(self.deploy(job.runtime), invocation) for invocation in job.invocations]
        return [(flight.deployment, flight.invocation) for flight in self._flights.of(job)]

    # ---- handing over, in the engine's thread

    def _pump(self) -> None:
        """Hand over what there is room for."""
        while True:
            with self._lock:
                room = self._window - self._flights.calls
                while self._waiting and not self._waiting[0].wanted():
                    self._waiting.popleft()
                if not self._waiting or room <= 0:
                    return
                runtime = self._waiting[0].job.runtime
                deployment = self._deployments.get(runtime)
                flights = self._take(deployment, room) if deployment is not None else []
            if deployment is None:
                self._deploy_apart(runtime)
                return
            for flight in flights:
                self._submit(deployment, flight.invocation)

    def _take(self, deployment: Deployment, room: int) -> list[Flight]:
        """Waiting calls of the first runtime, as far as there is room; under the lock."""
        flights: list[Flight] = []
        runtime = self._waiting[0].job.runtime
        while self._waiting and room > 0 and self._waiting[0].job.runtime is runtime:
            portion = self._waiting[0]
            invocation = portion.take()
            if invocation is None:
                self._waiting.popleft()
            else:
                flight = Flight(portion.job, invocation, deployment, set(invocation.calls))
                self._flights.add(flight)
                flights.append(flight)
                room -= len(invocation.calls)
        return flights

    def _deploy_apart(self, runtime: Runtime) -> None:
        """Deploy in a thread of its own, for it may take minutes, and go on then."""
        with self._lock:
            if self._redeploying:
                return
            self._redeploying = True
        callbacks.apart(lambda: self._redeploy(runtime), "wren-deploy")

    def _redeploy(self, runtime: Runtime) -> None:
        deadline, delay = time.monotonic() + self._flights.rules.start_timeout, FIRST_DELAY
        while True:
            try:
                self.deploy(runtime)
            except _Closed:
                break  # who uses the executor again is seen to by the pump
            except WrenError as error:
                if isinstance(error, Throttled | Unavailable) and time.monotonic() + delay < deadline:
                    time.sleep(delay)
                    delay = min(LONGEST_DELAY, 2 * delay)
                    continue
                self._give_up(runtime, error)
            break
        with self._lock:
            self._redeploying = False
        callbacks.later(self._pump)

    def _give_up(self, runtime: Runtime, error: WrenError) -> None:
        """What waits for this deployment has failed."""
        with self._lock:
            failed = [portion for portion in self._waiting if portion.job.runtime is runtime]
            self._waiting = deque(portion for portion in self._waiting if portion.job.runtime is not runtime)
        for portion in failed:
            self._tracker.refuse(portion.job, list(portion.left()), portion.attempt, error)

    def _submit(self, deployment: Deployment, invocation: Invocation) -> None:
        """Hand over one, so that what the backend raises is what becomes of it and of no other."""
        try:
            self._compute.submit(deployment, [invocation], self._tracker)
        except BackendError as error:
            self._tracker.failed(invocation, invocation.calls, error)
        except Exception as error:  # noqa: BLE001 - a backend's bug must fail its calls, not leave them waiting
            self._tracker.failed(invocation, invocation.calls, escaped(self._compute.name, error))
