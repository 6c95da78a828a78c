"""Runs CPython's own tests of concurrent.futures with `wren.Executor` in the place of ProcessPoolExecutor.

A program for the interpreter that those tests belong to, started by `test_concurrent_futures.py` with names of test
classes; none are all.  It prints a line of JSON for each test.  The tests are those of the installed package `test`:
nothing of CPython is copied, and nothing of what is specific to threads is run.
"""

import json
import multiprocessing
import sys
import traceback
import unittest
import unittest.mock
from collections.abc import Sequence
from typing import Any, Final

from test import support  # type: ignore[import-not-found]  # typeshed leaves CPython's tests out
from test import test_concurrent_futures as cpython

import wren
from wren.spi import Stored
from wren.table import CANCELLED, FAILED, OK, PENDING, RUNNING, CallTable
from wren.wire import CallStatus, Header


class ProcessPoolExecutor(wren.Executor):
    """`wren.Executor` by the name that the tests write into programs; it takes the context that some always give."""

    def __init__(self, max_workers: int | None = None, mp_context: object = None) -> None:
        super().__init__(max_workers, backend="localhost")


class WrenMixin(cpython.ExecutorMixin):  # type: ignore[misc]  # CPython's tests have no types
    """What the tests make their executor with."""

    executor_type = ProcessPoolExecutor

    def get_context(self) -> Any:
        """For their managers and semaphores."""
        return multiprocessing.get_context("spawn")


MIXINS: Final = {
    "WrenInitializerTest": cpython.InitializerMixin,
    "WrenFailingInitializerTest": cpython.FailingInitializerMixin,
    "WrenProcessPoolShutdownTest": cpython.ProcessPoolShutdownTest,
    "WrenWaitTest": cpython.WaitTests,
    "WrenAsCompletedTest": cpython.AsCompletedTests,
    "WrenProcessPoolExecutorTest": cpython.ProcessPoolExecutorTest,
    "WrenExecutorDeadlockTest": cpython.ExecutorDeadlockTest,
}


# ---- the tests of futures, with wren's


class NoEngine:
    """The `wren.table.Owner` of a call that nothing runs."""

    def cancel(self, table: CallTable, calls: Sequence[int]) -> None:
        for call in calls:
            table.cancelled(call)

    def kill(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        return []

    def fetch(self, job: Header, call: int, stored: Stored) -> Any:
        raise AssertionError("nothing was stored")

    def read_status(self, job: Header, call: int, stored: Stored) -> CallStatus:
        raise AssertionError("nothing was stored")

    def finished(self, job: str) -> None:
        pass


STATES: Final = {
    cpython.PENDING: PENDING,
    cpython.RUNNING: RUNNING,
    cpython.CANCELLED: CANCELLED,
    cpython.CANCELLED_AND_NOTIFIED: CANCELLED,
    cpython.FINISHED: OK,
}


def create_future(
    state: str = cpython.PENDING, exception: BaseException | None = None, result: object = None
) -> wren.Future[Any]:
    """A future of wren's in the given state."""
    table = CallTable("cpython", "A000", 1, NoEngine())
    table.states[0] = STATES[state] if exception is None else FAILED
    table.values[0] = result if exception is None else exception
    return wren.Future(table, 0)


class WrenFutureTests(cpython.FutureTests):  # type: ignore[misc]  # CPython's tests have no types
    """In the other tests the module's futures are the standard library's, and mixed with wren's."""

    def setUp(self) -> None:
        super().setUp()
        ours = {
            "Future": create_future,
            "create_future": create_future,
            "PENDING_FUTURE": create_future(),
            "RUNNING_FUTURE": create_future(cpython.RUNNING),
            "CANCELLED_FUTURE": create_future(cpython.CANCELLED),
            "CANCELLED_AND_NOTIFIED_FUTURE": create_future(cpython.CANCELLED_AND_NOTIFIED),
            "EXCEPTION_FUTURE": create_future(cpython.FINISHED, exception=OSError()),
            "SUCCESSFUL_FUTURE": create_future(cpython.FINISHED, result=42),
        }
        for name, future in ours.items():
            self.enterContext(unittest.mock.patch.object(cpython, name, future))


# ---- running


class Lines(unittest.TestResult):
    """Prints what becomes of each test."""

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        _print_line(test, "passed", "")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802 - unittest's name
        _print_line(test, "skipped", reason)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802 - unittest's name
        _print_line(test, "failed", "".join(traceback.format_exception(*err)))

    addError = addFailure  # noqa: N815 - unittest's name


def _print_line(test: unittest.TestCase, outcome: str, why: str) -> None:
    name = ".".join(test.id().split(".")[-2:])
    print(json.dumps({"name": name, "outcome": outcome, "why": why}), flush=True)


def tests(names: Sequence[str]) -> unittest.TestSuite:
    """The tests of the named classes, which CPython's own function makes."""
    for mixin in MIXINS.values():
        cpython.create_executor_tests(mixin, executor_mixins=(WrenMixin,))
    classes = {name: getattr(cpython, name) for name in MIXINS}
    for case in classes.values():
        case.__module__ = "__main__"  # workers, which import CPython's module, find no such class there
    classes["WrenFutureTests"] = WrenFutureTests
    loader = unittest.TestLoader()
    return unittest.TestSuite(loader.loadTestsFromTestCase(classes[name]) for name in names or classes)


if __name__ == "__main__":
    support.verbose = 0  # nothing else may print
    tests(sys.argv[1:]).run(Lines())
