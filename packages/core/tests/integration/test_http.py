"""The client of the http shell against a server that does whatever a test wants: `wren.http` and its delivery rules."""

import asyncio
import contextlib
import gc
import logging
import os
import pickle
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from wren import wire
from wren.errors import (
    BackendError,
    CallCancelled,
    ConfigError,
    NotDeployed,
    PluginFault,
    SerializationError,
    Throttled,
    Unavailable,
    Undecided,
    Unsupported,
)
from wren.http import HttpCompute, HttpSettings, thread
from wren.spi import Deployment, Feature, Invocation, Outcomes, Receipt, Runtime, RuntimeInfo, Shell
from wren.wire import CallStatus
from wren.worker.frames import ACCEPTED, HEARTBEAT, STATUS, frame

TAG = "the-tag-of-the-deployment"
TOKEN = "Bearer the-token-of-the-platform"
LONG = 20.0  # seconds after which what should have happened will not


# ---- a backend, and what core would hand to it


@dataclass(frozen=True, slots=True)
class HeldOptions:
    proxy: str | None = None
    ca_file: str | None = None
    connect_timeout: float = 10.0


class Held(HttpCompute[HeldOptions]):
    """The least that a backend is."""

    name: ClassVar[str] = "held"
    options_type: ClassVar[type] = HeldOptions

    @property
    def http(self) -> HttpSettings:
        return HttpSettings(self.options.proxy, self.options.ca_file, self.options.connect_timeout)

    def deploy(self, runtime: Runtime, secrets: Mapping[str, str]) -> Deployment:
        raise NotImplementedError

    def undeploy(self, deployment: Deployment) -> None:
        raise NotImplementedError

    def describe(self, runtime: Runtime) -> RuntimeInfo:
        raise NotImplementedError


class Argument:
    """The same argument for every call."""

    def __init__(self, value: object = 1) -> None:
        self.data = pickle.dumps(((value,), {}))
        self.mean_size = len(self.data)

    def __len__(self) -> int:
        return 1

    def pickled(self, call: int) -> Sequence[wire.Buffer]:
        return [self.data]

    def stored(self, call: int) -> None:
        return None

    def plain(self, calls: Sequence[int]) -> None:
        return None


class Unpicklable(Argument):
    def pickled(self, call: int) -> Sequence[wire.Buffer]:
        raise SerializationError("the argument cannot be pickled")


HEADER = wire.Header("7d1e2c3b", "M000", b"k" * 32, wire.Blob("f" * 64, 3), "3.11", heartbeat=0.05)


def invocation(*calls: int, argument: Argument | None = None) -> Invocation:
    return Invocation(HEADER, calls or (0,), argument or Argument(), [b"fun"], attempt=2)


def status(call: int = 0, result: bytes = b"result", **changes: Any) -> bytes:
    good = CallStatus(HEADER.executor, HEADER.job, call, 2, "ok", 1.0, 2.0, result)
    return wire.encode_status(good._replace(**changes))


ACCEPT = frame(ACCEPTED, b'{"worker": "shell-1"}')
BEAT = frame(HEARTBEAT)
DONE = frame(STATUS, status())


class Told:
    """A report that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.errors: dict[int, Exception] = {}
        self.statuses: dict[int, CallStatus] = {}
        self._changed = threading.Condition()

    def _add(self, kind: str, value: Any) -> None:
        with self._changed:
            self.events.append((kind, value))
            self._changed.notify_all()

    def accepted(self, invocation: Invocation, receipt: Receipt) -> None:
        self._add("accepted", receipt.id)

    def heartbeat(self, invocation: Invocation, *, receiving: bool = False) -> None:
        self._add("heartbeat", receiving)

    def succeeded(self, invocation: Invocation, outcomes: Outcomes) -> None:
        raise NotImplementedError

    def status(self, invocation: Invocation, status: CallStatus) -> None:
        assert status.call not in self.statuses
        self.statuses[status.call] = status
        self._add("status", status.call)

    def failed(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str = "") -> None:
        self.errors.update(dict.fromkeys(calls, error))
        self._add("failed", tuple(calls))

    def wait(self, count: int = 1, *kinds: str) -> None:
        """Until so many calls have ended, or events of the kinds have come."""
        ended = kinds or ("status", "failed")
        with self._changed:
            assert self._changed.wait_for(lambda: sum(kind in ended for kind, _ in self.events) >= count, LONG), (
                self.events
            )

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    @property
    def error(self) -> Exception:
        """The one error, of the one call."""
        self.wait()
        (error,) = self.errors.values()
        return error


# ---- a server


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    line: str
    headers: Mapping[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def begin(self, *frames: bytes) -> None:
        """A shell's answer, to be continued with `chunk`."""
        await self.send(CHUNKED, *map(chunk, frames))

    def reset(self) -> None:
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Answer: TypeAlias = Callable[[Asked], Awaitable[None]]
CHUNKED = b"HTTP/1.1 200 OK\r\nwren-shell: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def frames(*pieces: bytes, end: bytes = END) -> Answer:
    """A whole answer of a shell."""

    async def answer(asked: Asked) -> None:
        await asked.begin(*pieces)
        await asked.send(end)

    return answer


def refusal(code: int, text: str = "", *headers: str) -> Answer:
    """An answer that is no success."""

    async def answer(asked: Asked) -> None:
        lines = [f"HTTP/1.1 {code} Whatever", f"Content-Length: {len(text.encode())}", *headers, "", text]
        await asked.send("\r\n".join(lines).encode())

    return answer


def cut(*pieces: bytes, reset: bool = False) -> Answer:
    """Some bytes of a connection, then its end."""

    async def answer(asked: Asked) -> None:
        await asked.send(*pieces)
        if reset:
            asked.reset()
        else:
            asked.writer.close()

    return answer


async def until_closed(asked: Asked) -> None:
    """Accept, then wait for the client to go."""
    await asked.begin(ACCEPT)
    assert await asked.reader.read() == b""


