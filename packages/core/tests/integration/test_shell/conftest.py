"""Shells as backends start them, and a client that sees every frame: what the tests of the http shell share."""

import hashlib
import http.client
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cloudpickle
import pytest

from wren import wire
from wren.worker.frames import ACCEPTED, STATUS, FrameReader

PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
TAG: Final = "the tag of the tests"
MARK: Final = "WREN_TEST_SHELL"  # a variable by which a shell's processes are found
START: Final = (sys.executable, "-P", "-c", "from wren.worker.http import main; main()")
PATIENCE: Final = 20.0  # seconds until a test gives up

Function = Callable[..., object]


class Answer:
    """A request that was sent, and what comes back frame by frame."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self.response = connection.getresponse()
        self._reader = FrameReader()
        self._frames: list[tuple[int, bytes]] = []

    def next(self) -> tuple[int, bytes] | None:
        """The next frame; None at the end."""
        while not self._frames:
            data = self.response.read1(1 << 16)
            if not data:
                return None
            self._frames += self._reader.feed(data)
        return self._frames.pop(0)

    def accepted(self) -> bytes:
        """The first frame's body."""
        found = self.next()
        assert found is not None
        assert found[0] == ACCEPTED
        return found[1]

    def rest(self) -> list[tuple[int, bytes]]:
        """All frames that are still to come."""
        return list(iter(self.next, None))

    def statuses(self) -> list[wire.CallStatus]:
        """The statuses among them."""
        return [wire.decode_status(body) for kind, body in self.rest() if kind == STATUS]

    def text(self) -> str:
        """What a refusal says."""
        return self.response.read().decode()

    def close(self) -> None:
        """Hang up."""
        self.response.close()
        self.connection.close()


@dataclass
class Shell:
    """A shell's process, and a client for it."""

    process: "subprocess.Popen[bytes]"
    port: int
    mark: str
    errors: Path
    quiet: bool = True  # it may print nothing
    pid: int = 0
    answers: list[Answer] = field(default_factory=list)

    # ---- requests

    def payload(
        self,
        function: Function | bytes,
        *calls: Sequence[object],
        timeout: float | None = None,
        heartbeat: float | None = None,
        persist: bool = False,
        storage: wire.Handle | None = None,
        reporter: wire.Handle | None = None,
        env: Mapping[str, str | None] | None = None,
        python: str = PYTHON,
    ) -> wire.Payload:
        """A payload with a call for each tuple of arguments; bytes are the pickle of a function."""
        if isinstance(function, bytes):
            code = function
        else:
            module = sys.modules[function.__module__]
            by_value = module.__name__.rpartition(".")[2].startswith("test_")
            if by_value:
                cloudpickle.register_pickle_by_value(module)
            code = cloudpickle.dumps(function)
            if by_value:
                cloudpickle.unregister_pickle_by_value(module)
        header = wire.Header(
            executor="ex",
            job="M000",
            mac_key=b"key",
            function=wire.Blob(hashlib.sha256(code).hexdigest(), len(code)),
            python=python,
            storage=storage,
            bucket="b",
            reporter=reporter,
            env=env or {},
            timeout=timeout,
            persist=persist,
            heartbeat=heartbeat,
        )
        arguments = [wire.Call(index, pickle.dumps((args, {}))) for index, args in enumerate(calls or [()])]
        return wire.Payload(header, 0, arguments, code)

    def connect(self) -> http.client.HTTPConnection:
        """A connection of one's own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def send(
        self,
        payload: wire.Payload | bytes,
        *,
        connection: http.client.HTTPConnection | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a payload, and wait for the answer's head."""
        body = payload if isinstance(payload, bytes) else wire.encode(payload)
        connection = connection or self.connect()
        connection.request("POST", "/", body, {"wren-tag": TAG, **(headers or {})})
        answer = Answer(connection)
        self.answers.append(answer)
        return answer

    def run(self, payload: wire.Payload) -> list[wire.CallStatus]:
        """Send a payload and wait for all its statuses."""
        answer = self.send(payload)
        assert answer.response.status == 200, answer.text()
        answer.accepted()
        statuses = answer.statuses()
        answer.close()
        return statuses

    def call(self, function: Function | bytes, *arguments: object, timeout: float | None = None) -> wire.CallStatus:
        """The status of one call."""
        (status,) = self.run(self.payload(function, arguments, timeout=timeout))
        return status

    def value(self, function: Function, *arguments: object) -> Any:
        """The result of one call."""
        return value(self.call(function, *arguments))

    # ---- processes

    def processes(self) -> set[int]:
        """All that live of it."""
        found = set()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{MARK}={self.mark}".encode() in environ.read_bytes():
                    found.add(int(environ.parent.name))
            except OSError:
                continue
        return found

    def end(self) -> int:
        """Ask it to end; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def said(self) -> str:
        """What it has printed."""
        self.quiet = False
        return self.errors.read_text()


def value(status: wire.CallStatus) -> Any:
    """A call's result."""
    assert status.state == "ok", status.failure
    assert status.result is not None
    return pickle.loads(status.result)  # noqa: S301 - from the test's own shell


@pytest.fixture
def value_of() -> Callable[[wire.CallStatus], Any]:
    """The result of a call's status."""
    return value


class StartShell:
    """Starts shells that end with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shells: list[Shell] = []

    def __call__(self, isolation: str = "call", *, prefix: Sequence[str] = (), **variables: str) -> Shell:
        """A shell with these variables besides the usual ones; `prefix` is a program that runs it."""
        errors = self.folder / f"errors-{len(self.shells)}"
        with socket.create_server(("127.0.0.1", 0)) as listener, errors.open("wb") as said:
            mark = uuid.uuid4().hex
            env = {name: text for name, text in os.environ.items() if not name.startswith("WREN_")}
            env |= {"WREN_TAG": TAG, "WREN_ISOLATION": isolation, "PYTHONPATH": str(self.folder), MARK: mark}
            env |= {"PYTHONWARNINGS": "error"}  # what Python would say of sockets left open, for one
            env |= {"WREN_LISTEN": f"fd:{listener.fileno()}"} | variables
            process = subprocess.Popen(
                [*prefix, *START], env=env, stderr=said, stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()]
            )
            shell = Shell(process, listener.getsockname()[1], mark, errors, pid=process.pid)
        self.shells.append(shell)
        return shell


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


@pytest.fixture
def start_shell(tmp_path: Path) -> Iterator[StartShell]:
    """Starts shells; at the end each has left nothing: no process, no word."""
    start = StartShell(tmp_path)
    yield start
    for shell in start.shells:
        for answer in shell.answers:
            answer.close()
        if shell.process.poll() is None:
            assert shell.end() == 0
        wait_until(lambda left=shell.processes: not left())  # type: ignore[misc]
        assert not shell.quiet or shell.said() == ""


@pytest.fixture
def shell(start_shell: StartShell) -> Shell:
    """A shell whose calls have processes of their own."""
    return start_shell()


@pytest.fixture(params=["call", "process"])
def any_shell(start_shell: StartShell, request: pytest.FixtureRequest) -> Shell:
    """A shell of either isolation."""
    return start_shell(request.param)
