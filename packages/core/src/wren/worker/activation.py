"""The calls of one payload in the http shell: one after the other, each with a status of its own.

A connection makes one and is its `Client`; `container` runs the calls.
"""

import sys
import time
from collections import deque
from functools import partial
from typing import Final, NamedTuple, Protocol

from wren import wire
from wren.wire import Call, CallStatus, Failure, Payload
from wren.worker.container import Container
from wren.worker.loop import Loop, Timer
from wren.worker.reporting import Reporters
from wren.worker.running import RunningCall

PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
_GONE: Final = "the client closed the connection, which ends its calls"


class Client(Protocol):
    """Who waits for the answers."""

    def heartbeat(self) -> None:
        """The calls' process lives."""

    def status(self, data: bytes) -> None:
        """The encoded status of one call."""

    def finished(self) -> None:
        """That was the last one."""


class Services(NamedTuple):
    """What all activations of a shell share."""

    loop: Loop
    container: Container
    reporters: Reporters
    worker: str  # the shell's name


class Activation:
    """A payload's calls, of which one runs."""

    def __init__(self, services: Services, payload: Payload, client: Client) -> None:
        self._services = services
        self._payload = payload
        self._client: Client | None = client
        self._left: deque[Call] = deque(payload.calls)
        self._running: RunningCall | None = None
        self._heart: Timer | None = None

    def start(self) -> None:
        """Begin; the client may be told at once."""
        theirs = self._payload.header.python
        if theirs != PYTHON:
            self._fail_the_rest(_other_python(theirs))
            return
        self._beat()
        self._next()

    def cancel(self) -> None:
        """The client is gone: end what runs, and begin no more."""
        self._client = None
        running = self._running
        if running is not None:
            self._services.container.cancel(running, _GONE)
        self._fail_the_rest(Failure("lost", "WorkerLost", f"{_GONE}; it had not begun", ""))

    def _next(self) -> None:
        if not self._left:
            self._finish()
            return
        call = self._left.popleft()
        self._running = RunningCall(self._payload, call, partial(self._settled, call))
        self._services.container.start(self._running)

    def _settled(self, call: Call, outcome: bytes | Failure, printed: str) -> None:
        began = self._running.began if self._running is not None else 0.0
        self._running = None
        if isinstance(outcome, Failure):
            self._fail(call, outcome, began or time.time(), printed)
        else:
            self._tell(outcome, by_shell=False)
        if self._client is not None:
            self._next()

    def _fail_the_rest(self, failure: Failure) -> None:
        while self._left:
            self._fail(self._left.popleft(), failure, time.time())
        if self._running is None:
            self._finish()

    def _fail(self, call: Call, failure: Failure, started: float, logs: str = "") -> None:
        header = self._payload.header
        identity = (header.executor, header.job, call.id, self._payload.attempt)
        worker = self._services.worker
        status = CallStatus(*identity, "err", started, time.time(), failure=failure, logs=logs, worker=worker)
        self._tell(wire.encode_status(status), by_shell=True)

    def _tell(self, status: bytes, *, by_shell: bool) -> None:
        """Whoever wants to know: a call's own process has stored what is to be stored, the shell's statuses are not."""
        header = self._payload.header
        store = by_shell and header.persist
        if store or header.reporter is not None:
            self._services.reporters.report(header, status, store=store)
        if self._client is not None:
            self._client.status(status)

    def _beat(self) -> None:
        interval = self._payload.header.heartbeat
        if interval is None or self._client is None:
            return
        if self._running is not None and not self._services.container.stopped(self._running):
            self._client.heartbeat()
        self._heart = self._services.loop.later(interval, self._beat)

    def _finish(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
        client, self._client = self._client, None
        if client is not None:
            client.finished()


def _other_python(theirs: str) -> Failure:
    message = (
        f"the client runs Python {theirs} and this runtime Python {PYTHON}, which cannot load its functions: "
        f"build and deploy a runtime with Python {theirs}"
    )
    return Failure("function", "RuntimeError", message, "")
