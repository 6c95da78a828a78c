"""The parts of an object put together are the object, however they are read, and no line is split."""

import gzip
import io
import itertools
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren.worker.lines import Lines

PIECES = [b"a", b"bc", b"\n", b"\r\n", b"\n\n", b"\0", b"line\n", b"x" * 40]
CONTENT = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Content, and where it is cut: anywhere, also twice at the same place."""
    data = draw(CONTENT)
    return data, [0, *sorted(draw(st.lists(st.integers(0, len(data)), max_size=8))), len(data)]


def parts(data: bytes, bounds: list[int], block: int) -> list[io.BufferedReader]:
    def read(start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= min(len(data), start + block)
        return data[start:stop]

    return [
        io.BufferedReader(Lines(read, len(data), start, stop, block), 16) for start, stop in itertools.pairwise(bounds)
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
    "readinto": by_readinto,
    "without a buffer": lambda part: b"".join(iter(lambda: part.raw.read(4) or b"", b"")),
    "text": lambda part: io.TextIOWrapper(part, "latin-1", newline="").read().encode("latin-1"),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=300, deadline=None)
@given(cut(), st.integers(1, 50))
def test_the_parts_are_the_object(way: str, case: tuple[bytes, list[int]], block: int) -> None:
    data, bounds = case
    assert b"".join(map(WAYS[way], parts(data, bounds, block))) == data


@settings(max_examples=2_000, deadline=None)
@given(cut(), st.integers(1, 50))
def test_a_line_belongs_to_the_part_that_its_first_byte_is_in(case: tuple[bytes, list[int]], block: int) -> None:
    data, bounds = case
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    at = 0
    expected = [b""] * (len(bounds) - 1)
    for line in filter(None, lines):
        (place,) = (place for place, (start, stop) in enumerate(itertools.pairwise(bounds)) if start <= at < stop)
        expected[place] += line
        at += len(line)
    assert [part.read() for part in parts(data, bounds, block)] == expected


def test_a_part_of_compressed_data_is_decompressed_as_a_stream() -> None:
    data = gzip.compress(b"many lines\n" * 10_000)
    (part,) = parts(data, [0, len(data)], 100)
    with gzip.open(part) as file:
        assert file.read() == b"many lines\n" * 10_000


def test_no_more_than_a_part_is_read_where_its_last_line_ends_with_it() -> None:
    asked: list[tuple[int, int]] = []
    data = (b"x" * 99 + b"\n") * 100

    def counted(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return data[start:stop]

    assert Lines(counted, len(data), 1_000, 2_000).read() == data[1_000:2_000]
    assert max(stop for _, stop in asked) == 2_000


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
    assert largest == 1 << 16


def test_a_closed_part_cannot_be_read() -> None:
    (part,) = parts(b"abc", [0, 3], 1)
    part.close()
    with pytest.raises(ValueError, match="closed"):
        part.read()
