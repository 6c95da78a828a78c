"""Runs CPython's own tests of concurrent.futures with `wren.Executor` in the place of ProcessPoolExecutor.

A program for the interpreter that brings those tests: `test_concurrent_futures.py` starts it, in an environment that
has wren-core.  Its arguments are ids of tests, none for all; for each test that ran it prints a line of JSON.
Nothing of CPython is copied: the tests are those of the installed package `test`.
"""

import concurrent.futures
import json
import multiprocessing
import os
import sys
import unittest
from collections.abc import Sequence
from typing import Any

from test import support
from test import test_concurrent_futures as cpython

import wren
from wren.futures import Future
from wren.spi import Stored
from wren.table import CANCELLED, FAILED, OK, PENDING, RUNNING, CallTable
from wren.wire import CallStatus, Header


class ProcessPoolExecutor(wren.Executor):
    """Under the name that the tests write into programs; some of them always give a context."""

    def __init__(self, max_workers: int | None = None, mp_context: object = None) -> None:
        super().__init__(max_workers, backend="localhost")


class WrenMixin(cpython.ExecutorMixin):  # type: ignore[misc]  # it has no types
    executor_type = ProcessPoolExecutor

    def get_context(self) -> Any:
        """For the semaphores and managers that tests make: as wren's workers, not forked."""
        return multiprocessing.get_context("spawn")


MIXINS = (
    cpython.InitializerMixin,
    cpython.FailingInitializerMixin,
    cpython.ProcessPoolShutdownTest,
    cpython.WaitTests,
    cpython.AsCompletedTests,
    cpython.ProcessPoolExecutorTest,
    cpython.ExecutorDeadlockTest,
)


class NoEngine:
    """The owner of a future that runs nothing."""

    def cancel(self, table: CallTable, calls: Sequence[int]) -> None:
        for call in calls:
            table.cancelled(call)

    def kill(self, table: CallTable, calls: Sequence[int]) -> Sequence[int]:
        return []

    def load(self, job: Header, call: int, stored: Stored) -> Any:
        raise NotImplementedError

    def read_status(self, job: Header, call: int, stored: Stored) -> CallStatus:
        raise NotImplementedError

    def finished(self, job: str) -> None:
        pass


STATES = {
    cpython.PENDING: PENDING,
    cpython.RUNNING: RUNNING,
    cpython.CANCELLED: CANCELLED,
    cpython.CANCELLED_AND_NOTIFIED: CANCELLED,
    cpython.FINISHED: OK,
}


def create_future(state: str = cpython.PENDING, exception: BaseException | None = None, result: object = None) -> Any:
    """One of wren's in the given state, for the tests of futures themselves."""
    table = CallTable("cpython", "A000", 1, NoEngine())
    table.states[0] = STATES[state] if exception is None else FAILED
    table.values[0] = result if exception is None else exception
    return Future(table, 0)


class WrenFutureTests(cpython.FutureTests):  # type: ignore[misc]  # it has no types
    """With wren's futures; the other tests mix the standard's own with wren's."""

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
        for name, value in ours.items():
            patch = unittest.mock.patch.object(cpython, name, value)
            patch.start()
            self.addCleanup(patch.stop)


class Lines(unittest.TestResult):
    """Prints what became of each test."""

    def _line(self, test: unittest.TestCase, outcome: str, why: str = "") -> None:
        name = f"{type(test).__name__}.{test.id().rpartition('.')[2]}"
        print(json.dumps({"id": name, "outcome": outcome, "why": why}), file=sys.__stdout__, flush=True)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._line(test, "passed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._line(test, "skipped", reason)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._line(test, "failed", self._exc_info_to_string(err, test))

    addError = addFailure


def suite(names: Sequence[str]) -> unittest.TestSuite:
    cpython.create_executor_tests
    before = set(vars(cpython))
    for mixin in MIXINS:
        cpython.create_executor_tests(mixin, executor_mixins=(WrenMixin,))
    classes = [getattr(cpython, name) for name in sorted(set(vars(cpython)) - before)] + [WrenFutureTests]
    loader = unittest.TestLoader()
    tests = [test for case in classes for test in loader.loadTestsFromTestCase(case)]
    if names:
        tests = [test for test in tests if f"{type(test).__name__}.{test._testMethodName}" in names or type(test).__name__ in names]
    return unittest.TestSuite(tests)


if __name__ == "__main__":
    import unittest.mock
    import time
    t = time.monotonic()
    suite(sys.argv[1:]).run(Lines())
    print(time.monotonic() - t, file=sys.stderr)
