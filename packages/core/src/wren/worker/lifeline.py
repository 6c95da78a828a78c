"""No process of a worker outlives what it works for: the pipe shell's client, or the http shell.

A lifeline is a pipe to which nothing is ever written.  Whoever holds its write end keeps the guarded process alive, and
need not be alive to end it.
"""

import fcntl
import os
import signal


def guard(lifeline: int) -> None:
    """Have the kernel kill this process and its group when the other end of the pipe is closed.

    By a signal on the descriptor rather than a thread: a call that is busy in C is killed too.  The signal's owner is
    kept with the open file, which must therefore be of this process alone.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    try:
        gone = not os.read(lifeline, 1)  # nothing is ever written to it: only an end of file is ever read
    except BlockingIOError:
        gone = False
    if gone:
        os._exit(0)
