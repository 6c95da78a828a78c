"""docs/api.md, "Executors": how programs end, Ctrl-C, forks, threads and notebooks, each in a process of its own."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import wren

Eventually = Callable[[Callable[[], bool]], None]
RunPython = Callable[[str], str]


def add_one(x: int) -> int:
    return x + 1


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids(folder: Path) -> set[int]:
    """What calls have written of themselves."""
    return {int(text) for path in folder.glob("*.pid") if (text := path.read_text())}


# ---- garbage and kills


@pytest.mark.api("An executor that is garbage while its futures are not resolved goes on until they are.")
def test_a_garbage_executor_goes_on(run_python: RunPython) -> None:
    program = """
import gc, time, weakref, wren
def slow(x):
    time.sleep(0.2)
    return x
executor = wren.local_executor(workers=1)
gone = weakref.ref(executor)
future = executor.call_async(slow, 3)
del executor
gc.collect()
print(gone(), future.result(20))
"""
    assert run_python(program).split() == ["None", "3"]


CLIENT = """
import os, time, wren
def run(name):
    with open(name + ".tmp", "w") as file:
        file.write(str(os.getpid()))
    os.rename(name + ".tmp", name + ".pid")
    time.sleep(1000)
executor = EXECUTOR
START
"""
CLIENTS = {
    "map": ("wren.local_executor(workers=2)", "executor.map(run, ['a', 'b']); executor.get_result()"),
    "submit": ("wren.Executor(max_workers=2)", "[executor.submit(run, name) for name in 'ab'][0].result()"),
}


@pytest.mark.api("A client that is killed (SIGKILL included) leaves no local process;", "[they: orphans].")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("client", list(CLIENTS))
def test_a_killed_client_leaves_no_process(
    client: str, how: signal.Signals, tmp_path: Path, eventually: Eventually
) -> None:
    # Given a client with two calls that run
    executor, start = CLIENTS[client]
    program = CLIENT.replace("EXECUTOR", executor).replace("START", start)
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) as running:
        eventually(lambda: len(pids(tmp_path)) == 2)
        workers = pids(tmp_path)
        # When it is killed
        running.send_signal(how)
    # Then they are gone
    eventually(lambda: not any(map(alive, workers)))


# ---- the end of a program


@pytest.mark.api("A program that ends without waiting gets its calls done first, reducers included.")
@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "import sys; sys.exit()"])
def test_a_program_that_ends_gets_its_reducers_done(end: str, run_python: RunPython, tmp_path: Path) -> None:
    program = """
import pathlib, time, wren
def slow(x):
    time.sleep(0.1)
    return x
def reduce(results):
    pathlib.Path("reduced").write_text(str(sum(results)))
executor = wren.local_executor(workers=2)
executor.map_reduce(slow, range(4), reduce)
"""
    run_python(program + end)
    assert (tmp_path / "reduced").read_text() == "6"


@pytest.mark.api("A program that ends without waiting gets its calls done first,")
def test_a_program_that_fails_gets_its_calls_done_too(tmp_path: Path) -> None:
    program = """
import pathlib, time, wren
def touch(name):
    time.sleep(0.1)
    pathlib.Path(name).touch()
wren.local_executor(workers=1).map(touch, ["a", "b"])
raise ValueError("the program's own")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: the program's own"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


INTERRUPTED = """
import os, pathlib, sys, time, wren
def run(name):
    pathlib.Path(name + ".tmp").write_text(str(os.getpid()))
    os.rename(name + ".tmp", name + ".pid")
    time.sleep(1000)
executor = wren.local_executor(workers=1)
executor.map(run, ["first", "never"])
WAIT
"""


@pytest.mark.api(
    "One that Ctrl-C has ended drops what has not started and kills what runs.", "Ctrl-C raises KeyboardInterrupt."
)
@pytest.mark.parametrize("wait", ["executor.get_result()", "executor.wait()", "executor.call_async(abs, -1).result()"])
def test_a_program_that_ctrl_c_has_ended_leaves_nothing(wait: str, tmp_path: Path, eventually: Eventually) -> None:
    # Given a program outside of any `with` that waits for a call without end, with one behind it
    program = INTERRUPTED.replace("WAIT", wait)
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        eventually(lambda: len(pids(tmp_path)) == 1)
        (worker,) = pids(tmp_path)
        # When it gets Ctrl-C
        running.send_signal(signal.SIGINT)
        # Then it ends as an interrupted program does
        _, said = running.communicate(timeout=20)
    assert said.splitlines()[-1] == "KeyboardInterrupt"
    assert running.returncode == -signal.SIGINT
    eventually(lambda: not alive(worker))
    assert not (tmp_path / "never.pid").exists()


CAUGHT = """
import os, pathlib, signal, sys, time, wren
NOTEBOOK
def wait_for(path):
    pathlib.Path(path + ".started").touch()
    while not os.path.exists(path):
        time.sleep(0.005)
    return path
executor = wren.local_executor(workers=1)
futures = executor.map(wait_for, ["go", "go"])
while not os.path.exists("go.started"):
    time.sleep(0.005)
import threading
try:
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    executor.get_result()
except KeyboardInterrupt:
    print("caught")
print([future.cancelled() for future in futures])
pathlib.Path("go").touch()
END
"""
NOTEBOOK = "sys.ps1 = 'In [1]: '"


