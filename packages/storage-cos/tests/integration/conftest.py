"""What these tests share: a second server that knows more users and names, and one in between that makes faults."""

import contextlib
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import pytest
from tests.services import s3 as versitygw
from tests.services.base import Missing
from tests.services.fixtures import Endpoint, absent
from tests.services.golang import build

from wren_storage_cos.credentials import Credentials
from wren_storage_cos.objects import Objects

DOMAIN: Final = "s3.test"  # names below it are buckets of the second server
GUEST: Final = Credentials("guest", "guestsecret")  # who may do nothing there

Opener: TypeAlias = Callable[..., Objects]


@pytest.fixture
def opened(s3: Endpoint) -> Iterator[Opener]:
    """Opens the real server; keywords are those of `Objects` that differ."""
    made: list[Objects] = []

    def open_objects(**settings: Any) -> Objects:
        given = {"endpoint": s3.url, "credentials": Credentials(s3.access_key, s3.secret_key), "retries": 2}
        made.append(Objects(**{**given, **settings}))
        return made[-1]

    yield open_objects
    for each in made:
        each.close()


@pytest.fixture
def objects(opened: Opener) -> Objects:
    return opened()


# ---- a server with another user, and buckets before its host


class Gateway(NamedTuple):
    url: str
    client: Any  # an SDK's


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """A server of its own, of which the one of all tests has nothing."""
    try:
        program = build(versitygw.PACKAGE, versitygw.VERSION, versitygw.S3().folder)
    except Missing as error:
        absent(error)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="wren-gateway-", dir=memory) as folder:
        users, data = Path(folder, "users"), Path(folder, "data")
        users.mkdir()
        data.mkdir()
        port = _free_port()
        options = [f"--port=127.0.0.1:{port}", "--quiet", f"--iam-dir={users}", f"--virtual-domain={DOMAIN}"]
        keys = {"ROOT_ACCESS_KEY": versitygw.ACCESS_KEY, "ROOT_SECRET_KEY": versitygw.SECRET_KEY}
        with _running([program, *options, "posix", data], keys, port) as url:
            _make_guest(program, url)
            yield Gateway(url, Endpoint(url, *keys.values()).client())


@pytest.fixture(scope="session")
def any_keys() -> Iterator[Endpoint]:
    """A server whose keys are any text, as the service's are; it looks at no signature."""
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, {}, port) as url:
        yield Endpoint(url, "mine", "hush")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def _running(command: Sequence[str | Path], env: Mapping[str, str], port: int) -> Iterator[str]:
    """The URL of a server that is started now and ended afterwards."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env={**os.environ, **env}, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, f"{command[0]} has ended"
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, f"{command[0]} does not listen"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _make_guest(program: Path, url: str) -> None:
    env = {
        **os.environ,
        "ADMIN_ACCESS_KEY": versitygw.ACCESS_KEY,
        "ADMIN_SECRET_KEY": versitygw.SECRET_KEY,
        "ADMIN_ENDPOINT_URL": url,
    }
    user = [f"--access={GUEST.access_key}", f"--secret={GUEST.secret_key}", "--role=user"]
    subprocess.run([program, "admin", "create-user", *user], env=env, check=True, capture_output=True, timeout=60)


# ---- faults

# What becomes of a request: an answer of that status, or of that status and body; "pass", the real server's; "cut",
# half of it; "swallow", none of it although the real server has done what was asked; "close", none and nothing done;
# "stall", none and no end either.
Action: TypeAlias = int | tuple[int, str] | str

SLOW_DOWN: Final = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Between:
    """Takes one action of the script for each request, and the last one for all that come after.

    Or one action for each request that matches a pattern.
    """

    def __init__(self, real: str, context: ssl.SSLContext | None = None) -> None:
        self.real = urlsplit(real).netloc
        self.script: deque[Action] = deque(["pass"])
        self._rule: tuple[re.Pattern[str], Action] | None = None
        self.asked: list[str] = []  # "GET /bucket/key?query" of each request
        self.ended = threading.Event()
        handler = type("Bound", (_Handler,), {"between": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def will(self, *actions: Action) -> None:
        """What becomes of the next requests."""
        self.asked.clear()
        self.script = deque(actions)

    def will_when(self, pattern: str, action: Action) -> None:
        """What becomes of requests in which a pattern is found; others are the real server's."""
        self.will("pass")
        self._rule = re.compile(pattern), action

    def next(self, asked: str) -> Action:
        self.asked.append(asked)
        if self._rule is not None and self._rule[0].search(asked):
            return self._rule[1]
        return self.script.popleft() if len(self.script) > 1 else self.script[0]

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that are tested go away at any time


class _Handler(BaseHTTPRequestHandler):
    between: ClassVar[Between]
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        between = self.between
        match between.next(f"{self.command} {self.path}"):
            case int(status):
                self._say(status, [], SLOW_DOWN.encode() if status == 503 else b"")
            case (int(status), str(text)):
                self._say(status, [], text.encode())
            case "stall":
                between.ended.wait()
                self.close_connection = True
            case "close":
                self._hang_up()
            case action:
                status, headers, answer = self._really(body)
                if action == "swallow":
                    self._hang_up()
                else:
                    self._say(status, headers, answer, cut=action == "cut")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 - the library's names

    def _really(self, body: bytes) -> tuple[int, Sequence[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.between.real, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, dict(self.headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def _say(self, status: int, headers: Sequence[tuple[str, str]], body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", str(len(body)))
        self.send_header("content-length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def make_between(s3: Endpoint) -> Iterator[Callable[..., Between]]:
    """Makes servers between the client and the real one, with TLS where a context is given."""
    made: list[Between] = []

    def make(context: ssl.SSLContext | None = None) -> Between:
        made.append(Between(s3.url, context))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def between(make_between: Callable[..., Between]) -> Between:
    """Faults between the client and the real server."""
    return make_between()