class Server:
    """Answers each request with the next of its answers, and all later ones with the last."""

    def __init__(self, answers: Sequence[Answer], tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.connections = 0
        self.closed = threading.Semaphore(0)  # one for each connection that is gone
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        ready: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(port, ready)))
        self._thread.start()
        self.port = ready.result(LONG)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(LONG)
        self._loop.close()

    async def _serve(self, port: int, ready: Future[int]) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", port, ssl=self._tls, backlog=4096)
        ready.set_result(server.sockets[0].getsockname()[1])
        await self._stopped.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve_one(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.connected(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            await end(writer)
            self.closed.release()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            asked = await read_request(reader, writer)
            answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
            self.asked.append(asked)
            await answer(asked)


async def end(writer: asyncio.StreamWriter) -> None:
    """Close a connection; returns when its socket is closed."""
    if not writer.is_closing():
        writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines if each)}
    return Asked(line, headers, await reader.readexactly(int(headers.get("content-length", 0))), reader, writer)


class Proxy(Server):
    """Forwards requests, and tunnels with CONNECT."""

    def __init__(self, refuse: bytes = b"") -> None:
        self.lines: list[str] = []
        self.authorizations: list[str | None] = []
        self.refuse = refuse
        super().__init__([])

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await read_request(reader, writer)
        self.lines.append(asked.line)
        self.authorizations.append(asked.headers.get("proxy-authorization"))
        if self.refuse:
            await asked.send(self.refuse)
            writer.close()
            return
        method, target, _ = asked.line.split(" ")
        host, _, port = target.removeprefix("http://").partition("/")[0].partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                headers = (f"{name}: {value}" for name, value in asked.headers.items())
                back.write("\r\n".join([f"{method} /run HTTP/1.1", *headers, "", ""]).encode() + asked.body)
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            await end(back)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()  # what comes the other way is of no use any more


