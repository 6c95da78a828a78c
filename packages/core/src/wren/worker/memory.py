"""Memory: what a call had of it, and whether the kernel killed a process of this container for its memory limit.

A killed process says only that it was SIGKILL; the control group counts those that it killed.  Version 1 does so in
`memory.oom_control` (since Linux 4.13), version 2 in `memory.events`: https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import contextlib
import os
from collections.abc import Iterator

UNLIMITED = 1 << 60  # bytes; version 1 says "no limit" with a number beyond this


class OwnMemory:
    """What this process uses.  A forked child needs one of its own."""

    def __init__(self) -> None:
        self._status = self._reset = -1
        with contextlib.suppress(OSError):  # no Linux, or a sandbox that hides it
            self._status = os.open("/proc/self/status", os.O_RDONLY)
            self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY)

    def peak(self) -> int:
        """Bytes at most since it was asked last, or since the process began; 0 where the system does not say.

        https://docs.kernel.org/filesystems/proc.html: `VmHWM`, and what writing 5 to `clear_refs` does.
        """
        try:
            status = os.pread(self._status, 4096, 0)
            start = status.index(b"VmHWM:") + 6
            peak = int(status[start : status.index(b"kB", start)]) * 1024
        except (OSError, ValueError):
            return 0
        with contextlib.suppress(OSError):
            os.write(self._reset, b"5")
        return peak

    def close(self) -> None:
        """Let go of the files."""
        for fd in (self._status, self._reset):
            if fd >= 0:
                os.close(fd)
        self._status = self._reset = -1


def peak_memory() -> int:
    """`OwnMemory.peak`, for who keeps no file open between two looks."""
    memory = OwnMemory()
    try:
        return memory.peak()
    finally:
        memory.close()


class MemoryGroup:
    """The control group whose memory limit this process has.

    Where there is none, or it cannot be read, nothing was ever killed.
    """

    def __init__(self, groups: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> None:
        self._events = self._limit = ""
        self._explained = 0
        for folder, events, limit in _candidates(groups, root):
            if os.path.exists(f"{folder}/{events}"):
                self._events, self._limit = f"{folder}/{events}", f"{folder}/{limit}"
                return

    def kills(self) -> int:
        """How many processes the kernel has killed at the limit."""
        for line in _read(self._events).splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0

    def explains(self, before: int) -> bool:
        """Whether a process that died of SIGKILL, and began at `before` kills, was one of those killed at the limit.

        Each kill explains one death.
        """
        known = max(before, self._explained)
        if self.kills() <= known:
            return False
        self._explained = known + 1
        return True

    def limit(self) -> int | None:
        """The limit in bytes."""
        text = _read(self._limit).strip()
        return int(text) if text.isdigit() and int(text) < UNLIMITED else None


def _candidates(groups: str, root: str) -> Iterator[tuple[str, str, str]]:
    """Folder, events file and limit file, the likeliest first.

    Without a namespace of its own a container reads the host's path here, and finds its group at the mount's root.
    """
    unified = ""
    for line in _read(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            for folder in (f"{root}/memory{path}", f"{root}/memory"):
                yield folder, "memory.oom_control", "memory.limit_in_bytes"
        elif not controllers:
            unified = path
    for folder in (f"{root}{unified}", root):
        yield folder, "memory.events", "memory.max"


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:  # not there: another system, another version, no right to look
        return ""
