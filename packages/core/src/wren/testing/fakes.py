"""Compute backends that do what a script says: for tests of retries, timeouts and what else a program builds on wren.

`scripted` and `posting` are their plugins, which a test offers to wren by `wren.testing.plugged`:

    with plugged(path, {"wren.compute": {"scripted": "wren.testing.fakes:scripted"}}):
        script = {"0": ["throttled", "lost"], "2": ["unanswered"]}
        with wren.function_executor({"scripted": {"script": script}}, backend="scripted", retries=1) as executor: ...

Calls run for real, each invocation in a process of its own with `wren.worker.once`, which is killed at its timeout.
Failures come by call and by how often the call was handed over, and never by chance.
"""

import enum
import itertools
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final

import pluggy

from wren.errors import (
    BackendError,
    CallCancelled,
    NotDeployed,
    Throttled,
    Unavailable,
    Undecided,
    Unsupported,
)
from wren.spi import (
    Alive,
    Compute,
    Deployment,
    Exited,
    Feature,
    Invocation,
    Limits,
    Receipt,
    Report,
    Runtime,
    RuntimeInfo,
    fingerprint,
)
from wren.testing.activation import Activation
from wren.wire import CallStatus, seal_status
from wren.worker.run import Reporter, open_handle, store_status

__all__ = ["Action", "PostingCompute", "ScriptedCompute", "ScriptedOptions", "posting", "scripted"]

hookimpl = pluggy.HookimplMarker("wren")


class Action(enum.StrEnum):
    """What happens to a call when it is handed over."""

    RUN = "run"  # what should
    THROTTLED = "throttled"  # raises Throttled: it was not delivered
    UNAVAILABLE = "unavailable"  # raises Unavailable: it was not delivered
    NOT_DEPLOYED = "not deployed"  # raises NotDeployed, until it is deployed again
    REFUSED = "refused"  # raises BackendError
    UNDECIDED = "undecided"  # raises Undecided, and the call did not run
    UNANSWERED = "unanswered"  # raises Undecided, and the call did run
    LOST = "lost"  # its worker dies before the function begins
    TWICE = "twice"  # its status comes twice
    LATE = "late"  # its status comes `delay` seconds after its end
    STRAY = "stray"  # the status of another job's call comes before its own


_ERRORS: Final[Mapping[Action, type[BackendError]]] = {
    Action.THROTTLED: Throttled,
    Action.UNAVAILABLE: Unavailable,
    Action.NOT_DEPLOYED: NotDeployed,
    Action.REFUSED: BackendError,
    Action.UNDECIDED: Undecided,
}


@dataclass(frozen=True, slots=True)
class ScriptedOptions:
    """Section `[scripted]` (or `[posting]`) of the configuration.

    `script` says by call, as "3" (of any job) or "M001/3", what happens when it is handed over for the first time, the
    second ...; after that, and to all other calls, what should.
    """

    script: Mapping[str, Sequence[Action]] = field(default_factory=dict)
    delay: float = 0.2  # seconds by which a status is late
    workers: int = 4  # most calls at once
    payload: int | None = None  # bytes of the largest payload
    result: int | None = None  # bytes of the largest result that comes directly
    python: str = ""  # the workers' interpreter; empty: this one


