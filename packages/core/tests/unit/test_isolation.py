"""What one call changes, the next one does not see.  In processes of their own: Isolation wraps functions of `os`."""

from collections.abc import Callable
from textwrap import dedent

import pytest

# A worker that has taken over its client's environment and folder, and is about to run calls.
WORKER = """
import os, signal, sys
from wren.worker.isolation import Isolation

isolation = Isolation()
home = os.getcwd()
isolation.take_over({"KEPT": "kept", "OTHER": "other"}, home)
"""

Worker = Callable[[str], list[str]]


@pytest.fixture
def worker(run_python: Callable[[str], str]) -> Worker:
    """Runs a program in a worker and returns the lines that it printed."""

    def run(program: str) -> list[str]:
        return run_python(WORKER + dedent(program)).splitlines()

    return run


def test_taking_over_makes_the_environment_exactly_the_clients(worker: Worker) -> None:
    assert worker("print(sorted(os.environ.items()))") == ["[('KEPT', 'kept'), ('OTHER', 'other')]"]


def test_taking_over_again_makes_it_the_new_one(worker: Worker) -> None:
    program = """
        os.mkdir("new")
        isolation.take_over({"OTHER": "changed", "NEW": "new"}, os.path.join(home, "new"))
        print(sorted(os.environ.items()), os.path.relpath(os.getcwd(), home))
        os.environ["NEW"] = "1"
        os.chdir("/")
        isolation.restore()
        print(sorted(os.environ.items()), os.path.relpath(os.getcwd(), home))
    """
    assert worker(program) == ["[('NEW', 'new'), ('OTHER', 'changed')] new"] * 2


@pytest.mark.parametrize(
    "change",
    [
        "os.environ['NEW'] = '1'",
        "os.environ['KEPT'] = 'changed'",
        "del os.environ['KEPT']",
        "os.environ.clear()",
        "os.environ.update(KEPT='changed', NEW='1')",
        "os.environ |= {'NEW': '1'}",
        "os.environ.pop('KEPT')",
        "os.environ.setdefault('NEW', '1')",
        "os.environb[b'NEW'] = b'1'",
        "isolation.apply({'NEW': '1', 'KEPT': None, 'OTHER': 'changed', 'MISSING': None})",
    ],
)
def test_the_environment_is_put_back(worker: Worker, change: str) -> None:
    # Given a call that changes it, for its subprocesses too
    program = f"""
        import subprocess
        show = lambda: print(sorted(os.environ.items()), flush=True)
        {change}
        show()
        isolation.restore()
        show()
        subprocess.run(["/usr/bin/env"], check=True)
    """
    changed, restored, *inherited = worker(program)
    # Then it was changed, and is as before
    assert changed != restored
    assert restored == "[('KEPT', 'kept'), ('OTHER', 'other')]"
    assert sorted(inherited) == ["KEPT=kept", "OTHER=other"]


def test_a_calls_own_variables_are_set_and_unset_for_it(worker: Worker) -> None:
    program = """
        isolation.apply({"NEW": "1", "KEPT": None, "OTHER": "changed", "MISSING": None})
        print(sorted(os.environ.items()))
    """
    assert worker(program) == ["[('NEW', '1'), ('OTHER', 'changed')]"]


@pytest.mark.parametrize(
    "change",
    [
        "os.chdir('/')",
        "os.fchdir(os.open('/', os.O_RDONLY))",
        "import contextlib; contextlib.chdir('/').__enter__()",
        "os.mkdir('sub'); os.chdir('sub'); os.rmdir('../sub')",
    ],
)
def test_the_working_directory_is_put_back(worker: Worker, change: str) -> None:
    program = f"""
        {change}
        isolation.restore()
        print(os.getcwd() == home)
    """
    assert worker(program) == ["True"]


def test_a_working_directory_that_is_gone_does_not_end_the_worker(worker: Worker) -> None:
    program = """
        os.mkdir("gone")
        isolation.take_over({}, os.path.abspath("gone"))
        os.chdir("/")
        os.rmdir(os.path.join(home, "gone"))
        os.environ["NEW"] = "1"
        isolation.restore()
        print(os.getcwd(), dict(os.environ))
    """
    assert worker(program) == ["/ {}"]


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: None", "signal.default_int_handler"])
def test_signal_handlers_are_put_back(worker: Worker, handler: str) -> None:
    program = f"""
        before = {{number: signal.getsignal(number) for number in signal.valid_signals()}}
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
            signal.signal(number, {handler})
        isolation.restore()
        print({{number: signal.getsignal(number) for number in signal.valid_signals()}} == before)
    """
    assert worker(program) == ["True"]


def test_a_handler_of_the_workers_own_is_what_is_put_back(run_python: Callable[[str], str]) -> None:
    program = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from wren.worker.isolation import Isolation
isolation = Isolation()
signal.signal(signal.SIGINT, signal.SIG_DFL)
isolation.restore()
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""
    assert run_python(program) == "True\n"


@pytest.mark.parametrize("alarm", ["signal.alarm(1000)", "signal.setitimer(signal.ITIMER_REAL, 1000, 1000)"])
def test_an_alarm_of_a_call_does_not_ring_in_the_next(worker: Worker, alarm: str) -> None:
    program = f"""
        {alarm}
        isolation.restore()
        print(signal.getitimer(signal.ITIMER_REAL))
    """
    assert worker(program) == ["(0.0, 0.0)"]


def test_several_changes_by_several_calls_are_each_put_back(worker: Worker) -> None:
    program = """
        for number in range(3):
            os.environ["NEW"] = str(number)
            os.chdir("/")
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            isolation.restore()
            print(sorted(os.environ), os.getcwd() == home, signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)
    """
    assert worker(program) == ["['KEPT', 'OTHER'] True True"] * 3


def test_a_call_that_touched_nothing_costs_nothing(worker: Worker) -> None:
    # Given a worker whose last call read what there is, and changed nothing
    program = """
        os.environ.get("KEPT"), os.getcwd(), signal.getsignal(signal.SIGTERM)
        called = []
        sys.setprofile(lambda frame, event, function: called.append(frame.f_code.co_name if event == "call" else event))
        isolation.restore()
        sys.setprofile(None)
        print(called)
    """
    # Then putting back is one call that calls nothing; the last event is the profiler's own end
    assert worker(program) == ["['restore', 'return', 'c_call']"]


def test_what_was_put_back_is_not_looked_at_again(worker: Worker) -> None:
    program = """
        os.environ["NEW"] = "1"
        isolation.restore()
        called = []
        sys.setprofile(lambda frame, event, function: called.append(event))
        isolation.restore()
        sys.setprofile(None)
        print(called)
    """
    assert worker(program) == ["['call', 'return', 'c_call']"]


def test_the_wrapped_functions_are_still_themselves_to_their_callers(worker: Worker) -> None:
    program = """
        print(os.chdir.__name__, os.chdir("/"), os.getcwd())
        print(signal.signal(signal.SIGUSR1, signal.SIG_IGN) == signal.SIG_DFL)
        try:
            os.chdir("/missing")
        except FileNotFoundError as error:
            print(error.filename)
    """
    assert worker(program) == ["chdir None /", "True", "/missing"]
