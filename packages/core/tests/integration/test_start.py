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
    except FileNotFoundError:
        return True
    return state == "Z"  # whoever adopted it has not asked yet


def test_the_first_call_runs_in_it_and_the_second_worker_is_another(run_python: RunPython) -> None:
    program = """
        assert executor.call_async(os.getpid, ()).result(20) == pid
        assert not start._spares
        start.prepare()
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


def test_executors_and_workers_that_end_leave_no_descriptor(run_python: RunPython) -> None:
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


def dedented(program: str) -> str:
    return "\n".join(line[8:] for line in program.splitlines())
