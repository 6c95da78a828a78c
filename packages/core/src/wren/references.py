"""What another process needs to read the results of a job that persists: a `Reference`, which can be pickled.

It says where the results are, and has the job's key, which opens nothing else.  Of the storage's options it has all but
the secrets (fields with `repr=False`), which the reading process has in its own configuration.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from wren.wire import without

__all__ = ["Client", "Reference", "Role", "shown"]


class Client(NamedTuple):
    """A process, for others to know whether it is still there."""

    host: str
    boot: str
    namespace: str  # in which its number is its number
    pid: int
    started: str

    @classmethod
    def this(cls) -> "Client":
        """The current process."""
        return cls(_host(), *_machine(), os.getpid(), _started(os.getpid()))

    def gone(self) -> bool:
        """Whether it certainly is; of another machine nobody here knows."""
        boot, namespace = _machine()
        if boot != self.boot:
            return self.host == _host()  # which was started again
        return namespace == self.namespace and _started(self.pid) != self.started


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else ""  # where there is none nobody can tell, as below


def _machine() -> tuple[str, str]:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip(), os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        return "", ""


def _started(pid: int) -> str:
    """When a process began, in the system's own unit; empty if there is none (https://man7.org: proc_pid_stat)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return ""
    state, *rest = text.rpartition(")")[2].split()  # the name before it may be anything
    return "" if state in "ZX" else rest[18]


class Role(NamedTuple):
    """What `get_result` makes of a job."""

    single: bool = False  # its result is one value, not a list
    reduced_by: str | None = None  # the reducer's job, with whose result it is read


_ALONE: Final = Role()


class Reference(NamedTuple):
    """What another process needs to read a job's results."""

    executor_id: str
    job_id: str
    calls: int
    retries: int
    submitted: float
    executor: str  # of the storage keys
    mac_key: bytes
    bucket: str
    storage: str  # the plugin's name
    options: Mapping[str, Any]
    client: Client | None  # with which running calls end; None: they outlive it
    role: Role = _ALONE

    def __repr__(self) -> str:
        return without(self, "mac_key")


def shown(options: Any) -> dict[str, Any]:
    """A plugin's options without its secrets."""
    return {each.name: getattr(options, each.name) for each in dataclasses.fields(options) if each.repr}
