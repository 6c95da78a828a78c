"""Fetches what calls have left in the storage, many at a time; each is unpickled when its turn has come."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from wren.futures import Future
from wren.spi import Pickled, Stored
from wren.wire import Failure

__all__ = ["Fetched", "fetching"]

_Answer: TypeAlias = "Pickled | Failure | Exception | None"


class Fetched:
    """What is being fetched of some futures, to be asked for in their order."""

    def __init__(self, futures: set[Future[Any]], answers: Iterator[_Answer]) -> None:
        self._futures, self._answers = futures, answers

    def bring(self, future: Future[Any]) -> None:
        """Have what is stored of this one here.  Raises what the storage does."""
        if future not in self._futures:
            return
        self._futures.remove(future)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            future.table.fetched(future.call, answer)


@contextmanager
def fetching(futures: Sequence[Future[Any]], threads: int) -> Iterator[Fetched | None]:
    """Fetch what is stored of futures that are done, with so many threads; None where nothing is stored."""
    stored = [future for future in futures if type(future.table.values[future.call]) is Stored]
    if not stored:
        yield None
        return
    from wren.worker.ahead import read_ahead

    each = dict.fromkeys(stored)  # once, however often it was given
    answers = read_ahead(_fetch, list(each), _size, threads)
    try:
        yield Fetched(set(each), answers)
    finally:
        answers.close()


def _fetch(future: Future[Any]) -> _Answer:
    try:
        return future.table.fetch(future.call)
    except Exception as error:  # noqa: BLE001 - it is raised where the future's turn has come
        return error


def _size(answer: _Answer) -> int:
    return len(answer.data) if isinstance(answer, Pickled) else 0
