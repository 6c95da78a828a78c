"""Calls that run in a worker where their results are asked for, in the middle of the call that asks.

The tables and futures of `wren.deferred`'s executors.  Who asks is told what the client would be told: arguments and
results are copies, and exceptions have their tracebacks as text.
"""

import os
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from wren.binding import Bound
from wren.errors import CallCancelled, CallError
from wren.futures import Future
from wren.job import CallOptions
from wren.serialize import pickle_arguments, pickle_function
from wren.spi import Arguments, Pickled
from wren.table import OK, PENDING, RUNNING, CallTable, Details, Owner
from wren.watches import Callback, Waiter, Watch, call_back
from wren.worker import run
from wren.worker.injected import Injected
from wren.worker.nested import DEEPEST
from wren.worker.stream import FAILED, PLAIN

__all__ = ["DeferredFuture", "DeferredTable", "here", "lock"]

lock: Final = threading.RLock()  # of who runs a call, or describes it


class Pickling(Protocol):
    """Who pickles a result in which there may be futures."""

    def reduce(self, future: "DeferredFuture") -> tuple[Any, tuple[Any]]:
        """What a future is pickled as."""


class _Here(threading.local):
    """What the current thread does."""

    depth: int = 0  # calls that it runs, one within the other
    seen: Pickling | None = None  # while it pickles a result


here: Final = _Here()


_tables: "Final[weakref.WeakSet[DeferredTable]]" = weakref.WeakSet()


def _after_fork() -> None:
    """Of the threads only one is in the child: what the others ran there is nobody's yet."""
    for table in list(_tables):
        table.forked()
    lock.release()


# Nobody holds it for long, and in the child nobody else does.
os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=_after_fork)


class DeferredTable(CallTable):
    """A job whose calls run in this process when somebody asks for their results, or nowhere."""

    __slots__ = ("_function", "_runners", "arguments", "code", "inject", "inputs", "options", "parameter")

    def __init__(
        self,
        owner: Owner,
        executor_id: str,
        job_id: str,
        function: Callable[..., Any],
        bound: Bound,
        options: CallOptions,
        *,
        inputs: "DeferredTable | None" = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(executor_id, job_id, 1 if inputs is not None else len(bound.args), owner)
        self.code = b"".join(pickle_function(function))
        self.arguments: Arguments = pickle_arguments(_numbered(bound))
        self.inject = tuple(name for name in bound.inject if name != "id" or inputs is not None)
        self.options = options
        self.inputs, self.parameter = inputs, parameter  # of a reducer: its map, and which of its parameters gets that
        self._function: Callable[..., Any] | None = None
        self._runners: dict[int, int] = {}  # which thread runs a call
        _tables.add(self)

    def forked(self) -> None:
        """In a forked child."""
        for call, runner in self._runners.items():
            if runner != threading.get_ident():
                self.wait_again(call)

    # ---- who asks for a result has it computed

    def wait(self, call: int, timeout: float | None, *, until_failure: bool = False) -> bool:
        if timeout is None or timeout > 0:
            self.runhere(call)
        return super().wait(call, timeout, until_failure=until_failure)

    def watch(self, call: int, future: Any) -> Watch:
        self.runhere(call)
        return super().watch(call, future)

    def watch_any(self, waiter: Waiter) -> None:
        first = self.states.find(PENDING)
        if first >= 0:
            self.runhere(first)
        super().watch_any(waiter)

    def add_callback(self, call: int, future: Any, callback: Callback) -> None:
        self.wait(call, None)
        call_back([callback], future)

    def runhere(self, call: int) -> None:
        """Run a call, unless it has run, was cancelled or described, or another thread runs it."""
        with lock:
            if self.states[call] == RUNNING and self._runners.get(call) == threading.get_ident():
                raise RuntimeError(f"call {call} of job {self.job_id} waits for its own result")
            if self.states[call] != PENDING:
                return
            self.run(call)
            self._runners[call] = threading.get_ident()
        depth, seen, started = here.depth, here.seen, time.time()
        here.depth, here.seen = depth + 1, None
        try:
            tag, chunks = self._run(call)
        finally:
            here.depth, here.seen = depth, seen
        body = b"".join(chunks)
        if tag == FAILED:
            self.fail(call, pickle.loads(body), Details(started))  # noqa: S301 - made by this process
            return
        value = pickle.loads(body) if tag == PLAIN else Pickled(body)  # noqa: S301 - likewise
        self.settle_one(call, value, Details(started, time.time()))

    def _run(self, call: int) -> run.Result:
        """As `wren.worker.run.run_call`, in the middle of another call."""
        if here.depth > DEEPEST:
            return FAILED, run.failure(
                CallError(
                    f"call {call} of job {self.job_id} runs within {DEEPEST} others, and there it ends: "
                    "does its function ask for a call of itself?"
                )
            )
        try:
            if self.inputs is not None:
                args, kwargs = self._gather(self.inputs)
            else:
                args, kwargs = pickle.loads(b"".join(self.arguments.pickled(call)))  # noqa: S301 - likewise
            function = self._function = self._function or pickle.loads(self.code)  # noqa: S301 - likewise
        except _InputFailed as error:
            return FAILED, run.failure(error.error)
        except BaseException as error:  # noqa: BLE001 - unpickling runs the user's code
            return FAILED, run.failure(error, kind="arguments", message="the call cannot be loaded by the worker")
        injected = Injected()
        try:
            kwargs = injected.fill_in(self.inject, call, kwargs)
            with _environment(self.options.env):
                return run.run(function, args, kwargs)
        except Exception as error:  # noqa: BLE001 - whatever opening a storage raises
            return FAILED, run.failure(error)
        finally:
            injected.leave()

    def _gather(self, inputs: "DeferredTable") -> run.Arguments:
        """A reducer's arguments: copies, as everywhere."""
        results = []
        for call in range(len(inputs)):
            inputs.wait(call, None)
        for call in range(len(inputs)):
            state, value = inputs.outcome(call)
            if state != OK:
                raise _InputFailed(
                    value
                    or CallCancelled(
                        f"call {call} of job {inputs.job_id}, whose result this reducer needs, was cancelled"
                    )
                )
            results.append(value)
        args = [(results,)] if self.parameter is None else [()]
        kwargs = {} if self.parameter is None else {self.parameter: results}
        loaded: run.Arguments = pickle.loads(  # noqa: S301 - likewise
            b"".join(pickle_arguments(Bound(args, [kwargs])).pickled(0))
        )
        return loaded


class _InputFailed(Exception):
    """A call that a reducer needs has failed."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _numbered(bound: Bound) -> Bound:
    """The calls' numbers as arguments: what is described may be some of the calls, and they keep theirs."""
    if "id" not in bound.inject:
        return bound
    keywords = bound.kwargs or [{}] * len(bound.args)
    return Bound(bound.args, [{"id": number} | given for number, given in enumerate(keywords)])


@contextmanager
def _environment(env: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in env}
    try:
        _set(env)
        yield
    finally:
        _set(before)


def _set(env: Mapping[str, str | None]) -> None:
    for name, value in env.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class DeferredFuture(Future[Any]):
    """The result of a call that may be returned, or computed here."""

    __slots__ = ()
    table: DeferredTable

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        if here.seen is None:
            raise TypeError(
                f"{self!r} cannot be pickled: return it, alone or in what is returned, or pass what it gives, "
                "future.result()"
            )
        return here.seen.reduce(self)
