"""The http shell's side of HTTP: what it refuses, in which order it answers, and when."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wren import wire
from wren.worker.frames import ACCEPTED, HEARTBEAT, STATUS, frame

if TYPE_CHECKING:
    from integration.test_shell.conftest import Shell, StartShell

Eventually = Callable[[Callable[[], bool]], None]


def same(value: object) -> object:
    return value


def wait_for(path: str) -> str:
    while not os.path.exists(path):  # noqa: PTH110 - runs in the worker
        time.sleep(0.005)
    return path


def reciprocal(number: int) -> float:
    return 1 / number


def stop_itself(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)


def environment() -> dict[str, str]:
    return dict(os.environ)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_get_is_answered_when_it_is_ready(shell: "Shell", method: str) -> None:
    connection = shell.connect()
    for _ in range(2):
        connection.request(method, "/")
        response = connection.getresponse()
        assert (response.status, response.headers["wren-shell"]) == (200, "1")
        assert response.read() == (b"this wren shell is ready\n" if method == "GET" else b"")
    connection.close()


@pytest.mark.parametrize("headers", [{"wren-tag": "another"}, {"wren-tag": ""}])
def test_a_payload_without_the_tag_is_not_decoded(shell: "Shell", headers: dict[str, str]) -> None:
    answer = shell.send(b"no payload at all", headers=headers)
    assert (answer.response.status, answer.response.headers["wren-shell"]) == (403, "1")
    assert answer.text() == "the header wren-tag is not the tag of this deployment: deploy the runtime again\n"


def test_other_methods_are_refused(shell: "Shell") -> None:
    connection = shell.connect()
    connection.request("PUT", "/", b"")
    assert connection.getresponse().status == 405
    connection.close()


def raw_payload(shell: "Shell") -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(wire.encode(shell.payload(same, (1,))))
    return raw


@pytest.mark.parametrize(
    "changes",
    [
        {"calls": None},
        {"calls": [{"id": "x", "args": {"inline": ""}}]},
        {"calls": [{"id": 1, "args": {}}]},
        {"calls": [{"id": 1, "args": {"inline": "x"}}]},
        {"timeout": "soon"},
        {"timeout": -1},
        {"heartbeat": 0},
        {"function": {"id": 1, "size": 1}},
        {"function": None},
        {"python": None},
        {"attempt": "0"},
        {"storage": 5},
    ],
)
def test_what_is_no_payload_is_refused(shell: "Shell", changes: dict[str, Any]) -> None:
    answer = shell.send(json.dumps(raw_payload(shell) | changes).encode())
    assert answer.response.status == 400
    assert answer.text().startswith("the body is no payload of wren: ")
    # And the shell goes on
    assert shell.value(same, 1) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff" * 9])
def test_what_is_no_json_is_refused(shell: "Shell", body: bytes) -> None:
    assert shell.send(body).response.status == 400


def test_another_wire_version_is_a_mismatch_with_its_cure(shell: "Shell") -> None:
    answer = shell.send(json.dumps(raw_payload(shell) | {"v": 99}).encode())
    assert answer.response.status == 426
    assert "wire format 99" in answer.text()


def test_what_is_no_http_is_refused(shell: "Shell") -> None:
    with socket.create_connection(("127.0.0.1", shell.port), timeout=20) as sock:
        sock.sendall(b"SSH-2.0-OpenSSH_9.0\r\n\r\n")
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"wren-shell: 1" in answer


def test_a_large_payload_is_refused_before_it_is_read(start_shell: "StartShell") -> None:
    shell = start_shell(WREN_MAX_PAYLOAD="1000")
    with socket.create_connection(("127.0.0.1", shell.port), timeout=20) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nwren-tag: the tag of the tests\r\ncontent-length: 1001\r\n\r\n")
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"more than the 1000 bytes" in answer


def test_a_client_that_sends_on_can_still_read_why_it_is_refused(start_shell: "StartShell") -> None:
    shell = start_shell(WREN_MAX_PAYLOAD="1000")
    assert shell.send(bytes(10_000_000)).response.status == 413


def test_a_large_payload_of_unknown_length_is_refused_when_it_is_too_large(start_shell: "StartShell") -> None:
    shell = start_shell(WREN_MAX_PAYLOAD="1000")
    connection = shell.connect()
    pieces = iter([b"x" * 600, b"x" * 600])
    connection.request("POST", "/", pieces, {"wren-tag": "the tag of the tests"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("delay", ["soon", "-1", "nan", "inf", "3600"])
def test_a_delay_that_is_none_is_refused(shell: "Shell", delay: str) -> None:
    answer = shell.send(shell.payload(same, (1,)), headers={"wren-reply-delay": delay})
    assert answer.response.status == 400
    assert "wren-reply-delay must be seconds" in answer.text()


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(shell: "Shell") -> None:
    body = wire.encode(shell.payload(same, (1,)))
    with socket.create_connection(("127.0.0.1", shell.port), timeout=20) as sock:
        head = f"POST / HTTP/1.1\r\nhost: x\r\nwren-tag: the tag of the tests\r\ncontent-length: {len(body)}\r\n"
        sock.sendall(f"{head}expect: 100-continue\r\nconnection: close\r\n\r\n".encode())
        assert sock.recv(12) == b"HTTP/1.1 100"
        sock.sendall(body)
        assert b"HTTP/1.1 200" in sock.makefile("rb").read()


# ---------------------------------------------------------------- what is answered


def test_the_frames_of_an_answer(any_shell: "Shell") -> None:
    answer = any_shell.send(any_shell.payload(same, ("x",)))
    assert (answer.response.status, answer.response.headers["wren-shell"]) == (200, "1")
    worker = json.loads(answer.accepted())["worker"]
    (status,) = answer.statuses()
    identity = (status.executor, status.job, status.call, status.attempt)
    assert (*identity, status.state, status.worker) == ("ex", "M000", 0, 0, "ok", worker)
    assert time.time() - 20 < status.started <= status.stopped <= time.time()


def test_calls_of_a_payload_run_one_after_the_other_with_a_status_each(any_shell: "Shell") -> None:
    # Given calls of which one fails
    statuses = any_shell.run(any_shell.payload(reciprocal, (1,), (0,), (2,)))
    # Then the others do not
    assert [(status.call, status.state) for status in statuses] == [(0, "ok"), (1, "err"), (2, "ok")]
    failure = statuses[1].failure
    assert failure is not None
    assert (failure.kind, failure.name) == ("exception", "ZeroDivisionError")
    assert statuses[0].stopped <= statuses[1].started <= statuses[1].stopped <= statuses[2].started


def test_a_payload_without_calls_is_over_at_once(shell: "Shell") -> None:
    payload = shell.payload(same)
    assert shell.run(payload._replace(calls=())) == []


def test_a_connection_serves_many_requests(any_shell: "Shell") -> None:
    connection = any_shell.connect()
    for number in range(5):
        answer = any_shell.send(any_shell.payload(same, (number,)), connection=connection)
        answer.accepted()
        assert [status.state for status in answer.statuses()] == ["ok"]
    connection.close()


def test_a_request_sent_before_the_answer_is_answered_after_it(shell: "Shell") -> None:
    body = wire.encode(shell.payload(same, (1,)))
    head = f"POST / HTTP/1.1\r\nhost: x\r\nwren-tag: the tag of the tests\r\ncontent-length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", shell.port), timeout=20) as sock:
        sock.sendall(f"{head}\r\n".encode() + body + f"{head}connection: close\r\n\r\n".encode() + body)
        answers = sock.makefile("rb").read()
    assert answers.count(b"HTTP/1.1 200") == answers.count(frame(STATUS)[:5]) == 2


def test_big_arguments_and_results_cross_whole(any_shell: "Shell") -> None:
    data = os.urandom(5_000_000)
    assert any_shell.value(same, data) == data


def test_the_first_byte_waits_as_long_as_is_asked(shell: "Shell") -> None:
    body = wire.encode(shell.payload(same, (1,)))
    shell.value(same, 1)
    for delay in (0.3, 0.0):
        connection = shell.connect()
        headers = {"wren-tag": "the tag of the tests", "wren-reply-delay": str(delay), "content-length": str(len(body))}
        connection.putrequest("POST", "/")
        for name, text in headers.items():
            connection.putheader(name, text)
        connection.endheaders(body[:-1])
        # The last byte is what counts
        connection.send(body[-1:])
        sent = time.monotonic()
        sock = connection.sock
        assert isinstance(sock, socket.socket)
        sock.recv(1, socket.MSG_PEEK)
        waited = time.monotonic() - sent
        assert waited >= delay
        assert delay or waited < 0.3
        assert connection.getresponse().status == 200
        connection.close()


def test_heartbeats_come_while_a_call_runs(any_shell: "Shell", tmp_path: Path) -> None:
    path = tmp_path / "go"
    answer = any_shell.send(any_shell.payload(wait_for, (str(path),), heartbeat=0.02))
    answer.accepted()
    assert [answer.next() for _ in range(5)] == [(HEARTBEAT, b"")] * 5
    path.touch()
    kinds = [kind for kind, _ in answer.rest()]
    assert kinds[-1] == STATUS
    assert set(kinds[:-1]) <= {HEARTBEAT}


def test_without_an_interval_there_are_no_heartbeats(any_shell: "Shell") -> None:
    answer = any_shell.send(any_shell.payload(time.sleep, (0.3,)))
    assert [kind for kind, _ in answer.rest()] == [ACCEPTED, STATUS]


def test_a_stopped_process_has_no_heartbeat(any_shell: "Shell", tmp_path: Path, eventually: Eventually) -> None:
    # Given a call whose process has been stopped
    path = tmp_path / "pid"
    answer = any_shell.send(any_shell.payload(stop_itself, (str(path),), heartbeat=0.02))
    answer.accepted()
    eventually(lambda: path.exists() and path.read_text() != "")
    pid = int(path.read_text())
    eventually(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "T")
    # Then heartbeats cease: those on the way are read until none comes for ten intervals
    sock = answer.connection.sock
    assert isinstance(sock, socket.socket)
    sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        answer.rest()
    # And the call goes on when the process does
    os.kill(pid, signal.SIGCONT)
    answer.close()


def test_another_python_is_each_calls_failure(shell: "Shell") -> None:
    payload = shell.payload(same, (1,), (2,), python="3.9")
    mine = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for status in shell.run(payload):
        failure = status.failure
        assert failure is not None
        assert failure.kind == "function"
        assert failure.message == (
            f"the client runs Python 3.9 and this runtime Python {mine}, which cannot load its functions: "
            "build and deploy a runtime with Python 3.9"
        )


# ---------------------------------------------------------------- its configuration and its end


def test_functions_see_their_own_environment_and_not_the_shells(start_shell: "StartShell") -> None:
    shell = start_shell(MINE="1", OMP_NUM_THREADS="3")
    env = shell.value(environment)
    assert [name for name in env if name.startswith("WREN_") and name != "WREN_TEST_SHELL"] == []
    assert (env["MINE"], env["OMP_NUM_THREADS"], env["OPENBLAS_NUM_THREADS"]) == ("1", "3", "1")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WREN_TAG": ""}, "WREN_TAG is not set"),
        ({"WREN_ISOLATION": "none"}, "WREN_ISOLATION is 'none'"),
        ({"WREN_LISTEN": "here"}, "WREN_LISTEN is 'here'"),
        ({"WREN_LISTEN": "fd:77"}, "Bad file descriptor"),
        ({"WREN_IDLE_EXIT": "never"}, "WREN_IDLE_EXIT is 'never'"),
        ({"WREN_MAX_PAYLOAD": "0"}, "WREN_MAX_PAYLOAD is '0'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_said(start_shell: "StartShell", variables: dict[str, str], said: str) -> None:
    shell = start_shell(**variables)
    assert shell.process.wait(20) == 1
    assert shell.said().startswith("the wren shell cannot start: ")
    assert said in shell.said()
    assert shell.said().count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_it_listens_where_it_is_told(start_shell: "StartShell", host: str, eventually: Eventually) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as mine:  # nobody else can take its port, and the shell may listen there
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mine.bind((host.strip("[]"), 0))
        port = mine.getsockname()[1]
        start_shell(WREN_LISTEN=f"{host}:{port}")
        eventually(lambda: answers(host, port))


def answers(host: str, port: int) -> bool:
    """Whether a shell is there."""
    connection = http.client.HTTPConnection(host.strip("[]"), port, timeout=20)
    try:
        connection.request("GET", "/")
    except ConnectionRefusedError:
        return False
    else:
        return connection.getresponse().status == 200
    finally:
        connection.close()


def test_without_a_client_it_ends_by_itself(start_shell: "StartShell") -> None:
    shell = start_shell(WREN_IDLE_EXIT="0.2")
    started = time.monotonic()
    assert shell.process.wait(20) == 0
    assert time.monotonic() - started >= 0.2


def test_a_client_keeps_it_alive(start_shell: "StartShell") -> None:
    shell = start_shell(WREN_IDLE_EXIT="0.5")
    connection = shell.connect()
    connection.request("GET", "/")
    assert connection.getresponse().read()
    with pytest.raises(subprocess.TimeoutExpired):
        shell.process.wait(1.0)
    connection.close()
    assert shell.process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_its_end_running_calls_are_answered_and_others_refused(
    any_shell: "Shell", tmp_path: Path, eventually: Eventually, number: signal.Signals
) -> None:
    # Given a call that runs, and another connection
    path = tmp_path / "go"
    other = any_shell.connect()
    other.request("GET", "/")
    other.getresponse().read()
    answer = any_shell.send(any_shell.payload(wait_for, (str(path),), (str(path),)))
    answer.accepted()
    # When the shell is told to end
    os.kill(any_shell.pid, number)

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", any_shell.port), timeout=20).close()
        except ConnectionRefusedError:
            return True
        return False

    eventually(refused)
    # Then those who are connected are told
    late = any_shell.send(any_shell.payload(same, (1,)), connection=other)
    assert (late.response.status, late.response.headers["wren-shell"]) == (503, "1")
    assert any_shell.process.poll() is None
    # And the calls that run, and those behind them, are answered
    path.touch()
    assert [(status.state, status.failure) for status in answer.statuses()] == [("ok", None)] * 2
    assert any_shell.process.wait(20) == 0


def test_without_calls_it_ends_at_once(shell: "Shell") -> None:
    shell.value(same, 1)
    started = time.monotonic()
    assert shell.end() == 0
    assert time.monotonic() - started < 10
