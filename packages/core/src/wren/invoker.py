"""Hands the calls of jobs to the backend: how many at once, and in which portions."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from wren.errors import BackendError
from wren.job import Job
from wren.spi import Compute, Deployment, Feature, Invocation, Report, Runtime

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
        deployment = self.deployment
        if Feature.QUEUE in self._compute.features:
            invocation = job.invoke(calls, attempt)
            job.invocations.append(invocation)
            self._compute.submit(deployment, [invocation], report)
            return
        invocations = [job.invoke([call], attempt) for call in calls]
        job.invocations.extend(invocations)
        with self._lock:
            self._waiting.extend((invocation, report) for invocation in invocations)
        self._pump()

    def withdraw(self, job: Job, call: int) -> bool:
        """Take back a call; True if it has not started and will not."""
        with self._lock:
            for entry in self._waiting:
                if entry[0].header is job.header and call in entry[0].calls:
                    self._waiting.remove(entry)
                    return True
        if Feature.WITHDRAW not in self._compute.features:
            return False
        holding = [invocation for invocation in job.invocations if call in invocation.calls]
        return any(self._compute.withdraw(self.deployment, invocation, call) for invocation in holding)

    def kill(self, job: Job, call: int) -> bool:
        """End a running call; True if it was running."""
        if Feature.KILL not in self._compute.features:
            return False
        holding = [invocation for invocation in job.invocations if call in invocation.calls]
        return any(self._compute.kill(self.deployment, invocation, call) for invocation in holding)

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
                self._compute.submit(self.deployment, [invocation], report)
            except BackendError as error:
                report.failed(invocation, invocation.calls, error)
            finally:
                with self._lock:
                    self._pumping = False
