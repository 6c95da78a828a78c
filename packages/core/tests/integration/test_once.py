"""The shell that runs one payload, on its own: a payload on stdin, statuses on stdout."""

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from wren import wire
from wren.errors import WireMismatch
from wren.local.files import Files
from wren.local.options import LocalhostOptions
from wren.local.storage import LocalStorage
from wren.spi import Feature
from wren.testing.computes_spi import make_invocation
from wren.testing.functions import add, die, echo, fail, say, variables
from wren.wire import CallStatus, Handle, Header
from wren.worker.once import read_statuses

COMMAND = "from wren.worker.once import main; main()"


def payload(function: Callable[..., Any], *args: tuple[Any, ...], **header: Any) -> bytes:
    """The payload of a job with one call for each tuple of arguments."""
    storage = LocalStorage(LocalhostOptions())
    invocation = make_invocation(Feature.DIRECT, storage, function, args)
    return invocation._replace(header=invocation.header._replace(**header)).payload()


def once(data: bytes, code: int = 0, command: Sequence[str] = ("-P", "-c", COMMAND)) -> list[CallStatus]:
    """What the shell answers to a payload."""
    done = subprocess.run(
        [sys.executable, *command], input=data, capture_output=True, timeout=60, check=False, env=environment()
    )
    assert done.returncode == code, done.stderr.decode()
    return read_statuses(done.stdout)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "KEPT": "yes"}


def value(status: CallStatus) -> Any:
    assert status.result is not None, status.failure
    return pickle.loads(status.result)  # noqa: S301 - of the test's own process


def fork_and_return() -> int:
    if os.fork() == 0:
        return -1  # the child comes back through the call, too
    os.wait()
    return 1


def leave_a_child(seconds: float) -> int:
    return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"]).pid


def leave_a_thread() -> None:
    import threading

    threading.Thread(target=time.sleep, args=(60,)).start()


def read_input() -> str:
    return sys.stdin.read()


def change_everything() -> None:
    os.environ["KEPT"] = "no"
    os.chdir("/")


def whereabouts() -> tuple[str | None, str]:
    return os.environ.get("KEPT"), str(Path.cwd())


def die_at(number: int, last: int) -> int:
    if number == last:
        die("kill")
    return number


def cannot_load() -> NoReturn:
    raise ImportError("not on this machine")


class Unloadable:
    def __reduce__(self) -> Any:
        return cannot_load, ()


@pytest.mark.parametrize("command", [("-P", "-c", COMMAND), ("-P", "-m", "wren.worker.once")])
def test_each_call_is_answered_in_order(command: Sequence[str]) -> None:
    statuses = once(payload(add, (1,), (2,), (3, 4)), command=command)
    assert [(status.call, status.state, value(status)) for status in statuses] == [
        (0, "ok", 2),
        (1, "ok", 3),
        (2, "ok", 7),
    ]


def test_an_exception_is_a_status_and_the_next_call_runs() -> None:
    first, second = once(payload(lambda x: fail("odd") if x else x, (1,), (0,)))
    assert first.failure is not None
    assert (first.state, first.failure.kind, first.failure.name) == ("err", "exception", "KeyError")
    assert value(second) == 0


def test_what_calls_print_is_in_their_logs_and_nowhere_else() -> None:
    first, second = once(payload(say, ("one",), ("two",)))
    assert sorted(first.logs.split("\n")[:-1]) == ["child one", "descriptor one", "stderr one", "stdout one"]
    assert "one" not in second.logs


def test_a_call_has_the_jobs_variables_and_the_process_is_put_back_after_it() -> None:
    data = payload(variables, (["GIVEN", "KEPT"],), env={"GIVEN": "1", "KEPT": None})
    assert value(once(data)[0]) == ["1", None]
    first, second = once(payload(lambda x: change_everything() if x else whereabouts(), (1,), (0,)))
    assert first.state == "ok"
    assert value(second) == ("yes", str(Path.cwd()))


def test_there_is_nothing_to_read_on_stdin() -> None:
    assert value(once(payload(read_input, ()))[0]) == ""


def test_a_call_may_ask_for_its_number() -> None:
    statuses = once(payload(lambda id: id, (), (), inject=("id",)))
    assert [value(status) for status in statuses] == [0, 1]


def test_calls_before_a_crash_have_their_statuses() -> None:
    # Given three calls of which the second kills the process, When they run, Then
    statuses = once(payload(die_at, (0, 1), (1, 1), (2, 1)), code=-signal.SIGKILL)
    assert [value(status) for status in statuses] == [0]


def test_the_last_words_of_a_crash_are_in_the_file_that_stderr_is() -> None:
    with tempfile.TemporaryFile() as words:
        command = [sys.executable, "-P", "-c", COMMAND]
        data = payload(lambda x: say("before") if x else die("exit"), (1,), (0,))
        done = subprocess.run(
            command, input=data, stdout=subprocess.PIPE, stderr=words, timeout=60, check=False, env=environment()
        )
        assert done.returncode == 3
        assert "stdout before" in read_statuses(done.stdout)[0].logs
        words.seek(0)
        assert words.read() == b"last words\n"


