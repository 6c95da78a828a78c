"""Objects and URLs to parts: what `map` makes of elements for a parameter `obj` or `url`."""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from wren.binding import Bound
from wren.errors import BindingError, NoSuchKey, Unsupported
from wren.spi import Feature, Storage
from wren.worker.partition import LocalFile, Partition, Source, StorageObject, file_etag

__all__ = ["expand"]

SCHEMES: Final = {"cos": "ibm_cos"}  # the storage that a scheme names
_GLOB: Final = re.compile(r"[*?\[]")


class Parts(NamedTuple):
    """The arguments of calls that each get a part, and of each call the number of its object, from 0."""

    bound: Bound
    objects: list[int]


def expand(bound: Bound, storage: Storage[Any], chunk_size: int | None, chunk_n: int | None) -> Parts:
    """A call for each part of what each element means, objects as they are listed, their parts ascending.

    Raises BindingError for an element that means none, NoSuchKey and StorageError.
    """
    name = bound.parted
    assert name is not None
    args: list[tuple[Any, ...]] = []
    kwargs: list[dict[str, Any]] = []
    objects: list[int] = []
    count = 0
    for positional, named in zip(bound.args, bound.kwargs or [{}] * len(bound.args), strict=True):
        if name not in named:  # its default will do
            found: list[list[Partition] | None] = [None]
        else:
            find = _urls if name == "url" else partial(_sources, storage=storage)
            found = [_parts_of(source, chunk_size, chunk_n) for source in find(named[name])]
        for parts in found:
            for part in parts or [None]:
                args.append(positional)
                kwargs.append({**named, name: part} if part is not None else named)
                objects.append(count)
            count += 1
    return Parts(bound._replace(args=args, kwargs=kwargs), objects)


def ranges(size: int, chunk_size: int | None, chunk_n: int | None) -> list[tuple[int, int]]:
    """Where the parts of an object of `size` bytes begin and end: `chunk_n` of them, else of `chunk_size` bytes each.

    There is no part without a byte, but for an empty object, which is one part.
    """
    if chunk_n is not None:
        count = max(1, min(chunk_n, size))
        bounds = [at * size // count for at in range(count + 1)]
    elif chunk_size is not None and size:
        bounds = [*range(0, size, chunk_size), size]
    else:
        bounds = [0, size]
    return list(zip(bounds, bounds[1:], strict=False))


def _parts_of(source: Source, chunk_size: int | None, chunk_n: int | None) -> list[Partition]:
    """The parts of one object, in order."""
    found = ranges(source.size, chunk_size, chunk_n)
    return [
        Partition(source, number, len(found), start, stop, stop - start) for number, (start, stop) in enumerate(found)
    ]


def _sources(element: Any, storage: Storage[Any]) -> list[Source]:
    """The objects that an element for `obj` means, as they are listed.

    Raises BindingError for what is none, NoSuchKey where nothing is, StorageError where the storage cannot be asked.
    """
    if isinstance(element, Path) or (isinstance(element, str) and element.startswith(("/", "./", "../", "~/"))):
        return _files(os.path.expanduser(element), storage)
    if not isinstance(element, str):
        raise BindingError(f"obj is {element!r}: give a name such as bucket/key, cos://bucket/prefix/ or a local path")
    scheme, separator, rest = element.partition("://")
    if separator:
        wanted = SCHEMES.get(scheme)
        if wanted is None:
            raise BindingError(f"obj is {element!r}: {scheme}:// names no storage; give cos://bucket/key or bucket/key")
        if wanted != storage.name:
            raise BindingError(
                f"obj is {element!r}, which is in the storage {wanted}, and the executor's is {storage.name}: "
                f'give storage_backend="{wanted}"'
            )
    else:
        rest = element
    if Feature.WORKER not in storage.features:
        raise Unsupported(f"workers cannot open the {storage.name} storage, so {element!r} cannot be mapped over")
    bucket, slash, key = rest.partition("/")
    if not bucket or not (slash or separator):
        raise BindingError(f"obj is {element!r}, which has no bucket: give bucket/key, or bucket/ for all of a bucket")
    return list(_objects(element, bucket, key, storage))


def _urls(element: Any) -> list[Source]:
    raise Unsupported("URLs cannot be mapped over yet")


def _objects(element: str, bucket: str, key: str, storage: Storage[Any]) -> Iterator[Source]:
    if key and not key.endswith("/") and not _GLOB.search(key):
        info = storage.head(bucket, key)
        yield StorageObject(bucket, info.key, info.size, info.etag)
        return
    pattern = _GLOB.search(key)
    matches = _pattern(key) if pattern else None
    found = False
    for info in storage.list(bucket, key[: pattern.start()] if pattern else key):
        # Consoles make empty objects in the place of folders.
        folder = info.key.endswith("/") and not info.size
        if not folder and (matches is None or info.key == key or matches.fullmatch(info.key)):
            found = True
            yield StorageObject(bucket, info.key, info.size, info.etag)
    if not found:
        raise NoSuchKey(f"there is no object for {element!r} in the storage {storage.name}")


def _files(path: str, storage: Storage[Any]) -> list[Source]:
    if storage.name != "localhost":
        raise BindingError(
            f"obj is the local path {path!r}, which workers of the storage {storage.name} may not have: "
            "put the file into the storage, or use the localhost storage"
        )
    from glob import glob

    paths = [path] if os.path.exists(path) else sorted(glob(path, recursive=True))
    if os.path.isdir(path):
        paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    files: list[Source] = []
    for each in paths:
        if os.path.isfile(each):
            stat = os.stat(each)
            files.append(LocalFile(os.path.abspath(each), stat.st_size, file_etag(stat)))
    if not files:
        raise NoSuchKey(f"there is no file {path!r} on this machine")
    return files


def _pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` and `?` stay within a folder, `**` does not."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", glob)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            known.get(part)
            or (f"(?!/)[{'^' if part[1] == '!' else ''}{re.escape(part[1:-1].lstrip('!'))}]".replace(r"\-", "-"))
            if at % 2
            else re.escape(part)
            for at, part in enumerate(parts)
        ),
        re.DOTALL,
    )
