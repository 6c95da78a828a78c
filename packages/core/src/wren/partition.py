"""Objects and URLs to parts: what `map` makes of elements for a parameter `obj` or `url`."""

import itertools
import re
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from wren.binding import Bound
from wren.errors import BindingError, NoSuchKey, Unsupported
from wren.spi import Feature, Storage
from wren.worker.partition import LocalFile, Partition, Source, StorageObject, Whole, file_etag

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
        if name in named:
            find = _urls if name == "url" else partial(_sources, storage=storage)
            found = [_parts_of(source, chunk_size, chunk_n) for source in find(named[name])]
            calls = [[{**named, name: part} for part in parts] for parts in found]
        else:  # its default will do
            calls = [[named]]
        for parts in calls:
            args += [positional] * len(parts)
            kwargs += parts
            objects += [count] * len(parts)
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
    return list(itertools.pairwise(bounds))


def _parts_of(source: Source | Whole, chunk_size: int | None, chunk_n: int | None) -> list[Partition]:
    """The parts of one object, in order."""
    found = ranges(source.size, chunk_size, chunk_n)
    return [Partition(source, number, len(found), start, stop) for number, (start, stop) in enumerate(found)]


def _sources(element: Any, storage: Storage[Any]) -> list[Source]:
    """The objects that an element for `obj` means, as they are listed.

    Raises BindingError for what is none, NoSuchKey where nothing is, StorageError where the storage cannot be asked.
    """
    if isinstance(element, Path) or (isinstance(element, str) and element.startswith(("/", "./", "../", "~/"))):
        return _files(Path(element).expanduser(), storage)
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


def _urls(element: Any) -> list[Source | Whole]:
    if not isinstance(element, str) or not element.lower().startswith(("http://", "https://")):
        raise BindingError(f"url is {element!r}: give one that begins with http:// or https://")
    from wren.worker.urls import probe, shown

    source = probe(element)
    if not isinstance(source, Source):
        warnings.warn(f"{shown(element)} cannot be read in ranges, and is one part", stacklevel=_users_frame())
    return [source]


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


def _files(whole: Path, storage: Storage[Any]) -> list[Source]:
    if storage.name != "localhost":
        raise BindingError(
            f"obj is the local path {str(whole)!r}, which workers of the storage {storage.name} may not have: "
            "put the file into the storage, or use the localhost storage"
        )
    if whole.is_dir():
        paths = sorted(whole.rglob("*"))
    else:
        top = Path(whole.anchor)
        paths = [whole] if whole.exists() else sorted(top.glob(str(whole.relative_to(top))))
    stats = [(each.absolute(), each.stat()) for each in paths if each.is_file()]
    files: list[Source] = [LocalFile(str(each), stat.st_size, file_etag(stat)) for each, stat in stats]
    if not files:
        raise NoSuchKey(f"there is no file {str(whole)!r} on this machine")
    return files


def _users_frame() -> int:
    """How many frames above the caller's the first one is that is not wren's own."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "wren":
        frame, depth = frame.f_back, depth + 1
    return depth


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
