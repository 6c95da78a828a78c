"""Objects and URLs to parts: what `map` makes of elements for a parameter `obj` or `url`."""

import contextlib
import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from wren.binding import Bound
from wren.errors import BindingError, NoSuchKey, StorageError, Unsupported
from wren.globs import is_glob, matcher, plain_prefix
from wren.spi import Feature, Storage
from wren.worker.ahead import read_ahead
from wren.worker.partition import LocalFile, Partition, Source, StorageObject, Whole, file_etag

__all__ = ["expand"]

SCHEMES: Final = {"cos": "ibm_cos"}  # the storage that a scheme names
THREADS: Final = 32  # elements that are looked up at the same time
MOST: Final = 1_000_000  # parts of an object

Sources: TypeAlias = Sequence[Source | Whole]


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
    find: Callable[[Any], Sources] = _url if name == "url" else partial(_sources, storage=storage)
    given = bound.kwargs or [{}] * len(bound.args)
    found = _all_of(find, [named[name] for named in given if name in named])
    if name == "url":
        _warn_of_wholes(found)
    sources = iter(found)
    args: list[tuple[Any, ...]] = []
    kwargs: list[dict[str, Any]] = []
    objects: list[int] = []
    count = 0
    for positional, named in zip(bound.args, given, strict=True):
        if name in named:
            calls = [
                [{**named, name: part} for part in _parts_of(source, chunk_size, chunk_n)] for source in next(sources)
            ]
        else:  # its default will do
            calls = [[named]]
        for parts in calls:
            args += [positional] * len(parts)
            kwargs += parts
            objects += [count] * len(parts)
            count += 1
    return Parts(bound._replace(args=args, kwargs=kwargs), objects)


def _all_of(find: Callable[[Any], Sources], elements: Sequence[Any]) -> list[Sources]:
    """What each element means; one after the other would take a while of a service that is far away."""
    # Not by an executor, at whose end an error, or Ctrl-C, would wait for all that were asked and have no answer.
    return list(read_ahead(find, elements, len, THREADS))


def _warn_of_wholes(found: Sequence[Sources]) -> None:
    for source in itertools.chain.from_iterable(found):
        if not isinstance(source, Source):
            warnings.warn(f"{source.shown} cannot be read in ranges, and is one part", stacklevel=_users_frame())


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
    size = source.size
    if chunk_size is None and chunk_n is None:
        return [Partition(source, 0, 1, 0, size)]
    if min(size, chunk_n or size // (chunk_size or 1)) > MOST:
        raise BindingError(
            f"{source.shown} of {size} bytes would be more than {MOST} parts: give a larger chunk_size, or less chunk_n"
        )
    found = ranges(size, chunk_size, chunk_n)
    return [Partition(source, number, len(found), start, stop) for number, (start, stop) in enumerate(found)]


def _sources(element: Any, storage: Storage[Any]) -> list[Source]:
    """The objects that an element for `obj` means, as they are listed.

    Raises BindingError for what is none, NoSuchKey where nothing is, StorageError where the storage cannot be asked.
    """
    if isinstance(element, os.PathLike) or (isinstance(element, str) and element.startswith(("/", "./", "../", "~/"))):
        return _files(Path(element).expanduser(), storage)
    if not isinstance(element, str):
        raise BindingError(f"obj is {element!r}: give a name such as bucket/key, cos://bucket/prefix/ or a local path")
    scheme, separator, rest = element.partition("://")
    if separator:
        wanted = SCHEMES.get(scheme)
        if wanted is None:
            cure = "ask for a parameter url" if scheme in ("http", "https") else "give cos://bucket/key or bucket/key"
            raise BindingError(f"obj is {_shown(element)!r}: {scheme}:// names no storage; {cure}")
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


def _url(element: Any) -> Sources:
    if not isinstance(element, str) or not element.lower().startswith(("http://", "https://")):
        given = _shown(element) if isinstance(element, str) else element
        raise BindingError(f"url is {given!r}: give one that begins with http:// or https://")
    from wren.worker.urls import probe

    return [probe(element)]


def _shown(url: str) -> str:
    from wren.worker.web import shown

    return shown(url)


def _objects(element: str, bucket: str, key: str, storage: Storage[Any]) -> Iterator[Source]:
    glob = is_glob(key)
    if key and not key.endswith("/") and not glob:
        try:
            info = storage.head(bucket, key)
        except NoSuchKey as error:
            raise NoSuchKey(f"{error}{_hint(element, bucket, key, storage)}") from error
        yield StorageObject(bucket, key, info.size, info.etag)
        return
    matches = matcher(key).fullmatch if glob else None
    found = False
    for listed, size, _, etag in storage.list(bucket, plain_prefix(key)):
        # Consoles make empty objects in the place of folders.
        folder = not size and listed.endswith("/")
        if not folder and (matches is None or listed == key or matches(listed)):
            found = True
            yield StorageObject(bucket, listed, size, etag)
    if not found:
        raise NoSuchKey(f"there is no object for {element!r} in the storage {storage.name}")


def _hint(element: str, bucket: str, key: str, storage: Storage[Any]) -> str:
    """What somebody may have meant who has named an object that is not there."""
    with contextlib.suppress(StorageError):  # who may not list has the error that he has
        if any(storage.list(bucket, f"{key}/")):
            return f"; for all that is below it give {element}/"
    if storage.name == "localhost" and Path(element).exists():
        return f"; for the file of this machine give ./{element}"
    return ""


def _files(whole: Path, storage: Storage[Any]) -> list[Source]:
    if storage.name != "localhost":
        raise BindingError(
            f"obj is the local path {str(whole)!r}, which workers of the storage {storage.name} may not have: "
            "put the file into the storage, or use the localhost storage"
        )
    try:
        stats = [(path.absolute(), path.stat()) for path in _paths(whole) if path.is_file()]
    except ValueError as error:  # of a pattern
        raise BindingError(f"obj is the local path {str(whole)!r}: {error}") from error
    except OSError as error:
        raise StorageError(f"the local path {str(whole)!r} cannot be looked into: {error}") from error
    files: list[Source] = [LocalFile(str(path), stat.st_size, file_etag(stat)) for path, stat in stats]
    if not files:
        raise NoSuchKey(f"there is no file {str(whole)!r} on this machine")
    return files


def _paths(whole: Path) -> list[Path]:
    """A path, what is below it where it is a directory, or what it matches, in order."""
    if whole.is_dir():
        return sorted(whole.rglob("*"))
    if whole.exists():
        return [whole]
    whole = whole.absolute()
    top = Path(whole.anchor)
    pattern = whole / "*" if whole.name == "**" else whole  # which means directories to pathlib
    return sorted(top.glob(str(pattern.relative_to(top))))


def _users_frame() -> int:
    """How many frames above the caller's the first one is that is not wren's own."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "wren":
        frame, depth = frame.f_back, depth + 1
    return depth
