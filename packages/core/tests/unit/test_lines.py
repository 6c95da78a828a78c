"""The parts of an object put together are the object, however they are read, and no line is split."""

import gzip
import io
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren.wire import Buffer
from wren.worker import lines
from wren.worker.lines import TAIL, Lines

PIECES = [b"a", b"bc", b"\n", b"\r\n", b"\n\n", b"\0", b"line\n", b"x" * 40]
CONTENT = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Content, and where it is cut: anywhere, also twice at the same place."""
    data = draw(CONTENT)
    return data, [0, *sorted(draw(st.lists(st.integers(0, len(data)), max_size=8))), len(data)]


@pytest.fixture(autouse=True, scope="module")
def short_pieces() -> Iterator[None]:
    """In which the end of a line is looked for where a storage gives views."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_PIECE", 3)
        yield


def parts(
    data: bytes, bounds: list[int], block: int, ahead: int = 0, *, views: bool = False
) -> list[io.BufferedReader]:
    def read(start: int, stop: int) -> Buffer:
        assert 0 <= start < stop <= min(len(data), start + 3 * block)
        return memoryview(data)[start:stop] if views else data[start:stop]

    return [
        io.BufferedReader(Lines(read, len(data), start, stop, block, ahead=ahead), 16)
        for start, stop in itertools.pairwise(bounds)
    ]


def by_readinto(part: io.BufferedReader) -> bytes:
    found, buffer = bytearray(), bytearray(7)
    while count := part.readinto(buffer):
        found += buffer[:count]
    return bytes(found)


WAYS: dict[str, Callable[[io.BufferedReader], bytes]] = {
    "whole": io.BufferedReader.read,
    "odd numbers": lambda part: b"".join(iter(lambda: part.read(3), b"")),
    "one after the other": lambda part: b"".join(iter(lambda: part.read(1), b"")),
    "what there is": lambda part: b"".join(iter(lambda: part.read1(5), b"")),
    "lines": b"".join,
    "readline": lambda part: b"".join(iter(part.readline, b"")),
    "pieces of lines": lambda part: b"".join(iter(lambda: part.readline(2), b"")),
    "lists of lines": lambda part: b"".join(iter(lambda: b"".join(part.readlines(3)), b"")),
    "readinto": by_readinto,
    "a line and the rest": lambda part: part.readline() + part.read(),
    "two bytes and the rest, without a buffer": lambda part: (part.raw.read(2) or b"") + (part.raw.read() or b""),
    "without a buffer": lambda part: b"".join(iter(lambda: part.raw.read(4) or b"", b"")),
    "text": lambda part: io.TextIOWrapper(part, "latin-1", newline="").read().encode("latin-1"),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=300, deadline=None)
@given(cut(), st.integers(1, 50), st.integers(0, 3), st.booleans())
def test_the_parts_are_the_object(way: str, case: tuple[bytes, list[int]], block: int, ahead: int, views: bool) -> None:
    data, bounds = case
    assert b"".join(map(WAYS[way], parts(data, bounds, block, ahead, views=views))) == data


def some(part: io.BufferedReader, step: int, number: int) -> bytes:
    """A piece of what comes next, by one way or another."""
    if step == 0:
        return part.read(number)
    if step == 1:
        return part.readline(number)
    if step == 2:
        return part.read1(number)
    if step == 3:
        return next(part, b"")
    if step == 4:
        return part.peek(number)[:0] + part.read(1)
    buffer = bytearray(number)
    return bytes(buffer[: part.readinto(buffer) if step == 5 else part.readinto1(buffer)])


@settings(max_examples=2_000, deadline=None)
@given(
    cut(), st.integers(1, 50), st.lists(st.tuples(st.integers(0, 6), st.integers(1, 30)), max_size=20), st.booleans()
)
def test_the_parts_are_the_object_when_ways_are_mixed(
    case: tuple[bytes, list[int]], block: int, steps: list[tuple[int, int]], views: bool
) -> None:
    data, bounds = case
    found = b""
    for part in parts(data, bounds, block, views=views):
        found += b"".join(some(part, step, number) for step, number in steps)
        found += b"".join(part) if len(steps) % 2 else part.read()
    assert found == data