def test_a_status_is_written_as_soon_as_its_call_has_ended() -> None:
    # Given a second call that waits until the first one's status was read
    reading, writing = os.pipe()
    try:
        with tempfile.TemporaryFile() as given:
            given.write(payload(lambda fd: os.read(fd, 1) if fd else b"first", (0,), (reading,)))
            given.seek(0)
            with subprocess.Popen(
                [sys.executable, "-P", "-c", COMMAND],
                stdin=given,
                stdout=subprocess.PIPE,
                pass_fds=[reading],
                env=environment(),
            ) as process:
                assert process.stdout is not None
                assert value(read_statuses(process.stdout.readline())[0]) == b"first"
                os.write(writing, b"!")
                assert value(read_statuses(process.stdout.readline())[0]) == b"!"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_forked_child_of_a_call_answers_nothing() -> None:
    assert [value(status) for status in once(payload(fork_and_return, (), ()))] == [1, 1]


def test_what_a_call_leaves_behind_holds_nothing_up() -> None:
    began = time.monotonic()
    (status,) = once(payload(leave_a_child, (30,)))
    once(payload(leave_a_thread, ()))
    assert time.monotonic() - began < 20
    os.kill(value(status), signal.SIGKILL)


def test_a_function_that_cannot_be_loaded_fails_each_call() -> None:
    captive = Unloadable()
    statuses = once(payload(lambda x: (captive, x), (1,), (2,)))
    assert [status.failure and status.failure.kind for status in statuses] == ["function"] * 2


def test_arguments_that_cannot_be_loaded_fail_their_call_only() -> None:
    first, second = once(payload(echo, (Unloadable(),), (2,)))
    assert first.failure is not None
    assert first.failure.kind == "arguments"
    assert value(second) == 2


def test_a_function_that_is_not_what_its_hash_says_is_not_unpickled(tmp_path: Path) -> None:
    raw = json.loads(payload(add, (1,)))
    raw["function"]["id"] = "0" * 64
    (status,) = once(json.dumps(raw).encode())
    assert status.failure is not None
    assert "SHA-256" in status.failure.message


def test_a_payload_of_another_python_says_what_to_use() -> None:
    (status,) = once(payload(add, (1,), python="2.7"))
    assert status.failure is not None
    assert "use a runtime of Python 2.7" in status.failure.message


def test_a_payload_of_another_wire_version_is_refused() -> None:
    raw = json.loads(payload(add, (1,))) | {"v": 99}
    assert once(json.dumps(raw).encode(), code=1) == []
    with pytest.raises(WireMismatch):
        wire.decode(json.dumps(raw).encode())


def stored(folder: Path, header: Mapping[str, Any], *args: tuple[Any, ...]) -> tuple[list[CallStatus], Header]:
    """What the shell answers to a job that stores, in a folder, and the job's header."""
    place = {"storage": Handle("wren.local.files:Files", {"root": str(folder)}), "bucket": "wren", "mac_key": b"k" * 32}
    data = payload(add, *args, **place, **header)
    return once(data), wire.decode(data).header


def test_a_persistent_job_stores_results_and_statuses(tmp_path: Path) -> None:
    statuses, header = stored(tmp_path, {"persist": True}, (1,), (2,))
    files = Files(str(tmp_path))
    for status, result in zip(statuses, (2, 3), strict=True):
        identity = (header.executor, header.job, status.call, 0)
        sealed = files.get("wren", wire.status_key(*identity, "ok"))
        assert wire.unseal_status(header.mac_key, *identity, "ok", sealed) == status._replace(result=None)
        sealed = files.get("wren", wire.result_key(*identity))
        assert pickle.loads(wire.unseal(header.mac_key, *identity, "ok", sealed)) == result  # noqa: S301 - the test's own


def test_a_result_that_is_too_large_for_a_status_is_stored(tmp_path: Path) -> None:
    (status,), header = stored(tmp_path, {"inline": 2}, (1,))
    assert (status.state, status.result) == ("ok", None)
    assert Files(str(tmp_path)).get("wren", wire.result_key(header.executor, header.job, 0, 0))


def test_a_status_that_cannot_be_stored_says_so(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.touch()
    (status,), _ = stored(nowhere, {"persist": True}, (1,))
    assert status.failure is not None
    assert status.failure.kind == "storage"


class FileReporter:
    """A monitor's worker half that appends to a file."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("ab")  # noqa: SIM115 - closed by close

    def report(self, message: bytes) -> None:
        self._file.write(message.hex().encode() + b"\n")

    def close(self) -> None:
        self._file.close()


def test_statuses_go_to_the_jobs_monitor(tmp_path: Path) -> None:
    reporter = Handle(f"{__name__}:FileReporter", {"path": str(tmp_path / "messages")})
    statuses = once(payload(add, (1,), (2,), reporter=reporter, mac_key=b"k" * 32))
    messages = [bytes.fromhex(line) for line in (tmp_path / "messages").read_text().split()]
    assert [wire.read_sealed(message) for message in messages] == statuses


def test_an_incomplete_line_is_no_status() -> None:
    (status,) = once(payload(add, (1,)))
    line = wire.encode_status(status) + b"\n"
    assert read_statuses(line + line[:-1]) == [status]
    assert read_statuses(b"") == []
