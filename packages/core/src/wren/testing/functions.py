"""What the conformance kit runs in workers.

Workers may have nothing but wren-core: this module imports the standard library and what workers have anyway, so that
its functions travel by name.  Those that leave traces get a `Place` for them in a storage that workers can open.
"""

import ctypes
import hashlib
import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from wren.wire import Handle
from wren.worker.run import WorkerStorage, open_handle


class Place(NamedTuple):
    """Where functions leave traces: objects whose keys begin with `prefix`."""

    storage: Handle
    bucket: str
    prefix: str

    def open(self) -> WorkerStorage:
        """The worker's half of the storage."""
        storage: WorkerStorage = open_handle(self.storage)
        return storage

    def leave(self, name: str, content: bytes = b"") -> None:
        """Leave a trace that no other one replaces."""
        self.open().put(self.bucket, f"{self.prefix}{name}.{uuid.uuid4().hex}", [content])


# ---- results


def add(x: int, y: int = 1) -> int:
    """A small scalar."""
    return x + y


def bound(first: Any, *, second: Any, third: Any = "default") -> Any:
    """What came by position and by keyword."""
    return first, second, third


def echo(value: Any) -> Any:
    """The argument."""
    return value


def digest(data: bytes) -> str:
    """SHA-256 of the argument."""
    return hashlib.sha256(data).hexdigest()


def make_bytes(seed: int, size: int) -> bytes:
    """Bytes that do not compress and that `seed` determines."""
    return hashlib.shake_256(str(seed).encode()).digest(size)


def late(number: int, seconds: float) -> int:
    """The number, after some time."""
    time.sleep(seconds)
    return number


def period(seconds: float) -> tuple[float, float]:
    """When it began and ended (epoch seconds)."""
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def total(results: Sequence[int]) -> int:
    """A reducer."""
    return sum(results)


class Touchy:
    """A result whose unpickling fails."""

    def __reduce__(self) -> Any:
        return refuse, ()


def refuse() -> NoReturn:
    """What a `Touchy` is unpickled with."""
    raise LookupError("it does not want to be unpickled")


def make_touchy() -> Touchy:
    """A result that cannot be unpickled."""
    return Touchy()


def make_lock() -> Any:
    """A result that cannot be pickled."""
    return threading.Lock()


# ---- where it runs


def python() -> tuple[str, str]:
    """The version of Python that it runs on ("3.12"), and whose it is."""
    return f"{sys.version_info.major}.{sys.version_info.minor}", sys.implementation.name


def importable(names: Sequence[str]) -> list[str]:
    """Those of the modules that can be found."""
    return [name for name in names if importlib.util.find_spec(name) is not None]


def variables(names: Sequence[str]) -> list[str | None]:
    """Environment variables of the worker."""
    return [os.environ.get(name) for name in names]


def say(text: str) -> None:
    """Print on every way."""
    sys.stdout.write(f"stdout {text}\n")
    sys.stderr.write(f"stderr {text}\n")
    os.write(1, f"descriptor {text}\n".encode())
    subprocess.run([sys.executable, "-I", "-c", f"print('child {text}')"], check=True)


class Whereabouts(NamedTuple):
    """By what a process is told from any other of the machine."""

    namespace: str  # of process ids
    pid: int
    born: str  # since numbers are used again

    @classmethod
    def decode(cls, data: bytes) -> "Whereabouts":
        """What `hang` has left."""
        return cls(*json.loads(data))

    def lives(self) -> bool | None:
        """Whether it still runs; None where that cannot be seen from here, as it is in another container."""
        if _namespace() != self.namespace:
            return None
        return _born(self.pid) == self.born


def whereabouts() -> Whereabouts:
    """Where the call runs."""
    return Whereabouts(_namespace(), os.getpid(), _born(os.getpid()))


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _born(pid: int) -> str:
    """The time of its start, in the system's ticks; empty when it is gone."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]


# ---- failures


class Demanding(Exception):
    """An exception that cannot be unpickled: its constructor wants more than its args have."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def fail(text: str) -> NoReturn:
    """An exception that everybody has."""
    raise KeyError(text)


def demand() -> NoReturn:
    """An exception that cannot be unpickled."""
    raise Demanding(1, 2)


def die(how: str) -> NoReturn:
    """End the process."""
    os.write(1, b"last words\n")
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        ctypes.string_at(0)
    sys.exit(7)


def leave_and_die(place: Place, name: str) -> NoReturn:
    """Leave a trace, then die."""
    place.leave(name)
    os._exit(3)


def die_at_first(place: Place, name: str, deaths: int) -> int:
    """Die in the first `deaths` executions: how many there were before this one."""
    storage = place.open()
    before = 0
    while _exists(storage, place, f"{name}-{before}"):
        before += 1
    storage.put(place.bucket, f"{place.prefix}{name}-{before}", [b""])
    if before < deaths:
        os._exit(3)
    return before


def _exists(storage: WorkerStorage, place: Place, name: str) -> bool:
    try:
        storage.get(place.bucket, place.prefix + name)
    except FileNotFoundError:
        return False
    return True


def leave(place: Place, name: str, seconds: float = 0.0) -> str:
    """Leave a trace, then return after some time."""
    place.leave(name)
    time.sleep(seconds)
    return name


def hang(place: Place, name: str, how: str, seconds: float) -> NoReturn:
    """Leave where it runs, then do not end; if nobody ends it the system does, after so many seconds."""
    signal.alarm(math.ceil(seconds))
    place.leave(name, json.dumps(whereabouts()).encode())
    while how == "sleep":
        time.sleep(0.05)
    while how == "python":
        pass
    while True:
        re.match(r"(a+)+$", "a" * 64 + "b")  # in C, where no signal handler runs
