"""Hands the calls of jobs to the backend: how many at once, in which portions, and what is handed over again.

What the platform certainly did not take is handed over again and is no new attempt: with growing delays when it was
busy or could not be reached, at once and with a new deployment, but once only, when it did not know the deployment.
"""

import dataclasses
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from wren import callbacks
from wren.errors import BackendError, NotDeployed, Throttled, Unavailable
from wren.job import Job
from wren.spi import Compute, Deployment, Feature, Invocation, Report, Runtime, escaped

__all__ = ["Invoker"]

FIRST_DELAY: Final = 0.1  # seconds before what was not delivered is handed over again; doubled each time
LONGEST_DELAY: Final = 20.0
WINDOW: Final = 1_000  # activations in flight where neither the caller nor the backend has a limit


class Invoker:
    """The way to one deployment.

    A backend that queues by itself gets a job's calls at once.  To any other each call goes on its own, no more of them
    in flight than the executor's `workers` and the backend's limit allow; and in the engine's thread, where no
    KeyboardInterrupt comes between taking a call and handing it over.
    """

    def __init__(self, compute: Compute[Any], runtime: Runtime, start_timeout: float) -> None:
        self._compute, self._runtime, self._start_timeout = compute, runtime, start_timeout
        self._lock = threading.Lock()  # of the fields below; never held while the backend is called
        self._waiting: deque[tuple[Invocation, Report]] = deque()
        self._delayed: dict[Invocation, Report] = {}
        self._in_flight: set[tuple[str, int]] = set()  # job and call
        known = [number for number in (runtime.workers, compute.limits.concurrency) if number is not None]
        self._window = min(known, default=WINDOW)
        self._deploying = threading.Lock()
        self._deployment: Deployment | None = None

    @property
    def deployment(self) -> Deployment:
        """The deployment, made on first use."""
        with self._deploying:
            if self._deployment is None:
                self._deployment = self._compute.deploy(self._runtime, {})
            return self._deployment

    def invoke(self, job: Job, calls: Sequence[int], attempt: int, report: Report) -> None:
        """Have calls of a job run; what becomes of them goes to `report`."""
        _ = self.deployment  # what is wrong with it is the caller's to know
        if Feature.QUEUE in self._compute.features:
            invocation = job.invoke(calls, attempt)
            job.invocations.append(invocation)
            self._submit(invocation, report)
            return
        invocations = [job.invoke([call], attempt) for call in calls]
        job.invocations.extend(invocations)
        with self._lock:
            self._waiting.extend((invocation, report) for invocation in invocations)
        callbacks.later(self._pump)

    def deliver_again(self, invocation: Invocation, calls: Sequence[int], error: Exception, report: Report) -> bool:
        """Hand over again what certainly was not delivered; False if that is of no use any more."""
        delay = self._delay(invocation, error)
        if delay is None:
            return False
        again = dataclasses.replace(
            invocation, calls=calls, delivery=invocation.delivery + 1, since=invocation.since or time.monotonic()
        )
        with self._lock:
            self._delayed[again] = report
        callbacks.after(delay, lambda: self._due(again))
        return True

    def _delay(self, invocation: Invocation, error: Exception) -> float | None:
        """Seconds to wait before the next delivery; None if there should be none."""
        if isinstance(error, NotDeployed) and not invocation.delivery:
            with self._deploying:
                self._deployment = None
            return 0.0
        if not isinstance(error, Throttled | Unavailable):
            return None
        # Apart from each other, so that they do not all come at the same time again.
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(invocation.delivery, 30)) * random.uniform(0.5, 1.0)
        if isinstance(error, Throttled) and error.delay is not None:
            delay = max(delay, error.delay)
        first = invocation.since or time.monotonic()
        return delay if time.monotonic() + delay < first + self._start_timeout else None

    def _due(self, invocation: Invocation) -> None:
        with self._lock:
            report = self._delayed.pop(invocation, None)
            if report is None:
                return  # it was withdrawn
            self._waiting.appendleft((invocation, report))
        self._pump()

    def withdraw(self, job: Job, calls: Sequence[int]) -> list[int]:
        """Take back calls; those that have not started and will not."""
        wanted = set(calls)
        taken: list[int] = []
        with self._lock:
            for entry in list(self._waiting):
                if entry[0].header is job.header and wanted.issuperset(entry[0].calls):
                    self._waiting.remove(entry)
                    taken += entry[0].calls
            for invocation in list(self._delayed):
                if invocation.header is job.header and wanted.issuperset(invocation.calls):
                    del self._delayed[invocation]
                    taken += invocation.calls
        if Feature.WITHDRAW in self._compute.features:
            for invocation in job.invocations:
                taken += self._compute.withdraw(self.deployment, invocation, calls)
        return taken

    def kill(self, job: Job, calls: Sequence[int]) -> list[int]:
        """End running calls where the backend can; those that were running."""
        if Feature.KILL not in self._compute.features:
            return []
        return [call for each in job.invocations for call in self._compute.kill(self.deployment, each, calls)]

    def ended(self, job_id: str, calls: Sequence[int]) -> None:
        """These calls are over, or this attempt of them is: there is room for others.  Idempotent."""
        with self._lock:
            if not self._in_flight:
                return  # also where the backend queues by itself
            self._in_flight.difference_update((job_id, call) for call in calls)
            more = bool(self._waiting)
        if more:
            callbacks.later(self._pump)

    def _pump(self) -> None:
        """Hand over what there is room for."""
        while True:
            with self._lock:
                if not self._waiting or len(self._in_flight) >= self._window:
                    return
                invocation, report = self._waiting.popleft()
                self._in_flight.update((invocation.header.job, call) for call in invocation.calls)
            self._submit(invocation, report)

    def _submit(self, invocation: Invocation, report: Report) -> None:
        """Hand over; what the backend raises is what becomes of the calls."""
        try:
            self._compute.submit(self.deployment, [invocation], report)
        except BackendError as error:
            report.failed(invocation, invocation.calls, error)
        except Exception as error:  # noqa: BLE001 - a backend's bug must fail its calls, not leave them waiting
            report.failed(invocation, invocation.calls, escaped(self._compute.name, error))
