"""What servers can do wrong: each is a plain error that names the URL, nothing hangs, no byte is lost silently."""

import contextlib
import gzip
import itertools
import re
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wren.errors import NoSuchKey, PreconditionFailed, StorageError
from wren.partition import ranges
from wren.worker import web
from wren.worker.partition import Partition
from wren.worker.urls import Url, WholeUrl, probe, shown

TEXT = b"".join(b"line %d\r\n" % number for number in range(2_000))
Script = Callable[["Request"], Iterable[bytes]]


class Request:
    """What was asked for; `times`: how often before."""

    def __init__(self, head: str, times: int) -> None:
        self.method, self.target, _ = head.partition("\r\n")[0].split(" ")
        self.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        }
        self.times = times

    def bounds(self) -> tuple[int, int] | None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return None if found is None else (int(found[1]), int(found[2]) + 1)


class Server(socketserver.ThreadingTCPServer):
    """Says, byte for byte, what a script gives for each request, and closes the connection."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, secure: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: Script = ranged
        self.secure, self.requests = secure, list[Request]()
        self.stopped = threading.Event()
        scheme = "http" if secure is None else "https"
        self.url = f"{scheme}://localhost:{self.server_address[1]}/data"

    def get_request(self) -> Any:
        sock, address = super().get_request()
        return (sock if self.secure is None else self.secure.wrap_socket(sock, server_side=True)), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go, and do not trust: what of it matters is on their side."""


class _Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        lines = iter(lambda: self.rfile.readline().decode("latin-1"), "\r\n")
        request = Request("".join(lines).rstrip(), len(self.server.requests))
        self.server.requests.append(request)
        for chunk in self.server.script(request):
            self.wfile.write(chunk)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.stopped.set()
        made.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "PATIENCE", 1.0)
    monkeypatch.setattr(web, "PAUSES", (0.0, 0.0))


def answer(status: str, body: bytes = b"", **headers: object) -> list[bytes]:
    named = {"content_length": len(body), **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items() if value is not None]
    return [f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode(), body]


def ranged(request: Request, data: bytes = TEXT, **headers: object) -> list[bytes]:
    """What an honest server says."""
    bounds = request.bounds()
    if bounds is None:
        return answer("200 OK", data, **headers)
    start, stop = bounds[0], min(bounds[1], len(data))
    if start >= stop:
        return answer("416 Range Not Satisfiable", content_range=f"bytes */{len(data)}")
    return answer(
        "206 Partial Content",
        data[start:stop],
        **{"content_range": f"bytes {start}-{stop - 1}/{len(data)}", "etag": '"1"', **headers},
    )


def whole(request: Request) -> list[bytes]:
    return answer("200 OK", TEXT)


def read(source: Url | WholeUrl, parts: int = 1) -> bytes:
    bounds = ranges(source.size, None, parts)
    made = [Partition(source, number, len(bounds), *each) for number, each in enumerate(bounds)]
    return b"".join(part.data_stream.read() for part in made)


# ---- as it should be


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), parts=st.integers(1, 9))
def test_the_parts_of_a_url_are_what_is_there(server: Server, data: bytes, parts: int) -> None:
    server.script = lambda request: ranged(request, data)
    source = probe(server.url)
    assert (type(source), source.size) == (Url, len(data))
    assert read(source, parts) == data


def test_a_server_that_knows_no_ranges_is_read_as_a_whole(server: Server) -> None:
    server.script = whole
    assert read(probe(server.url)) == TEXT


def test_only_get_is_needed(server: Server) -> None:
    assert read(probe(server.url), 3) == TEXT
    assert {request.method for request in server.requests} == {"GET"}


