"""What waits in the invoker: calls of a job, of which some may have settled before their turn comes."""

import itertools
from collections.abc import Collection, Iterator, Sequence

from wren.job import Job
from wren.spi import Invocation
from wren.table import RUNNING

__all__ = ["Portion"]


class Portion:
    """Calls of a job that are to be handed over, activation by activation."""

    __slots__ = ("_calls", "_next", "_withdrawn", "attempt", "delivery", "job", "redeployed", "since")

    def __init__(
        self,
        job: Job,
        calls: Sequence[int],
        attempt: int,
        *,
        delivery: int = 0,
        since: float = 0.0,
        redeployed: bool = False,
    ) -> None:
        self.job, self.attempt = job, attempt
        self.delivery, self.since, self.redeployed = delivery, since, redeployed
        self._calls, self._next = calls, 0
        self._withdrawn: set[int] = set()

    def left(self) -> Iterator[int]:
        """Those that are still wanted, taken as they are looked at: the others have settled in another way."""
        while self.wanted():
            self._next += 1
            yield self._calls[self._next - 1]

    def wanted(self) -> bool:
        """Whether any is left."""
        while self._next < len(self._calls) and not self._is_wanted(self._calls[self._next]):
            self._next += 1
        return self._next < len(self._calls)

    def _is_wanted(self, call: int) -> bool:
        job = self.job
        current = job.current.get(call, 0) == self.attempt and call not in job.nested
        return call not in self._withdrawn and current and job.table.states[call] <= RUNNING

    def take(self) -> Invocation | None:
        """An invocation of the first calls, as many as share an activation; None if none is left."""
        calls = list(itertools.islice(self.left(), self.job.options.per_activation))
        if not calls:
            return None
        made = self.job.invoke(calls, self.attempt)
        if not self.delivery:
            return made
        return made._replace(delivery=self.delivery, since=self.since, redeployed=self.redeployed)

    def without(self, unwanted: Collection[int]) -> list[int]:
        """Take calls out: those of them that were here."""
        left = self._calls[self._next :]
        taken = [call for call in unwanted if call in left and call not in self._withdrawn]
        self._withdrawn.update(taken)
        return taken
