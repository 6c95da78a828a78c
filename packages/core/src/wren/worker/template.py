"""A template: a process of the http shell that has loaded one function and forks for each of its calls.

The shell forks it with the payload that first needs the function (`main`).  Shell and template talk over a socket whose
messages keep their bounds: `MESSAGE`, and descriptors beside it.

    shell -> template    serial        number        descriptors
    CALL                 of the call   -             a pickled `Task`; where the status goes; the output; the lifeline

    template -> shell
    LOADED               -             -             -
    UNLOADABLE           -             -             the status (JSON) whose failure each waiting call has; it ends
    STARTED              of the call   process id    the process; in a template that does not fork: none
    UNBORN               of the call   errno         -
    ENDED                of the call   exit code     -

A call's process writes its status, behind its size (`SIZE`), to the pipe that is its own; what it leaves running is
killed.  With `forking` off the template runs its calls itself, one after the other, and never says ENDED.
"""

import contextlib
import errno
import gc
import importlib
import mmap
import os
import pickle
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from wren import wire
from wren.wire import Call, Header, Payload
from wren.worker import nested, stream
from wren.worker.children import exit_code, settle
from wren.worker.isolation import Isolation
from wren.worker.lifeline import guard
from wren.worker.output import Output
from wren.worker.perform import perform
from wren.worker.run import call_status, failure, load_function, opener

CALL, LOADED, UNLOADABLE, STARTED, UNBORN, ENDED = range(1, 7)
MESSAGE: Final = struct.Struct("<BQq")
SIZE: Final = struct.Struct("<Q")

# Numeric libraries start as many threads as there are cores when they are imported, and threads don't survive a fork.
_THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Task(NamedTuple):
    """What a call's process is told of its call."""

    header: Header
    attempt: int
    call: Call


class Message(NamedTuple):
    """What came over the socket."""

    kind: int
    serial: int
    number: int
    descriptors: list[int]


def send(sock: socket.socket, kind: int, serial: int = 0, number: int = 0, descriptors: Sequence[int] = ()) -> None:
    """Send one message; the descriptors stay open here."""
    socket.send_fds(sock, [MESSAGE.pack(kind, serial, number)], descriptors)


def receive(sock: socket.socket) -> Message | None:
    """The next message; None when the other side is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(sock, MESSAGE.size, 4, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    if not data:
        return None
    kind, serial, number = MESSAGE.unpack(data)
    return Message(kind, serial, number, list(descriptors))


def memory_file(name: str, data: bytes = b"") -> int:
    """A new anonymous file that is only ever appended to."""
    fd = os.memfd_create(name)
    stream.write(fd, [data])
    return fd


def read_file(fd: int) -> bytes:
    """All of an anonymous file, and its end."""
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


def main(payload: Payload, worker: str, forking: bool, control: int, lifeline: int, output: int) -> None:
    """Be the template of the payload's function until the shell is gone."""
    code = 1
    nested.process.is_worker = True
    try:
        settle((control, lifeline, output))
        guard(lifeline)
        _Template(worker, forking, socket.socket(fileno=control), lifeline, output).serve(payload)
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends below; its last output is what its calls are told
        import traceback

        traceback.print_exc()
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):  # the function closed it
        sys.stderr.flush()
    os._exit(code)  # threads that a function has left must not hold it up


