"""The http shell: what answers in containers, and wherever else a backend's workers are reached over HTTP.

    python -P -c "from wren.worker.http import main; main()"

It is configured by its environment, and removes that at once, so that functions don't see it:

    WREN_TAG          the deployment's tag, which every payload must come with
    WREN_LISTEN       "host:port", or "fd:N" for a listening socket that is inherited; default: 0.0.0.0 and port $PORT
                      (8080)
    WREN_IDLE_EXIT    seconds without a client after which it ends; default: never
    WREN_MAX_PAYLOAD  bytes that a payload may have; default: any number
    WREN_ISOLATION    "call" (default): each call runs in a process of its own, forked from one that has loaded the
                      function; "process": in that one, for functions whose import starts threads

One thread answers all clients (`connection`), and forks (`children`) the processes that do what takes long: `template`s
for functions, and through them calls (`container`); `reporting` for connections that outlive calls.  SIGTERM and SIGINT
end it when the calls that run are answered.  It may be the first process of a container.
"""

import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, MutableMapping
from types import FrameType
from typing import Final, NamedTuple

from wren.wire import without
from wren.worker.activation import Services
from wren.worker.children import Children, Forked
from wren.worker.connection import Connection, Rules
from wren.worker.container import Container
from wren.worker.loop import READ, Loop
from wren.worker.reporting import Reporters

BACKLOG: Final = 1024  # connections that wait to be accepted, if the system allows as many
LAST_LOOK: Final = 0.05  # seconds at the end in which those who just sent something are told that it is too late
DRAIN: Final = 30.0  # seconds in which reporters may send what they have
_PAUSE: Final = 0.1  # seconds until accepting is tried again when there are no descriptors left


class Settings(NamedTuple):
    """The shell's environment, understood."""

    tag: str
    listen: str
    idle_exit: float | None = None  # seconds
    max_payload: float | None = None  # bytes
    forking: bool = True

    def __repr__(self) -> str:
        return without(self, "tag")

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> "Settings":
        """Take the variables out of an environment.  Raises ValueError for what cannot be used."""
        names = ("WREN_TAG", "WREN_LISTEN", "WREN_IDLE_EXIT", "WREN_MAX_PAYLOAD", "WREN_ISOLATION")
        tag, listen, idle_exit, max_payload, isolation = (environ.pop(name, "") for name in names)
        if not tag:
            raise ValueError("WREN_TAG is not set: give the shell the tag of its deployment")
        if isolation not in ("", "call", "process"):
            raise ValueError(f'WREN_ISOLATION is {isolation!r}: set it to "call" or "process"')
        return cls(
            tag,
            listen or f"0.0.0.0:{environ.get('PORT', '8080')}",
            _positive("WREN_IDLE_EXIT", idle_exit),
            _positive("WREN_MAX_PAYLOAD", max_payload),
            isolation != "process",
        )


def _positive(name: str, text: str) -> float | None:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if float(text) > 0:
            return float(text)
    raise ValueError(f"{name} is {text!r}: set it to a number above 0, or leave it out")


def _listen(where: str) -> socket.socket:
    """The listening socket; ValueError or OSError."""
    host, _, port = where.rpartition(":")
    if not port.isdigit():
        raise ValueError(f'WREN_LISTEN is {where!r}: set it to "host:port" or "fd:N"')
    if host == "fd":
        return socket.socket(fileno=int(port))
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)


class Shell:
    """A shell that listens: it accepts clients, hears signals, and knows when to end."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._loop = Loop()
        self._children = Children()
        worker = f"{os.uname().nodename}-{os.getpid()}"
        container = Container(self._loop, self._children, worker, settings.forking)
        self._services = Services(self._loop, container, Reporters(self._loop, self._children), worker)
        self._rules = Rules(settings.tag.encode(), settings.max_payload, lambda: self._ending)
        self._connections: set[Connection] = set()
        self._ending = False  # no new payloads
        self._looked = False  # nobody is left who could not know that
        self._over = False
        self._wakeup, woken = socket.socketpair()
        self._woken = woken
        self._idle = self._loop.later(settings.idle_exit, self._end) if settings.idle_exit else None

    def serve(self) -> None:
        """Answer until there is a reason to end.  In a forked process Forked comes out, and nothing is left open."""
        self._hear_signals()
        self._listener.setblocking(False)
        self._loop.watch(self._listener.fileno(), READ, lambda _: self._accept())
        try:
            while not self._finished():
                self._loop.turn()
        finally:
            self._close()

    # ---- clients

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors left: those that wait are accepted when others have gone
                self._loop.forget(self._listener.fileno())
                self._loop.later(_PAUSE, self._accept_again)
                return
            self._welcome(sock)

    def _accept_again(self) -> None:
        if not self._ending:
            self._loop.watch(self._listener.fileno(), READ, lambda _: self._accept())

    def _welcome(self, sock: socket.socket) -> None:
        connection = Connection(self._services, self._rules, sock, lambda: self._part(connection))
        self._connections.add(connection)
        if self._idle is not None:
            self._idle.cancel()

    def _part(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections and self._settings.idle_exit:
            self._idle = self._loop.later(self._settings.idle_exit, self._end)

    # ---- signals

    def _hear_signals(self) -> None:
        for end in (self._wakeup, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, _nothing)  # the loop wakes up; as the first process it would not even get others
        self._loop.watch(self._wakeup.fileno(), READ, lambda _: self._signalled())

    def _signalled(self) -> None:
        numbers = self._wakeup.recv(4096)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._end()
        self._children.reap()  # also when SIGCHLD got lost among too many

    # ---- the end

    def _end(self) -> None:
        """Take no more payloads, and end when those that were taken are answered."""
        if self._ending:
            return
        self._ending = True
        self._accept()  # those who have connected already are told
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        self._loop.later(LAST_LOOK, self._look)

    def _look(self) -> None:
        self._looked = True

    def _finished(self) -> bool:
        if not self._looked or self._services.container.busy or any(one.busy for one in self._connections):
            return False
        if not self._over:
            self._over = True
            self._services.reporters.finish()
            self._loop.later(DRAIN, self._services.reporters.abandon)
        return not self._services.reporters

    def _close(self) -> None:
        """In a forked process all that the shell has open; else what keeps its processes alive goes with it."""
        signal.set_wakeup_fd(-1)
        self._loop.close()
        for connection in self._connections:
            connection.let_go()
        for sock in (self._listener, self._wakeup, self._woken):
            sock.close()
        self._services.container.close()
        self._services.reporters.close()


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler, so that there is one: what is done is done by the loop."""


def _allow_descriptors() -> None:
    """As many as the system lets us have: each call takes five, with its connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Be a shell, or in a process that it has forked, what that is for."""
    try:
        settings = Settings.taken_from(os.environ)
        shell = Shell(settings, _listen(settings.listen))
    except (ValueError, OSError) as error:
        sys.exit(f"the wren shell cannot start: {error}")
    _allow_descriptors()
    work: Callable[[], None] | None = None
    try:
        shell.serve()
    except Forked as forked:
        work = forked.work
    del shell
    if work is not None:
        work()


if __name__ == "__main__":
    main()
