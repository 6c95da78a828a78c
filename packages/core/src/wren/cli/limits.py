"""What the system lets this user have: files, processes, pipes, memory, and room for what is temporary and kept."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wren import state
from wren.cli.findings import Finding, Level
from wren.config import Config, WrenOptions
from wren.local.trial import ROOM

__all__ = ["look"]

FILES: Final = 1024  # that may be open; what most systems give
SPARE: Final = 128  # of them for the program, and as many processes
FILES_EACH: Final = 12  # of a local worker, in the client
PIPES_EACH: Final = 4  # likewise; `wren.local.channels`
SHARED: Final = 1 << 20  # bytes of memory by which the trial is made


def look(config: Config) -> Iterator[Finding]:
    """Compare what there is with what a client with its local workers needs.  Some of it only Linux has."""
    try:
        import resource
    except ImportError:  # Windows, which has none of these limits
        resource = None  # type: ignore[assignment]
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    values, _ = config.read("wren", WrenOptions)
    if resource is not None:
        calls = values.get("workers") or 0  # in flight: over HTTP each has a connection
        need = max(FILES, SPARE + FILES_EACH * workers + calls)
        yield _files(*resource.getrlimit(resource.RLIMIT_NOFILE), need)
        yield _processes(resource.getrlimit(resource.RLIMIT_NPROC)[0], SPARE + workers)
    yield from _pipes(workers)
    if hasattr(os, "memfd_create"):
        yield _memory()
    yield _temporary()
    if values.get("records") is not False:
        yield _records()


def _files(soft: int, hard: int, need: int) -> Finding:
    if soft < 0 or soft >= need:  # -1 is no limit
        return Finding("open files", Level.OK, f"{_count(soft)} at once")
    cure = (
        f"ulimit -n {need}" if hard < 0 or hard >= need else f"have the limit raised to {need}: `ulimit -Hn` is {hard}"
    )
    return Finding("open files", Level.WARNING, f"{soft:,} at once, and {need:,} may be needed", cure)


def _processes(soft: int, need: int) -> Finding:
    if soft < 0 or os.geteuid() == 0:  # root has no limit
        return Finding("processes", Level.OK, "no limit")
    used = _threads()
    detail = f"{used:,} of {soft:,}, threads included"
    if soft - used >= need:
        return Finding("processes", Level.OK, detail)
    return Finding("processes", Level.WARNING, detail, f"end some of yours, or `ulimit -u {used + need}`")


def _threads() -> int:
    """How many threads this user has, by whom the limit counts."""
    count = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if status.stat().st_uid == os.geteuid():
                lines = status.read_text(errors="replace").splitlines()  # names are bytes
                count += next((int(line.split()[1]) for line in lines if line.startswith("Threads:")), 1)
        except OSError:  # it has ended meanwhile
            continue
    return count


def _pipes(workers: int) -> Iterator[Finding]:
    """How much pipes may hold: where a user has too many, further ones are small, and calls slower."""
    try:
        limit = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text())
    except (OSError, ValueError):  # not Linux
        return
    from wren.local.channels import PIPE

    need = workers * PIPES_EACH * PIPE // os.sysconf("SC_PAGE_SIZE")
    if not limit or limit >= need or os.geteuid() == 0:
        detail = f"{limit:,} pages" if limit and os.geteuid() else "no limit"
        yield Finding("pipes", Level.OK, detail)
    else:
        cure = f"sysctl fs.pipe-user-pages-soft={need}, as root"
        yield Finding("pipes", Level.WARNING, f"{limit:,} pages, and {workers} workers want {need:,}", cure)


def _memory() -> Finding:
    """Try what large arguments and results go through."""
    try:
        fd = os.memfd_create("wren-doctor")
        try:
            os.posix_fallocate(fd, 0, SHARED)
        finally:
            os.close(fd)
    except OSError as error:
        cure = "give this machine or container more memory, or allow memfd_create"
        return Finding("shared memory", Level.FAILURE, f"cannot be had: {error.strerror}", cure)
    return Finding("shared memory", Level.OK, "can be had")


def _temporary() -> Finding:
    name, cure = "temporary directory", "free some space, or set TMPDIR to another directory"
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile() as file:
            file.write(b"\0")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(name, Level.FAILURE, f"cannot be written to: {error}", cure)
    level = Level.OK if free >= ROOM else Level.WARNING
    return Finding(name, level, f"{free / 2**30:,.1f} GiB are free in {folder}", cure)


def _records() -> Finding:
    try:
        return Finding("job records", Level.OK, f"in {state.check()}")
    except OSError as error:
        cure = "mend that, set XDG_STATE_HOME to another directory, or `records = false` in section [wren]"
        return Finding("job records", Level.WARNING, f"cannot be written: {error}", cure)


def _count(limit: int) -> str:
    return "any number" if limit < 0 else f"{limit:,}"