class _Template:
    """The process's state."""

    def __init__(self, worker: str, forking: bool, control: socket.socket, lifeline: int, output: int) -> None:
        self._worker, self._forking = worker, forking
        self._control, self._lifeline = control, lifeline
        self._output, self._printed = Output(output), output
        self._isolation = Isolation()
        self._children: dict[int, tuple[int, int]] = {}  # by descriptor of the process: serial and process id
        self._executors = mmap.mmap(-1, 1)  # shared with the calls; 1: one has made an executor
        self._prepared = False  # for the next ones
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self, payload: Payload) -> None:
        """Load the function, then do what the shell asks for."""
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        try:
            function = load_function(payload, opener(payload.header))
        except BaseException as error:  # noqa: BLE001 - importing the user's modules may raise anything
            self._refuse(payload.header, error)
            return
        _provide(payload.header)
        del payload
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # children are waited for here, whatever the import has set
        self._isolation.take_over(dict(os.environ), os.getcwd())
        gc.collect()
        gc.freeze()  # a collection in a call must not copy what calls share
        send(self._control, LOADED)
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._children:
                    self._bury(fd)
                    continue
                message = receive(self._control)
                if message is None:
                    return
                self._take(function, message)

    def _refuse(self, header: Header, error: BaseException) -> None:
        failed = stream.FAILED, failure(error, kind="function", message="the function cannot be loaded by the worker")
        status = call_status(header, 0, 0, failed, 0.0, 0.0, "", self._worker)
        send(self._control, UNLOADABLE, descriptors=[memory_file("wren-failure", wire.encode_status(status))])

    # ---- calls

    def _take(self, function: Callable[..., Any], message: Message) -> None:
        """Begin the call that the shell asks for."""
        task, result, output, lifeline = message.descriptors
        if self._forking:
            self._fork(function, message)
            for fd in message.descriptors:
                os.close(fd)
            return
        os.close(lifeline)  # the template has its own
        send(self._control, STARTED, message.serial, os.getpid())
        self._output = Output(output)
        os.close(self._printed)
        self._printed = output
        self._answer(function, task, result)
        self._isolation.restore()
        os.close(result)

    def _fork(self, function: Callable[..., Any], message: Message) -> None:
        try:
            pid = os.fork()
        except OSError as error:  # no process or no memory to be had
            send(self._control, UNBORN, message.serial, error.errno or errno.EAGAIN)
            return
        if pid == 0:
            self._be_call(function, *message.descriptors)
        process = os.pidfd_open(pid)
        self._children[process] = message.serial, pid
        self._poll.register(process, select.POLLIN)
        send(self._control, STARTED, message.serial, pid, [process])

    def _be_call(self, function: Callable[..., Any], task: int, result: int, output: int, lifeline: int) -> NoReturn:
        """In the forked process: run the call and end."""
        code = 1
        try:
            os.setsid()
            guard(lifeline)
            self._control.close()
            for fd in (self._lifeline, self._printed, *self._children):
                os.close(fd)
            _volunteer()
            self._output = Output(output)
            _reseed()
            self._answer(function, task, result)
            self._executors[0] |= nested.process.recorder is not None
            code = 0
        except BaseException:  # noqa: BLE001 - the process ends below; its last output is what the client is told
            import traceback

            traceback.print_exc()
        finally:
            _leave(code)

    def _answer(self, function: Callable[..., Any], task: int, result: int) -> None:
        """Run a call and write its status."""
        # Pickled by the shell, which this process was forked from.
        header, attempt, call = Task(*pickle.loads(read_file(task)))  # noqa: S301
        storage = opener(header)
        status = perform(header, attempt, call, function, storage, self._isolation, self._output, self._worker)
        encoded = wire.encode_status(status)
        stream.write(result, [SIZE.pack(len(encoded)), encoded])

    # ---- their ends

    def _bury(self, process: int) -> None:
        """Kill what a call has left running, and say how the call ended."""
        serial, pid = self._children.pop(process)
        self._poll.unregister(process)
        os.waitid(os.P_PIDFD, process, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError):  # not reaped yet: the group's number is still its own
            os.killpg(pid, signal.SIGKILL)
        info = os.waitid(os.P_PIDFD, process, os.WEXITED)
        os.close(process)
        send(self._control, ENDED, serial, exit_code(info) if info else 0)
        if self._executors[0] and not self._prepared:
            self._prepared = True
            _prepare_executors()


def _volunteer() -> None:
    """When memory runs out, the kernel is to kill a call rather than its template or the shell."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _provide(header: Header) -> None:
    """Each call will open the storage: what that needs is imported once for all."""
    if header.storage is not None and (header.persist or header.gathered):
        with contextlib.suppress(Exception):  # it is theirs to say so
            importlib.import_module(header.storage.target.partition(":")[0])


def _prepare_executors() -> None:
    """Calls of this function make executors: what that needs is imported once for all."""
    with contextlib.suppress(Exception):  # it is theirs to say so
        importlib.import_module("wren.executor")
        importlib.import_module("wren.deferred")
        gc.freeze()


def _reseed() -> None:
    """Without this each call would draw the same numbers; Python's own `random` sees to itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
