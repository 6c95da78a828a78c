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
from collections.abc import Callable
from typing import Final, NoReturn

from wren import wire
from wren.wire import Buffer, CallStatus, Payload
from wren.worker.isolation import Isolation
from wren.worker.nested import process
from wren.worker.output import Output
from wren.worker.perform import Function, perform
from wren.worker.run import Reporter, failure, load_function, open_handle, opener, persistently
from wren.worker.stream import write

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
        self._storage = opener(payload.header)
        self._isolation = Isolation()
        self._isolation.take_over(os.environ, os.getcwd())

    def run(self, report: Report) -> None:
        """Run every call; each status is reported before the next call begins."""
        header, attempt, worker = self._payload.header, self._payload.attempt, f"process {os.getpid()}"
        function = self._load()
        for call in self._payload.calls:
            status = perform(header, attempt, call, function, self._storage, self._isolation, self._output, worker)
            self._isolation.restore()
            report(status)

    def _load(self) -> Function:
        """The function, or the failure that each of its calls then has."""
        mine, theirs = f"{sys.version_info.major}.{sys.version_info.minor}", self._payload.header.python
        try:
            if mine != theirs:
                raise ValueError(
                    f"it was pickled by Python {theirs} and this is {mine}: use a runtime of Python {theirs}"
                )
            return load_function(self._payload, self._storage)
        except BaseException as error:  # noqa: BLE001 - importing the user's modules may raise anything
            return failure(error, kind="function", message="the function cannot be loaded by the worker")


def main() -> NoReturn:
    """Answer the payload on stdin, then end the process: threads that calls have left must not hold it up."""
    process.is_worker = True
    payload = wire.decode(sys.stdin.buffer.read())
    answers = os.dup(1)  # not inherited: what calls start cannot write there
    _be_without_input()
    handle = payload.header.reporter
    reporter: Reporter | None = open_handle(handle) if handle else None

    def report(status: CallStatus) -> None:
        write(answers, [wire.encode_status(status), NEWLINE])
        if reporter is not None:
            light = status._replace(result=None) if payload.header.persist else status  # it is stored then
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


if __name__ == "__main__":
    main()