@pytest.mark.api("Ctrl-C that the program (or the notebook) catches ends the waiting, not the calls.")
@pytest.mark.parametrize("notebook", ["", NOTEBOOK], ids=["program", "notebook"])
def test_ctrl_c_that_is_caught_ends_the_waiting_and_not_the_calls(notebook: str, run_python: RunPython) -> None:
    program = CAUGHT.replace("NOTEBOOK", notebook).replace("END", "print(executor.get_result(timeout=20))")
    assert run_python(program).splitlines() == ["caught", "[False, False]", "['go', 'go']"]


@pytest.mark.api("A program that ends without waiting gets its calls done first,")
def test_a_notebook_that_was_interrupted_long_ago_gets_its_calls_done(run_python: RunPython, tmp_path: Path) -> None:
    # Given a shell whose user has interrupted a line: it keeps that as `sys.last_type`
    program = """
import pathlib, sys, time, wren
sys.ps1 = "In [1]: "
sys.last_type, sys.last_value, sys.last_traceback = KeyboardInterrupt, KeyboardInterrupt(), None
def touch(name):
    time.sleep(0.1)
    pathlib.Path(name).touch()
wren.local_executor(workers=1).map(touch, ["a", "b"])
"""
    # When the shell ends, calls of later lines are done first
    run_python(program)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_functions_of_a_notebooks_cells_run(run_python: RunPython) -> None:
    # Given functions and classes that were defined line by line, and again
    program = """
import sys, wren
sys.ps1 = "In [1]: "
cells = [
    "executor = wren.local_executor(workers=1)",
    "class Point:\\n    def __init__(self, x): self.x = x",
    "def move(point): return Point(point.x + step)",
    "step = 1\\nfirst = executor.call_async(move, Point(1)).result(20)",
    "step = 10",
    "second = executor.call_async(move, Point(1)).result(20)",
    "def move(point): return Point(-point.x)",
    "third = executor.call_async(move, Point(1)).result(20)",
    "print(first.x, second.x, third.x, all(type(each) is Point for each in (first, second, third)))",
]
for cell in cells:
    exec(compile(cell, "<cell>", "exec"), globals())
"""
    assert run_python(program).split() == ["2", "11", "-1", "True"]


# ---- forks and threads


@pytest.mark.api("In a forked child an executor starts anew; the parent's unfinished calls are `CallLost` there.")
@pytest.mark.parametrize(
    ("make", "start"),
    [("wren.local_executor(workers=1)", "call_async"), ("wren.Executor(max_workers=1)", "submit")],
)
def test_a_forked_child_starts_anew(make: str, start: str, run_python: RunPython) -> None:
    program = f"""
import os, sys, time, warnings, wren
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads
executor = {make}
done = executor.{start}(abs, -1)
assert done.result(20) == 1
def wait(path):
    while not os.path.exists(path):
        time.sleep(0.005)
pending = executor.{start}(wait, "go")
child = os.fork()
if child == 0:
    try:
        assert done.result(0) == 1
        assert isinstance(pending.exception(5), wren.errors.CallLost)
        assert executor.{start}(abs, -2).result(20) == 2
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
open("go", "w").close()
assert pending.result(20) is None
print(executor.{start}(abs, -3).result(20))
"""
    assert run_python(program).strip() == "3"


def test_a_child_of_multiprocessing_may_use_an_executor_of_its_parent(run_python: RunPython) -> None:
    program = """
import multiprocessing, warnings, wren
warnings.simplefilter("ignore", DeprecationWarning)
executor = wren.local_executor(workers=1)
executor.call_async(abs, -1).result(20)
def child(queue):
    queue.put(executor.map(abs, [-1, -2])[1].result(20))
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
print(queue.get(timeout=20))
process.join(20)
assert process.exitcode == 0, process.exitcode
"""
    assert run_python(program).strip() == "2"


def test_threads_that_share_an_executor_get_their_own_futures(executor: wren.FunctionExecutor) -> None:
    found: dict[int, object] = {}

    def use(number: int) -> None:
        futures = executor.map_reduce(add_one, range(number, number + 5), sum)
        done, not_done = executor.wait(futures)
        found[number] = (len(done), not_done, executor.get_result(futures))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: (6, [], sum(range(number + 1, number + 6))) for number in range(12)}
    assert executor.get_result() == []


def test_threads_that_ask_for_everything_lose_nothing_and_keep_its_order(executor: wren.FunctionExecutor) -> None:
    # Given one job, and threads that all ask for what was not collected yet
    executor.map(add_one, range(50))
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(executor.get_result())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then nothing is lost, and what one thread gets is in order
    assert {value for values in found for value in values} == set(range(1, 51))
    assert all(values == sorted(values) for values in found)
