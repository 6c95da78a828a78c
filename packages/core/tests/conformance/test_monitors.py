"""The monitors that wren brings along pass the conformance kit; and what is the socket monitor's own."""

import contextlib
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from wren.errors import MonitorError
from wren.local.memory import MemoryOptions, MemoryStorage
from wren.polling import StorageMonitor
from wren.testing import MonitorConformance, SocketMonitor, plugged
from wren.testing.sockets import SocketMonitorOptions
from wren.wire import Blob, Handle, Header
from wren.worker.run import open_handle


class TestStorageMonitor(MonitorConformance):
    plugin = StorageMonitor

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        return {"interval": 0.02}


class TestSocketMonitor(MonitorConformance):
    plugin = SocketMonitor

    @pytest.fixture(autouse=True)
    def installed(self, tmp_path: Path) -> Iterator[None]:
        with plugged(tmp_path / "site", {"wren.monitor": {"socket": "wren.testing.sockets"}}):
            yield

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        return {"host": "127.0.0.1", "timeout": 30}

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any]:
        return {"host": "192.0.2.1"}  # of an address range for documentation: no interface has it

    def inject(self, handle: Handle, message: bytes) -> None:
        with connect(handle) as connection:
            for part in (handle.options["job"].encode(), message):
                connection.sendall(struct.pack(">I", len(part)) + part)
                assert connection.recv(1) == b"\x06"


def connect(handle: Handle) -> socket.socket:
    return socket.create_connection((handle.options["host"], handle.options["port"]), 10)


HEADER = Header("executor", "m000", b"key", Blob("0" * 64, 0), "3.11")


@pytest.fixture
def monitor() -> Iterator[SocketMonitor]:
    made = SocketMonitor(SocketMonitorOptions(largest=1000))
    yield made
    made.close()


def opened(monitor: SocketMonitor) -> Handle:
    return monitor.open_job(HEADER, 1, MemoryStorage(MemoryOptions()))


def test_a_killed_socket_monitor_cuts_its_reporters_off_and_says_so(monitor: SocketMonitor) -> None:
    # Given a reporter that is connected
    handle = opened(monitor)
    reporter = open_handle(handle)
    reporter.report(b"heard")
    # When the monitor is killed
    monitor.kill()
    # Then neither this one nor a new one reports, and the client knows
    with pytest.raises(OSError, match=r"gone|reset|pipe|refused"):
        reporter.report(b"unheard")
    reporter.close()
    with pytest.raises(OSError, match="refused"):
        open_handle(handle)
    with pytest.raises(MonitorError, match=r"^the socket monitor was killed$"):
        monitor.events(10)
    with pytest.raises(MonitorError, match=r"^the socket monitor is closed: make another one$"):
        opened(monitor)


@pytest.mark.parametrize(
    "junk",
    [b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 8, b"\0\0\0\x0fexecutor/m000!", b"\0\0\0\3\xff\xff\xff"],
    ids=repr,
)
def test_who_speaks_no_frames_to_a_socket_monitor_is_cut_off_and_harms_nobody(
    monitor: SocketMonitor, junk: bytes
) -> None:
    handle = opened(monitor)
    with connect(handle) as connection, contextlib.suppress(OSError):  # it may be cut off at any moment
        connection.sendall(junk)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(100):
            pass
    reporter = open_handle(handle)
    reporter.report(b"true")
    reporter.close()
    assert monitor.events(10) == [b"true"]


def test_a_message_over_the_socket_monitors_limit_is_refused(monitor: SocketMonitor) -> None:
    reporter = open_handle(opened(monitor))
    reporter.report(b"x" * 1000)
    with pytest.raises(OSError, match=r"gone|reset|pipe"):
        reporter.report(b"x" * 1001)
    reporter.close()
    assert monitor.events(10) == [b"x" * 1000]


def test_a_socket_monitor_takes_and_drops_what_comes_for_a_job_that_is_closed(monitor: SocketMonitor) -> None:
    reporter = open_handle(opened(monitor))
    monitor.close_job(HEADER)
    reporter.report(b"late")
    opened(monitor)
    reporter.report(b"in time")
    reporter.close()
    assert monitor.events(10) == [b"in time"]