class ScriptedCompute(Compute[ScriptedOptions]):
    """Answers with the statuses of the calls.  What runs when the program ends is not killed."""

    name: ClassVar[str] = "scripted"
    options_type: ClassVar[type] = ScriptedOptions
    features: ClassVar[Feature] = (
        Feature.DIRECT | Feature.HEARTBEAT | Feature.KILL | Feature.PROBE | Feature.LOGS | Feature.LIST
    )

    def __init__(self, options: ScriptedOptions) -> None:
        super().__init__(options)
        self.limits = Limits(payload=options.payload, result=options.result, concurrency=options.workers)
        self._key = os.urandom(16)  # of the secrets' fingerprints: deployments end with this object
        self._lock = threading.Lock()  # of the fields below
        self._handed: Counter[str] = Counter()  # how often, by key of the script
        self._deployed: dict[str, tuple[Deployment, Mapping[str, str]]] = {}  # with its secrets, by name
        self._reports: dict[Invocation, Report] = {}  # of those that were submitted and are not over
        self._running: dict[str, Activation] = {}  # by receipt
        self._over: dict[str, tuple[str, str]] = {}  # how they ended, and their logs, by receipt
        self._numbers = itertools.count(1)

    # ---- deployments

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        name = f"{self.name}-{fingerprint(runtime, secrets, self._key)}"
        with self._lock:
            deployment, _ = self._deployed.setdefault(name, (Deployment(name, runtime), dict(secrets)))
        return deployment

    def undeploy(self, deployment: Deployment) -> None:
        with self._lock:
            self._deployed.pop(deployment.name, None)

    def deployments(self) -> Iterator[Deployment]:
        with self._lock:
            found = [deployment for deployment, _ in self._deployed.values()]
        yield from found

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        if not self.options.python:
            return RuntimeInfo(f"{sys.version_info.major}.{sys.version_info.minor}", sysconfig.get_platform())
        ask = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_platform())"
        try:
            said = subprocess.check_output([self.options.python, "-I", "-c", ask], text=True).split()
        except (OSError, subprocess.CalledProcessError) as error:
            raise _no_interpreter(self.options.python, error) from error
        return RuntimeInfo(f"{said[0]}.{said[1]}", said[2])

    # ---- calls

    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        with self._lock:
            self._reports.update(dict.fromkeys(invocations, report))
        super().submit(deployment, invocations, report)

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Receipt | Sequence[CallStatus]:
        with self._lock:
            report = self._reports.pop(invocation)
        actions = self._next_actions(invocation)
        self._refuse(deployment, invocation, actions)
        activation = self._start(deployment, invocation, dies=Action.LOST in actions)
        report.accepted(invocation, Receipt(activation.id))
        self._attend(activation, partial(report.heartbeat, invocation))
        if Action.UNANSWERED in actions:
            raise Undecided(f"the answer of {activation.id} was lost, as the script says")
        if Action.LATE in actions:
            time.sleep(self.options.delay)
        if activation.killed:
            for status in activation.statuses():
                report.status(invocation, status)
            raise CallCancelled(f"a call of {activation.id} was killed")
        return self._answer(activation, actions)

    def _answer(self, activation: Activation, actions: set[Action]) -> list[CallStatus]:
        statuses = activation.statuses() + activation.lost()
        for status in statuses:
            _check_size("result", status.result or b"", self.limits.result)
        strays = [status._replace(job="stray") for status in statuses if Action.STRAY in actions]
        return [*strays, *statuses * (2 if Action.TWICE in actions else 1)]

    def _next_actions(self, invocation: Invocation) -> set[Action]:
        """What the script has for the calls of an invocation, which is handed over now."""
        actions = {Action.RUN}
        for call in invocation.calls:
            for key in (str(call), f"{invocation.header.job}/{call}"):
                with self._lock:
                    number = self._handed[f"{invocation.header.job} {key}"]
                    self._handed[f"{invocation.header.job} {key}"] += 1
                actions.update(self.options.script.get(key, ())[number : number + 1])
        return actions

    def _refuse(self, deployment: Deployment, invocation: Invocation, actions: set[Action]) -> None:
        for action, error in _ERRORS.items():
            if action in actions:
                if action is Action.NOT_DEPLOYED:
                    self.undeploy(deployment)
                raise error(f"{action}, as the script says of job {invocation.header.job}")

    def _start(self, deployment: Deployment, invocation: Invocation, *, dies: bool) -> Activation:
        with self._lock:
            _, secrets = self._deployed.get(deployment.name, (deployment, None))
            name = f"{self.name}-{next(self._numbers)}"
        if secrets is None:
            raise NotDeployed(f"{deployment.name} is not deployed (any more)")
        payload, python = invocation.payload(), self.options.python or sys.executable
        _check_size("payload", payload, self.limits.payload)
        try:
            activation = Activation(name, invocation, payload, python, secrets, dies=dies)
        except OSError as error:
            raise _no_interpreter(python, error) from error
        with self._lock:
            self._running[name] = activation
        return activation

    def _attend(self, activation: Activation, beat: Callable[[], None]) -> None:
        """See an activation to its end."""
        activation.attend(beat)
        with self._lock:
            del self._running[activation.id]
            self._over[activation.id] = activation.ended or "", activation.logs()

    # ---- calls that run

    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        with self._lock:
            running = [each for each in self._running.values() if each.runs(invocation)]
        return [call for activation in running for call in activation.kill(calls)]

    def probe(self, deployment: Deployment, receipt: Receipt) -> Alive | Exited:
        found = self._find(receipt)
        return Alive() if isinstance(found, Activation) else Exited(found[0])

    def logs(self, deployment: Deployment, receipt: Receipt) -> str:
        found = self._find(receipt)
        return found.logs() if isinstance(found, Activation) else found[1]

    def _find(self, receipt: Receipt) -> Activation | tuple[str, str]:
        with self._lock:
            found = self._running.get(receipt.id) or self._over.get(receipt.id)
        if found is None:
            raise BackendError(f"there is no activation {receipt.id!r}")
        return found


class PostingCompute(ScriptedCompute):
    """Answers with a receipt, and the statuses come by the storage, or the monitor that the job has.

    Of the script's actions those that concern a status that is answered, `twice`, `late` and `stray`, change nothing.
    """

    name: ClassVar[str] = "posting"
    features: ClassVar[Feature] = Feature.PROBE | Feature.LOGS | Feature.LIST

    def invoke(self, deployment: Deployment, invocation: Invocation) -> Receipt:
        with self._lock:
            self._reports.pop(invocation)
        actions = self._next_actions(invocation)
        self._refuse(deployment, invocation, actions)
        activation = self._start(deployment, invocation, dies=Action.LOST in actions)
        threading.Thread(target=self._look_after, args=(activation,), name=f"wren-{self.name}", daemon=True).start()
        if Action.UNANSWERED in actions:
            raise Undecided(f"the receipt of {activation.id} was lost, as the script says")
        return Receipt(activation.id)

    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        raise Unsupported("the posting backend cannot kill calls")

    def _look_after(self, activation: Activation) -> None:
        """What a container's parent does: it stores the statuses of calls whose process could not."""
        self._attend(activation, lambda: None)
        header = activation.invocation.header
        reporter: Reporter | None = open_handle(header.reporter) if header.reporter else None
        for status in activation.lost():
            if header.storage is not None:
                store_status(open_handle(header.storage), header, status)
            if reporter is not None:
                reporter.report(seal_status(header.mac_key, status))
        if reporter is not None:
            reporter.close()


def _check_size(what: str, data: bytes, limit: int | None) -> None:
    if limit is not None and len(data) > limit:
        raise BackendError(f"a {what} of {len(data)} bytes is above the limit of {limit}: store it")


def _no_interpreter(python: str, error: Exception) -> BackendError:
    return BackendError(f"the interpreter {python} cannot be started: {error}; give another one as the option python")


class _Hooks:
    """A plugin: an entry point may name any object that has the hook."""

    def __init__(self, kind: type[Compute[Any]]) -> None:
        self._kind = kind

    @hookimpl
    def wren_compute(self) -> type[Compute[Any]]:
        """The plugin."""
        return self._kind


scripted, posting = _Hooks(ScriptedCompute), _Hooks(PostingCompute)