class Serve(Protocol):
    def __call__(self, *answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> Server: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server; it is stopped after the test."""
    servers: list[Server] = []

    def start(*answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> Server:
        servers.append(Server(answers, tls, port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def backend() -> Iterator[Held]:
    made = Held(HeldOptions())
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def complaints() -> Iterator[list[Mapping[str, Any]]]:
    """What the client's loop complains of, which nothing may give it a reason to."""
    said: list[Mapping[str, Any]] = []
    client = thread.running()
    client.loop.set_exception_handler(lambda _, context: said.append(context))
    yield said
    gc.collect()
    assert said == []


def at(url: str, **changes: Any) -> Deployment:
    return Deployment("squares", Runtime(), TAG, url, {"Authorization": TOKEN}, **changes)


def ask(backend: Held, url: str, *calls: int, argument: Argument | None = None) -> Told:
    """Submit one invocation; what is told of it."""
    told = Told()
    backend.submit(at(url), [invocation(*calls, argument=argument)], told)
    return told


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where nobody listens; nobody else can take it, and a server of the test's may listen there."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# ---- an answer of a shell


def test_a_call_is_accepted_lives_and_ends(backend: Held, serve: Serve) -> None:
    # Given a shell that accepts a call, says twice that it lives, and answers
    server = serve(frames(ACCEPT, BEAT, BEAT, DONE))
    # When the call is submitted
    told = ask(backend, server.url)
    # Then the report hears all of it, in order
    told.wait()
    assert told.events == [("accepted", "shell-1"), ("heartbeat", False), ("heartbeat", False), ("status", 0)]
    assert told.statuses[0] == wire.decode_status(status())


def test_the_request_carries_payload_tag_and_headers_once(backend: Held, serve: Serve) -> None:
    server = serve(frames(ACCEPT, DONE))
    told = Told()
    sent = invocation()
    backend.submit(at(f"{server.url}/run?x=1", reply_delay=0.005), [sent], told)
    told.wait()
    (asked,) = server.asked
    assert asked.line == "POST /run?x=1 HTTP/1.1"
    assert asked.body == sent.payload()
    assert wire.decode(asked.body).calls[0].args == Argument().data
    assert asked.headers["wren-tag"] == TAG
    assert asked.headers["authorization"] == TOKEN
    assert asked.headers["wren-reply-delay"] == "0.005"
    assert asked.headers["accept-encoding"] == "identity"
    assert "transfer-encoding" not in asked.headers


def test_no_reply_delay_is_asked_for_where_there_is_none(backend: Held, serve: Serve) -> None:
    server = serve(frames(ACCEPT, DONE))
    ask(backend, server.url).wait()
    assert "wren-reply-delay" not in server.asked[0].headers


def test_several_calls_of_a_request_end_one_by_one(backend: Held, serve: Serve) -> None:
    failure = wire.Failure("lost", "", "exit code 3", "")
    failed = frame(STATUS, status(5, state="err", result=b"", failure=failure))
    server = serve(frames(ACCEPT, frame(STATUS, status(4)), BEAT, failed + frame(STATUS, status(6, b"six"))))
    told = ask(backend, server.url, 4, 5, 6)
    told.wait(3)
    assert told.kinds() == ["accepted", "status", "heartbeat", "status", "status"]
    assert told.statuses[5].failure == failure
    assert told.statuses[6].result == b"six"


def test_a_status_on_the_way_is_a_sign_of_life(backend: Held, serve: Serve) -> None:
    # Given a status that comes in two parts, of which the second waits until the first was noticed
    go = threading.Event()

    async def answer(asked: Asked) -> None:
        await asked.begin(ACCEPT, DONE[:-5])
        assert await asyncio.to_thread(go.wait, LONG)
        await asked.send(chunk(DONE[-5:]), END)

    told = ask(backend, serve(answer).url)
    # When the first has come, Then
    told.wait(1, "heartbeat")
    assert ("heartbeat", True) in told.events
    go.set()
    told.wait()
    assert told.kinds()[-1] == "status"


def test_frames_cut_anywhere_are_put_together(backend: Held, serve: Serve) -> None:
    whole = ACCEPT + BEAT + DONE

    async def answer(asked: Asked) -> None:
        args = wire.decode(asked.body).calls[0].args
        assert isinstance(args, bytes)
        (size,) = struct.unpack("<I", args)
        await asked.begin(*(whole[start : start + size] for start in range(0, len(whole), size)))
        await asked.send(END)

    server = serve(answer)

    class Size(Argument):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.data = struct.pack("<I", size)

    @given(st.integers(1, len(whole)))
    def check(size: int) -> None:
        told = ask(backend, server.url, argument=Size(size))
        told.wait()
        assert [kind for kind, value in told.events if value is not True] == ["accepted", "heartbeat", "status"]

    check()


def test_an_answer_that_ends_early_is_undecided_wherever_it_ends(backend: Held, serve: Serve) -> None:
    whole = ACCEPT + BEAT + DONE
    where = 0

    async def answer(asked: Asked) -> None:
        await asked.begin(*([whole[:where]] if where else []))
        await asked.send(END)

    server = serve(answer)
    for where in range(len(whole)):
        told = ask(backend, server.url)
        assert isinstance(told.error, Undecided)
        assert "its answer ended before the last status" in str(told.error)
        assert ("accepted" in told.kinds()) == (where >= len(ACCEPT))
        assert ("after it accepted" in str(told.error)) == (where >= len(ACCEPT))


def test_large_payloads_and_results_pass(backend: Held, serve: Serve) -> None:
    # Given a result and an argument of 16 MiB each
    result = os.urandom(16 << 20)
    argument = Argument(os.urandom(16 << 20))
    server = serve(frames(ACCEPT, frame(STATUS, status(result=result))))
    # When they pass, Then they are whole, and were signs of life all the way
    told = ask(backend, server.url, argument=argument)
    told.wait()
    assert told.statuses[0].result == result
    assert wire.decode(server.asked[0].body).calls[0].args == argument.data
    assert told.events.count(("heartbeat", True)) > 10


# ---- delivery rules


SHELL_SAYS = "wren-shell: 1"


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (refusal(400, "no payload", SHELL_SAYS), BackendError, "refused the request (400): no payload"),
        (refusal(401, "who?"), BackendError, "refused the credentials: correct those that its section"),
        (refusal(403, "not you"), BackendError, "refused the credentials: correct those that its section"),
        (refusal(403, "tag", SHELL_SAYS), NotDeployed, "is another deployment by now (403): tag"),
        (refusal(404), NotDeployed, "is not there any more (404)"),
        (refusal(407), BackendError, "is behind a proxy that wants a user and a password in its URL (407)"),
        (refusal(413, "", SHELL_SAYS), BackendError, "takes no payload of {size} bytes (413)"),
        (refusal(418, "a" * 600), BackendError, "refused the request (418): " + "a" * 500),
        (refusal(426, "wire 2", SHELL_SAYS), NotDeployed, "speaks another version of the wire format (426): wire 2"),
        (refusal(429, "calm down"), Throttled, "is busy (429): calm down"),
        (refusal(500, "oops"), Undecided, "did not answer as a shell, so the call may have run (500): oops"),
        (refusal(502), Undecided, "may have run (502)"),
        (refusal(503, "upgrading"), Unavailable, "is not available (503): upgrading"),
        (refusal(504, "<p>late\n\n</p>"), Undecided, "may have run (504): <p>late </p>"),
        (refusal(202, "queued"), Undecided, "may have run (202): queued"),
        (
            refusal(302, "", "Location: https://login.example/{x}?state=secret"),
            BackendError,
            "redirects to https://login.example/{x}, which is not followed: correct its address (302)",
        ),
        (
            refusal(200, "<html>a proxy's page</html>"),
            Undecided,
            "in place of a frame came: <html>a proxy's page</html>",
        ),
        (refusal(200, ""), Undecided, "was lost before it accepted the call, which may have run: its answer ended"),
        (cut(), Undecided, "was lost before it accepted the call, which may have run: the connection was closed"),
        (cut(reset=True), Undecided, "which may have run: Connection reset by peer"),
        (cut(b"what is this?\r\n\r\n"), Undecided, "which may have run: this is no HTTP: "),
        (cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", ACCEPT), Undecided, "after it accepted the call"),
        (frames(ACCEPT, end=b""), None, ""),
        (
            frames(ACCEPT, b"Bad Gateway"),
            Undecided,
            "after it accepted the call, which may have run: in place of a frame",
        ),
        (cut(CHUNKED, b"no chunk\r\n"), Undecided, "before it accepted the call, which may have run: "),
        (frames(ACCEPT, frame(9)), Undecided, "it sent a frame of the unknown kind 9"),
        (frames(frame(ACCEPTED, b"{}")), Undecided, "it accepted the call in words that are none: KeyError('worker')"),
        (frames(ACCEPT, frame(STATUS, b"no JSON")), Undecided, "it sent a status that cannot be read"),
        (frames(ACCEPT, frame(STATUS, b'{"v": 2}')), Undecided, "wire format 2, this side of wren speaks 1"),
        (
            frames(ACCEPT, frame(STATUS, status(7))),
            Undecided,
            "it sent the status of call 7 (attempt 2) of job 7d1e2c3b/",
        ),
        (frames(ACCEPT, frame(STATUS, status(attempt=1))), Undecided, "the status of call 0 (attempt 1)"),
        (frames(ACCEPT, frame(STATUS, status(job="M001"))), Undecided, "job 7d1e2c3b/M001, which was not asked for"),
        (frames(ACCEPT, frame(STATUS, status(executor="x"))), Undecided, "job x/M000, which was not asked for"),
    ],
)
def test_what_is_no_success_is_the_error_that_the_rules_say(
    backend: Held, serve: Serve, answer: Answer, kind: type[Exception] | None, text: str
) -> None:
    server = serve(answer)
    told = ask(backend, server.url)
    if kind is None:  # the server waits for the next request, and the client for the rest of this answer
        told.wait(1, "accepted")
        server.stop()
        kind, text = Undecided, "after it accepted the call, which may have run: the answer was cut off"
    assert type(told.error) is kind
    assert f"the deployment 'squares' at 127.0.0.1:{server.port} " in str(told.error)
    assert text.replace("{size}", str(len(invocation().payload()))) in str(told.error)
    # And it was sent once
    assert len(server.asked) == 1


