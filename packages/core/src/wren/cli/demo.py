"""`wren demo`: a map and a reduce over what every machine has, the source files of Python's standard library.

The first half is the program that a user would write, and runs in the workers; they import this module, so that its top
needs little.  The second half runs it and prints what came out.
"""

import keyword
import os
import re
import sysconfig
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from wren.executor import FunctionExecutor
    from wren.table import CallTable

__all__ = ["Piece", "count_names", "merge", "names", "partitions", "run", "source_files"]

READ: Final = 256 * 1024  # bytes that a call reads at least, and less than twice as many; the last one may read less
CALLS: Final = 10_000  # of the second measurement
TOP: Final = 10  # names in the table
FOLDER: Final = "wren-demo"  # of the plots, in the working directory
LEFT_OUT: Final = frozenset({"__pycache__", "dist-packages", "site-packages", "test", "tests"})  # folders

# A name where only code has one: called, indexed, assigned, or part of a dotted name; in prose it would be "the".  No
# match looks beyond its line, so files may be cut between lines.
_NAME: Final = re.compile(rb"(?<=\.)[A-Za-z_]\w*|\b[A-Za-z_]\w*(?=[(\[]|\.\w| = )")
_KEYWORDS: Final = frozenset(word.encode() for word in keyword.kwlist)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `stop` of a file.  The lines whose first byte is among them are its own."""

    path: str
    start: int
    stop: int


def partitions(files: Iterable[tuple[str, int]], size: int = READ) -> Iterator[list[Piece]]:
    """Cut files, given as paths and lengths in bytes, into lists of pieces with `size` to twice as many bytes."""
    pieces: list[Piece] = []
    gathered = 0
    for path, length in files:
        for start in range(0, length, size):
            stop = min(start + size, length)
            pieces.append(Piece(path, start, stop))
            gathered += stop - start
            if gathered >= size:
                yield pieces
                pieces, gathered = [], 0
    if pieces:
        yield pieces


def names(source: bytes) -> Counter[bytes]:
    """How often each name is used in whole lines of Python source."""
    counts = Counter(_NAME.findall(source))
    for word in _KEYWORDS & counts.keys():
        del counts[word]
    return counts


def count_names(pieces: list[Piece]) -> Counter[bytes]:
    """The map: how often each name is used in the pieces' own lines."""
    counts: Counter[bytes] = Counter()
    for piece in pieces:
        with Path(piece.path).open("rb") as file:
            start, stop = _line_start(file, piece.start), _line_start(file, piece.stop)
            file.seek(start)
            counts.update(names(file.read(stop - start)))
    return counts


def _line_start(file: BinaryIO, position: int) -> int:
    """Where the first line starts that does not start before `position`; the file's end if none does."""
    if not position:
        return 0
    file.seek(position - 1)
    file.readline()
    return file.tell()


def merge(results: list[Counter[bytes]]) -> Counter[bytes]:
    """The reduce: all counts together."""
    total: Counter[bytes] = Counter()
    for counts in results:
        total.update(counts)
    return total


def nothing(_: int) -> None:
    """What the second measurement calls."""


# ---- what runs in the client


def source_files(root: Path) -> list[tuple[str, int]]:
    """Python files below a folder with their lengths in bytes, without tests and installed packages."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        paths = [Path(folder, name) for name in sorted(files) if name.endswith(".py")]
        found += [(str(path), path.stat().st_size) for path in paths if os.access(path, os.R_OK)]
    return found


def run() -> None:
    """Run the demo and print as it goes.  Raises what the executor and the calls raise."""
    import click

    from wren.executor import FunctionExecutor

    root = Path(sysconfig.get_path("stdlib"))
    click.echo(f"Counting the names that are used in the source of Python's standard library:\n{root}\n")
    # Workers elsewhere could not read the files of this machine.
    with FunctionExecutor(backend="localhost", storage_backend="localhost") as executor:
        tables = _count(executor, root)
        start = time.monotonic()
        executor.map(nothing, range(CALLS))
        executor.get_result()
        seconds = time.monotonic() - start
    click.echo(f"{CALLS:,} calls of an empty function: {seconds:.2f} s, {CALLS / seconds:,.0f} calls/s.")
    click.echo(_plot(tables))


def _count(executor: "FunctionExecutor", root: Path) -> "list[CallTable]":
    """Map, reduce and print; the tables of both jobs."""
    import click

    from wren.cli.tables import show
    from wren.errors import Unsupported

    start = time.monotonic()
    files = source_files(root)
    if not files:
        raise Unsupported(f"this Python has no source files in {root}, and wren demo counts in nothing else")
    futures = executor.map_reduce(count_names, partitions(files), merge)
    total: Counter[bytes] = executor.get_result()
    seconds = time.monotonic() - start
    show(("name", "used"), [(name.decode(), f"{count:,}") for name, count in total.most_common(TOP)], numbers=["used"])
    size = sum(length for _, length in files) / 2**20
    click.echo(f"\n{len(files):,} files, {size:.1f} MiB, {len(futures)} calls: {seconds:.2f} s in total.")
    return [futures[0].table, futures[-1].table]


def _plot(tables: "list[CallTable]") -> str:
    """Draw the timeline where matplotlib is there; a sentence that says where it lies, or how to get one."""
    from wren.errors import Unsupported
    from wren.plots import require_matplotlib, timeline

    try:
        require_matplotlib()
    except Unsupported as error:  # then no folder is made
        return f"No timeline: {error}"
    return f"Timeline of the calls: {timeline(tables, _folder() / 'map_reduce_timeline.png')}"


def _folder() -> Path:
    """A folder for plots: in the working directory and ignored by git, or a temporary one where that can't be made."""
    folder = Path(FOLDER)
    try:
        if not folder.is_dir():
            folder.mkdir()
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    import tempfile

    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}-"))
