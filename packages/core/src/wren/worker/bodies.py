"""What may be put into an object, as the chunks that storages take.  Standard library only, for workers import it."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO, Final, TypeAlias

from wren.wire import Buffer

__all__ = ["Body", "Source"]

BLOCK: Final = 8 << 20  # bytes that are read of a file at once

Body: TypeAlias = Buffer | str | BinaryIO | Iterable[Buffer]


class Source:
    """The chunks of a body, to be iterated over; `error` is what they have raised, which is no fault of the storage.

    TypeError for what can be put into no object, `name` for people.
    """

    def __init__(self, body: Body, name: str) -> None:
        self._chunks = _chunks(body, name)
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Buffer]:
        try:
            yield from self._chunks
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def _chunks(body: Any, name: str) -> Iterable[Buffer]:
    if isinstance(body, str):
        return [body.encode()]
    if hasattr(body, "read"):
        return _read(body, name)
    if (whole := _buffer(body)) is not None:
        return [whole]
    if isinstance(body, Iterable) and not isinstance(body, Mapping):
        return map(partial(_chunk, name), body)
    raise TypeError(
        f"what is to be put into {name} is of type {type(body).__name__}: give bytes, text, a binary file or an "
        "iterable of bytes"
    )


def _read(file: Any, name: str) -> Iterator[Buffer]:
    while len(chunk := _chunk(name, file.read(BLOCK))):
        yield chunk


def _chunk(name: str, chunk: Any) -> Buffer:
    found = _buffer(chunk)
    if found is None:
        raise TypeError(f"a part of what is to be put into {name} is of type {type(chunk).__name__}: give bytes")
    return found


def _buffer(value: Any) -> Buffer | None:
    """The bytes of what has some, such as an array; None of anything else."""
    if isinstance(value, bytes | bytearray):
        return value
    try:
        view = memoryview(value)
    except TypeError:
        return None
    return view.cast("B") if view.nbytes and view.c_contiguous else view.tobytes()
