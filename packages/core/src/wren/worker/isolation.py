"""What one call changes in a shared worker process, the next one must not see.

Looking at the environment, the working directory and the signal handlers after each call would cost more than a short
call does.  So the few functions that change them are wrapped to leave a mark, and only a marked process is put back.
"""

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

# os.environ goes through putenv and unsetenv.
_CHANGING: Final = {
    os: ("putenv", "unsetenv", "chdir", "fchdir"),
    signal: ("signal", "alarm", "setitimer"),
}


class Isolation:
    """Remembers how the process is meant to be and puts it back after a call that changed it."""

    def __init__(self) -> None:
        self._env: dict[str, str] = {}
        self._cwd = ""
        self.touched = False
        for module, names in _CHANGING.items():
            for name in names:
                setattr(module, name, self._marking(getattr(module, name)))
        self._handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def _marking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def marking(*args: Any, **kwargs: Any) -> Any:
            self.touched = True
            return function(*args, **kwargs)

        return marking

    def take_over(self, env: Mapping[str, str], cwd: str) -> None:
        """From now on this is how the process is meant to be."""
        self._env, self._cwd = dict(env), cwd
        self.touched = True
        self.restore()

    def apply(self, env: Mapping[str, str | None]) -> None:
        """Set a call's own variables; None unsets."""
        for name, value in env.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def restore(self) -> None:
        """Put back what was `touched` since the last time."""
        if not self.touched:
            return
        for name in os.environ.keys() - self._env.keys():
            del os.environ[name]
        for name, value in self._env.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        if self._cwd:
            with contextlib.suppress(OSError):  # removed meanwhile: the next call sees that, as it would in the client
                os.chdir(self._cwd)
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        self.touched = False