def chunked(data: bytes) -> bytes:
    pieces = [data[at : at + 1_000] for at in range(0, len(data), 1_000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_chunks_are_no_part_of_the_content(server: Server) -> None:
    server.script = lambda request: answer("200 OK", chunked(TEXT), content_length=None, transfer_encoding="chunked")
    assert read(probe(server.url)) == TEXT


@pytest.mark.parametrize("data", [b"", TEXT])
def test_a_server_that_has_no_first_byte_is_asked_for_all_of_it(server: Server, data: bytes) -> None:
    server.script = lambda request: answer("416 No") if request.bounds() else answer("200 OK", data)
    assert read(probe(server.url)) == data


def test_what_is_compressed_on_its_way_has_no_ranges(server: Server) -> None:
    server.script = lambda request: ranged(request, gzip.compress(TEXT), content_encoding="gzip")
    source = probe(server.url)
    assert isinstance(source, WholeUrl)
    with gzip.open(Partition(source, 0, 1, 0, 0).data_stream) as file:
        assert file.read() == TEXT


def test_a_name_and_a_password_are_for_the_server_only(server: Server) -> None:
    server.script = lambda request: (
        ranged(request)
        if request.target == "/moved"
        else answer("302 Found", location=server.url.replace("/data", "/moved").replace("localhost", "127.0.0.1"))
    )
    url = server.url.replace("//", "//me:p%40ss@")
    source = probe(url)
    assert read(source) == TEXT
    sent = {request.target: request.headers.get("authorization") for request in server.requests}
    assert sent == {"/data": "Basic bWU6cEBzcw==", "/moved": None}
    assert "p%40ss" not in repr(Partition(source, 0, 1, 0, 1))


def test_what_is_written_in_a_url_is_sent_as_bytes_can_be(server: Server) -> None:
    server.script = ranged
    probe(f"{server.url}/a b/ü%20+?q=ö&r= 1#fragment")
    assert server.requests[0].target == "/data/a%20b/%C3%BC%20+?q=%C3%B6&r=%201"


def test_redirects_are_followed_with_the_range(server: Server) -> None:
    server.script = lambda request: (
        answer("307 Temporary Redirect", location="/there") if request.target == "/data" else ranged(request)
    )
    assert read(probe(server.url), 3) == TEXT


def test_a_proxy_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/data"))
    assert read(probe("http://nowhere.invalid/data")) == TEXT
    assert server.requests[0].target == "http://nowhere.invalid/data"


def test_certificates_are_those_that_one_trusts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Server(context) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(StorageError, match=r"/data cannot be read: .*SSL_CERT_FILE can name the certificates"):
            probe(server.url)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        load = Mock(side_effect=ssl.create_default_context)
        monkeypatch.setattr(ssl, "create_default_context", load)
        for _ in range(3):
            assert read(probe(server.url), 3) == TEXT
        assert load.call_count == 1, "it takes long"
        server.shutdown()


class Tunnel(socketserver.StreamRequestHandler):
    """A proxy for https: it sees where one wants to go, and nothing else."""

    def handle(self) -> None:
        host, _, port = self.rfile.readline().decode().split(" ")[1].rpartition(":")
        while self.rfile.readline() != b"\r\n":
            pass
        with socket.create_connection((host, int(port))) as other:
            self.wfile.write(b"HTTP/1.1 200 Go on\r\n\r\n")
            threading.Thread(target=pour, args=(self.connection, other), daemon=True).start()
            pour(other, self.connection)


def pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # either side may be gone
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_proxy_leads_to_https(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Server(context) as server, socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as proxy:
        proxy.daemon_threads = True
        for each in (server, proxy):
            threading.Thread(target=each.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_address[1]}")
        assert read(probe(server.url), 3) == TEXT
        for each in (server, proxy):
            each.shutdown()


# ---- what passes is tried again


@pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Oops", "503 Slow Down", None])
@pytest.mark.parametrize("at", [0, 1])
def test_what_passes_is_tried_again(server: Server, status: str | None, at: int) -> None:
    def stumble(request: Request) -> list[bytes]:
        if request.times == at:
            return answer(status, retry_after=0) if status else []
        return ranged(request)

    server.script = stumble
    assert read(probe(server.url)) == TEXT
    assert len(server.requests) == 3


def test_a_range_that_breaks_off_is_asked_for_again(server: Server) -> None:
    def broken(request: Request) -> list[bytes]:
        head, body = ranged(request)
        return [head, body[:100]] if request.times == 1 else [head, body]

    server.script = broken
    assert read(probe(server.url)) == TEXT


# ---- what does not pass is said


def later(wrong: Callable[[Request], Iterable[bytes]]) -> Script:
    """Honest at first."""
    return lambda request: ranged(request) if request.times == 0 else wrong(request)


def shifted(request: Request) -> list[bytes]:
    start, stop = request.bounds() or (0, 1)
    return answer("206 OK", TEXT[:stop], content_range=f"bytes {start + 1}-{stop - 1}/{len(TEXT)}", etag='"1"')


OTHERS = r"/data was asked for bytes 0 to \d+ and gave others"
CHANGED = "/data has changed since it was mapped over"
CASES: dict[str, tuple[Script, type[Exception], str]] = {
    "404": (lambda request: answer("404 Not Found"), NoSuchKey, "/data cannot be read: it answers 404 Not Found"),
    "gone meanwhile": (later(lambda request: answer("410 Gone")), NoSuchKey, "it answers 410 Gone"),
    "403": (lambda request: answer("403 Forbidden"), StorageError, "it answers 403 Forbidden"),
    "500": (lambda request: answer("500 Oops"), StorageError, "it answers 500 Oops"),
    "all in place of a range": (later(whole), StorageError, OTHERS),
    "another range": (later(shifted), StorageError, OTHERS),
    "a range without a name": (later(lambda request: answer("206 OK", TEXT, etag='"1"')), StorageError, OTHERS),
    "a compressed range": (later(lambda request: ranged(request, content_encoding="br")), StorageError, OTHERS),
    "a numberless range": (
        later(lambda request: ranged(request, content_range=f"bytes 0-{'9' * 5000}/*")), StorageError, OTHERS
    ),
    "other tag": (later(lambda request: ranged(request, etag='"2"')), PreconditionFailed, CHANGED),
    "longer": (later(lambda request: ranged(request, TEXT + b"more")), PreconditionFailed, CHANGED),
    "shorter": (later(lambda request: ranged(request, TEXT[:-1])), PreconditionFailed, CHANGED),
    "emptied": (later(lambda request: ranged(request, b"")), PreconditionFailed, CHANGED),
    "fewer bytes than promised": (
        later(lambda request: [*ranged(request)[:1], b"few"]), StorageError, "another number of bytes came"
    ),
    "fewer bytes than asked": (
        later(lambda request: ranged(request, content_length=3)), StorageError, "another number of bytes came"
    ),
    "more bytes than asked": (
        later(lambda request: [ranged(request, content_length=None)[0], *itertools.repeat(b"x" * 1_000, 100)]),
        StorageError, "another number of bytes came",
    ),
    "closes in the middle of the whole": (
        lambda request: answer("200 OK", TEXT, content_length=len(TEXT) + 1),
        StorageError, "the connection was closed before all of it had come",
    ),
    "closes in the middle of chunks": (
        lambda request: answer("200 OK", chunked(TEXT)[:-500], content_length=None, transfer_encoding="chunked"),
        StorageError, "the connection was closed before all of it had come",
    ),
    "closes at once": (lambda request: [], StorageError, "/data cannot be read: Remote end closed connection"),
    "no HTTP": (lambda request: [b"SSH-2.0-OpenSSH\r\n"], StorageError, "/data cannot be read: SSH-2.0"),
    "round in a circle": (lambda request: answer("302 Found", location="/data"), StorageError, "redirects without end"),
    "nowhere": (lambda request: answer("302 Found"), StorageError, "or nowhere that is http or https"),
    "a file": (
        lambda request: answer("302 Found", location="file:///etc/passwd"), StorageError, "nowhere that is http"
    ),
    "ftp": (lambda request: answer("302 Found", location="ftp://x/y"), StorageError, "unknown url type: ftp"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_server_does_wrong_is_said(server: Server, case: str) -> None:
    server.script, error, words = CASES[case]
    with pytest.raises(error, match=words) as raised:
        read(probe(f"{server.url.replace('//', '//me:secret@')}?key=secret"))
    assert server.url in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("encoding", [None, "chunked"])
def test_a_body_that_has_broken_off_does_not_end(server: Server, encoding: str | None) -> None:
    body = chunked(TEXT)[:-500] if encoding else TEXT[:-500]
    length = None if encoding else len(TEXT)
    server.script = lambda request: answer(
        "200 OK", body, content_length=length, **({"transfer_encoding": encoding} if encoding else {})
    )
    stream = Partition(probe(server.url), 0, 1, 0, 0).data_stream
    for way in (stream.read, stream.readline, stream.read):
        with pytest.raises(StorageError, match="the connection was closed before all of it had come"):
            way()
    stream.close()


def silent(server: Server) -> Script:
    def wait(request: Request) -> Iterator[bytes]:
        yield b""
        server.stopped.wait()

    return wait


def trickle(server: Server, head: bytes) -> Script:
    def drop(request: Request) -> Iterator[bytes]:
        yield head
        while not server.stopped.wait(0.02):
            yield b"x"

    return drop


@pytest.mark.parametrize("begins", [None, b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"])
def test_a_server_that_does_not_come_to_an_end_is_not_waited_for(server: Server, begins: bytes | None) -> None:
    server.script = silent(server) if begins is None else trickle(server, begins)
    started = time.monotonic()
    with pytest.raises(StorageError, match="/data cannot be read: it sends too slowly, or has not answered in 1 sec"):
        read(probe(server.url))
    assert time.monotonic() - started < 20


def test_a_slow_reader_is_no_slow_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script = whole
    source = probe(server.url)
    assert isinstance(source, WholeUrl)
    stream = source.stream()
    now = time.monotonic
    assert stream.read(10) == TEXT[:10]
    monkeypatch.setattr(time, "monotonic", lambda: now() + 3_600)
    assert stream.readall() == TEXT[10:]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://", "no host given"),
        ("http://localhost:me:secret", "nonnumeric port|cannot be read"),
        ("http://does-not-exist.invalid/x", "http://does-not-exist.invalid/x cannot be read: "),
        ("http://[::1/x", r"http://\[::1/x cannot be read: Invalid IPv6"),
    ],
)
def test_what_is_no_server_is_said(url: str, words: str) -> None:
    with pytest.raises(StorageError, match=words):
        probe(url)


def test_what_is_shown_of_a_url_has_no_secret() -> None:
    assert shown("https://me:pass@host/p@q?signature=x@y#z") == "https://host/p@q"
    assert shown("HTTP://host") == "HTTP://host"
