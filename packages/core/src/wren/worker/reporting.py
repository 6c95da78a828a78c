"""Reporter processes of the http shell: they hold the long-lived connections, which calls come and go too fast for.

There is one for each storage and reporter that jobs name.  It stores the statuses of calls that could not do so
themselves, and sends those of jobs that name a reporter.  It outlives calls and ends with the shell.
"""

import contextlib
import json
import os
import pickle
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from wren import wire
from wren.wire import Handle, Header
from wren.worker.children import Children, settle
from wren.worker.lifeline import guard
from wren.worker.loop import WRITE, Loop, Outbox
from wren.worker.run import Reporter, open_handle, persistently, store_status

REPORTERS: Final = 8  # processes that are kept
SIZE: Final = struct.Struct("<Q")


class Report(NamedTuple):
    """What a reporter process is told."""

    header: Header
    status: bytes  # encoded
    store: bool


class _Process:
    """A reporter process as the shell sees it."""

    def __init__(self, key: str, channel: socket.socket, lifeline: int) -> None:
        self.key = key
        self.channel, self.lifeline = channel, lifeline
        self.outbox = Outbox(channel)
        self.ending = False
        self.used = time.monotonic()


class Reporters:
    """All reporter processes of a shell."""

    def __init__(self, loop: Loop, children: Children) -> None:
        self._loop, self._children = loop, children
        self._processes: dict[str, _Process] = {}  # those that take reports
        self._alive: set[_Process] = set()

    def __bool__(self) -> bool:
        return bool(self._alive)

    def report(self, header: Header, status: bytes, *, store: bool) -> None:
        """Have a status stored, sent, or both."""
        key = json.dumps([_identity(header.storage), _identity(header.reporter)], sort_keys=True)
        try:
            found = self._processes.get(key) or self._fork(key, header)
        except OSError as error:
            _complain("cannot be started", error)
            return
        message = pickle.dumps(Report(header, status, store), 5)
        found.used = time.monotonic()
        found.outbox.add(SIZE.pack(len(message)))
        found.outbox.add(message)
        self._flush(found)

    def finish(self) -> None:
        """No more reports come: each process ends when it has sent what it has."""
        for found in list(self._processes.values()):
            self._finish(found)

    def abandon(self) -> None:
        """Wait for them no longer: they end with the shell."""
        self._alive.clear()

    def close(self) -> None:
        """In a forked process: close the sockets of all."""
        for found in self._alive:
            found.channel.close()

    def _fork(self, key: str, header: Header) -> _Process:
        opened: list[int] = []
        try:
            opened += os.pipe()
            opened += (end.detach() for end in socket.socketpair())
            lifeline, ours, channel, theirs = opened
            work = partial(main, header.storage, header.reporter, theirs, lifeline)
            ended: list[Callable[[], None]] = []
            self._children.fork(work, lambda _: ended[0]())
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        os.close(lifeline)
        os.close(theirs)
        found = _Process(key, socket.socket(fileno=channel), ours)
        found.channel.setblocking(False)
        ended.append(partial(self._ended, found))
        self._processes[key] = found
        self._alive.add(found)
        if len(self._processes) > REPORTERS:
            self._finish(min(self._processes.values(), key=lambda process: process.used))
        return found

    def _flush(self, found: _Process) -> None:
        try:
            found.outbox.flush()
        except OSError:  # it is gone, as is seen soon
            self._loop.forget(found.channel.fileno())
            self._processes.pop(found.key, None)
            return
        if found.outbox.pending:
            self._loop.watch(found.channel.fileno(), WRITE, lambda _: self._flush(found))
            return
        self._loop.forget(found.channel.fileno())
        if found.ending:
            found.channel.shutdown(socket.SHUT_WR)

    def _finish(self, found: _Process) -> None:
        self._processes.pop(found.key, None)
        found.ending = True
        self._flush(found)

    def _ended(self, found: _Process) -> None:
        if self._processes.get(found.key) is found:
            del self._processes[found.key]
        self._alive.discard(found)
        self._loop.forget(found.channel.fileno())
        found.channel.close()
        os.close(found.lifeline)


def _identity(handle: Handle | None) -> list[object] | None:
    return None if handle is None else [handle.target, dict(handle.options)]


# ---------------------------------------------------------------- in the process


def main(storage: Handle | None, reporter: Handle | None, channel: int, lifeline: int) -> None:
    """Be a reporter process until the shell sends no more."""
    code = 1
    try:
        settle((channel, lifeline))
        guard(lifeline)
        _Reporting(storage, reporter).serve(channel)
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends below, and this is the last that is seen of it
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class _Reporting:
    """The process's state."""

    def __init__(self, storage: Handle | None, reporter: Handle | None) -> None:
        self._storage, self._handle = storage, reporter
        self._reporter: Reporter | None = None

    def serve(self, channel: int) -> None:
        with open(channel, "rb") as reports:
            while head := reports.read(SIZE.size):
                # Pickled by the shell, which this process was forked from.
                self._take(Report(*pickle.loads(reports.read(SIZE.unpack(head)[0]))))  # noqa: S301
        self._disconnect()

    def _take(self, report: Report) -> None:
        status = wire.decode_status(report.status)
        try:
            if report.store and self._storage is not None:
                storage = self._storage
                persistently(lambda: store_status(open_handle(storage), report.header, status))
        except Exception as error:  # noqa: BLE001 - whatever the storage raises, the reporter may still have more luck
            _complain(f"cannot store the status of call {status.call} of job {status.job}", error)
        try:
            if self._handle is not None:
                light = status._replace(result=None) if report.header.persist else status  # it is stored then
                message = wire.seal_status(report.header.mac_key, light)
                persistently(partial(self._send, self._handle, message))
        except Exception as error:  # noqa: BLE001 - a monitor is a hint: the next status may go through
            _complain(f"cannot send the status of call {status.call} of job {status.job}", error)

    def _send(self, handle: Handle, message: bytes) -> None:
        if self._reporter is None:
            self._reporter = open_handle(handle)
        try:
            self._reporter.report(message)
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        """Let go of the connection; the next report makes a new one."""
        reporter, self._reporter = self._reporter, None
        if reporter is not None:
            with contextlib.suppress(Exception):  # it may be broken in any way
                reporter.close()


def _complain(what: str, error: Exception) -> None:
    sys.stderr.write(f"wren: the reporter process {what}: {error!r}\n")
    sys.stderr.flush()