@settings(max_examples=2_000, deadline=None)
@given(cut(), st.integers(1, 50), st.booleans())
def test_a_line_belongs_to_the_part_that_its_first_byte_is_in(
    case: tuple[bytes, list[int]], block: int, views: bool
) -> None:
    data, bounds = case
    expected_lines = [line + b"\n" for line in data.split(b"\n")]
    expected_lines[-1] = expected_lines[-1][:-1]
    at = 0
    expected = [b""] * (len(bounds) - 1)
    for line in filter(None, expected_lines):
        (place,) = (place for place, (start, stop) in enumerate(itertools.pairwise(bounds)) if start <= at < stop)
        expected[place] += line
        at += len(line)
    assert [part.read() for part in parts(data, bounds, block, views=views)] == expected


def test_a_part_of_compressed_data_is_decompressed_as_a_stream() -> None:
    data = gzip.compress(b"many lines\n" * 10_000)
    (part,) = parts(data, [0, len(data)], 100)
    with gzip.open(part) as file:
        assert file.read() == b"many lines\n" * 10_000


def counted(data: bytes, asked: list[tuple[int, int]]) -> Callable[[int, int], bytes]:
    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return data[start:stop]

    return read


def test_a_part_is_one_request_where_its_last_line_ends_soon_behind_it() -> None:
    asked: list[tuple[int, int]] = []
    data = (b"x" * 99 + b"\n") * 1_000
    assert Lines(counted(data, asked), len(data), 1_050, 2_010).read() == data[1_100:2_100]
    assert asked == [(1_049, 2_010 + TAIL)]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_every_byte_is_asked_for_once(ahead: int) -> None:
    asked: list[tuple[int, int]] = []
    data = (b"x" * 99 + b"\n") * 10_000
    assert Lines(counted(data, asked), len(data), 50_050, 900_010, 1 << 18, ahead=ahead).read() == data[50_100:900_100]
    asked.sort()
    assert [stop for _, stop in asked[:-1]] == [start for start, _ in asked[1:]]
    assert (asked[0][0], asked[-1][1], len(asked)) == (50_049, 900_010 + TAIL, 4)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_stream_that_has_failed_does_not_go_on_behind_what_was_lost(ahead: int) -> None:
    data = b"x\n" * 1_000

    def read(start: int, stop: int) -> bytes:
        if 200 <= start < 300:
            raise OSError("once")
        return data[start:stop]

    part = io.BufferedReader(Lines(read, len(data), 0, len(data), 100, ahead=ahead), 64)
    assert part.read(150) == data[:150]
    for way in (part.read, part.readline, part.raw.read, part.read):
        with pytest.raises(OSError, match="once"):
            way()


def test_without_threads_all_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", limited)
    data = b"x\n" * 1_000
    (part,) = parts(data, [0, len(data)], 100, ahead=2)
    assert part.read() == data


def test_a_child_reads_what_its_parent_was_waiting_for(in_child: Callable[[Callable[[], bytes]], bytes]) -> None:
    """It has not the threads that fetch that."""
    data, parent = b"x\n" * 1_000, os.getpid()
    answering = threading.Event()

    def read(start: int, stop: int) -> bytes:
        if start and os.getpid() == parent:
            answering.wait(20)
        return data[start:stop]

    part = io.BufferedReader(Lines(read, len(data), 0, len(data), 100, ahead=2), 64)
    assert part.read(50) == data[:50]
    assert in_child(part.read) == data[50:]
    answering.set()
    assert part.read() == data[50:]


def test_one_giant_line_is_held_by_its_first_part_in_blocks() -> None:
    size, largest = 10 << 20, 0

    def read(start: int, stop: int) -> bytes:
        nonlocal largest
        largest = max(largest, stop - start)
        return b"x" * (stop - start)

    bounds = range(0, size + 1, size // 8)
    lengths = []
    for start, stop in itertools.pairwise(bounds):
        part = Lines(read, size, start, stop, 1 << 16)
        lengths.append(sum(map(len, iter(partial(part.read, 1 << 20), b""))))
    assert lengths == [size, *[0] * 7]
    assert largest <= (1 << 16) + 2 * TAIL


def test_a_closed_part_cannot_be_read() -> None:
    (part,) = parts(b"abc", [0, 3], 1)
    part.close()
    with pytest.raises(ValueError, match="closed"):
        part.read()
