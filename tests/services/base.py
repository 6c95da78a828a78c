"""What services have in common: one is started once, used by every session that comes, and stopped by its pid.

A session that ends leaves it running for the next one; `python -m tests.services.s3 stop`, in the root, ends it.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"
STARTED: Final = 30.0  # seconds until a service listens
STOPPED: Final = 10.0  # seconds until one that was asked to end has
POLL: Final = 0.02
MISSING: Final = 3  # the exit code for a service that cannot be had


class Missing(Exception):
    """A service cannot be had here; the text says what is needed."""


class Running(NamedTuple):
    """A service that was started, in a file."""

    pid: int
    born: str  # in ticks since the machine started: later, the pid may be another process's
    port: int
    data: str  # a folder


class Service(ABC):
    """A program that listens on a port."""

    name: ClassVar[str]
    port: ClassVar[int]  # another one is taken where somebody has this one

    def __init__(self) -> None:
        # Outside of the checkout: whoever has several of them shares what was built, and what runs.
        self.folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wren-services"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self.folder / f"{self.name}.json"

    @abstractmethod
    def install(self) -> None:
        """See to it that the program is there.  Raises Missing."""

    @abstractmethod
    def command(self, port: int, data: Path) -> tuple[list[str], Mapping[str, str]]:
        """Command line and additional environment, where secrets belong; `data` is a new folder."""

    def place(self) -> str:
        """Where its data may be.  Raises Missing."""
        return tempfile.gettempdir()

    def start(self) -> str:
        """Its URL; it is started where it does not run yet.  Of two that start it, one does.  Raises Missing."""
        with self._locked():
            running = self.running()
            if running is None:
                self._forget()
                self.install()
                running = self._started(_free(self.port), Path(tempfile.mkdtemp(prefix="wren-", dir=self.place())))
                self._file.write_text(json.dumps(running._asdict()), encoding="utf-8")
        return f"http://{HOST}:{running.port}"

    def stop(self) -> None:
        """End what `start` started, and nothing else; its data goes with it."""
        with self._locked():
            running = self.running()
            if running is not None:
                _end(running)
            self._forget()

    def running(self) -> Running | None:
        """What was started and has not ended."""
        found = self._recorded()
        return found if found is not None and born(found.pid) == found.born else None

    def _recorded(self) -> Running | None:
        try:
            return Running(**json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def _forget(self) -> None:
        ended = self._recorded()
        if ended is not None:
            shutil.rmtree(ended.data, ignore_errors=True)
            self._file.unlink()

    def main(self, arguments: Sequence[str]) -> int:
        """`start` prints the URL, `status` too where it runs; the exit code."""
        match arguments:
            case ["start"]:
                try:
                    print(self.start())
                except Missing as error:
                    print(error, file=sys.stderr)
                    return MISSING
            case ["stop"]:
                self.stop()
            case ["status"]:
                running = self.running()
                print(f"http://{HOST}:{running.port}" if running else "does not run")
                return 0 if running else 1
            case _:
                print(f"{self.name}: start, stop or status?", file=sys.stderr)
                return 2
        return 0

    def _started(self, port: int, data: Path) -> Running:
        command, env = self.command(port, data)
        log = self.folder / f"{self.name}.log"
        # No Popen, which would complain that nobody waits for it.
        pid = os.posix_spawn(
            command[0],
            command,
            {**os.environ, **env},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        running = Running(pid, born(pid), port, str(data))
        deadline = time.monotonic() + STARTED
        while not _listens(port):
            if not born(pid) or time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                shutil.rmtree(data, ignore_errors=True)
                raise Missing(f"{self.name} does not start: {log.read_text(errors='replace').strip()[-2000:]}")
            time.sleep(POLL)
        return running

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with Path(self.folder, f"{self.name}.lock").open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def started(module: str) -> str:
    """The URL of a service, started by another process, as tests may count the children of theirs.  Raises Missing."""
    done = subprocess.run(
        [sys.executable, "-m", module, "start"], cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False
    )
    if done.returncode == MISSING:
        raise Missing(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def born(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty if there is none that runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _end(running: Running) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)
        deadline = time.monotonic() + STOPPED
        while born(running.pid) == running.born and time.monotonic() < deadline:
            time.sleep(POLL)


def _free(preferred: int) -> int:
    """That port, or another one where it is taken."""
    for port in (preferred, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((HOST, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            taken: int = sock.getsockname()[1]
            return taken
    raise Missing("no port is free")


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((HOST, port)) == 0
