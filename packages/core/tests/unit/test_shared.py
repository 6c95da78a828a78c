"""The rings of shared memory: what is put there stays as it is until it is free, and what finds no room is told so."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren.worker.shared import RING, Ring, Shared

WHOLE = 64  # bytes of the rings here


def content(number: int, size: int) -> bytes:
    return bytes((number + at) % 251 for at in range(size))


# An action: a number is the size of what is put there, None that the oldest is not needed any more.
actions = st.lists(st.none() | st.integers(1, WHOLE + 1) | st.integers(1, 9), max_size=60)


@settings(max_examples=1000)
@given(actions, st.integers(1, 5))
def test_what_was_put_there_is_there_until_it_is_free(some: list[int | None], pieces: int) -> None:
    # Given a ring, of which the oldest is freed as `remove` of a worker's batches and the client's words do it
    ring = Ring(memoryview(bytearray(WHOLE)))
    kept: deque[tuple[int, bytes]] = deque()
    last = -1
    for number, size in enumerate(some):
        if size is None:
            if kept:
                kept.popleft()
                ring.free(kept[0][0] if kept else None)
            continue
        # When something is put there
        data = content(number, size)
        step = -(-size // pieces)
        place = ring.put([data[at : at + step] for at in range(0, size, step)], size)
        # Then positions grow, nothing that is kept has changed, and an empty ring takes all that it could ever take
        if place is None:
            assert kept or size > WHOLE
            continue
        assert place > last
        last = place
        kept.append((place, data))
        assert [bytes(ring.get(at, len(each))) for at, each in kept] == [each for _, each in kept]
        assert sum(len(each) for _, each in kept) <= WHOLE
        assert 0 < ring.used <= WHOLE


@given(st.lists(st.integers(1, WHOLE), min_size=1, max_size=30))
def test_what_is_done_with_is_used_again_first(sizes: list[int]) -> None:
    ring = Ring(memoryview(bytearray(WHOLE)))
    for size in sizes:
        place = ring.put([bytes(size)], size)
        assert place is not None
        assert place % WHOLE == 0
        ring.free(place + size)


def test_what_was_freed_stays_so_whoever_says_less_later() -> None:
    ring = Ring(memoryview(bytearray(WHOLE)))
    assert ring.put([bytes(40)], 40) == 0
    assert ring.put([bytes(40)], 40) is None
    ring.free(40)
    ring.free(0)
    assert ring.put([bytes(40)], 40) == WHOLE


@pytest.fixture
def both() -> Iterator[tuple[Shared, Shared]]:
    """The views of a client and its worker."""
    fd = os.memfd_create("test")
    Shared.make(fd)
    with contextlib.closing(Shared(fd)) as ours, contextlib.closing(Shared(fd)) as theirs:
        os.close(fd)
        yield ours, theirs


def test_both_sides_see_the_same_memory_and_only_what_was_used_counts(both: tuple[Shared, Shared]) -> None:
    ours, theirs = both
    assert ours.used == 0
    place = ours.tasks.put([b"argument"], 8)
    assert place == 0
    assert bytes(theirs.tasks.get(place, 8)) == b"argument"
    assert theirs.results.put([b"result"], 6) == 0
    assert bytes(ours.results.get(0, 6)) == b"result"
    theirs.began[0], ours.taken[0] = 1.5, 6
    assert (ours.began[0], theirs.taken[0], ours.used) == (1.5, 6, 14)


def test_each_ring_takes_what_it_says_and_no_byte_more(both: tuple[Shared, Shared]) -> None:
    ours, theirs = both
    assert ours.tasks.put([bytes(RING + 1)], RING + 1) is None
    assert ours.tasks.put([b"t" * RING], RING) == 0
    assert theirs.results.put([b"r" * RING], RING) == 0
    assert (ours.began[0], ours.taken[0]) == (0.0, 0)
    assert bytes(theirs.tasks.get(0, RING)) == b"t" * RING


def test_a_result_that_is_still_looked_at_outlives_the_end_of_its_worker() -> None:
    # Given a view of what a worker returned
    fd = os.memfd_create("test")
    Shared.make(fd)
    ours = Shared(fd)
    os.close(fd)
    ours.results.put([b"result"], 6)
    view = ours.results.get(0, 6)
    # When the memory is let go, Then the view is as it was
    ours.close()
    assert bytes(view) == b"result"
