"""The worker that is started before anybody needs it: used once, and never left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

Eventually = Callable[[Callable[[], bool]], None]
RunPython = Callable[..., str]

FIRST = """
import os, signal, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads
import wren
executor = wren.local_executor(workers=1)
from wren.local import start
(spare,) = start._spares
pid = spare.process.pid
"""


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # whoever adopted it has not asked yet


def test_the_first_call_runs_in_it_and_the_second_worker_is_another(run_python: RunPython) -> None:
    program = """
        assert executor.call_async(os.getpid, ()).result(20) == pid
        assert not start._spares
        start.prepare(1)
        assert not start._spares
        with wren.local_executor(workers=2) as two:
            assert pid not in two.get_result(two.map(lambda _: os.getpid(), range(9)))
        assert not start._spares
    """
    run_python(FIRST + dedented(program))


def test_it_ends_with_a_client_that_never_needed_it(run_python: RunPython, eventually: Eventually) -> None:
    pid = int(run_python(FIRST + "print(pid)"))
    eventually(lambda: gone(pid))


def test_another_takes_its_place_when_it_was_killed(run_python: RunPython) -> None:
    program = """
        os.kill(pid, signal.SIGKILL)
        assert executor.call_async(os.getpid, ()).result(20) != pid
    """
    run_python(FIRST + dedented(program))


@pytest.mark.parametrize("before", ["", "executor.call_async(len, ('abc',)).result(20)"], ids=["unused", "used"])
def test_a_forked_child_has_workers_of_its_own_and_says_nothing_of_its_parents(
    run_python: RunPython, before: str
) -> None:
    program = """
        child = os.fork()
        if not child:
            import gc
            gc.collect()
            assert executor.call_async(os.getppid, ()).result(20) == os.getpid()
            assert wren.local_executor(workers=1).call_async(os.getppid, ()).result(20) == os.getpid()
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        assert executor.call_async(os.getpid, ()).result(20) == pid
    """
    # A warning of a process that is still running would go there
    program = "sys.stderr = sys.__stderr__ = sys.stdout\n" + dedented(program)
    assert run_python(FIRST + before + "\n" + program) == ""


def test_a_function_that_makes_an_executor_starts_none(run_python: RunPython) -> None:
    program = """
        def make():
            wren.local_executor()
            from wren.local import start
            return len(start._spares)
        assert executor.call_async(make, ()).result(20) == 0
    """
    run_python(FIRST + dedented(program))


def test_executors_and_workers_that_end_leave_no_descriptor(
    run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WREN_WREN__RECORDS", "false")  # they are written now and then, into a file that is open then
    program = """
        import gc
        from wren.errors import WorkerLost
        def descriptors():
            gc.collect()
            return len(os.listdir("/proc/self/fd"))
        executor.call_async(len, ("abc",)).result(20)
        before = descriptors()
        for _ in range(10):
            with wren.local_executor(workers=1) as other:
                try:
                    other.call_async(os._exit, (3,)).result(20)
                except WorkerLost:
                    pass
        executor.call_async(len, ("abc",)).result(20)
        assert descriptors() == before
    """
    run_python(FIRST + dedented(program))


def test_a_number_of_workers_that_cannot_be_leaves_nothing_that_has_ended(run_python: RunPython) -> None:
    program = """
        import wren
        from wren.local import start
        executor = wren.FunctionExecutor(config={"wren": {"backend": "localhost"}, "localhost": {"workers": -1}})
        try:
            executor.call_async(len, ("abc",))
        except wren.errors.ConfigError:
            pass
        with wren.local_executor(workers=1) as other:
            (spare,) = start._spares
            assert other.call_async(os.getpid, ()).result(20) == spare.process.pid
    """
    run_python("import os\n" + dedented(program))


QUIET = 'import warnings; warnings.simplefilter("ignore", DeprecationWarning)'  # of forks beside threads

TOGETHER = """
import contextlib, os, signal, sys, time
import wren
from wren.errors import WorkerLost
from wren.local import start