def test_a_reset_after_acceptance_is_undecided(backend: Held, serve: Serve) -> None:
    go = threading.Event()

    async def answer(asked: Asked) -> None:
        await asked.begin(ACCEPT)
        assert await asyncio.to_thread(go.wait, LONG)
        asked.reset()

    told = ask(backend, serve(answer).url)
    told.wait(1, "accepted")
    go.set()
    assert isinstance(told.error, Undecided)
    assert "after it accepted the call, which may have run: " in str(told.error)


def test_an_accepted_answer_that_goes_on_as_no_http_is_undecided(backend: Held, serve: Serve) -> None:
    # Seen with aiohttp 3.14.5, whose reader waits for ever then
    go = threading.Event()

    async def answer(asked: Asked) -> None:
        await asked.begin(ACCEPT)
        assert await asyncio.to_thread(go.wait, LONG)
        await asked.send(b"no chunk\r\n")

    told = ask(backend, serve(answer).url)
    told.wait(1, "accepted")
    go.set()
    assert isinstance(told.error, Undecided)
    assert "after it accepted the call, which may have run: the answer was cut off" in str(told.error)


def test_a_connection_that_is_reset_while_idle_is_no_reason_to_complain(backend: Held, serve: Serve) -> None:
    # Given a connection whose answer came in parts, so that it was watched, and that is reset afterwards
    async def answer(asked: Asked) -> None:
        await asked.begin(ACCEPT)
        assert await asyncio.to_thread(go.wait, LONG)
        await asked.send(chunk(DONE), END)
        assert await asyncio.to_thread(over.wait, LONG)
        asked.reset()

    go, over = threading.Event(), threading.Event()
    server = serve(answer, frames(ACCEPT, DONE))
    told = ask(backend, server.url)
    told.wait(1, "accepted")
    go.set()
    told.wait()
    settle()
    over.set()
    assert server.closed.acquire(timeout=LONG)
    settle()
    # When it is wanted again, Then another one is taken, and the fixture `complaints` has heard nothing
    after = ask(backend, server.url)
    after.wait()
    assert after.kinds() == ["accepted", "status"]
    assert server.connections == 2


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7.0, 7.0),
        (lambda: formatdate(time.time() + 100, usegmt=True), 90.0, 101.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0, 86_400.0),
        ("9" * 400, 86_400.0, 86_400.0),
    ],
)
def test_a_platform_says_how_long_to_wait(
    backend: Held, serve: Serve, code: int, value: str | Callable[[], str], least: float, most: float
) -> None:
    retry_after = value if isinstance(value, str) else value()
    error = ask(backend, serve(refusal(code, "", f"Retry-After: {retry_after}")).url).error
    assert isinstance(error, Throttled)
    assert error.delay is not None
    assert least <= error.delay <= most


@pytest.mark.parametrize("value", ["soon", "-1", "1e400", "²", "Thu, 99 Jan"])
def test_a_retry_after_that_says_nothing_is_none(backend: Held, serve: Serve, value: str) -> None:
    server = serve(refusal(429, "", f"Retry-After: {value}"), refusal(503, "", f"Retry-After: {value}"))
    error = ask(backend, server.url).error
    assert isinstance(error, Throttled)
    assert error.delay is None
    assert type(ask(backend, server.url).error) is Unavailable


def test_a_payload_that_is_refused_before_it_was_read_is_told_as_such(backend: Held) -> None:
    # Given a shell that refuses a payload by its size, and reads none of it
    def shell() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nwren-shell: 1\r\nContent-Length: 3\r\n\r\nno!")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=shell)
        serving.start()
        error = ask(backend, f"http://127.0.0.1:{listener.getsockname()[1]}", argument=Argument(bytes(16 << 20))).error
        serving.join(LONG)
    assert type(error) is BackendError
    assert re.search(r"takes no payload of \d{8} bytes \(413\): no!", str(error))


def test_a_host_that_is_asked_for_is_no_secret(backend: Held, serve: Serve) -> None:
    server = serve(refusal(404, "no route to squares.example for the-tag-of-the-deployment"))
    told = Told()
    deployment = Deployment("squares", Runtime(), TAG, server.url, {"Host": "squares.example"})
    backend.submit(deployment, [invocation()], told)
    assert "no route to squares.example for ***" in str(told.error)
    assert server.asked[0].headers["host"] == "squares.example"


def test_a_refused_connection_is_no_delivery_and_a_later_one_is(backend: Held, serve: Serve, silent_port: int) -> None:
    error = ask(backend, f"http://127.0.0.1:{silent_port}").error
    # Then nothing was delivered
    assert type(error) is Unavailable
    assert str(error) == f"the deployment 'squares' at 127.0.0.1:{silent_port} cannot be reached: Connection refused"
    assert isinstance(error.__cause__, ConnectionRefusedError)
    # And when somebody does, it is
    server = serve(frames(ACCEPT, DONE), port=silent_port)
    told = ask(backend, server.url)
    told.wait()
    assert told.kinds() == ["accepted", "status"]


