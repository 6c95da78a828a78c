"""Parts: put together they are what was given, whatever the chunks; and an upload that fails leaves nothing."""

import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren.wire import Buffer
from wren_storage_cos import uploads
from wren_storage_cos.uploads import PARALLEL, cut, upload


def view(piece: bytes) -> Buffer:
    return memoryview(piece)


pieces = st.binary(max_size=40)
chunks: st.SearchStrategy[list[Buffer]] = st.lists(st.one_of(pieces, pieces.map(bytearray), pieces.map(view)))


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "PART", 16)
        patch.setattr(uploads, "GROWTH", 3)
        patch.setattr(uploads, "_PIECES", 4)
        yield


@given(chunks)
def test_parts_put_together_are_the_chunks(given_chunks: list[Buffer]) -> None:
    parts = [b"".join(part) for part in cut(given_chunks)]
    assert b"".join(parts) == b"".join(given_chunks)
    assert all(parts), "a part is not empty"


@given(chunks)
def test_parts_have_the_sizes_that_s3_wants(given_chunks: list[Buffer]) -> None:
    """All but the last at least that of a part; and they grow, as there may not be too many."""
    sizes = [sum(map(len, part)) for part in cut(given_chunks)]
    wanted = [16 * (1 + number // 3) for number in range(len(sizes))]
    assert sizes[:-1] == wanted[:-1]
    assert sizes[-1:] <= wanted[-1:]


@given(chunks)
def test_parts_have_few_pieces(given_chunks: list[Buffer]) -> None:
    assert all(len(part) <= 4 for part in cut(given_chunks))


def test_a_buffer_may_be_used_again_for_the_next_chunk() -> None:
    buffer = bytearray(8)

    def source() -> Iterator[Buffer]:
        for number in range(4):
            buffer[:] = bytes([number]) * 8
            yield buffer if number % 2 else memoryview(buffer)

    assert b"".join(chain.from_iterable(cut(source()))) == b"".join(bytes([number]) * 8 for number in range(4))


def test_numbers_are_cut_by_their_bytes() -> None:
    numbers: Any = memoryview(bytes(range(64))).cast("d")
    assert b"".join(chain.from_iterable(cut([numbers]))) == bytes(range(64))


class Fake:
    """A service that keeps parts in a dictionary."""

    def __init__(self, fails_at: int = 0) -> None:
        self.parts: dict[int, bytes] = {}
        self.done: list[str] = []
        self.running = self.most = 0
        self._fails_at, self._lock = fails_at, threading.Lock()

    def begin(self, bucket: str, key: str) -> str:
        return "upload"

    def part(self, bucket: str, key: str, upload: str, number: int, body: Sequence[Buffer]) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        if number == self._fails_at:
            raise OSError(number)
        with self._lock:
            self.parts[number] = b"".join(body)
            self.running -= 1
        return f"etag {number}"

    def complete(self, bucket: str, key: str, upload: str, etags: Sequence[str], *, if_absent: bool) -> None:
        assert etags == [f"etag {number}" for number in range(1, len(etags) + 1)]
        self.done.append(f"completed {len(etags)}{' if absent' if if_absent else ''}")

    def abandon(self, bucket: str, key: str, upload: str) -> None:
        self.done.append("abandoned")


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("count", [1, PARALLEL, 20])
def test_parts_arrive_in_order(count: int, if_absent: bool) -> None:
    service = Fake()
    upload(service, "b", "k", ([b"%d" % number] for number in range(1, count + 1)), if_absent=if_absent)
    assert service.parts == {number: b"%d" % number for number in range(1, count + 1)}
    assert service.done == [f"completed {count}{' if absent' if if_absent else ''}"]
    assert service.most <= PARALLEL


@pytest.mark.parametrize("number", [1, 3, 20])
def test_an_upload_of_which_a_part_fails_is_abandoned(number: int) -> None:
    service = Fake(fails_at=number)
    with pytest.raises(OSError, match=str(number)):
        upload(service, "b", "k", ([b"x"] for _ in range(20)))
    assert service.done == ["abandoned"]


def test_an_upload_whose_source_fails_is_abandoned_and_raises_its_error() -> None:
    service, error = Fake(), KeyError("mine")

    def source() -> Iterator[Sequence[Buffer]]:
        yield [b"x"]
        raise error

    with pytest.raises(KeyError) as caught:
        upload(service, "b", "k", source())
    assert caught.value is error
    assert service.done == ["abandoned"]


def test_an_interpreter_that_ends_uploads_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts no threads any more."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    service = Fake()
    upload(service, "b", "k", ([b"x"] for _ in range(6)))
    assert service.done == ["completed 6"]
