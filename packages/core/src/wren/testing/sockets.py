"""A small real monitor for tests: workers send their statuses to a TCP socket of the client.

It stands for a message queue, without a service to install: other processes report to it, anyone who can connect may
send it forged messages, and it can be killed while jobs wait.  Standard library only.
"""

import contextlib
import queue
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import pluggy

from wren.errors import MonitorError
from wren.spi import Check, Listed, Monitor, Storage
from wren.testing.socket_reporter import ACK, SIZE
from wren.wire import Handle, Header

__all__ = ["SocketMonitor", "SocketMonitorOptions"]

hookimpl = pluggy.HookimplMarker("wren")

POLL: Final = 0.02  # seconds after which the server sees that it is to end


@dataclass(frozen=True, slots=True)
class SocketMonitorOptions:
    """Section `[socket]` of the configuration."""

    host: str = "127.0.0.1"  # what it listens on, and how workers reach it
    port: int = 0  # 0: one that is free
    largest: int = 256 * 1024 * 1024  # bytes of a message; who sends a larger one is cut off
    timeout: float = 10.0  # seconds that a reporter waits for an answer


class SocketMonitor(Monitor[SocketMonitorOptions]):
    """Listens from the first job on.  Messages of jobs that are not open are taken and dropped."""

    name: ClassVar[str] = "socket"
    options_type: ClassVar[type] = SocketMonitorOptions

    def __init__(self, options: SocketMonitorOptions) -> None:
        super().__init__(options)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._jobs: set[str] = set()
        self._arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None wakes `events`
        self._over = False
        self._killed = False

    def open_job(self, header: Header, calls: int, storage: Storage[Any]) -> Handle:
        with self._lock:
            if self._over:
                raise MonitorError("the socket monitor is closed: make another one")
            self._server = self._server or self._listen()
            self._jobs.add(job := _name(header))
            host, port = self._server.socket.getsockname()[:2]
        options = {"host": host, "port": port, "job": job, "timeout": self.options.timeout}
        return Handle("wren.testing.socket_reporter:SocketReporter", options)

    def events(self, timeout: float) -> Sequence[bytes | Listed]:
        found: list[bytes] = []
        deadline = time.monotonic() + timeout
        while not found and not self._over:
            try:
                message = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
                while message is not None:
                    found.append(message)
                    message = self._arrived.get_nowait()
            except queue.Empty:
                break
        if self._killed:
            raise MonitorError("the socket monitor was killed")
        return found

    def close_job(self, header: Header) -> None:
        with self._lock:
            self._jobs.discard(_name(header))

    def check(self) -> Iterator[Check]:
        try:
            socket.create_server((self.options.host, self.options.port if self._server is None else 0)).close()
        except OSError as error:
            yield Check("listen", ok=False, detail=str(error), cure="set host and port in section [socket]")
        else:
            yield Check("listen", ok=True)

    def close(self) -> None:
        with self._lock:
            self._over = True
            server, self._server = self._server, None
        self._arrived.put(None)
        if server is not None:
            server.end()

    def kill(self) -> None:
        """End as a broker does that dies: connections are cut, and `events` and `open_job` raise MonitorError."""
        self._killed = True
        self.close()

    def _listen(self) -> "_Server":
        try:
            server = _Server((self.options.host, self.options.port), self.options.largest, self._take)
        except OSError as error:
            place = f"{self.options.host}:{self.options.port}"
            raise MonitorError(
                f"the socket monitor cannot listen on {place}: {error}; set host and port in section [socket]"
            ) from error
        threading.Thread(target=server.serve_forever, args=(POLL,), name="wren-socket-monitor", daemon=True).start()
        return server

    def _take(self, job: str, message: bytes) -> None:
        with self._lock:
            if job in self._jobs:
                self._arrived.put(message)


class _Server(socketserver.ThreadingTCPServer):
    """A thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], largest: int, take: Callable[[str, bytes], None]) -> None:
        self.largest, self.take = largest, take
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def end(self) -> None:
        """Listen no more and cut the connections."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)


class _Connection(socketserver.BaseRequestHandler):
    """What one reporter sends, or whoever else has connected."""

    server: _Server
    request: socket.socket

    def handle(self) -> None:
        with self.server.connected(self.request), contextlib.suppress(OSError, ValueError):
            job = self._read().decode()
            while True:
                self.request.sendall(ACK)
                self.server.take(job, self._read())

    def _read(self) -> bytes:
        """One frame; OSError at the connection's end, ValueError for what is no frame."""
        (size,) = SIZE.unpack(self._receive(SIZE.size))
        if size > self.server.largest:
            raise ValueError(f"a message of {size} bytes is over the limit")
        return self._receive(size)

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self.request.recv(min(size - len(data), 1 << 20))
            if not chunk:
                raise ConnectionError("the connection has ended")
            data += chunk
        return bytes(data)


def _name(header: Header) -> str:
    return f"{header.executor}/{header.job}"


@hookimpl
def wren_monitor() -> type[SocketMonitor]:
    """The plugin."""
    return SocketMonitor
