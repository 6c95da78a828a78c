"""What becomes of calls in the http shell's processes: isolation, deaths, time, clients that go, and nothing left."""

import ctypes
import gc
import operator
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from wren import wire

if TYPE_CHECKING:
    from integration.test_shell.conftest import Shell, StartShell

Eventually = Callable[[Callable[[], bool]], None]
ValueOf = Callable[[wire.CallStatus], Any]


def same(value: object) -> object:
    return value


def template() -> int:
    return os.getppid()


def process() -> int:
    return os.getpid()


def wait_for(path: str) -> str:
    while not os.path.exists(path):  # noqa: PTH110 - runs in the worker
        time.sleep(0.005)
    return path


def note(path: str) -> str:
    Path(path).write_text(f"{os.getpid()}\n")
    return path


def busy(path: str) -> NoReturn:
    note(path)
    while True:
        pass


def busy_in_c(path: str) -> None:
    note(path)
    re.match(r"(a+)+$", "a" * 64 + "b")


def with_a_child(path: str) -> None:
    note(path)
    subprocess.run(["/bin/sleep", "1000"], check=False)


def kill_itself(number: int) -> None:
    print("last words", flush=True)
    os.kill(os.getpid(), number)


def segfault() -> None:
    ctypes.string_at(0)


def leave(code: int) -> NoReturn:
    print("last words", file=sys.stderr)
    os._exit(code)


def close_descriptors() -> None:
    os.closerange(0, 1024)


def close_descriptors_and_go_on() -> NoReturn:
    os.closerange(0, 1024)
    while True:
        time.sleep(1)


def fork_and_return() -> int:
    if os.fork() == 0:
        return -1  # the child comes back through the call, too
    os.wait()
    return 1


def leave_a_fork_behind(path: str) -> str:
    """It has all descriptors of the call, the answer's included."""
    if os.fork() == 0:
        note(path)
        while True:
            time.sleep(1)
    return wait_for(path)


def leave_a_fork_behind_and_wait(path: str) -> None:
    leave_a_fork_behind(path)
    time.sleep(1000)


def loud(megabytes: int) -> str:
    for _ in range(megabytes):
        print("x" * ((1 << 20) - 1))
    print("the end")
    return "done"


def speak(text: str) -> str:
    print(text)
    print(f"{text} too", file=sys.stderr)
    os.write(1, b"by descriptor\n")
    subprocess.run(["/bin/echo", "by a child"], check=True)
    return sys.stdin.read()


def unpicklable() -> object:
    return threading.Lock()


def change_everything() -> None:
    os.environ["CHANGED"] = "1"
    os.chdir("/")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    gc.disable()


def how_it_is() -> tuple[bool, str, bool]:
    return "CHANGED" in os.environ, os.getcwd(), signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL  # noqa: PTH109


def variable(name: str) -> str | None:
    return os.environ.get(name)


def handlers() -> list[int]:
    usual = {signal.SIG_DFL, signal.default_int_handler}
    ignored = {signal.SIGPIPE, signal.SIGXFSZ}  # by Python itself
    return [n for n in signal.valid_signals() if n not in ignored and signal.getsignal(n) not in (*usual, None)]


def memory_priority() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


def descriptors() -> list[str]:
    """Where those are open that are not the call's own."""
    own = ("/dev/null", "/memfd:wren-output", "pipe:")
    found = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(path.readlink()))
        except FileNotFoundError:
            continue
    return [target for target in found if not target.startswith(own)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def noted(path: Path) -> int | None:
    """The process id that a call has noted."""
    text = path.read_text() if path.exists() else ""
    return int(text) if text.endswith("\n") else None


class _Run:
    """Runs a program when it is loaded."""

    def __init__(self, program: str) -> None:
        self.program = program

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (self.program, {})


class _Loading:
    """Is `len` once it is loaded."""

    def __init__(self, program: str) -> None:
        self.program = program

    def __reduce__(self) -> tuple[object, ...]:
        return operator.getitem, ((len, _Run(self.program)), 0)


def loading(program: str) -> bytes:
    """The pickle of a function that runs a program when it is loaded, as one whose module does."""
    return pickle.dumps(_Loading(program))


def failure_of(status: wire.CallStatus) -> wire.Failure:
    assert status.failure is not None
    assert status.result is None
    return status.failure


# ---------------------------------------------------------------- processes


def test_each_call_has_a_process_of_its_own_and_calls_of_a_function_a_template(shell: "Shell") -> None:
    assert len({shell.value(process) for _ in range(5)}) == 5
    assert len({shell.value(template) for _ in range(5)}) == 1


def test_calls_can_run_in_the_template_itself(start_shell: "StartShell") -> None:
    shell = start_shell("process")
    assert len({shell.value(process) for _ in range(5)}) == 1
    assert shell.value(template) == shell.pid


def test_calls_of_one_function_run_at_the_same_time(shell: "Shell", tmp_path: Path) -> None:
    def meet(number: int) -> Any:
        names = [str(tmp_path / str(index)) for index in range(8)]
        return shell.value(rendezvous, names, number)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(meet, range(8))) == list(range(8))


