"""The loop of the pool: what another thread does in its place is done, or is seen to be half-done."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from wren.local.loop import Loop


def asleep(loop: Loop) -> None:
    """Wait until it has done all that it was given, and others may do something in its place."""
    loop.ask(lambda: None)
    deadline = time.monotonic() + 10
    while loop._turn.locked():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Owner:
    """Says when it is to be woken, and remembers when it was."""

    def __init__(self) -> None:
        self.due: float | None = None
        self.steps = 0
        self.stepped = threading.Event()
        self.errors: list[Exception] = []
        self.looked: Callable[[], None] | None = None  # is called once, between the look at the time and the sleep

    def timeout(self) -> float | None:
        timeout = None if self.due is None else max(0.0, self.due - time.monotonic())
        looked, self.looked = self.looked, None
        if looked is not None:
            looked()
        return timeout

    def step(self) -> float:
        self.steps += 1
        if self.due is not None and time.monotonic() >= self.due:
            self.due = None
            self.stepped.set()
        return 0.0

    def broken(self, error: Exception) -> None:
        self.errors.append(error)


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def loop(owner: Owner) -> Iterator[Loop]:
    """One that sleeps."""
    made = Loop("test", owner)
    asleep(made)
    yield made
    assert owner.errors == []


class Interrupting:
    """An epoll one method of which is interrupted before it is called."""

    def __init__(self, epoll: Any, name: str) -> None:
        self._epoll, self._name = epoll, name

    def __getattr__(self, name: str) -> Any:
        return self._interrupt if name == self._name else getattr(self._epoll, name)

    def _interrupt(self, *_: object) -> NoReturn:
        raise KeyboardInterrupt


def interrupted(loop: Loop, name: str, action: Callable[[], None]) -> None:
    """Do something here, which is interrupted where it calls that method of the epoll."""

    def interrupt() -> float | None:
        whole = loop._epoll
        loop._epoll = Interrupting(whole, name)  # type: ignore[assignment]
        try:
            action()
        finally:
            loop._epoll = whole
        return None

    with pytest.raises(KeyboardInterrupt):
        loop.here(interrupt)


def test_a_command_runs_in_the_loops_thread_and_what_it_raises_is_its_askers(loop: Loop) -> None:
    assert loop.ask(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        loop.ask(lambda: 1 // 0)


def test_what_is_done_here_runs_in_the_callers_thread_and_the_loop_wakes_when_that_says(
    loop: Loop, owner: Owner
) -> None:
    threads = []

    def act() -> float:
        threads.append(threading.get_ident())
        owner.due = time.monotonic() + 0.02
        return owner.due

    assert loop.here(act)
    assert threads == [threading.get_ident()]
    assert owner.stepped.wait(10)


def test_it_wakes_for_what_is_done_while_it_looks_at_the_time(loop: Loop, owner: Owner) -> None:
    # Given a loop that has just seen that nothing is due
    done = []

    def act() -> float:
        owner.due = time.monotonic() + 0.02
        return owner.due

    def looked() -> None:
        other = threading.Thread(target=lambda: done.append(loop.here(act)))
        other.start()
        other.join()

    owner.looked = looked
    # When another thread does something that is due soon, before the loop sleeps
    loop.do(lambda: None)
    # Then it does not sleep past that
    assert owner.stepped.wait(10)
    assert done == [True]


def test_nothing_is_done_here_before_there_is_a_thread(owner: Owner) -> None:
    loop = Loop("test", owner)
    assert not loop.here(lambda: pytest.fail("it was done"))
    loop.close()


def test_nothing_is_done_here_while_the_loop_does_something(loop: Loop) -> None:
    busy, free = threading.Event(), threading.Event()

    def command() -> None:
        busy.set()
        free.wait(10)

    loop.do(command)
    assert busy.wait(10)
    assert not loop.here(lambda: pytest.fail("it was done"))
    free.set()


def test_the_loop_waits_for_what_is_done_here_however_long(loop: Loop) -> None:
    # Given something that takes many times as long as the loop waits before it looks what became of it
    order: list[str] = []

    def act() -> None:
        loop.do(lambda: order.append("command"))
        time.sleep(0.1)
        order.append("here")

    assert not loop.here(act)
    # Then a command comes after it
    loop.ask(lambda: None)
    assert order == ["here", "command"]


def test_a_turn_whose_holder_has_left_without_an_end_is_found_out(loop: Loop) -> None:
    # Given a thread that was interrupted between taking its turn and what would have released it
    assert loop._turn.acquire(blocking=False)
    # Then commands run all the same, and things are done here again
    asleep(loop)
    assert loop.here(lambda: 0.0)


def test_what_was_interrupted_before_it_was_watched_can_be_let_go(loop: Loop) -> None:
    reading, writing = os.pipe()
    interrupted(loop, "register", lambda: loop.watch(writing, lambda: None, writing=True))
    loop.ask(lambda: loop.unwatch(writing))
    assert not loop.watches(writing)
    os.close(reading)
    os.close(writing)


def test_what_was_interrupted_before_it_was_let_go_disturbs_nothing(loop: Loop) -> None:
    # Given a descriptor that can always be written, and is watched no more but for the system
    reading, writing = os.pipe()

    def act() -> None:
        loop.watch(writing, lambda: None, writing=True)
        loop.unwatch(writing)

    interrupted(loop, "unregister", act)
    # Then what others wait for goes on
    seen = threading.Event()
    other, end = os.pipe()

    def read() -> None:
        os.read(other, 1)
        seen.set()

    loop.ask(lambda: loop.watch(other, read))
    os.write(end, b"x")
    assert seen.wait(10)
    for fd in (reading, writing, other, end):
        os.close(fd)
