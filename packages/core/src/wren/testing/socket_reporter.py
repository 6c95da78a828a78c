"""The worker's half of `wren.testing.SocketMonitor`, and what crosses its connections.  Standard library only.

A connection carries frames, a size (u32, big-endian) and as many bytes: first `executor/job`, then messages.  Each is
answered with ACK once the monitor has it.
"""

import socket
import struct
from typing import Final

__all__ = ["ACK", "SIZE", "SocketReporter"]

SIZE: Final = struct.Struct(">I")
ACK: Final = b"\x06"


class SocketReporter:
    """Sends messages of one job's workers; OSError when the monitor is not there or does not answer in time."""

    def __init__(self, host: str, port: int, job: str, timeout: float) -> None:
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a size waits 40 ms for its message
        try:
            self.report(job.encode())
        except BaseException:
            self.close()
            raise

    def report(self, message: bytes) -> None:
        """Send a message; returns when the monitor has it."""
        self._socket.sendall(SIZE.pack(len(message)))
        self._socket.sendall(message)
        if self._socket.recv(1) != ACK:
            raise ConnectionError("the socket monitor is gone, and did not say that it has the message")

    def close(self) -> None:
        """Let go of the connection."""
        self._socket.close()
