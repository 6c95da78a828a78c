"""The simplest shell: one payload on stdin, a line for each call's status on stdout, and the process ends.

    python -c "from wren.worker.once import main; main()" < payload > statuses

For platforms that start a process for each activation.  A payload is what `wren.spi.Invocation.payload` gives, a line
what `read_statuses` reads; each is written as soon as its call has ended, so that a crash costs no call before it.
What functions print is in their statuses' logs.  Where stderr is a file, that is where they print to, and it is emptied
after each call: who started the process finds there what one that died said last.  How long calls may take is for who
started it to watch, too.
"""

import fcntl
import os
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final, NoReturn

from wren import wire
from wren.wire import Buffer, Call, CallStatus, Header, Payload
from wren.worker.isolation import Isolation
from wren.worker.output import Output
from wren.worker.run import (
    Reporter,
    Result,
    WorkerStorage,
    call_status,
    failure,
    load_arguments,
    load_function,
    open_handle,
    persistently,
    run_call,
    store_status,
)
from wren.worker.stream import FAILED, write

NEWLINE: Final = b"\n"

Report = Callable[[CallStatus], None]


def read_statuses(output: Buffer) -> list[CallStatus]:
    """The statuses that the shell has written; of a line that is not complete yet there is none."""
    *lines, _ = bytes(output).split(NEWLINE)
    return [wire.decode_status(line) for line in lines]


class _Once:
    """The process, while it runs the calls of its payload one after another."""

    def __init__(self, payload: Payload, output: Output) -> None:
        self._payload, self._output = payload, output
        self._header = payload.header
        self._storage = cache(partial(_open_storage, self._header))
        self._pid = os.getpid()
        self._isolation = Isolation()
        self._isolation.take_over(os.environ, os.getcwd())

    def run(self, report: Report) -> None:
        """Run every call; each status is reported before the next call begins."""
        function = self._load()
        for call in self._payload.calls:
            status = self._call(function, call)
            if self._header.persist:
                status = self._store(status)
            report(status)

    def _load(self) -> Callable[..., Any] | list[bytes]:
        """The function, or the failure that each of its calls then has."""
        mine, theirs = f"{sys.version_info.major}.{sys.version_info.minor}", self._header.python
        try:
            if mine != theirs:
                raise ValueError(
                    f"it was pickled by Python {theirs} and this is {mine}: use a runtime of Python {theirs}"
                )
            return load_function(self._payload, self._storage)
        except BaseException as error:  # noqa: BLE001 - importing the user's modules may raise anything
            return failure(error, kind="function", message="the function cannot be loaded by the worker")

    def _call(self, function: Callable[..., Any] | list[bytes], call: Call) -> CallStatus:
        self._isolation.apply(self._header.env)
        started = time.time()
        result = self._result(function, call)
        stopped = time.time()
        if os.getpid() != self._pid:
            os._exit(0)  # the function forked, and this is the child: the call is the parent's
        logs = b"".join(self._output.take()).decode("utf-8", "replace")
        self._isolation.restore()
        attempt, worker = self._payload.attempt, f"process {self._pid}"
        return call_status(self._header, call.id, attempt, result, started, stopped, logs, worker)

    def _result(self, function: Callable[..., Any] | list[bytes], call: Call) -> Result:
        if isinstance(function, list):
            return FAILED, function
        load = partial(load_arguments, call.args, self._storage)
        return run_call(self._header, call.id, self._payload.attempt, function, load, self._storage)

    def _store(self, status: CallStatus) -> CallStatus:
        """Store a status; it says so itself where that fails, for the channels that are left."""
        try:
            store_status(self._storage(), self._header, status)
        except Exception as error:  # noqa: BLE001 - whatever the storage raises is why nobody will find the status
            failed = FAILED, failure(error, kind="storage", message="the status cannot be stored")
            identity = self._header, status.call, status.attempt
            return call_status(*identity, failed, status.started, status.stopped, status.logs, status.worker)
        return status


def main() -> NoReturn:
    """Answer the payload on stdin, then end the process: threads that calls have left must not hold it up."""
    payload = wire.decode(sys.stdin.buffer.read())
    answers = os.dup(1)  # not inherited: what calls start cannot write there
    _be_without_input()
    handle = payload.header.reporter
    reporter: Reporter | None = open_handle(handle) if handle else None

    def report(status: CallStatus) -> None:
        write(answers, [wire.encode_status(status), NEWLINE])
        if reporter is not None:
            light = replace(status, result=None) if payload.header.persist else status  # it is stored then
            sealed = wire.seal_status(payload.header.mac_key, light)
            persistently(lambda: reporter.report(sealed))

    _Once(payload, Output(_output_file())).run(report)
    if reporter is not None:
        reporter.close()
    os._exit(0)


def _output_file() -> int:
    """Where stdout and stderr of calls go: the file that stderr is, else an anonymous one."""
    fd = os.dup(2) if stat.S_ISREG(os.fstat(2).st_mode) else os.memfd_create("wren-output")
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


def _be_without_input() -> None:
    """Nothing for calls to read on stdin."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _open_storage(header: Header) -> WorkerStorage:
    if header.storage is None:
        raise ValueError(f"the header of job {header.job} names no storage")
    storage: WorkerStorage = open_handle(header.storage)
    return storage


if __name__ == "__main__":
    main()
