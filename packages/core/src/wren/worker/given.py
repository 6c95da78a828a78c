"""What users give to the methods of a storage, checked: names, ranges, and files that are to be written.

What `wren.worker.objects` begins with.  Standard library only, for workers import it.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import index
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

__all__ = ["Range", "byte_range", "check_text", "new_file", "object_name"]

Range: TypeAlias = tuple[int, int | None]


def check_text(name: str, value: object) -> None:
    """TypeError and ValueError for what is no name of anything."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is of type {type(value).__name__}: give a str")
    if not value:
        raise ValueError(f"{name} is {value!r}: give one that is not empty")


def object_name(bucket: str, key: str) -> str:
    """An object's name for people.  TypeError and ValueError for parts that are no names."""
    check_text("bucket", bucket)
    check_text("key", key)
    return f"{bucket}/{key}"


def byte_range(given: Range | None, extra: Mapping[str, Any] | None) -> Range:
    """The range that was asked for, in either way, else all.  ValueError for what is none."""
    if extra:
        others = [name for name in extra if name != "Range"]
        if others:
            raise ValueError(f"extra_get_args has {others[0]!r}: give Range, which is all that it may have")
        if given is not None:
            raise ValueError(f"range is {given!r}, and extra_get_args has a Range, too: give one of them")
        given = _http_range(extra["Range"])
    if given is None:
        return 0, None
    try:
        start, stop = given
        start, stop = index(start), None if stop is None else index(stop)
        if stop is None or 0 <= start <= stop:
            return start, stop
    except (TypeError, ValueError):  # no pair of numbers
        pass
    raise ValueError(f"range is {given!r}: give (start, stop) in bytes, such as (0, 100) or (100, None)")


def _http_range(text: object) -> Range:
    import re

    found = re.fullmatch(r"bytes=(\d*)-(\d*)", text) if isinstance(text, str) else None
    if found is None or not (found[1] or found[2]):
        raise ValueError(f"extra_get_args has the Range {text!r}: give it as bytes=0-99, bytes=100- or bytes=-100")
    if not found[1]:
        return (-int(found[2]), None) if int(found[2]) else (0, 0)
    return int(found[1]), int(found[2]) + 1 if found[2] else None


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A file beside the target, which takes its place when it is written, and is removed if that fails.  OSError."""
    if target.exists() and not target.is_file():  # a device would be replaced, too
        raise OSError(errno.EINVAL, "an object cannot be written there, as it is no file", str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such directory to write an object into", str(target.parent))
    temporary = target.with_name(f".wren-{os.urandom(8).hex()}")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
