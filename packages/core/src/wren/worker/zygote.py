"""Starts the first workers of a client: imports once what each needs, and forks them from itself.

A start takes 50 ms, most of it imports; a fork takes 2.  What is forked has run no code of the user's and has no
thread; where something that the interpreter imports by itself has started one, which may hold a lock just then, the
forked process starts anew instead.  The zygote stays the parent of its workers: who else could say how they ended?
"""

import contextlib
import gc
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from wren.worker import pipe
from wren.worker.children import exit_code
from wren.worker.stream import ENDED

FAMILY: Final = 7  # descriptors of a worker: those of `wren.worker.pipe.main`, and where its end is told
_OUTPUT: Final = 3  # which of them its output is


def main(arguments: Sequence[str]) -> NoReturn:
    """Fork a worker for each seven of the inherited descriptors that the arguments name, and see to their ends."""
    code = 1
    try:
        _serve(arguments)
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends below; its last output is what the client is told
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # a thread that the interpreter has started must not hold it up: the client waits


def _serve(arguments: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's to handle
    children = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # while it is ignored, nobody learns how a child ended
    with contextlib.suppress(ImportError):  # then no function needs it
        import cloudpickle  # noqa: F401 - most functions are loaded with it
    gc.freeze()  # a collection must not copy what they share
    numbers = [int(argument) for argument in arguments]
    families = [numbers[at : at + FAMILY] for at in range(0, len(numbers), FAMILY)]
    running: dict[int, tuple[int, int]] = {}  # by the process' descriptor: its id, and where its end is told
    command = sys.orig_argv[: -len(arguments)] if len(os.listdir("/proc/self/task")) > 1 else []
    for family in families:
        try:
            pid = os.fork()
        except OSError as error:  # no room for a process
            os.write(family[_OUTPUT], f"the worker cannot be forked: {error}\n".encode())
            os.write(family[-1], ENDED.pack(1))
            continue
        if pid == 0:
            signal.signal(signal.SIGCHLD, children)  # as the client has it
            _become_worker(family, {*numbers, *running}, command)
        running[os.pidfd_open(pid)] = pid, family[-1]
    for fd in set(numbers).difference(telling for _, telling in running.values()):
        os.close(fd)
    _bury(running)


def _become_worker(family: Sequence[int], others: set[int], command: Sequence[str]) -> NoReturn:
    """In a forked process: be a worker, with no descriptors but its own; started anew if there is a `command`."""
    *own, _ = family
    os.setsid()
    for standard in (1, 2):
        os.dup2(own[_OUTPUT], standard)
    for fd in others.difference(own):
        os.close(fd)
    if command:
        os.execv(sys.executable, [*(part.replace(__name__, pipe.__name__) for part in command), *map(str, own)])
    pipe.serve(own)


def _bury(running: dict[int, tuple[int, int]]) -> None:
    """Say how each ends.  Its id is its own until the client has closed the pipe: it kills what the worker left."""
    ended: dict[int, int] = {}
    poll = select.poll()
    for process in running:
        poll.register(process, select.POLLIN)
    while running or ended:
        for fd, _ in poll.poll():
            poll.unregister(fd)
            if fd in running:
                pid, pipe_end = running.pop(fd)
                info = os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT)
                with contextlib.suppress(BrokenPipeError):  # nobody wants to know
                    os.write(pipe_end, ENDED.pack(exit_code(info) if info else 0))
                poll.register(pipe_end, 0)  # that is: until nobody reads it
                ended[pipe_end] = pid
            else:
                os.waitpid(ended.pop(fd), 0)
            os.close(fd)
