"""Whatever settles in whatever order, and whenever observers look: each call is told of once."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren import callbacks
from wren.errors import NoSuchKey, StorageError
from wren.observers import _JobWatch
from wren.spi import CallInfo, JobInfo, Outcomes, Stored
from wren.table import CallTable, Details
from wren.wire import Blob, CallStatus, Failure, Header

Action = Callable[[], object]
HEADER = Header("e" * 32, "M000", b"k" * 32, Blob("0" * 64, 1), "3.11")


class Engine:
    """A table's owner with nothing behind it, but for the statuses of calls that it is given."""

    def __init__(self, stored: dict[int, CallStatus | StorageError] | None = None) -> None:
        self.stored = stored or {}

    def cancel(self, table: CallTable, calls: Sequence[int]) -> None:
        for call in calls:
            table.cancelled(call)

    def kill(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        return []

    def fetch(self, job: Header, call: int, stored: Stored) -> Any:
        raise AssertionError("nothing is loaded for observers")

    def read_status(self, job: Header, call: int, stored: Stored) -> CallStatus:
        status = self.stored[call]
        if isinstance(status, StorageError):
            raise status
        return status

    def finished(self, job: str) -> None:
        pass


class Later:
    """What the observers' thread is to do, and what the clock has for it."""

    def __init__(self) -> None:
        self.now: list[Action] = []
        self.due: list[Action] = []

    def observe(self, action: Action) -> None:
        self.now.append(action)

    def after(self, seconds: float, action: Action) -> None:
        self.due.append(action)

    def work(self) -> None:
        while self.now:
            self.now.pop(0)()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    later = Later()
    monkeypatch.setattr(callbacks, "observe", later.observe)
    monkeypatch.setattr(callbacks, "after", later.after)
    return later


class Watched:
    """A watched table, and what observers were told."""

    def __init__(self, count: int, engine: Engine | None = None) -> None:
        self.table = CallTable("e-0", "M000", count, engine or Engine(), HEADER)
        self.told: list[CallInfo] = []
        self.over = 0
        self.watch = _JobWatch(self.table, JobInfo("e-0", "M000", "f", "here", count, 1.0), self.told.append, self.end)

    def end(self, watch: _JobWatch) -> None:
        self.over += 1


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[str, list[int]]]]:
    """How many calls a job has, and what happens: calls settle alone or together, the clock ticks, observers work."""
    count = draw(st.integers(0, 30))
    steps = st.sampled_from(["succeed", "fail", "cancel", "tick", "work", "watch"])
    calls = st.lists(st.integers(0, count - 1), min_size=1, unique=True) if count else st.just([])
    return count, draw(st.lists(st.tuples(steps, calls), max_size=30))


@given(histories())
def test_each_call_is_told_of_once_and_as_it_ended(history: tuple[int, list[tuple[str, list[int]]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        later = Later()
        patch.setattr(callbacks, "observe", later.observe)
        patch.setattr(callbacks, "after", later.after)
        # Given a job that is watched from some moment on
        count, steps = history
        watched, begun = Watched(count), False
        # When its calls settle, and observers come to look now and then
        for step, calls in [*steps, ("watch", []), ("succeed", list(range(count)))]:
            match step:
                case "succeed" if calls:
                    together = range(min(calls), max(calls) + 1)
                    watched.table.succeed(
                        Outcomes(together, [0] * len(together), [1.0] * len(together), [2.0] * len(together))
                    )
                case "fail":
                    for call in calls:
                        watched.table.fail(call, ValueError(call))
                case "cancel":
                    for call in calls:
                        watched.table.cancelled(call)
                case "watch" if not begun:
                    begun = True
                    watched.watch.begin()
                case "tick":
                    while later.due:
                        later.due.pop()()
                case "work":
                    later.work()
        later.work()
        # Then
        assert sorted(call.call for call in watched.told) == list(range(count))
        states = {2: "cancelled", 3: "done", 4: "failed"}
        assert all(states[watched.table.states[call.call]] == call.state for call in watched.told)
        assert watched.over >= 1


def test_observers_look_once_at_what_comes_soon_after(later: Later) -> None:
    watched = Watched(3)
    watched.watch.begin()
    for call in (0, 1):
        watched.table.fail(call, ValueError())
    assert (len(later.now), len(later.due)) == (0, 1)  # the clock has it
    watched.table.fail(2, ValueError())
    assert len(later.now) == 1  # the job is over


STATUS = CallStatus(
    "e" * 32, "M000", 0, 0, "err", 3.0, 4.0, failure=Failure("exception", "KeyError", "'x'", ""), peak_memory=5
)


def test_what_was_only_listed_is_read(later: Later) -> None:
    # Given a call of which only the name of a status is known
    watched = Watched(1, Engine({0: STATUS}))
    watched.watch.begin()
    watched.table.listed[0] = Stored(0, "err")
    watched.table.fail(0, Stored(0, "err"))
    # When
    later.work()
    # Then
    (call,) = watched.told
    assert (call.started, call.stopped, call.peak_memory) == (3.0, 4.0, 5)
    assert (call.error, call.message) == ("KeyError", "'x'")


@pytest.mark.parametrize("error", [StorageError("it is down"), NoSuchKey("it was cleaned")])
def test_what_cannot_be_read_is_told_as_far_as_it_is_known(later: Later, error: StorageError) -> None:
    watched = Watched(1, Engine({0: error}))
    watched.watch.begin()
    watched.table.listed[0] = Stored(0, "err")
    watched.table.fail(0, Stored(0, "err"))
    later.work()
    (call,) = watched.told
    assert (call.state, call.started, call.error) == ("failed", None, "")


class Unspeakable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_exception_that_cannot_be_printed_is_told_by_its_type(later: Later) -> None:
    watched = Watched(1)
    watched.watch.begin()
    watched.table.fail(0, Unspeakable())
    later.work()
    assert (watched.told[0].error, watched.told[0].message) == ("Unspeakable", "")


def test_a_result_that_the_table_does_not_keep_has_no_size(later: Later) -> None:
    watched = Watched(1)
    watched.watch.begin()
    watched.table.settle_one(0, 1000, Details())
    assert watched.table.take(0) == 1000
    later.work()
    assert watched.told[0].result_bytes is None