def stat(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()

def parent(pid):
    return int(stat(pid)[1])

def state(pid):
    try:
        return stat(pid)[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def children():
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if parent(name) == os.getpid():
                found.add(int(name))
    return found

def both():
    # the ids of both workers
    found = set()
    while len(found) < 2:
        found |= set(executor.get_result(executor.map(lambda _: time.sleep(0.01) or os.getpid(), range(4))))
    return found

executor = wren.local_executor(workers=2)
(zygote,) = {spare.process._zygote for spare in start._spares}
"""


def test_the_first_two_are_forked_from_one_that_has_imported_what_they_need(run_python: RunPython) -> None:
    program = """
        assert {parent(pid) for pid in both()} == {zygote.process.pid}
        assert parent(zygote.process.pid) == os.getpid()
        assert executor.call_async(lambda: os.getsid(0) == os.getpid(), ()).result(20)
        assert executor.call_async(lambda: "cloudpickle" in sys.modules, ()).result(20)
    """
    run_python(TOGETHER + dedented(program))


def test_a_worker_that_has_had_single_calls_sleeps_when_there_are_no_more(run_python: RunPython) -> None:
    program = """
        for _ in range(10):
            pid = executor.call_async(os.getpid, ()).result(20)
        def run():
            with open(f"/proc/{pid}/schedstat") as file:
                return file.read()
        before = ""
        while run() != before:  # it has been on a processor since
            before = run()
            time.sleep(0.1)
        assert state(pid) == "S"
    """
    run_python(TOGETHER + dedented(program))


def test_how_they_ended_is_known_as_of_any_other_and_nothing_is_left_of_them(run_python: RunPython) -> None:
    program = """
        first = both()
        def lose(function, *args):
            future = executor.call_async(function, args)
            return str(future.exception(20))
        assert "exit code 3" in lose(os._exit, 3), lose(os._exit, 3)
        def killed():
            print("last words", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        error = lose(killed)
        assert "SIGSEGV" in error and "last words" in error, error
        second = both()
        while first & second:  # one of them had ended twice
            lose(os._exit, 3)
            second = both()
        assert zygote.process.returncode == 0
        assert children() == second, (children(), second)
    """
    run_python(TOGETHER + dedented(program))


def test_they_end_with_their_parent_and_others_take_their_place(run_python: RunPython) -> None:
    program = """
        first = both()
        future = executor.call_async(time.sleep, (600,))
        while not future.running():
            time.sleep(0.01)
        zygote.process.send_signal(signal.SIGKILL)
        assert isinstance(future.exception(20), WorkerLost)
        second = both()
        assert not first & second
        for pid in first:
            while state(pid) not in "ZX":
                time.sleep(0.01)
    """
    run_python(TOGETHER + dedented(program))


def test_their_parents_end_costs_each_the_call_that_it_ran_and_no_other(run_python: RunPython) -> None:
    program = """
        from wren.local.process import WorkerProcess
        unclaimed = WorkerProcess.unclaimed
        def slowly(worker):
            time.sleep(0.05)  # in which the worker goes on
            return unclaimed(worker)
        both()
        futures = executor.map(lambda _: time.sleep(0.001), range(2000))
        while not futures[500].done():
            time.sleep(0.001)
        WorkerProcess.unclaimed = slowly
        zygote.process.kill()
        lost = [future for future in futures if future.exception(20)]
        assert len(lost) <= 2, len(lost)
    """
    run_python(TOGETHER + dedented(program))


def test_a_client_that_forks_while_a_worker_is_buried_does_not_wait_for_the_child(run_python: RunPython) -> None:
    program = """
        from wren.local.process import WorkerProcess
        reap, children = WorkerProcess.reap, []
        def reap_slowly(worker):
            children.append(os.fork())
            if not children[-1]:
                time.sleep(600)
            return reap(worker)
        WorkerProcess.reap = reap_slowly
        first = both()
        while first & both():
            assert isinstance(executor.call_async(os._exit, (3,)).exception(20), WorkerLost)
        assert zygote.process.returncode == 0
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    """
    run_python(QUIET + TOGETHER + dedented(program))


def test_a_client_may_fork_while_it_waits_for_their_parent(run_python: RunPython) -> None:
    program = """
        import threading
        both()
        threading.Thread(target=zygote.process.wait, daemon=True).start()
        time.sleep(0.1)
        child = os.fork()
        if not child:
            sys.exit(len(both()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        both()
    """
    run_python(QUIET + TOGETHER + dedented(program))


def test_where_the_interpreter_starts_a_thread_by_itself_they_are_not_forked(
    run_python: RunPython, tmp_path: Path
) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(
        SITE + "    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    )
    program = f"""
        import os
        os.environ["PYTHONPATH"] = {str(tmp_path)!r}
    """
    check = """
        assert {parent(pid) for pid in both()} == {zygote.process.pid}
        assert "wren.worker.pipe" in executor.call_async(lambda: "".join(sys.orig_argv), ()).result(20)
        assert executor.call_async(lambda: "".join(sys.orig_argv), ()).result(20).count("wren.worker") == 1
    """
    run_python(dedented(program) + TOGETHER + dedented(check))


def test_a_client_that_ignores_its_children_is_told_how_they_ended(run_python: RunPython) -> None:
    program = """
        both()
        slow = executor.call_async(lambda: time.sleep(0.5) or signal.getsignal(signal.SIGCHLD), ())
        while not (slow.running() or slow.done()):
            time.sleep(0.01)
        error = executor.call_async(os._exit, (3,)).exception(20)
        assert "exit code 3" in str(error), error
        assert slow.result(20) == signal.SIG_IGN  # as with any other worker
    """
    run_python("import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)" + TOGETHER + dedented(program))


def test_an_interrupt_of_all_that_the_client_has_started_ends_no_worker(run_python: RunPython) -> None:
    program = """
        both()
        future = executor.call_async(time.sleep, (0.3,))
        while not (future.running() or future.done()):
            time.sleep(0.01)
        zygote.process.send_signal(signal.SIGINT)
        assert future.exception(20) is None
    """
    run_python(TOGETHER + dedented(program))


def test_a_thread_that_the_interpreter_starts_does_not_keep_their_parent(run_python: RunPython, tmp_path: Path) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(
        SITE + "    threading.Thread(target=time.sleep, args=(600,)).start()"
    )
    program = f"""
        import os
        os.environ["PYTHONPATH"] = {str(tmp_path)!r}
    """
    check = """
        first = both()
        while first & both():
            assert isinstance(executor.call_async(os._exit, (3,)).exception(20), WorkerLost)
        assert zygote.process.returncode == 0
    """
    run_python(dedented(program) + TOGETHER + dedented(check))


def test_a_parent_that_was_stopped_is_made_to_say_how_they_ended(run_python: RunPython) -> None:
    program = """
        both()
        zygote.process.send_signal(signal.SIGSTOP)
        error = executor.call_async(os._exit, (3,)).exception(20)
        assert "exit code 3" in str(error), error
    """
    run_python(TOGETHER + dedented(program))


@pytest.mark.parametrize("how", ["time.sleep(600)", "os.kill(os.getpid(), 19)"], ids=["busy", "stopped"])
def test_a_parent_that_hangs_before_it_forks_them_is_given_up_after_a_while(
    run_python: RunPython, tmp_path: Path, how: str
) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(SITE.replace("wren.worker", "wren.worker.zygote") + f"    {how}")
    program = f"""
        import os
        os.environ["PYTHONPATH"] = {str(tmp_path)!r}
    """
    check = """
        from wren.local import policy
        policy.START_SECONDS = 3.0
        assert executor.call_async(len, ("abc",)).result(30) == 3
        both()
        assert zygote.process.returncode == -signal.SIGKILL
    """
    run_python(dedented(program) + TOGETHER + dedented(check))


SITE = """
import os, sys, threading, time
if "wren.worker" in "".join(sys.orig_argv):
"""


def without_start(trouble: str, folder: Path) -> str:
    folder.joinpath("sitecustomize.py").write_text(SITE + trouble)
    return f"""
import os
os.environ["PYTHONPATH"] = {str(folder)!r}
import wren
executor = wren.local_executor(workers=2)
"""


def test_who_cannot_start_says_why(run_python: RunPython, tmp_path: Path) -> None:
    program = without_start("    os.write(2, b'no way'); os._exit(7)", tmp_path)
    said = run_python(program + "print(executor.call_async(len, ('abc',)).exception(20))")
    assert "exit code 7; its last output: no way" in said


def test_where_there_is_room_for_one_process_that_does_the_calls(run_python: RunPython, tmp_path: Path) -> None:
    program = without_start("    def fork(): raise BlockingIOError(11, 'no room')\n    os.fork = fork", tmp_path)
    run_python(program + "assert executor.get_result(executor.map(abs, range(9)), timeout=20) == list(range(9))")


def dedented(program: str) -> str:
    return "\n".join(line[8:] for line in program.splitlines())