def rendezvous(names: list[str], number: int) -> int:
    note(names[number])
    for name in names:
        wait_for(name)
    return number


def test_many_clients_at_once_get_their_own_results(any_shell: "Shell") -> None:
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda number: any_shell.value(same, number), range(200))) == list(range(200))


def test_templates_are_capped_and_the_least_recently_used_goes(shell: "Shell", eventually: Eventually) -> None:
    # Given more functions than templates are kept
    functions = [loading(f"number = {number}") for number in range(11)]
    for function in functions:
        assert shell.call(function, "abc").state == "ok"
    # Then as many are left, besides the shell itself
    eventually(lambda: len(shell.processes()) == 9)
    # And a function whose template is gone gets a new one
    assert shell.call(functions[0], "abc").state == "ok"
    eventually(lambda: len(shell.processes()) == 9)


def test_what_a_call_changes_the_next_one_does_not_see(any_shell: "Shell") -> None:
    before = any_shell.value(either, False)
    any_shell.value(either, True)
    assert any_shell.value(either, False) == before


def either(change: bool) -> Any:
    return change_everything() if change else how_it_is()


def test_a_calls_environment_is_its_own(any_shell: "Shell", value_of: ValueOf) -> None:
    payload = any_shell.payload(variable, ("MINE",), ("HOME",), env={"MINE": "1", "HOME": None})
    assert [value_of(status) for status in any_shell.run(payload)] == ["1", None]
    assert any_shell.value(variable, "MINE") is None
    assert any_shell.value(variable, "HOME") == os.environ["HOME"]


def test_a_call_begins_as_a_process_should(any_shell: "Shell") -> None:
    assert any_shell.value(handlers) == []
    assert any_shell.value(speak, "") == ""


def test_a_call_has_no_descriptors_but_its_own(shell: "Shell") -> None:
    assert shell.value(descriptors) == []


def test_a_call_is_killed_before_its_template_and_the_shell_when_memory_is_short(shell: "Shell") -> None:
    assert shell.value(memory_priority) == 1000


def test_random_numbers_of_calls_differ(shell: "Shell") -> None:
    numpy = pytest.importorskip("numpy")

    # Given a template in which numpy is loaded, whose state each call gets
    def draw() -> tuple[float, float]:
        return random.random(), float(numpy.random.rand())

    assert len({number for _ in range(3) for number in shell.value(draw)}) == 6


def test_what_a_call_prints_is_its_log(any_shell: "Shell") -> None:
    (first, second) = any_shell.run(any_shell.payload(speak, ("one",), ("two",)))
    assert first.logs == "one\none too\nby descriptor\nby a child\n"
    assert second.logs == first.logs.replace("one", "two")


def test_of_much_output_the_beginning_and_the_end_are_kept(any_shell: "Shell") -> None:
    status = any_shell.call(loud, 50)
    assert status.state == "ok"
    assert 1_000_000 < len(status.logs) < 1_100_000
    assert status.logs.startswith("xxx")
    assert status.logs.endswith("the end\n")


# ---------------------------------------------------------------- calls that end otherwise


@pytest.mark.parametrize(
    ("function", "arguments", "how"),
    [
        (leave, (0,), "exit code 0; its last output: last words"),
        (leave, (3,), "exit code 3; its last output: last words"),
        (kill_itself, (signal.SIGKILL,), "killed by SIGKILL; its last output: last words"),
        (kill_itself, (signal.SIGTERM,), "killed by SIGTERM; its last output: last words"),
        (segfault, (), "killed by SIGSEGV"),
        (close_descriptors, (), "exit code 1"),
    ],
)
def test_a_call_whose_process_ends_is_lost(
    any_shell: "Shell", function: Callable[..., object], arguments: tuple[object, ...], how: str
) -> None:
    first, second = any_shell.run(any_shell.payload(function, arguments, arguments))
    for status in (first, second):
        failure = failure_of(status)
        assert (failure.kind, failure.name) == ("lost", "WorkerLost")
        assert re.fullmatch(rf"the process \d+ that ran the call is gone: {how}", failure.message)
    assert first.logs == ("last words\n" if "words" in how else "")
    assert any_shell.value(same, 1) == 1


def test_a_call_that_closes_its_channel_and_goes_on_is_killed_and_lost(
    any_shell: "Shell", eventually: Eventually
) -> None:
    failure = failure_of(any_shell.call(close_descriptors_and_go_on))
    assert failure.kind == "lost"
    assert re.fullmatch(r"the process \d+ that ran the call .*", failure.message)
    pid = int(failure.message.split()[2])
    eventually(lambda: not alive(pid))


