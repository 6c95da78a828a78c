"""What a shell says of a call whose process is gone, in words and as the `Failure` of its status."""

import signal
from typing import Final

from wren.wire import Failure

LAST_WORDS: Final = 2_000  # characters of a dead process's output that its error quotes


def ending(code: int, output: str) -> str:
    """How a process ended (negative: by that signal) and what it said last, for people."""
    how = f"exit code {code}" if code >= 0 else f"killed by {_signal_name(-code)}"
    words = output.strip()[-LAST_WORDS:]
    return f"{how}; its last output: {words}" if words else how


def lost(message: str) -> Failure:
    """The call's process is gone."""
    return Failure("lost", "WorkerLost", message, "")


def timed_out(job: str, call: int, seconds: float, loading: bool) -> Failure:
    """The shell killed it."""
    when = " while its function was being loaded" if loading else ""
    message = f"call {call} of job {job} ran longer than its timeout of {seconds:g} s and was killed{when}"
    return Failure("timeout", "CallTimeout", message, "")


def out_of_memory(limit: int | None, output: str) -> Failure:
    """The kernel killed it."""
    size = "" if limit is None else f" of {limit / (1 << 20):g} MiB"
    how = ending(-signal.SIGKILL, output)
    return Failure("memory", "OutOfMemory", f"the call reached the memory limit{size} and was {how}", "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
