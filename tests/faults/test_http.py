"""What goes wrong between a client and a shell, by a proxy that does it, on the template."""

import http.client
import os
import re
import signal
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import pluggy
import pytest

import wren
from wren.engine import Engine
from wren.errors import WorkerLost
from wren.spi import Deployment, Runtime
from wren.testing import plugged
from wren.worker.frames import ACCEPTED, HEAD, STATUS, FrameReader
from wren_template.compute import TemplateCompute

hookimpl = pluggy.HookimplMarker("wren")
PROMPTLY: Final = 15.0


class Meddler(socketserver.ThreadingTCPServer):
    """Between clients and a shell: does the next thing of its script to each request, then passes requests on."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str, script: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), Exchange, bind_and_activate=False)
        self.allow_reuse_address = True
        self.target = urlsplit(target)
        self.script = list(script)
        self.lock = threading.Lock()
        self.seen = 0
        self.server_bind()

    def next_action(self) -> str:
        with self.lock:
            self.seen += 1
            return self.script.pop(0) if self.script else "pass"


class Exchange(socketserver.StreamRequestHandler):
    """One request on a connection of its own."""

    server: Meddler

    def handle(self) -> None:
        if not self.rfile.readline().startswith(b"POST"):  # whether it is ready, or a connection that was not used
            self.answer(200, "ready")
            return
        headers = {name.lower(): value for name, value in http.client.parse_headers(self.rfile).items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        action = self.server.next_action()
        match action:
            case "429" | "503":
                self.answer(int(action), "busy")
            case "text":
                self.answer(200, "upstream connect error")
            case "reset before":
                self.reset()
            case _:
                self.pass_on(headers, body, action)

    def answer(self, status: int, text: str) -> None:
        head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        self.wfile.write((head + text).encode())

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def pass_on(self, headers: Mapping[str, str], body: bytes, action: str) -> None:
        shell = http.client.HTTPConnection(self.server.target.hostname or "", self.server.target.port)
        try:
            shell.request("POST", "/", body, dict(headers))
            answer = shell.getresponse()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            reader = FrameReader()
            while data := answer.read1(65536):
                for kind, content in reader.feed(data):
                    frame = HEAD.pack(b"wren", kind, len(content)) + content
                    if action == "cut" and kind == STATUS:
                        self.wfile.write(frame[: len(frame) // 2])
                        return
                    self.wfile.write(frame)
                    if action == "twice" and kind == STATUS:
                        self.wfile.write(frame)
                    if action == "reset after" and kind == ACCEPTED:
                        self.reset()
                        return
        except OSError:
            return  # one of them is gone
        finally:
            shell.close()


class MeddledCompute(TemplateCompute):
    name: ClassVar[str] = "meddled"
    script: ClassVar[Sequence[str]] = ()
    deaf: ClassVar[bool] = False  # the proxy does not listen yet
    meddlers: ClassVar[list[Meddler]] = []

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        deployment = super().deploy(runtime, secrets)
        meddler = Meddler(deployment.url, self.script)
        self.meddlers.append(meddler)
        if not self.deaf:
            listen(meddler)
        host, port = meddler.socket.getsockname()[:2]
        return replace(deployment, url=f"http://{host}:{port}/")


def listen(meddler: Meddler) -> None:
    meddler.server_activate()
    threading.Thread(target=meddler.serve_forever, args=(0.02,), daemon=True).start()


@hookimpl
def wren_compute() -> type[MeddledCompute]:
    return MeddledCompute


@pytest.fixture
def meddled(
    request: pytest.FixtureRequest, config: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[wren.FunctionExecutor]:
    monkeypatch.setattr(MeddledCompute, "script", request.param)
    monkeypatch.setattr(MeddledCompute, "deaf", request.param == ["deaf"])
    monkeypatch.setattr(MeddledCompute, "meddlers", [])
    if request.param == ["deaf"]:
        MeddledCompute.script = ()
    with plugged(tmp_path / "site", {"wren.compute": {"meddled": __name__}}):
        sections = {**config, "meddled": config["template"]}
        with wren.function_executor(sections, backend="meddled", storage_backend="template", workers=4) as made:
            yield made
    for meddler in MeddledCompute.meddlers:
        if not MeddledCompute.deaf:
            meddler.shutdown()
        meddler.server_close()


def note(path: Path, value: Any) -> Any:
    """Leave a trace of this execution."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"%d\n" % os.getpid())
    os.close(fd)
    return value


def note_and_wait(path: Path) -> None:
    note(path, None)
    time.sleep(1000)