def test_a_crash_costs_no_loading(shell: "Shell", tmp_path: Path) -> None:
    # Given a function that counts how often it is loaded
    count = tmp_path / "count"
    function = loading(f"open({str(count)!r}, 'a').write('x')")
    statuses = [shell.call(function, argument) for argument in ("abc", 5, "abc")]
    assert [status.state for status in statuses] == ["ok", "err", "ok"]
    assert count.read_text() == "x"


def test_a_result_that_cannot_be_pickled_is_said_so(any_shell: "Shell") -> None:
    assert failure_of(any_shell.call(unpicklable)).kind == "result"


def test_a_function_that_forks_and_returns_twice_answers_once(any_shell: "Shell") -> None:
    assert any_shell.value(fork_and_return) == 1
    assert any_shell.value(fork_and_return) == 1


def test_what_a_call_leaves_running_does_not_delay_its_answer_and_is_killed(
    shell: "Shell", tmp_path: Path, eventually: Eventually
) -> None:
    path = tmp_path / "pid"
    started = time.monotonic()
    assert shell.value(leave_a_fork_behind, str(path)) == str(path)
    assert time.monotonic() - started < 5
    left = noted(path)
    assert left is not None
    eventually(lambda: not alive(left))


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("function", [busy, busy_in_c, with_a_child])
def test_a_call_over_its_timeout_is_killed(
    any_shell: "Shell", tmp_path: Path, function: Callable[[str], object]
) -> None:
    path = tmp_path / "pid"
    status = any_shell.call(function, str(path), timeout=0.5)
    failure = failure_of(status)
    assert (failure.kind, failure.name) == ("timeout", "CallTimeout")
    assert failure.message == "call 0 of job M000 ran longer than its timeout of 0.5 s and was killed"
    assert 0.45 < status.stopped - status.started < 5
    pid = noted(path)
    assert pid is not None
    assert not alive(pid)


def test_each_call_of_a_payload_has_the_timeout_for_itself(any_shell: "Shell", value_of: ValueOf) -> None:
    payload = any_shell.payload(time.sleep, (0.01,), (100,), (0.01,), timeout=0.5)
    assert [status.state for status in any_shell.run(payload)] == ["ok", "err", "ok"]


def test_a_function_that_loads_for_ever_times_out_and_its_template_is_gone(
    any_shell: "Shell", tmp_path: Path, eventually: Eventually
) -> None:
    path = tmp_path / "pid"
    function = loading(f"import os\nopen({str(path)!r}, 'w').write(f'{{os.getpid()}}\\n')\nwhile True: pass")
    failure = failure_of(any_shell.call(function, "abc", timeout=0.5))
    assert failure.kind == "timeout"
    assert failure.message.endswith("and was killed while its function was being loaded")
    pid = noted(path)
    assert pid is not None
    eventually(lambda: not alive(pid))


def test_a_call_that_times_out_in_the_template_costs_those_behind_it_nothing(
    start_shell: "StartShell", tmp_path: Path
) -> None:
    # Given calls that wait for their turn in the process of one that is about to be killed
    shell = start_shell("process")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(shell.call, time.sleep, 100, timeout=0.5)]
        answers += [pool.submit(shell.call, time.sleep, 0) for _ in range(3)]
        states = [answer.result().state for answer in answers]
    assert states == ["err", "ok", "ok", "ok"]


def test_waiting_for_ones_turn_is_not_ones_time(start_shell: "StartShell") -> None:
    # Given calls that one process runs one after the other, together longer than their timeout
    shell = start_shell("process")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(shell.call, time.sleep, 0.3, timeout=0.9) for _ in range(4)]
        statuses = sorted((answer.result() for answer in answers), key=lambda status: status.started)
    assert [status.state for status in statuses] == ["ok"] * 4
    assert statuses[-1].stopped - statuses[0].started > 0.9


# ---------------------------------------------------------------- loading


def test_a_failure_to_load_is_each_calls_failure_and_is_tried_again(any_shell: "Shell", tmp_path: Path) -> None:
    # Given a function that cannot be loaded as long as a file is missing
    path = tmp_path / "module"
    function = loading(f"open({str(path)!r})")
    for status in any_shell.run(any_shell.payload(function, ("abc",), ("ab",))):
        failure = failure_of(status)
        assert (failure.kind, failure.name) == ("function", "FileNotFoundError")
        assert failure.message.startswith("the function cannot be loaded by the worker: ")
        assert "FileNotFoundError" in failure.traceback
    # When it is there
    path.touch()
    # Then the next call has it
    assert any_shell.call(function, "abc").state == "ok"


