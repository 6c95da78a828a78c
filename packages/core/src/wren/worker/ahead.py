"""Reads many objects in order, while threads ask for the next ones.  Standard library only, for workers import it.

The threads are daemons: one that hangs in a request must not keep a program from ending.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, Final, TypeVar

__all__ = ["BUDGET", "THREADS", "read_ahead"]

T = TypeVar("T")
R = TypeVar("R")

THREADS: Final = 32  # more of them are no faster: two cores are busy with fewer, and a service has its limits
BUDGET: Final = 64 << 20  # bytes that may lie here before anybody has asked for them
_FIRST: Final = 8  # objects that are asked for before it is known how large they are


def read_ahead(
    read: Callable[[T], R], items: Sequence[T], size: Callable[[R], int], threads: int = THREADS
) -> Generator[R, None, None]:
    """What `read` gives for each item, in order; raises what it raises in the place of that item.

    `size`: the bytes of what it gives.  What was not asked for yet is `BUDGET` at most, if all are as large as the
    largest so far, or two of them.
    """
    if len(items) < 2:
        yield from map(read, items)
        return
    asked: SimpleQueue[int | None] = SimpleQueue()
    answers: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()

    def work() -> None:
        while (at := asked.get()) is not None and not over:
            try:
                answers.put((at, read(items[at]), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where its turn has come
                answers.put((at, None, error))

    over, started = False, 0
    try:
        try:
            for _ in range(min(threads, len(items))):
                threading.Thread(target=work, name="wren-read", daemon=True).start()
                started += 1
        except RuntimeError:  # the system gives no more, or the interpreter is about to end: those that there are
            pass
        if started:
            yield from _in_order(asked, answers, len(items), size, 2 * started)
        else:
            yield from map(read, items)
    finally:
        over = True
        for _ in range(started):
            asked.put(None)


def _in_order(
    asked: "SimpleQueue[int | None]",
    answers: "SimpleQueue[tuple[int, R, BaseException | None]]",
    count: int,
    size: Callable[[R], int],
    most: int,
) -> Iterator[R]:
    waiting: dict[int, tuple[R, BaseException | None]] = {}  # what came before its turn
    allowed, largest, next_one = min(_FIRST, most), 1, 0
    for turn in range(count):
        while True:
            while next_one < min(count, turn + allowed):
                asked.put(next_one)
                next_one += 1
            if turn in waiting:
                break
            at, answer, error = answers.get()
            waiting[at] = (answer, error)
            if error is None:
                largest = max(largest, size(answer))
                allowed = max(2, min(most, BUDGET // largest))
        answer, error = waiting.pop(turn)
        if error is not None:
            raise error
        yield answer
        del answer
