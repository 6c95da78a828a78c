"""Hands the calls of jobs to the backend: how many at once, and in which portions."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from wren.errors import BackendError
from wren.job import Job
from wren.spi import Compute, Deployment, Feature, Invocation, Report, Runtime, escaped

__all__ = ["Invoker"]


class Invoker:
    """The way to one deployment.

    A backend that queues by itself gets a job's calls at once.  To any other each call goes on its own, no more of them
    in flight than the executor's `workers` and the backend's limit allow.
    """

    def __init__(self, compute: Compute[Any], runtime: Runtime) -> None:
        self._compute = compute
        self._runtime = runtime
        self._lock = threading.Lock()  # of the fields below; never held while the backend is called
        self._deploying = threading.Lock()
        self._deployment: Deployment | None = None
        self._waiting: deque[tuple[Invocation, Report]] = deque()
        self._in_flight: set[tuple[str, int]] = set()  # job and call
        self._pumping = False
        known = [number for number in (runtime.workers, compute.limits.concurrency) if number is not None]
        self._window = min(known, default=1_000)

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
        self._pump()

    def _pump(self) -> None:
        """Hand over what there is room for.  One thread does so at a time; what another makes room for it sees."""
        while True:
            with self._lock:
                if self._pumping or not self._waiting or len(self._in_flight) >= self._window:
                    return
                invocation, report = self._waiting.popleft()
                self._in_flight.update((invocation.header.job, call) for call in invocation.calls)
                self._pumping = True
            try:
                self._submit(invocation, report)
            finally:
                with self._lock:
                    self._pumping = False

    def _submit(self, invocation: Invocation, report: Report) -> None:
        """Hand over; what the backend raises is what becomes of the calls."""
        try:
            self._compute.submit(self.deployment, [invocation], report)
        except BackendError as error:
            report.failed(invocation, invocation.calls, error)
        except Exception as error:  # noqa: BLE001 - a backend's bug must fail its calls, not leave them waiting
            report.failed(invocation, invocation.calls, escaped(self._compute.name, error))