def test_a_function_that_is_not_what_its_hash_says_is_not_loaded(any_shell: "Shell", tmp_path: Path) -> None:
    path = tmp_path / "loaded"
    payload = any_shell.payload(same, (1,))
    forged = wire.Payload(payload.header, 0, payload.calls, loading(f"open({str(path)!r}, 'w')"))
    (status,) = any_shell.run(forged)
    assert failure_of(status).kind == "function"
    assert not path.exists()


@pytest.mark.parametrize(("code", "how"), [("os._exit(3)", "exit code 3"), ("os.abort()", "killed by SIGABRT")])
def test_a_crash_while_loading_hits_those_who_wait_for_it(
    any_shell: "Shell", tmp_path: Path, eventually: Eventually, code: str, how: str
) -> None:
    # Given a function that ends its process when a file is there
    path, begun = tmp_path / "go", tmp_path / "pid"
    wait = f"while not os.path.exists({str(path)!r}): time.sleep(0.005)"
    begin = f"open({str(begun)!r}, 'w').write(f'{{os.getpid()}}\\n')"
    function = loading(f"import os, time\nprint('importing', flush=True)\n{begin}\n{wait}\n{code}")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(any_shell.call, function, "abc") for _ in range(3)]
        eventually(lambda: noted(begun) is not None)
        # When others use the shell
        assert any_shell.value(same, 1) == 1
        path.touch()
        # Then those who wait for that function are lost, by its end
        for answer in waiting:
            failure = failure_of(answer.result())
            assert failure.kind == "lost"
            assert f"is gone: {how}; its last output: importing" in failure.message


def test_a_template_that_is_killed_costs_its_running_calls_and_no_more(
    shell: "Shell", tmp_path: Path, eventually: Eventually
) -> None:
    path = tmp_path / "pid"
    parent = shell.value(template)
    with ThreadPoolExecutor(1) as pool:
        # Given a call whose template is killed under it
        answer = pool.submit(shell.call, with_a_parent_to_kill, str(path))
        failure = failure_of(answer.result())
    assert failure.kind == "lost"
    assert "killed by SIGKILL" in failure.message
    pid = noted(path)
    assert pid is not None
    eventually(lambda: not alive(pid))
    assert shell.value(template) == parent


def with_a_parent_to_kill(path: str) -> None:
    note(path)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(100)


# ---------------------------------------------------------------- who waits no more


@pytest.mark.parametrize("function", [busy, busy_in_c, with_a_child])
def test_a_client_that_goes_ends_its_calls(
    any_shell: "Shell", tmp_path: Path, eventually: Eventually, function: Callable[[str], object]
) -> None:
    # Given a payload whose first call runs
    paths = [tmp_path / name for name in ("first", "second")]
    answer = any_shell.send(any_shell.payload(function, *((str(path),) for path in paths)))
    answer.accepted()
    eventually(lambda: noted(paths[0]) is not None)
    pid = noted(paths[0])
    assert pid is not None
    # When its client closes the connection
    answer.close()
    # Then the call ends, and the other does not begin
    started = time.monotonic()
    eventually(lambda: not alive(pid))
    assert time.monotonic() - started < 10
    assert any_shell.value(same, 1) == 1
    assert not paths[1].exists()


def test_a_client_that_goes_while_its_function_is_loaded_ends_that(
    any_shell: "Shell", tmp_path: Path, eventually: Eventually
) -> None:
    path = tmp_path / "pid"
    function = loading(f"import os\nopen({str(path)!r}, 'w').write(f'{{os.getpid()}}\\n')\nwhile True: pass")
    answer = any_shell.send(any_shell.payload(function, ("abc",)))
    eventually(lambda: noted(path) is not None)
    answer.close()
    pid = noted(path)
    assert pid is not None
    eventually(lambda: not alive(pid))


@pytest.mark.parametrize("function", [busy, busy_in_c, with_a_child, leave_a_fork_behind_and_wait])
def test_a_shell_that_is_killed_leaves_no_process(
    any_shell: "Shell", tmp_path: Path, eventually: Eventually, function: Callable[[str], object]
) -> None:
    # Given a shell with calls that run, a template that loads, and one that is idle
    paths = [tmp_path / str(number) for number in range(3)]
    loader = loading(f"open({str(paths[2])!r}, 'w').write('1\\n')\nwhile True: pass")
    any_shell.value(same, 1)
    any_shell.send(any_shell.payload(function, (str(paths[0]),)))
    any_shell.send(any_shell.payload(loader, ("abc",)))
    eventually(lambda: all(noted(path) is not None for path in (paths[0], paths[2])))
    assert len(any_shell.processes()) >= 4
    # When it is killed
    any_shell.process.kill()
    any_shell.process.wait()
    # Then nothing of it is left
    started = time.monotonic()
    eventually(lambda: not any_shell.processes())
    assert time.monotonic() - started < 10
