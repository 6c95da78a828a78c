"""Packs modules: what belongs to each on the disk, and an archive that is the same for the same files.

A package travels whole, with its data and whatever it imports by ways that nobody can see.  What is left out: bytecode
beside its source, and what begins with a dot, as .git, .venv and .env do: that is nobody's code, and may be secret.
"""

import hashlib
import io
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from wren.errors import ModuleError
from wren.wire import Blob

__all__ = ["Archive", "File", "Unit", "files_of", "pack"]

_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive can have
_CACHE: Final = "__pycache__"


class Unit(NamedTuple):
    """What travels together: a module's file, or a package's folder."""

    name: str  # dotted
    path: str

    @property
    def place(self) -> str:
        """Where it is in the archive, but for the ending of a file."""
        return self.name.replace(".", "/")


class File(NamedTuple):
    """A file to be packed; size in bytes."""

    path: str
    size: int
    modified: int  # nanoseconds
    executable: bool


class Archive(NamedTuple):
    """Packed modules."""

    blob: Blob
    data: bytes


def files_of(unit: Unit, excluded: Collection[str] = ()) -> Mapping[str, File]:
    """The files of a unit by their names in the archive, but for those of `excluded` modules.  ModuleError."""
    try:
        if os.path.isdir(unit.path):
            found = dict(_walk(unit.path, unit.place, excluded, set()))
            libraries = f"{unit.path}.libs"  # where wheels keep the libraries that their extensions are linked to
            if os.path.isdir(libraries):
                found |= _walk(libraries, f"{unit.place}.libs", (), set())
            return found
        name = os.path.basename(unit.path)
        last = unit.name.rpartition(".")[2]
        ending = name.removeprefix(last) if name.startswith(f"{last}.") else os.path.splitext(name)[1]
        return {unit.place + ending: _file(unit.path)}
    except OSError as error:
        raise ModuleError(f"the module {unit.name} cannot be packed: {error}") from error


def _walk(folder: str, place: str, excluded: Collection[str], seen: set[str]) -> Iterator[tuple[str, File]]:
    """A folder's files; links are followed, but never twice to the same folder."""
    real = os.path.realpath(folder)
    if real in seen or _is_excluded(place, excluded):
        return
    seen.add(real)
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        inner = f"{place}/{entry.name}"
        if entry.name.startswith(".") or entry.name == _CACHE or entry.name.endswith("~"):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, inner, excluded, seen)
        elif entry.is_file() and not _is_excluded(inner.partition(".")[0], excluded):
            yield inner, _file(entry.path)


def _is_excluded(place: str, excluded: Collection[str]) -> bool:
    return place.replace("/", ".") in excluded


def _file(path: str) -> File:
    status = os.stat(path)
    return File(path, status.st_size, status.st_mtime_ns, bool(status.st_mode & stat.S_IXUSR))


def pack(files: Iterable[tuple[str, File]]) -> Archive:
    """A zip archive, in which neither times nor the order on the disk are seen.  ModuleError."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, file in sorted(files):
            info = zipfile.ZipInfo(name, _TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, whose modes follow
            info.external_attr = (stat.S_IFREG | (0o755 if file.executable else 0o644)) << 16
            try:
                with open(file.path, "rb") as source:
                    packed.writestr(info, source.read())
            except UnicodeEncodeError as error:
                raise ModuleError(
                    f"the file {file.path!r} cannot be packed, as its name is not UTF-8: rename it"
                ) from error
            except OSError as error:
                raise ModuleError(f"the file {file.path} cannot be packed: {error}") from error
    data = buffer.getvalue()
    return Archive(Blob(hashlib.sha256(data).hexdigest(), len(data)), data)
