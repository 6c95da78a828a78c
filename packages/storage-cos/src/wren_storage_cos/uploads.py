"""Objects that are too large for one request: cut into parts, of which some are on the way at the same time.

Standard library only, for workers import it.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from wren.wire import Buffer

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

PART: Final = 5 << 20  # bytes: the least that S3 takes
GROWTH: Final = 1_000  # parts after which they grow by another PART, as there may be 10,000: 275 GB in all
PARALLEL: Final = 4  # parts on the way, and in memory; one more is being read
MOMENT: Final = 1.0  # seconds that whoever is interrupted waits for what is taken back
_PIECES: Final = 64  # of a part; more are put together, as each would be sent by itself


class Uploads(Protocol):
    """The requests of which an upload is made; `service.Service`."""

    def begin(self, bucket: str, key: str) -> str: ...
    def part(self, bucket: str, key: str, upload: str, number: int, body: Sequence[Buffer]) -> str: ...
    def complete(self, bucket: str, key: str, upload: str, etags: Sequence[str], *, if_absent: bool) -> None: ...
    def abandon(self, bucket: str, key: str, upload: str) -> None: ...


def cut(chunks: Iterable[Buffer]) -> Iterator[Sequence[Buffer]]:
    """Chunks of any sizes as parts, each in pieces; raises what their iterator does.

    Nothing is copied but what may change: whoever gives a bytearray may use it again for the next chunk.
    """
    part: list[Buffer] = []
    number, room = 0, PART
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        while view:
            piece = view[:room]
            part.append(piece if isinstance(chunk, bytes) else bytes(piece))
            view, room = view[len(piece) :], room - len(piece)
            if not room:
                yield part if len(part) <= _PIECES else [b"".join(part)]
                number += 1
                part, room = [], PART * (1 + number // GROWTH)
    if part:
        yield part if len(part) <= _PIECES else [b"".join(part)]


def in_order(ahead: "deque[T]", rest: Iterable[T]) -> Iterator[T]:
    """What was taken in advance, and the rest; what was given out is not held, and parts are large."""
    while ahead:
        yield ahead.popleft()
    yield from rest


def upload(
    service: Uploads, bucket: str, key: str, parts: Iterable[Sequence[Buffer]], *, if_absent: bool = False
) -> None:
    """Write an object, atomically: whatever goes wrong, nothing of it stays.  Raises what the parts' iterator does."""
    name = service.begin(bucket, key)
    etags: list[str] = []
    running: deque[Future[str]] = deque()
    try:
        for number, part in enumerate(parts, 1):
            if len(running) == PARALLEL:
                etags.append(running.popleft().result())
            running.append(_started(partial(service.part, bucket, key, name, number, part)))
        etags += [future.result() for future in running]
        service.complete(bucket, key, name, etags, if_absent=if_absent)
    except Exception:
        _undo(service, bucket, key, name, running)
        raise
    except BaseException:  # of a service that does not answer Ctrl-C waits no longer than this
        with contextlib.suppress(TimeoutError):
            _started(partial(_undo, service, bucket, key, name, running)).result(MOMENT)
        raise


def _undo(service: Uploads, bucket: str, key: str, name: str, running: "Iterable[Future[str]]") -> None:
    for part in running:  # none may come when the upload is gone
        part.exception()
    with contextlib.suppress(Exception):  # what went wrong is told; parts that stay are seen in no listing
        service.abandon(bucket, key, name)


def _started(action: Callable[[], T]) -> "Future[T]":
    """What an action will give, in a thread for which nothing waits: neither Ctrl-C nor the end of the program."""
    from concurrent.futures import Future  # not by those who cut what is small

    made: Future[T] = Future()

    def act() -> None:
        try:
            made.set_result(action())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            made.set_exception(error)

    try:
        threading.Thread(target=act, name="wren-upload", daemon=True).start()
    except RuntimeError:  # the system gives no more, or the interpreter is about to end: then here
        act()
    return made
