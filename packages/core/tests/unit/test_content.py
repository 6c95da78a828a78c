"""An object's content: ranges of one version, in blocks and as a stream, on both sides of every border of a block."""

import io
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren.errors import PreconditionFailed, StorageError
from wren.worker import content
from wren.worker.content import Content
from wren.worker.listing import ObjectInfo

FIRST, BLOCK, STREAMED = 16, 64, 24


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, size in {"FIRST": FIRST, "BLOCK": BLOCK, "STREAMED": STREAMED, "BUFFER": 8}.items():
            patch.setattr(content, name, size)
        yield


class Object:
    """An object in memory that says how often it was asked, and may be overwritten when it is asked again."""

    def __init__(self, data: bytes) -> None:
        self.data, self.version = data, 0
        self.gets: list[tuple[int, int]] = []
        self.heads = 0
        self.before: Callable[[], None] = lambda: None

    def get(self, start: int, stop: int, etag: str | None) -> bytes:
        self.before()
        self.gets.append((start, stop))
        if etag not in (None, str(self.version)):
            raise PreconditionFailed("the object b/k has changed meanwhile")
        return self.data[start:stop]

    def head(self) -> ObjectInfo:
        self.heads += 1
        return ObjectInfo("k", len(self.data), 0.0, str(self.version))

    @property
    def content(self) -> Content:
        return Content("b/k", self.get, self.head)


borders = st.sampled_from([0, 1, FIRST, BLOCK, STREAMED, FIRST + STREAMED, 2 * BLOCK, 5 * BLOCK])
sizes = st.builds(lambda border, by: max(0, border + by), borders, st.integers(-1, 1)) | st.integers(0, 700)
objects = sizes.map(lambda size: bytes(at * 7 % 251 for at in range(size)))
starts = sizes | sizes.map(lambda size: -size)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int | None]:
    start = draw(starts)
    return start, None if start < 0 else draw(st.none() | sizes.map(lambda more: start + more))


@given(objects, ranges())
def test_a_range_is_a_slice(data: bytes, bounds: tuple[int, int | None]) -> None:
    found = Object(data)
    if bounds[0] > len(data):
        with pytest.raises(StorageError, match=rf"^the range of b/k begins at {bounds[0]}, and it has {len(data)} "):
            found.content.read(*bounds)
        with pytest.raises(StorageError, match="begin before"):
            found.content.stream(*bounds)
        return
    expected = data[slice(*bounds)]
    assert found.content.read(*bounds) == expected
    assert b"".join(found.content.blocks(*bounds)) == expected
    assert found.content.stream(*bounds).read() == expected


@given(objects, st.lists(st.integers(1, 100), min_size=1), st.sampled_from(["read", "read1", "readinto", "readline"]))
def test_a_stream_is_the_object_however_it_is_read(data: bytes, counts: list[int], how: str) -> None:
    with Object(data).content.stream(0, None) as stream:
        assert isinstance(stream, io.BufferedReader)
        got, turn = b"", 0
        while True:
            count = counts[turn % len(counts)]
            if how == "readinto":
                room = bytearray(count)
                piece = bytes(room[: stream.readinto(room)])
            else:
                piece = getattr(stream, how)(count)
            if not piece:
                break
            got, turn = got + piece, turn + 1
    assert got == data


@given(objects, ranges(), st.lists(st.tuples(st.integers(0, 700), st.sampled_from([0, 1, 2]), st.integers(-1, 90))))
def test_a_stream_is_sought_in_as_a_file_is(
    data: bytes, bounds: tuple[int, int | None], steps: list[tuple[int, int, int]]
) -> None:
    if bounds[0] > len(data):
        return
    file = io.BytesIO(data[slice(*bounds)])
    stream = Object(data).content.stream(*bounds)
    for offset, whence, count in steps:
        by = -min(offset, file.tell()) if whence == 1 else -min(offset, len(file.getvalue())) if whence == 2 else offset
        assert stream.seek(by, whence) == file.seek(by, whence)
        assert stream.read(count) == file.read(count)
        assert stream.tell() == file.tell()


@pytest.mark.parametrize("size", [0, 1, FIRST - 1])
def test_a_small_object_is_one_request(size: int) -> None:
    found = Object(bytes(size))
    assert found.content.read(0, None) == bytes(size)
    assert (len(found.gets), found.heads) == (1, 0)


def test_a_small_range_is_one_request() -> None:
    found = Object(bytes(10 * BLOCK))
    assert found.content.read(BLOCK - 5, 2 * BLOCK - 5) == bytes(BLOCK)
    assert (len(found.gets), found.heads) == (1, 0)


def test_a_line_of_a_large_stream_is_one_small_request() -> None:
    found = Object(b"line\n" * 1000)
    assert found.content.stream(0, None).readline() == b"line\n"
    assert found.gets == [(0, FIRST)]


def overwritten_in_between(found: Object) -> None:
    """From its third request on it is another one."""

    def before() -> None:
        if len(found.gets) == 2:
            found.data, found.version = b"x" * len(found.data), 1

    found.before = before


@pytest.mark.parametrize(
    "read", [lambda content: content.read(0, None), lambda content: content.stream(0, None).read()]
)
def test_an_object_that_is_overwritten_is_an_error(read: Callable[[Content], bytes]) -> None:
    found = Object(b"o" * (20 * BLOCK))
    overwritten_in_between(found)
    with pytest.raises(PreconditionFailed, match="has changed meanwhile"):
        read(found.content)


def test_a_storage_that_gives_too_little_is_an_error() -> None:
    found = Object(bytes(4 * BLOCK))
    short = Content("b/k", lambda start, stop, etag: found.get(start, stop, etag)[:-1], found.head)
    with pytest.raises(StorageError, match=r"^b/k gave \d+ bytes of the \d+ from \d+ on: read it again$"):
        short.stream(0, None).read()


@pytest.mark.parametrize("taken", [0, 3, FIRST - 1, FIRST, FIRST + 5])
def test_a_stream_that_has_failed_goes_on_failing_until_it_is_told_where_to_go_on(taken: int) -> None:
    """A buffer above drops what it has when a read fails: to go on behind that would lose bytes in silence."""
    found = Object(bytes(range(200)) * 10)  # more than what is read ahead
    stream = found.content.stream(0, None)
    assert stream.read(taken) == found.data[:taken]

    def fail() -> None:
        raise StorageError("a bad moment")

    found.before = fail
    for _ in range(2):
        with pytest.raises(StorageError, match="a bad moment"):
            stream.read()
    found.before = lambda: None
    with pytest.raises(StorageError, match="a bad moment"):
        stream.read(1)
    assert stream.seek(taken) == taken
    assert stream.read() == found.data[taken:]


def test_a_child_goes_on_with_a_stream_where_its_parent_was(
    in_child: Callable[[Callable[[], bytes]], bytes],
) -> None:
    """It has not the threads that fetch what comes next."""
    found = Object(bytes(range(250)) * 10)
    stream = found.content.stream(0, None)
    assert stream.read(FIRST + STREAMED) == found.data[: FIRST + STREAMED]
    assert in_child(stream.read) == found.data[FIRST + STREAMED :]
    assert stream.read() == found.data[FIRST + STREAMED :]


def test_a_stream_cannot_be_sought_before_its_beginning_or_used_when_it_is_closed() -> None:
    stream = Object(bytes(100)).content.stream(10, None)
    with pytest.raises(ValueError, match="before the beginning there is nothing"):
        stream.seek(-1, 1)
    assert stream.seekable()
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        stream.read(1)