def test_a_name_that_does_not_exist_is_no_delivery(backend: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = ask(backend, "http://squares.invalid:81").error
    assert type(error) is Unavailable
    assert str(error) == "the deployment 'squares' at squares.invalid:81 cannot be reached: Name or service not known"


def test_a_connection_that_is_not_made_in_time_is_no_delivery() -> None:
    # Given a listener whose queue is full: it answers no SYN any more
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        backend = Held(HeldOptions(connect_timeout=0.2))
        error = ask(backend, f"http://127.0.0.1:{full.getsockname()[1]}").error
        backend.close()
    assert type(error) is Unavailable
    assert "cannot be reached: no connection was made in time" in str(error)


@pytest.mark.parametrize("url", ["", "squares", "ftp://127.0.0.1/", "http://", "http://[::1", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_fatal(backend: Held, url: str) -> None:
    error = ask(backend, url).error
    assert type(error) is BackendError
    assert str(error) == "the url of the deployment 'squares' is no http or https URL: deploy it again"


def test_an_argument_that_cannot_be_pickled_is_told_as_such(backend: Held, serve: Serve) -> None:
    server = serve(frames(ACCEPT, DONE))
    assert isinstance(ask(backend, server.url, argument=Unpicklable()).error, SerializationError)
    assert server.asked == []


def test_a_backend_may_say_what_unavailable_means(serve: Serve, silent_port: int) -> None:
    threads: set[str] = set()

    class Container(Held):
        def unavailable(self, deployment: Deployment, error: Unavailable) -> BackendError:
            threads.add(threading.current_thread().name)
            if deployment.name == "buggy":
                raise LookupError("no such container")
            if deployment.name == "raising":
                raise NotDeployed("raised")
            return NotDeployed(f"the container of {deployment.name!r} is gone")

    container = Container(HeldOptions())
    url = f"http://127.0.0.1:{silent_port}"
    assert type(ask(container, url).error) is NotDeployed
    # It may block, so it is not called in the thread of the requests
    assert "wren-http" not in threads
    for name, kind in (("buggy", PluginFault), ("raising", NotDeployed)):
        told = Told()
        container.submit(Deployment(name, Runtime(), url=url), [invocation()], told)
        assert type(told.error) is kind
    # And it is asked of nothing that may have been delivered
    assert type(ask(container, serve(refusal(502)).url).error) is Undecided
    assert type(ask(container, serve(refusal(503)).url).error) is NotDeployed
    container.close()


def test_no_secret_is_in_a_text_or_a_log(backend: Held, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    # Given a proxy that shows what it was sent, in all the ways in which it can answer
    async def show(asked: Asked) -> None:
        shown = "\n".join(f"{name}: {value}" for name, value in asked.headers.items())
        token = TOKEN.removeprefix("Bearer ")
        await refusal(codes[len(server.asked) - 1], f"{shown} {token}")(asked)

    codes = [200, 400, 401, 403, 404, 413, 418, 429, 500, 502, 503]
    server = serve(*[show] * len(codes), cut(b"HTTP/9 " + TAG.encode() + b"\r\n\r\n"), cut())
    caplog.set_level(logging.DEBUG)
    for _ in range(len(codes) + 2):
        error: BaseException | None = ask(backend, server.url).error
        while error is not None:
            for secret in (TAG, TOKEN, TOKEN.removeprefix("Bearer ")):
                assert secret not in str(error)
                assert secret not in repr(error)
            error = error.__cause__ or error.__context__
    assert TAG not in caplog.text
    assert TOKEN.removeprefix("Bearer ") not in caplog.text
    assert TAG not in repr(at(server.url))


# ---- connections


def test_connections_are_kept_for_later_requests(backend: Held, serve: Serve) -> None:
    server = serve(frames(ACCEPT, DONE))
    for _ in range(20):
        ask(backend, server.url).wait()
        settle()
    assert server.connections == 1
    assert len(server.asked) == 20


def test_a_refusal_that_was_read_leaves_its_connection_usable(backend: Held, serve: Serve) -> None:
    server = serve(refusal(429, "busy"), refusal(503, "later"), frames(ACCEPT, DONE))
    for _ in range(3):
        ask(backend, server.url).wait()
        settle()
    assert server.connections == 1


def settle() -> None:
    """Wait until the client's thread has nothing to do at once: what came in together was dealt with."""
    client = thread.running()
    for _ in range(5):
        done = threading.Event()
        client.do(done.set)
        assert done.wait(LONG)


def test_a_connection_that_the_server_closed_while_idle_is_not_used(backend: Held, serve: Serve) -> None:
    # Given a server that closes each connection after its answer without saying so before
    async def answer(asked: Asked) -> None:
        await frames(ACCEPT, DONE)(asked)
        asked.writer.close()

    server = serve(answer)
    for number in range(20):
        told = ask(backend, server.url)
        told.wait()
        # Then every request is answered
        assert told.kinds() == ["accepted", "status"]
        assert server.closed.acquire(timeout=LONG)
        assert server.connections == number + 1


def test_a_close_that_comes_while_the_client_is_busy_is_noticed_before_the_next_request(
    backend: Held, serve: Serve
) -> None:
    # Given an idle connection that is closed while the client's thread encodes the next payload
    async def answer(asked: Asked) -> None:
        await frames(ACCEPT, DONE)(asked)
        assert await asyncio.to_thread(go.wait, LONG)
        asked.writer.close()

    class Slow(Argument):
        def pickled(self, call: int) -> Sequence[wire.Buffer]:
            go.set()
            assert server.closed.acquire(timeout=LONG)
            return super().pickled(call)

    go = threading.Event()
    server = serve(answer)
    ask(backend, server.url).wait()
    settle()
    # When that is sent, Then it gets a connection of its own
    told = ask(backend, server.url, argument=Slow())
    told.wait()
    assert told.kinds() == ["accepted", "status"]
    assert server.connections == 2


def test_a_request_that_broke_on_a_used_connection_is_not_sent_again(backend: Held, serve: Serve) -> None:
    server = serve(frames(ACCEPT, DONE), cut())
    ask(backend, server.url).wait()
    settle()
    assert isinstance(ask(backend, server.url).error, Undecided)
    assert server.connections == 1
    assert len(server.asked) == 2


def test_an_answer_that_goes_on_after_its_last_status_holds_nothing_up(backend: Held, serve: Serve) -> None:
    server = serve(frames(ACCEPT, DONE, b"and more"), frames(ACCEPT, DONE + b"and more"), frames(ACCEPT, DONE, end=b""))
    for _ in range(3):
        told = ask(backend, server.url)
        told.wait()
        assert told.kinds() == ["accepted", "status"]


def test_thousands_of_requests_are_held_at_once(backend: Held, serve: Serve) -> None:
    # Given a shell that answers none of 2,000 requests before the last has come
    count = 2_000
    arrived, submitted = asyncio.Event(), threading.Event()

    async def answer(asked: Asked) -> None:
        await asked.begin(ACCEPT)
        if len(server.asked) == count:
            await asyncio.to_thread(submitted.wait, LONG)
            arrived.set()
        await arrived.wait()
        await asked.send(chunk(frame(STATUS, status(wire.decode(asked.body).calls[0].id))), END)

    server = serve(answer)
    told = Told()
    # When they are submitted, Then it does not wait for any
    backend.submit(at(server.url), [invocation(call) for call in range(count)], told)
    assert not told.statuses
    submitted.set()
    told.wait(count)
    assert len(told.statuses) == count
    assert sum(each.name == "wren-http" for each in threading.enumerate()) == 1
    assert server.connections == count


def test_a_held_request_does_not_hold_its_payload(backend: Held, serve: Serve) -> None:
    async def answer(asked: Asked) -> None:
        server.asked.clear()  # nor does the test's server hold it
        await until_closed(Asked("", {}, b"", asked.reader, asked.writer))

    server = serve(answer)
    told = Told()
    large = invocation(argument=Argument(bytes(8 << 20)))
    tracemalloc.start()
    try:
        backend.submit(at(server.url), [large], told)
        told.wait(1, "accepted")
        assert tracemalloc.get_traced_memory()[1] > 16 << 20
        settle()
        gc.collect()
        client = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/wren/*")])
        assert sum(each.size for each in client.statistics("filename")) < 1 << 20
    finally:
        tracemalloc.stop()
    assert backend.kill(at(server.url), large, [0]) == [0]


def test_large_payloads_are_made_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server that reads nothing, and payloads that no buffer of a socket takes
    monkeypatch.setattr("wren.http.exchange.TURNS", 3)
    backend = Held(HeldOptions())
    made = threading.Semaphore(0)

    class Large(Argument):
        def pickled(self, call: int) -> Sequence[wire.Buffer]:
            made.release()
            return super().pickled(call)

    argument = Large(bytes(12 << 20))
    requests = [invocation(argument=argument) for _ in range(6)]
    told = Told()
    with socket.create_server(("127.0.0.1", 0), backlog=16) as deaf:
        deployment = at(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        # When they are submitted together, Then three are made, and another one when one of those is over
        backend.submit(deployment, requests, told)
        for turn in range(4):
            for _ in range(3 if turn == 0 else 1):
                assert made.acquire(timeout=LONG)
            settle()
            assert not made.acquire(blocking=False)
            assert backend.kill(deployment, requests[turn], [0]) == [0]
        for request in requests[4:]:
            assert backend.kill(deployment, request, [0]) == [0]
        backend.close()
        settle()


def test_a_turn_ends_when_its_payload_is_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a platform that accepts no call before all have come
    monkeypatch.setattr("wren.http.exchange.TURNS", 3)
    backend = Held(HeldOptions())
    count = 10
    arrived = asyncio.Event()

    async def answer(asked: Asked) -> None:
        if len(server.asked) == count:
            arrived.set()
        await arrived.wait()
        await frames(ACCEPT, frame(STATUS, status(wire.decode(asked.body).calls[0].id)))(asked)

    server = serve(answer)
    told = Told()
    argument = Argument(bytes(1 << 20))
    backend.submit(at(server.url), [invocation(call, argument=argument) for call in range(count)], told)
    told.wait(count)
    assert sorted(told.statuses) == list(range(count))
    backend.close()


def test_backends_share_one_thread(backend: Held, serve: Serve) -> None:
    server = serve(frames(ACCEPT, DONE))
    other = Held(HeldOptions())
    for each in (backend, other):
        ask(each, server.url).wait()
    other.close()
    assert sum(each.name == "wren-http" for each in threading.enumerate()) == 1


def test_a_report_that_raises_ends_its_request_and_no_other(
    backend: Held, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Told):
        def accepted(self, invocation: Invocation, receipt: Receipt) -> None:
            raise LookupError("a bug")

        def failed(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str = "") -> None:
            super().failed(invocation, calls, error)
            raise LookupError("another bug")

    server = serve(frames(ACCEPT, DONE))
    told = Buggy()
    backend.submit(at(server.url), [invocation()], told)
    assert isinstance(told.error, PluginFault)
    after = ask(backend, server.url)
    after.wait()
    assert after.kinds() == ["accepted", "status"]
    assert "another bug" in caplog.text


# ---- kill and close


def test_kill_closes_the_connection_at_once(backend: Held, serve: Serve) -> None:
    # Given a call that runs
    server = serve(until_closed)
    told = Told()
    running = invocation(3)
    backend.submit(at(server.url), [running], told)
    told.wait(1, "accepted")
    # When it is killed
    assert backend.kill(at(server.url), running, [3]) == [3]
    # Then its owner knows, and the shell
    assert isinstance(told.errors[3], CallCancelled)
    assert server.closed.acquire(timeout=LONG)
    # And it is killed once
    assert backend.kill(at(server.url), running, [3]) == []
    assert told.kinds() == ["accepted", "failed"]


def test_a_call_can_be_killed_before_it_is_accepted(backend: Held, serve: Serve) -> None:
    async def silent(asked: Asked) -> None:
        arrived.set()
        assert await asked.reader.read() == b""

    arrived = threading.Event()
    server = serve(silent)
    told = Told()
    waiting = invocation()
    backend.submit(at(server.url), [waiting], told)
    assert arrived.wait(LONG)
    assert backend.kill(at(server.url), waiting, [0]) == [0]
    assert server.closed.acquire(timeout=LONG)


def test_a_call_that_is_killed_as_it_is_submitted_is_not_sent(backend: Held, serve: Serve) -> None:
    # Given a client's thread that is busy
    server = serve(frames(ACCEPT, DONE))
    free = threading.Event()
    thread.running().do(lambda: free.wait(LONG))
    told = Told()
    early = invocation()
    backend.submit(at(server.url), [early], told)
    # When the call is killed before the thread has seen it
    assert backend.kill(at(server.url), early, [0]) == [0]
    free.set()
    settle()
    # Then
    assert told.kinds() == ["failed"]
    assert server.asked == []


def test_what_was_killed_is_not_told_of_again(backend: Held, serve: Serve) -> None:
    # Given a status that comes in just before its call is killed, while the client's thread is busy
    async def answer(asked: Asked) -> None:
        await asked.begin(ACCEPT)
        assert await asyncio.to_thread(go.wait, LONG)
        await asked.send(chunk(DONE), END)
        sent.set()

    go, sent, free, busy = (threading.Event() for _ in range(4))
    server = serve(answer)
    told = Told()
    running = invocation()
    backend.submit(at(server.url), [running], told)
    told.wait(1, "accepted")

    def hold() -> None:
        busy.set()
        assert free.wait(LONG)

    thread.running().do(hold)
    assert busy.wait(LONG)
    go.set()
    assert sent.wait(LONG)
    # When
    assert backend.kill(at(server.url), running, [0]) == [0]
    free.set()
    settle()
    # Then
    assert told.kinds() == ["accepted", "failed"]


def test_an_invocation_that_is_submitted_again_by_the_report_can_be_killed(backend: Held, serve: Serve) -> None:
    class Again(Told):
        def failed(self, invocation: Invocation, calls: Sequence[int], error: Exception, logs: str = "") -> None:
            backend.submit(at(server.url), [invocation], told)

    server = serve(refusal(503), until_closed)
    told = Told()
    running = invocation()
    backend.submit(at(server.url), [running], Again())
    told.wait(1, "accepted")
    settle()
    assert backend.kill(at(server.url), running, [0]) == [0]
    assert server.closed.acquire(timeout=LONG)


def test_calls_that_share_a_request_are_killed_together_or_not_at_all(backend: Held, serve: Serve) -> None:
    async def answer(asked: Asked) -> None:
        await asked.begin(ACCEPT, frame(STATUS, status(1)))
        assert await asked.reader.read() == b""

    server = serve(answer)
    told = Told()
    running = invocation(1, 2, 3)
    backend.submit(at(server.url), [running], told)
    told.wait(1, "status")
    assert backend.kill(at(server.url), running, [2]) == []
    assert told.kinds() == ["accepted", "status"]
    assert sorted(backend.kill(at(server.url), running, [1, 2, 3])) == [2, 3]
    assert sorted(told.errors) == [2, 3]
    assert server.closed.acquire(timeout=LONG)


def test_what_was_never_submitted_cannot_be_killed(backend: Held) -> None:
    assert backend.kill(at("http://127.0.0.1:1"), invocation(), [0]) == []


def test_close_lets_calls_that_run_go_on_and_closes_what_is_idle(backend: Held, serve: Serve) -> None:
    go = threading.Event()

    async def answer(asked: Asked) -> None:
        await asked.begin(ACCEPT)
        assert await asyncio.to_thread(go.wait, LONG)
        await asked.send(chunk(DONE), END)

    server = serve(answer)
    told = ask(backend, server.url)
    told.wait(1, "accepted")
    # When it is closed, and once more
    backend.close()
    backend.close()
    settle()
    assert told.kinds() == ["accepted"]
    # Then the call ends as if it were not, and its connection afterwards
    go.set()
    told.wait()
    assert told.kinds() == ["accepted", "status"]
    assert server.closed.acquire(timeout=LONG)
    # And it can be used again
    again = ask(backend, server.url)
    again.wait()
    assert again.kinds() == ["accepted", "status"]
    assert server.connections == 2


def test_close_before_any_request_is_nothing() -> None:
    Held(HeldOptions()).close()


# ---- settings


def test_it_speaks_the_http_shell() -> None:
    assert Held.shell is Shell.HTTP
    assert Held.features == Feature.DIRECT | Feature.HEARTBEAT | Feature.KILL


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def test_a_private_authority_is_trusted_where_it_is_named(
    backend: Held, serve: Serve, tls: ssl.SSLContext, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(frames(ACCEPT, DONE), tls=tls)
    # Given nobody who vouches for the server, Then nothing is delivered
    error = ask(backend, server.url).error
    assert type(error) is Unavailable
    assert "certificate verify failed" in str(error)
    assert "ca_file may name the certificate of its authority" in str(error)
    assert server.asked == []
    # Given a file of the options, or of the environment, Then it is
    named = Held(HeldOptions(ca_file=str(ca_file)))
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    by_environment = Held(HeldOptions())
    for each in (named, by_environment):
        told = ask(each, server.url)
        told.wait()
        assert told.kinds() == ["accepted", "status"]
        each.close()


def test_a_server_that_speaks_no_tls_was_sent_nothing(serve: Serve) -> None:
    server = serve(frames(ACCEPT, DONE))
    backend = Held(HeldOptions(connect_timeout=0.2))
    error = ask(backend, server.url.replace("http:", "https:")).error
    backend.close()
    assert type(error) is Unavailable
    assert server.asked == []


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path in (tmp_path / "missing.pem", empty, tmp_path):
        with pytest.raises(
            ConfigError, match=rf"ca_file in section \[held\] is '{path}', which has no PEM certificates"
        ):
            Held(HeldOptions(ca_file=str(path)))


@pytest.mark.parametrize("proxy", ["", "proxy:3128", "socks5://proxy:1080", "http://", "http://user:hidden@:80"])
def test_a_proxy_that_is_none_is_an_error_without_its_password(proxy: str) -> None:
    with pytest.raises(ConfigError, match=r"proxy in section \[held\] is no URL of a proxy") as caught:
        Held(HeldOptions(proxy=proxy))
    assert "hidden" not in str(caught.value)
    assert "hidden" not in repr(HttpSettings(proxy=proxy))


def test_a_timeout_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"connect_timeout in section \[held\] is 0"):
        Held(HeldOptions(connect_timeout=0))


def test_a_missing_aiohttp_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"the held backend needs aiohttp.*pip install 'wren-core\[http\]'"):
        Held(HeldOptions())


@pytest.fixture
def proxy() -> Iterator[Callable[..., Proxy]]:
    made: list[Proxy] = []

    def start(refuse: bytes = b"") -> Proxy:
        made.append(Proxy(refuse))
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.mark.parametrize("by", ["option", "environment", "environment without a scheme"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_requests_go_through_a_proxy(
    by: str,
    scheme: str,
    serve: Serve,
    proxy: Callable[..., Proxy],
    tls: ssl.SSLContext,
    ca_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(frames(ACCEPT, DONE), tls=tls if scheme == "https" else None)
    between = proxy()
    where = f"user:password@127.0.0.1:{between.port}"
    if by != "option":
        monkeypatch.setenv(f"{scheme}_proxy", where if by.endswith("scheme") else f"http://{where}")
    backend = Held(HeldOptions(proxy=f"http://{where}" if by == "option" else None, ca_file=str(ca_file)))
    told = ask(backend, f"{server.url}/run")
    told.wait()
    backend.close()
    assert told.kinds() == ["accepted", "status"]
    line = f"CONNECT 127.0.0.1:{server.port}" if scheme == "https" else f"POST {server.url}/run"
    assert between.lines == [f"{line} HTTP/1.1"]
    assert between.authorizations == ["Basic dXNlcjpwYXNzd29yZA=="]


def test_no_proxy_is_honoured(
    backend: Held, serve: Serve, proxy: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, between = serve(frames(ACCEPT, DONE)), proxy()
    monkeypatch.setenv("http_proxy", between.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    told = ask(backend, server.url)
    told.wait()
    assert told.kinds() == ["accepted", "status"]
    assert between.lines == []


@pytest.mark.parametrize(
    ("refuse", "kind", "text"),
    [
        (b"HTTP/1.1 407 Who Are You\r\n\r\n", BackendError, "answered 407 Who Are You: correct the proxy's settings"),
        (b"HTTP/1.1 502 No Way\r\n\r\n", Unavailable, "answered 502 No Way"),
        (b"what?\r\n\r\n", Unavailable, "cannot be reached"),
        (b"\r\n", Unavailable, "cannot be reached: the connection was closed"),
    ],
)
def test_a_tunnel_that_is_refused_has_delivered_nothing(
    serve: Serve, proxy: Callable[..., Proxy], tls: ssl.SSLContext, refuse: bytes, kind: type[Exception], text: str
) -> None:
    server, between = serve(frames(ACCEPT, DONE), tls=tls), proxy(refuse)
    backend = Held(HeldOptions(proxy=f"http://user:hidden@127.0.0.1:{between.port}"))
    error: BaseException | None = ask(backend, server.url).error
    backend.close()
    assert type(error) is kind
    assert text in str(error)
    assert server.asked == []
    while error is not None:
        assert "hidden" not in repr(error)
        error = error.__cause__ or error.__context__


def test_a_proxy_of_the_environment_that_cannot_be_used_is_named(
    backend: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://user:hidden@127.0.0.1:1080")
    error = ask(backend, "http://127.0.0.1:1").error
    assert type(error) is BackendError
    assert str(error) == "HTTP_PROXY is no URL of a proxy that can be used: give http://host:port"


# ---- forks and ends of programs: in processes of their own


PRELUDE = f"""
import importlib.util, os, sys, threading, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
spec = importlib.util.spec_from_file_location("helpers", {__file__!r})
helpers = sys.modules["helpers"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
from helpers import *
backend = Held(HeldOptions())
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], str]:
    """Run a program, with everything of this module and a backend, which must not say a word on stderr."""

    def run_program(program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELUDE + program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run_program


def test_a_forked_child_has_requests_of_its_own_and_no_copies_of_its_parents(
    serve: Serve, run: Callable[[str], str]
) -> None:
    # Given a request that ends only when it is closed, one of a child, and one that ends when the first is closed
    gone = asyncio.Event()

    async def first(asked: Asked) -> None:
        await until_closed(asked)
        gone.set()

    async def third(asked: Asked) -> None:
        await gone.wait()
        await frames(ACCEPT, DONE)(asked)

    server = serve(first, frames(ACCEPT, DONE), third)
    # When the parent closes the first while its child lives, Then the shell knows it
    run(f"""
url = {server.url!r}
running = invocation(0)
told = Told()
backend.submit(at(url), [running], told)
told.wait(1, "accepted")
reader, writer = os.pipe()
ready, done = os.pipe()
child = os.fork()
if child == 0:
    os.close(writer)
    assert backend.kill(at(url), running, [0]) == []
    own = ask(backend, url)
    own.wait()
    assert own.kinds() == ["accepted", "status"], own.events
    assert backend.kill(at(url), running, [0]) == []
    os.write(done, b"x")
    os.read(reader, 1)
    sys.exit(0)  # the whole way, for warnings to be seen
assert os.read(ready, 1)
assert backend.kill(at(url), running, [0]) == [0]
last = ask(backend, url)
last.wait()
assert last.kinds() == ["accepted", "status"], last.events
os.close(writer)
assert os.waitpid(child, 0)[1] == 0
""")


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "backend.close()",
        "backend.close(); backend.close()",
        "held = ask(backend, url); held.wait(1, 'accepted')",
        "held = ask(backend, url); held.wait(1, 'accepted'); backend.close()",
        "del backend",
    ],
)
def test_a_program_ends_without_a_word(serve: Serve, run: Callable[[str], str], end: str) -> None:
    server = serve(frames(ACCEPT, DONE), until_closed)
    run(f"url = {server.url!r}\ntold = ask(backend, url)\ntold.wait()\n{end}")


def test_a_program_that_waits_at_its_end_still_gets_answers(serve: Serve, run: Callable[[str], str]) -> None:
    # Given a program that submits when the interpreter starts no threads any more, to a name that must be looked up
    server = serve(frames(ACCEPT, DONE))
    url = server.url.replace("127.0.0.1", "localhost")
    printed = run(f"""
import atexit
ask(backend, {server.url!r}).wait()
@atexit.register
def late():
    told = ask(backend, {url!r})
    told.wait()
    print(told.kinds())
""")
    assert printed == "['accepted', 'status']\n"


def test_a_program_that_only_begins_at_its_end_is_told_so(run: Callable[[str], str]) -> None:
    printed = run("""
import atexit
@atexit.register
def late():
    print(type(ask(backend, "http://127.0.0.1:1").error).__name__)
""")
    assert printed in {"Unavailable\n", "BackendError\n"}  # from Python 3.12 on no thread can be started there


def test_importing_it_does_not_import_aiohttp(run_python: Callable[[str], str]) -> None:
    assert run_python("import sys, wren.http; print('aiohttp' in sys.modules)") == "False\n"
