"""What the http shell stores and reports besides its answers, and what it does as the first process of a container."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wren import wire
from wren.local.files import Files

if TYPE_CHECKING:
    from integration.test_shell.conftest import Shell, StartShell

Eventually = Callable[[Callable[[], bool]], None]

# What the shell's processes import: a reporter that appends to a file, and storages that have their moments.
WORKERS = '''
import os, time
from wren.local.files import Files

class Reporter:
    """Appends to `path`: who reports, and what; while a file `path.broken` is there, it fails."""
    def __init__(self, path):
        self.path = path
        self.note("open")
    def note(self, text):
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()} {text}\\n")
    def report(self, message):
        if os.path.exists(self.path + ".slow"):
            time.sleep(0.5)
        if os.path.exists(self.path + ".broken"):
            self.note("broken")
            raise ConnectionError("the queue is gone")
        self.note(message.hex())
    def close(self):
        self.note("close")

class Full(Files):
    """Takes nothing whose key has a word in it."""
    def __init__(self, root, word):
        super().__init__(root)
        self.word = word
    def put(self, bucket, key, chunks):
        if self.word in key:
            raise OSError("the disk is full")
        super().put(bucket, key, chunks)
'''


def same(value: object) -> object:
    return value


def leave(code: int) -> None:
    os._exit(code)


def wait_for(path: str) -> str:
    while not os.path.exists(path):  # noqa: PTH110 - runs in the worker
        time.sleep(0.005)
    return path


def leave_an_orphan(path: str) -> None:
    """A process that outlives its parents and its group, and ends when a file is there."""
    waiting = f"touch {path}.started; while [ ! -e {path} ]; do sleep 0.01; done; touch {path}.ended"
    subprocess.Popen(["/bin/sh", "-c", f"setsid sh -c '{waiting}' &"]).wait()
    while not Path(f"{path}.started").exists():  # until then it is of the call's group, and ends with that
        time.sleep(0.005)


class Queue:
    """What the reporters of a test have noted."""

    def __init__(self, folder: Path) -> None:
        (folder / "shell_test_workers.py").write_text(WORKERS)
        self.path = folder / "queue"
        self.handle = wire.Handle("shell_test_workers:Reporter", {"path": str(self.path)})

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Process and text of each note."""
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else []
        return [(process, text) for process, _, text in (line.partition(" ") for line in lines)]

    def statuses(self) -> list[wire.CallStatus]:
        """What was reported, unsealed with the job's key."""
        found = []
        for _, text in self.notes:
            if text not in ("open", "close", "broken"):
                sealed = bytes.fromhex(text)
                claimed = wire.read_sealed(sealed)
                identity = (claimed.executor, claimed.job, claimed.call, claimed.attempt, claimed.state)
                found.append(wire.unseal_status(b"key", *identity, sealed))
        return found


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """Where the reporters of a test report to."""
    return Queue(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A storage."""
    return Files(str(tmp_path / "storage"))


def handle_of(files: Files) -> wire.Handle:
    return wire.Handle("wren.local.files:Files", {"root": str(files.root)})


def stored(files: Files) -> list[tuple[int, int, str]]:
    """Call, attempt and state of the statuses that are stored."""
    return [wire.parse_status_key(key) for key, *_ in files.list("b", "wren/ex/M000/status/00000/")]


def stored_status(files: Files, call: int, state: wire.State) -> wire.CallStatus:
    sealed = files.get("b", wire.status_key("ex", "M000", call, 0, state))
    return wire.unseal_status(b"key", "ex", "M000", call, 0, state, sealed)


# ---------------------------------------------------------------- storing


def test_what_is_to_persist_is_stored_by_the_call_itself(any_shell: "Shell", files: Files) -> None:
    statuses = any_shell.run(any_shell.payload(same, (1,), (2,), persist=True, storage=handle_of(files)))
    assert [status.state for status in statuses] == ["ok", "ok"]
    # Both are there before the answer
    assert stored(files) == [(0, 0, "ok"), (1, 0, "ok")]
    assert stored_status(files, 1, "ok").result is None
    key = wire.result_key("ex", "M000", 1, 0)
    assert bytes(wire.unseal(b"key", "ex", "M000", 1, 0, "ok", files.get("b", key))) == statuses[1].result


def test_the_status_of_a_crash_is_stored_for_it(any_shell: "Shell", files: Files, eventually: Eventually) -> None:
    (status,) = any_shell.run(any_shell.payload(leave, (3,), persist=True, storage=handle_of(files)))
    eventually(lambda: stored(files) == [(0, 0, "err")])
    assert stored_status(files, 0, "err") == status
    assert status.failure is not None
    assert status.failure.kind == "lost"


def test_calls_that_end_with_their_client_are_stored_as_lost(
    any_shell: "Shell", files: Files, tmp_path: Path, eventually: Eventually
) -> None:
    path = str(tmp_path / "never")
    answer = any_shell.send(any_shell.payload(wait_for, (path,), (path,), persist=True, storage=handle_of(files)))
    answer.accepted()
    answer.close()
    eventually(lambda: stored(files) == [(0, 0, "err"), (1, 0, "err")])
    for call, said in ((0, "the client closed the connection, which ends its calls"), (1, "it had not begun")):
        failure = stored_status(files, call, "err").failure
        assert failure is not None
        assert failure.message.endswith(said)


@pytest.mark.parametrize(
    ("word", "message"), [("status", "the status cannot be stored"), ("result", "the result cannot be stored")]
)
def test_what_cannot_be_stored_is_the_calls_failure_by_the_channels_left(
    shell: "Shell", files: Files, queue: Queue, eventually: Eventually, word: str, message: str
) -> None:
    full = wire.Handle("shell_test_workers:Full", {"root": str(files.root), "word": word})
    (status,) = shell.run(shell.payload(same, (1,), persist=True, storage=full, reporter=queue.handle))
    assert status.failure is not None
    assert status.failure.kind == "storage"
    assert status.failure.message == f"{message}: the disk is full"
    eventually(lambda: queue.statuses() == [status])


# ---------------------------------------------------------------- reporting


def test_every_status_is_reported_sealed_and_by_one_process(
    any_shell: "Shell", queue: Queue, eventually: Eventually
) -> None:
    # Given jobs of which some crash
    statuses = []
    for function in (same, leave, same):
        statuses += any_shell.run(any_shell.payload(function, (1,), (2,), reporter=queue.handle))
    # Then the reporter has told of all of them, over one connection
    eventually(lambda: queue.statuses() == statuses)
    assert [text for _, text in queue.notes].count("open") == 1
    assert len({process for process, _ in queue.notes}) == 1
    assert [status.state for status in statuses] == ["ok", "ok", "err", "err", "ok", "ok"]


def test_a_result_that_is_stored_is_not_sent_again(
    shell: "Shell", files: Files, queue: Queue, eventually: Eventually
) -> None:
    payload = shell.payload(same, (1,), persist=True, storage=handle_of(files), reporter=queue.handle)
    (status,) = shell.run(payload)
    eventually(lambda: queue.statuses() == [status._replace(result=None)])


def test_a_reporter_connects_again_when_its_connection_breaks(
    shell: "Shell", queue: Queue, tmp_path: Path, eventually: Eventually
) -> None:
    # Given a queue that is gone
    broken = tmp_path / "queue.broken"
    broken.touch()
    statuses = shell.run(shell.payload(same, (1,), reporter=queue.handle))
    eventually(lambda: "broken" in [text for _, text in queue.notes])
    # When it comes back
    broken.unlink()
    # Then the status is sent over a new connection
    eventually(lambda: queue.statuses() == statuses)
    texts = [text for _, text in queue.notes]
    assert texts[:4] == ["open", "broken", "close", "open"]


def test_a_status_that_cannot_be_sent_is_given_up_and_the_next_is_tried(
    shell: "Shell", queue: Queue, tmp_path: Path, eventually: Eventually
) -> None:
    broken = tmp_path / "queue.broken"
    broken.touch()
    shell.run(shell.payload(same, (1,), reporter=queue.handle))
    eventually(lambda: "cannot send the status of call 0 of job M000: ConnectionError" in shell.said())
    broken.unlink()
    statuses = shell.run(shell.payload(same, (2,), reporter=queue.handle))
    eventually(lambda: queue.statuses() == statuses)


def test_a_reporter_that_dies_is_replaced(shell: "Shell", queue: Queue, eventually: Eventually) -> None:
    first = shell.run(shell.payload(same, (1,), reporter=queue.handle))
    eventually(lambda: queue.statuses() == first)
    reporter = int(queue.notes[0][0])
    before = shell.processes()
    os.kill(reporter, signal.SIGKILL)
    eventually(lambda: reporter not in shell.processes())
    assert reporter in before
    second = shell.run(shell.payload(same, (2,), reporter=queue.handle))
    eventually(lambda: queue.statuses() == first + second)


def test_at_its_end_what_is_to_be_reported_is_reported(shell: "Shell", queue: Queue, tmp_path: Path) -> None:
    (tmp_path / "queue.slow").touch()
    statuses = shell.run(shell.payload(same, (1,), (2,), (3,), reporter=queue.handle))
    assert shell.end() == 0
    assert queue.statuses() == statuses
    assert [text for _, text in queue.notes][-1] == "close"


def test_a_shell_that_is_killed_leaves_no_reporter(
    shell: "Shell", queue: Queue, tmp_path: Path, eventually: Eventually
) -> None:
    (tmp_path / "queue.slow").touch()
    shell.run(shell.payload(same, (1,), (2,), (3,), (4,), reporter=queue.handle))
    eventually(lambda: len(shell.processes()) == 3)
    shell.process.kill()
    shell.process.wait()
    # Then the reporter is gone, too, though it had not sent everything
    eventually(lambda: not shell.processes())


# ---------------------------------------------------------------- as the first process


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def first(start_shell: "StartShell", eventually: Eventually) -> "Shell":
    """A shell that is process 1 of a namespace."""
    alone = ["unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--pid", "--fork", "--mount-proc"]
    works = shutil.which("unshare") is not None and subprocess.run([*alone, "true"], check=False).returncode == 0
    if not works and "CI" not in os.environ:
        pytest.skip("unshare makes no namespaces for this user")
    shell = start_shell(prefix=[*alone, "--kill-child"])
    eventually(lambda: bool(children(shell.process.pid)))
    (shell.pid,) = children(shell.process.pid)
    assert shell.value(same, 1) == 1
    return shell


def test_the_first_process_reaps_every_orphan(first: "Shell", tmp_path: Path, eventually: Eventually) -> None:
    assert re.search(r"^NSpid:.*\b1$", Path(f"/proc/{first.pid}/status").read_text(), re.MULTILINE)
    # Given a process that its call has left to the shell
    path = tmp_path / "end"
    assert first.value(leave_an_orphan, str(path)) is None
    templates = 2
    eventually(lambda: len(children(first.pid)) == templates + 1)
    # When it ends
    path.touch()
    # Then it is not left as a zombie
    eventually(lambda: len(children(first.pid)) == templates)


def test_the_first_process_ends_when_it_is_told_to(first: "Shell") -> None:
    first.value(same, 1)
    assert first.end() == 0


def test_the_first_process_says_how_calls_ended(first: "Shell") -> None:
    status = first.call(leave, 7)
    assert status.failure is not None
    assert status.failure.message.endswith("exit code 7")
