"""Objects that are read ahead come in order, once each, and never more of them at a time than may lie there."""

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren.worker import ahead
from wren.worker.ahead import read_ahead


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 20), st.data())
def test_what_comes_is_in_order_whatever_is_read_first(sizes: list[int], threads: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(0, len(sizes)))
    read = read_ahead(lambda at: bytes([at]) * sizes[at], range(len(sizes)), len, threads)
    assert list(itertools.islice(read, wanted)) == [bytes([at]) * sizes[at] for at in range(wanted)]
    read.close()


def test_each_is_read_once() -> None:
    seen: list[int] = []

    def read(at: int) -> int:
        seen.append(at)
        return at

    assert list(read_ahead(read, range(1000), lambda _: 1)) == list(range(1000))
    assert sorted(seen) == list(range(1000))


def test_an_error_stands_in_the_place_of_its_own() -> None:
    def read(at: int) -> int:
        if at % 10 == 7:
            raise OSError(at)
        return at

    found = read_ahead(read, range(30), lambda _: 1)
    assert list(itertools.islice(found, 7)) == list(range(7))
    with pytest.raises(OSError, match="7"):
        next(found)
    assert list(found) == []


def test_what_nobody_has_asked_for_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unread: at first a few, and once it is known how large they are what the budget allows."""
    monkeypatch.setattr(ahead, "BUDGET", 100)
    lock, unread, most = threading.Lock(), 0, 0

    def read(at: int) -> bytes:
        nonlocal unread, most
        with lock:
            unread += 1
            most = max(most, unread) if at > ahead._FIRST else most
        return bytes(30)

    for _ in read_ahead(read, range(200), len, 16):
        with lock:
            unread -= 1
    assert most <= 100 // 30 + 1  # and the one that was handed out meanwhile


def test_who_stops_early_leaves_no_thread() -> None:
    found = read_ahead(lambda at: threading.current_thread(), range(10_000), lambda _: 1, 8)
    reading = next(found)
    found.close()
    reading.join(20)
    assert not reading.is_alive()


def test_as_many_read_at_the_same_time_as_there_are_threads() -> None:
    together = threading.Barrier(8, timeout=20)  # breaks unless eight are there
    assert list(read_ahead(lambda at: together.wait() and at, range(16), lambda _: 1, 8)) != []


@pytest.mark.parametrize("some", [0, 3])
def test_a_system_that_gives_no_more_threads_makes_it_slow_and_no_more(
    monkeypatch: pytest.MonkeyPatch, some: int
) -> None:
    start, begun = threading.Thread.start, list[threading.Thread]()

    def limited(thread: threading.Thread) -> None:
        if len(begun) == some:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert list(read_ahead(str, range(100), len)) == list(map(str, range(100)))
    for each in begun:
        each.join(20)
        assert not each.is_alive()
