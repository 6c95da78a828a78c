"""One connection of the http shell: requests come in, frames go out (`wren.worker.frames` says which).

HTTP itself is h11's business.  A request is checked in the order of what that costs: its tag and its size before its
body is read, its version when it is decoded.
"""

import hmac
import json
import math
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

import h11

from wren import wire
from wren.wire import Handle, Payload, WireMismatch
from wren.worker.activation import Activation, Services
from wren.worker.frames import ACCEPTED, DELAY, HEARTBEAT, SHELL, STATUS, TAG, frame
from wren.worker.loop import READ, WRITE, Outbox

LINGER: Final = 2.0  # seconds in which a refused client may read why, while it still sends
LONGEST_DELAY: Final = 60.0  # seconds that an answer's first byte may be asked to wait
PIPELINED: Final = 1 << 16  # bytes that a client may send while it waits for an answer
KEEPALIVE: Final = (60, 10, 3)  # seconds of silence, seconds between probes, and how many, until a client is gone
_CHUNK: Final = 1 << 18  # bytes read at once


class Rules(NamedTuple):
    """What a shell demands of requests."""

    tag: bytes
    max_payload: float | None  # bytes
    ending: Callable[[], bool]  # whether the shell takes no more payloads


class Refusal(Exception):
    """A request that gets an error and no calls."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Connection:
    """A client's connection, and the activation that it waits for; `closed` is called at its end."""

    def __init__(self, services: Services, rules: Rules, sock: socket.socket, closed: Callable[[], None]) -> None:
        self._services, self._rules = services, rules
        self._socket, self._closed = sock, closed
        self._outbox = Outbox(sock)
        self._h11 = h11.Connection(h11.SERVER)
        self._activation: Activation | None = None
        self._body: list[bytes] | None = None  # of a payload, until it is complete
        self._size = 0
        self._wordless = False  # the answer may have no body
        self._delay = 0.0
        self._open, self._closing = True, False
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            _keep_alive(sock)
        services.loop.watch(sock.fileno(), READ, self._ready)

    @property
    def busy(self) -> bool:
        """Whether its client waits for an answer."""
        return self._open and (self._activation is not None or self._outbox.pending)

    def close(self) -> None:
        """End it, and the calls that its client waits for.  Idempotent."""
        if not self._open:
            return
        self._open = False
        self._services.loop.forget(self._socket.fileno())
        self._socket.close()
        activation, self._activation = self._activation, None
        if activation is not None:
            activation.cancel()
        self._closed()

    def let_go(self) -> None:
        """In a forked process: close the socket, whatever it is in the middle of."""
        self._socket.close()

    # ---- its activation's client

    def heartbeat(self) -> None:
        """A sign of life, unless the client does not even take what it has asked for."""
        if not self._outbox.pending:
            self._send(h11.Data(frame(HEARTBEAT)))

    def status(self, data: bytes) -> None:
        """One of its calls has ended."""
        self._send(h11.Data(frame(STATUS, data)))

    def finished(self) -> None:
        """The answer is complete."""
        self._activation = None
        self._send(h11.EndOfMessage())
        self._services.loop.later(0, self._next_request)

    # ---- what comes in

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._open and events & READ:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:  # reset
            data = b""
        if not data:
            self.close()
        elif not self._closing:
            self._h11.receive_data(data)
            self._advance()
            waiting, _ = self._h11.trailing_data
            if self._activation is not None and len(waiting) > PIPELINED:
                self.close()

    def _advance(self) -> None:
        """What h11 makes of it."""
        try:
            while self._open and not self._closing:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    if self._h11.they_are_waiting_for_100_continue:
                        self._send(h11.InformationalResponse(status_code=100, headers=[]))
                    return
                if isinstance(event, type):  # PAUSED: the next request waits for this one's answer
                    return
                self._take(event)
        except Refusal as refusal:
            self._answer(refusal.status, refusal.text, last=True)
        except h11.RemoteProtocolError as error:
            self._answer(
                error.error_status_hint, f"this is no HTTP that the wren shell understands: {error}", last=True
            )

    def _take(self, event: h11.Event) -> None:
        if isinstance(event, h11.Request):
            self._begin(event)
        elif isinstance(event, h11.Data):
            self._collect(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self._respond()
        else:
            self.close()

    def _begin(self, request: h11.Request) -> None:
        """A request's head: refuse what its body would not change."""
        headers = dict(request.headers)
        self._body, self._size = None, 0
        self._wordless = request.method == b"HEAD"
        if self._rules.ending():
            raise Refusal(503, "this wren shell is about to end and takes no more payloads: send it to another one")
        if request.method in (b"GET", b"HEAD"):
            return
        if request.method != b"POST":
            raise Refusal(405, f"a wren shell answers GET and POST, not {request.method.decode('ascii', 'replace')}")
        if not hmac.compare_digest(headers.get(TAG.encode(), b""), self._rules.tag):
            raise Refusal(403, f"the header {TAG} is not the tag of this deployment: deploy the runtime again")
        self._delay = _seconds(headers.get(DELAY.encode(), b"0"))
        self._check_size(int(headers.get(b"content-length", b"0")))
        self._body = []

    def _collect(self, data: bytes) -> None:
        if self._body is None:  # a GET's: nobody wants it
            return
        self._size += len(data)
        self._check_size(self._size)
        self._body.append(data)

    def _check_size(self, size: int) -> None:
        limit = self._rules.max_payload
        if limit is not None and size > limit:
            raise Refusal(413, f"the payload has more than the {limit:.0f} bytes that this wren shell takes: send less")

    def _respond(self) -> None:
        """The request is complete."""
        body, self._body = self._body, None
        if body is None:
            self._answer(200, "this wren shell is ready")
            self._next_request()
            return
        if self._delay > 0:
            self._outbox.held = True
            self._services.loop.later(self._delay, self._release)
        payload = _decode(b"".join(body))
        name = json.dumps({"worker": self._services.worker}).encode()
        headers = [(SHELL, "1"), ("content-type", "application/octet-stream"), ("transfer-encoding", "chunked")]
        self._send(h11.Response(status_code=200, headers=headers))
        self._send(h11.Data(frame(ACCEPTED, name)))
        if self._open:
            self._activation = Activation(self._services, payload, self)
            self._activation.start()

    # ---- what goes out

    def _answer(self, status: int, text: str, *, last: bool = False) -> None:
        """A sentence; the connection's last one where the request is not read to its end."""
        if last and self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.close()  # an answer has begun, and what its client sends behind the request is nonsense
            return
        body = f"{text}\n".encode()
        headers = [(SHELL, "1"), ("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))]
        if last:
            headers.append(("connection", "close"))
        self._send(h11.Response(status_code=status, headers=headers))
        if not self._wordless:
            self._send(h11.Data(body))
        self._send(h11.EndOfMessage())
        if last and self._open:
            self._closing = True
            self._flush()

    def _next_request(self) -> None:
        """After an answer: go on, if both sides are willing to."""
        if not self._open or self._activation is not None or self._closing:
            return
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            self._advance()
        elif self._h11.our_state is h11.MUST_CLOSE:
            self._closing = True
            self._flush()

    def _send(self, event: h11.Event) -> None:
        if not self._open:
            return
        for chunk in self._h11.send_with_data_passthrough(event) or ():
            self._outbox.add(chunk)
        self._flush()

    def _release(self) -> None:
        self._outbox.held = False
        if self._open:
            self._flush()

    def _flush(self) -> None:
        try:
            self._outbox.flush()
            if self._closing and not self._outbox.pending:
                # What the client still sends would make the kernel reset the connection, and the answer be lost.
                self._socket.shutdown(socket.SHUT_WR)
                self._services.loop.later(LINGER, self.close)
        except OSError:
            self.close()
            return
        events = READ | WRITE if self._outbox.blocked else READ
        self._services.loop.watch(self._socket.fileno(), events, self._ready)


def _decode(body: bytes) -> Payload:
    """The payload, with what the shell itself reads of it being what it must be; Refusal."""
    try:
        payload = wire.decode(body)
    except WireMismatch as error:
        raise Refusal(426, str(error)) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Refusal(400, f"the body is no payload of wren: {error!r}") from None
    header = payload.header
    texts = (header.executor, header.job, header.python, header.function.id)
    numbers = (payload.attempt, *(call.id for call in payload.calls))
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
        and all(handle is None or isinstance(handle, Handle) for handle in (header.storage, header.reporter))
        and all(value is None or _is_duration(value) for value in (header.timeout, header.heartbeat))
    ):
        raise Refusal(400, "the body is no payload of wren: a field of its header has a value of another type")
    return payload


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def _seconds(text: bytes) -> float:
    """The value of the delay's header; Refusal."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_DELAY:
        raise Refusal(400, f"the header {DELAY} must be seconds from 0 to {LONGEST_DELAY:g}, not {text[:20]!r}")
    return seconds


def _keep_alive(sock: socket.socket) -> None:
    """Notice that a client has vanished silently; and don't let a short frame wait for another."""
    idle, interval, count = KEEPALIVE
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
