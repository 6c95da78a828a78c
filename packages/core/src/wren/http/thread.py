"""The one thread in which the requests of all backends of this process are held open: an asyncio loop.

`wren.http` starts it with the first request.  Nobody waits for it, and nobody takes a lock to hand it something: what
is to be done in it is handed over with `Client.do`.
"""

import asyncio
import os
import socket
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, Protocol, TypeAlias, TypeVar

from wren import callbacks
from wren.errors import BackendError, Unavailable
from wren.spi import Deployment

P = ParamSpec("P")
T = TypeVar("T")
Hook: TypeAlias = Callable[[Deployment, Unavailable], BackendError]
Address: TypeAlias = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class Closing(Protocol):
    """The connections of one backend."""

    def close(self) -> None:
        """Close them when the last request is over."""


C = TypeVar("C", bound=Closing)


class Client:
    """The loop, its thread, and what is open there."""

    def __init__(self) -> None:
        self.loop: Final = asyncio.new_event_loop()
        self.loop.set_default_executor(_Threads())
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        # Here and not in the backends: what only the thread refers to is never collected when the interpreter ends,
        # and so cannot complain that it was not closed.
        self._open: dict[object, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds none of them
        threading.Thread(target=self._run, name="wren-http", daemon=True).start()

    def do(self, action: Callable[[], object]) -> None:
        """Do something in the thread, soon, and in order.  Thread-safe, never waits."""
        self.loop.call_soon_threadsafe(action)

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it in the thread; from there."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def opened(self, owner: object, make: Callable[[], C]) -> C:
        """The owner's connections, made if there are none; in the thread."""
        if owner not in self._open:
            self._open[owner] = make()
        connections: C = self._open[owner]
        return connections

    def close(self, owner: object) -> None:
        """Close the owner's connections, if it has any; in the thread."""
        if owner in self._open:
            self._open.pop(owner).close()

    def socket(self, address: Address) -> socket.socket:
        """A new socket for a connection, as aiohttp asks for it."""
        made = socket.socket(*address[:3])
        self._sockets.add(made)
        return made

    def abandon(self) -> None:
        """Close the copies of the connections that a forked child got: else they would stay open with the child."""
        for each in list(self._sockets):
            each.close()

    def _run(self) -> None:
        callbacks.own_thread()
        self.loop.run_forever()


class _Threads(ThreadPoolExecutor):
    """A daemon thread for each thing that would hold the loop up: names to look up, and the hooks of backends.

    The standard pool takes nothing any more when the interpreter is about to end, which is when a program that has not
    waited for its calls waits for them.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised where the future is waited for
                future.set_exception(error)
            else:
                future.set_result(result)

        try:
            threading.Thread(target=run, name="wren-http-wait", daemon=True).start()
        except RuntimeError:  # no threads any more, from Python 3.12 on: then here
            run()
        return future


_starting = threading.RLock()
_client: Client | None = None
_abandoned: Final[list[Client]] = []  # of this process's parents: nothing of them may be collected, for it is not ours


def started() -> Client | None:
    """The client of this process, if there is one yet."""
    return _client


def running() -> Client:
    """The client of this process, started if need be; RuntimeError when it is too late for a thread."""
    global _client  # noqa: PLW0603 - the one client of the process
    if _client is None:
        with _starting:
            if _client is None:
                _client = Client()
    return _client


def _after_fork() -> None:
    global _client, _starting  # noqa: PLW0603 - the thread is not in the child, nor who held the lock
    _starting = threading.RLock()
    if _client is not None:
        _client.abandon()
        _abandoned.append(_client)
        _client = None


os.register_at_fork(after_in_child=_after_fork)