def traces(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize(
    "meddled", [["429", "429"], ["503", "503"], ["429", "503", "429"], ["twice"]], indirect=True, ids=" ".join
)
def test_what_was_not_delivered_is_sent_again_and_what_came_twice_counts_once(
    meddled: wren.FunctionExecutor, tmp_path: Path
) -> None:
    assert meddled.call_async(note, (tmp_path / "trace", 5)).result(PROMPTLY) == 5
    assert len(traces(tmp_path / "trace")) == 1


@pytest.mark.parametrize("meddled", [["deaf"]], indirect=True)
def test_a_refused_connection_is_tried_again_until_it_is_accepted(
    meddled: wren.FunctionExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = meddled.call_async(note, (tmp_path / "trace", 5))
    assert not future.done()
    listen(MeddledCompute.meddlers[0])
    monkeypatch.setattr(MeddledCompute, "deaf", False)
    assert future.result(PROMPTLY) == 5
    assert len(traces(tmp_path / "trace")) == 1


@pytest.mark.parametrize(
    ("meddled", "runs", "said"),
    [
        (["reset before"], 0, "it may have run"),
        (["text"], 0, "upstream connect error"),
        (["cut"], 1, "lost after it accepted the call"),
    ],
    indirect=["meddled"],
)
def test_a_call_that_may_have_run_is_lost_and_not_sent_again(
    meddled: wren.FunctionExecutor, tmp_path: Path, runs: int, said: str
) -> None:
    start = time.monotonic()
    error = meddled.call_async(note, (tmp_path / "trace", 5)).exception(PROMPTLY)
    assert time.monotonic() - start < PROMPTLY
    assert isinstance(error, WorkerLost)
    assert said in str(error)
    assert len(traces(tmp_path / "trace")) == runs
    assert sum(meddler.seen for meddler in MeddledCompute.meddlers) == 1
    assert meddled.call_async(note, (tmp_path / "other", 6)).result(PROMPTLY) == 6


@pytest.mark.parametrize("meddled", [["reset after"]], indirect=True)
def test_a_call_whose_connection_is_reset_is_lost_and_ended(
    meddled: wren.FunctionExecutor,
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], None],
    alive: Callable[[int], bool],
) -> None:
    error = meddled.call_async(note_and_wait, tmp_path / "trace").exception(PROMPTLY)
    assert isinstance(error, WorkerLost)
    assert re.search("lost after it accepted", str(error))
    eventually(lambda: not any(map(alive, traces(tmp_path / "trace"))))
    assert meddled.call_async(note, (tmp_path / "other", 6)).result(PROMPTLY) == 6


@pytest.mark.parametrize("meddled", [["reset before", "cut"]], indirect=True)
def test_with_retries_it_runs_again(meddled: wren.FunctionExecutor, tmp_path: Path) -> None:
    assert meddled.call_async(note, (tmp_path / "trace", 5), retries=2).result(PROMPTLY) == 5
    assert len(traces(tmp_path / "trace")) == 2


# ---- the shell itself


@pytest.fixture
def template(config: dict[str, dict[str, Any]]) -> Iterator[wren.FunctionExecutor]:
    with wren.function_executor(config, backend="template", storage_backend="template", workers=4) as made:
        yield made


def shells(executor: wren.FunctionExecutor) -> list[Deployment]:
    assert isinstance(executor._engine, Engine)
    compute = executor._engine.compute
    assert isinstance(compute, TemplateCompute)
    return list(compute.deployments())


def test_a_shell_that_stops_is_killed_and_its_calls_are_lost(
    template: wren.FunctionExecutor,
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], None],
    alive: Callable[[int], bool],
) -> None:
    # Given a call that runs
    future = template.call_async(note_and_wait, tmp_path / "trace")
    eventually(lambda: bool(traces(tmp_path / "trace")) and future.running())
    (shell,) = shells(template)
    # When the shell gives no sign of life any more
    os.kill(shell.state.pid, signal.SIGSTOP)
    error = future.exception(60)
    # Then the call is lost, all of it is gone, and the next call gets a new shell
    assert isinstance(error, WorkerLost)
    assert "no sign of life" in str(error)
    eventually(lambda: not alive(shell.state.pid) and not any(map(alive, traces(tmp_path / "trace"))))
    assert template.call_async(note, (tmp_path / "other", 6)).result(PROMPTLY) == 6
    assert len(traces(tmp_path / "trace")) == 1


def test_a_shell_that_is_killed_loses_its_calls_at_once(
    template: wren.FunctionExecutor,
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], None],
    alive: Callable[[int], bool],
) -> None:
    future = template.call_async(note_and_wait, tmp_path / "trace")
    eventually(lambda: bool(traces(tmp_path / "trace")) and future.running())
    (shell,) = shells(template)
    os.kill(shell.state.pid, signal.SIGKILL)
    error = future.exception(PROMPTLY)
    assert isinstance(error, WorkerLost)
    assert "lost after it accepted the call" in str(error)
    eventually(lambda: not any(map(alive, traces(tmp_path / "trace"))))
    assert template.call_async(note, (tmp_path / "other", 6)).result(PROMPTLY) == 6


@pytest.mark.parametrize("headers", [{}, {"wren-tag": ""}, {"wren-tag": "0" * 32}])
def test_a_payload_without_the_tag_is_not_even_decoded(
    template: wren.FunctionExecutor, headers: Mapping[str, str]
) -> None:
    assert template.call_async(str.upper, "a").result(PROMPTLY) == "A"
    (shell,) = shells(template)
    address = urlsplit(shell.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PROMPTLY)
    connection.request("POST", "/", b"what would be an error if it were looked at", dict(headers))
    answer = connection.getresponse()
    assert answer.status == 403
    assert b"tag" in answer.read()
    connection.close()
