"""A job: one function over many calls, everything pickled, nothing invoked yet."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from wren.defaults import TIMEOUT, left_out, number
from wren.errors import BindingError, CallLost, WorkerLost
from wren.spi import Arguments, Invocation, Limits, Runtime
from wren.table import CallTable
from wren.wire import NOTHING, Blob, Buffer, Handle, Header, without

if TYPE_CHECKING:
    from wren.entries import Entry
    from wren.nested import Followed

__all__ = ["DETECTED", "CallOptions", "Choice", "Job", "Work", "make_header"]

RETRIED: Final = (WorkerLost, CallLost)  # what is tried again where the caller names nothing else
RetryOn: TypeAlias = type[BaseException] | Iterable[type[BaseException]]
_NO_LIMITS: Final = Limits()

_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
FOREVER: Final = 1e9  # seconds, as no limit: clocks have one


class Choice(NamedTuple):
    """Which modules travel: names, or absolute paths."""

    include: tuple[str, ...] | None = ()  # in place of those that are found; empty: those; None: none
    exclude: tuple[str, ...] = ()  # of those that are found

    @classmethod
    def of(cls, include: Iterable[Any] | None, exclude: Iterable[Any] | None) -> "Choice":
        """What a caller has given: names, paths and modules."""
        included = None if include is None else _checked_modules("include_modules", include)
        excluded = _checked_modules("exclude_modules", exclude or ())
        for each in excluded:
            if os.sep in each:
                raise BindingError(f"exclude_modules has the path {each}: give names of modules")
        return cls(included, () if included else excluded)


DETECTED: Final = Choice()


class CallOptions(NamedTuple):
    """What the caller of call_async, map or map_reduce may ask for each call."""

    env: Mapping[str, str | None] = NOTHING
    timeout: float | None = None  # seconds; None: no limit
    retries: int = 0
    retry_on: tuple[type[BaseException], ...] = RETRIED
    memory: int | None = None  # MiB; None: the executor's
    per_activation: int = 1  # calls that share one
    persist: bool | None = None  # results are stored, and stay; None: as the executor says
    choice: Choice = DETECTED

    def __repr__(self) -> str:
        return without(self, "env")

    @classmethod
    def of(
        cls,
        extra_env: Mapping[str, Any] | None,
        timeout: float | None,
        retries: int,
        *,
        limits: Limits = _NO_LIMITS,
        retry_on: RetryOn | None = None,
        memory: int | None = None,
        per_activation: int = 1,
        persist: bool | None = None,
        choice: Choice = DETECTED,
    ) -> "CallOptions":
        """Checked options; values of `extra_env` become str, None stays and unsets."""
        return cls(
            _checked_env(extra_env),
            _checked_timeout(timeout, limits.timeout),
            _whole("retries", retries, 0, "how often a lost call may run again"),
            _checked_errors(retry_on),
            None if memory is None else _checked_memory(memory, limits.memory),
            _whole("calls_per_activation", per_activation, 1, "how many calls share an activation"),
            persist,
            choice,
        )


def _checked_modules(name: str, given: Iterable[Any]) -> tuple[str, ...]:
    if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
        raise BindingError(f"{name} is {given!r}: give a list of names or paths")
    modules = tuple(each.__name__ if isinstance(each, ModuleType) else each for each in given)
    for each in modules:
        if not isinstance(each, str | os.PathLike) or not os.fspath(each):
            raise BindingError(f"{name} has {each!r}: give names of modules, or paths of their files or folders")
    # Not by pathlib, whose import would be the first.
    return tuple(os.path.abspath(each) if _is_path(each) else str(each) for each in modules)  # noqa: PTH100


def _is_path(module: str | os.PathLike[str]) -> bool:
    return not isinstance(module, str) or os.sep in module or module in (".", "..")


def _checked_env(extra_env: Mapping[str, Any] | None) -> dict[str, str | None]:
    unchecked: object = extra_env
    if not isinstance(unchecked, Mapping | None):
        raise BindingError(f"extra_env is of type {type(unchecked).__qualname__}: give a dict of names and values")
    env = {str(name): value if value is None else str(value) for name, value in (extra_env or {}).items()}
    for name, value in env.items():
        place = f"extra_env cannot set the variable {name!r}"
        if not name or "=" in name or "\0" in name or "\0" in (value or ""):
            raise BindingError(f"{place}: names have no '=', and neither they nor values have a NUL")
        try:
            os.fsencode(name + (value or ""))
        except UnicodeEncodeError:  # a lone surrogate, with which no process can be told
            raise BindingError(f"{place}: it or its value has characters that no text can have") from None
    return env


def _checked_timeout(timeout: float | None, most: float | None) -> float | None:
    if left_out(timeout, TIMEOUT):
        return min(float(TIMEOUT), most) if most is not None else float(TIMEOUT)
    if timeout is None or _is_no_limit(timeout):
        return None
    if not _is_positive(timeout):
        raise BindingError(f"timeout is {timeout!r}: give a number of seconds above 0, or None for no limit")
    if most is not None and timeout > most:
        raise BindingError(f"timeout is {timeout:g} s, and the backend allows {most:g} s at most: give less")
    return float(timeout)


def _is_no_limit(value: object) -> bool:
    seconds = number(value)
    return seconds is not None and seconds >= FOREVER


def _is_positive(value: object) -> bool:
    seconds = number(value)
    return seconds is not None and seconds > 0  # NaN is not


def _checked_memory(memory: int, bounds: tuple[int, int] | None) -> int:
    memory = _whole("runtime_memory", memory, 1, "a number of MiB")
    if bounds is not None and not bounds[0] <= memory <= bounds[1]:
        raise BindingError(f"runtime_memory is {memory} MiB, and the backend allows {bounds[0]} to {bounds[1]} MiB")
    return memory


def _checked_errors(retry_on: RetryOn | None) -> tuple[type[BaseException], ...]:
    if retry_on is None:
        return RETRIED
    kinds = (retry_on,) if isinstance(retry_on, type) or not isinstance(retry_on, Iterable) else tuple(retry_on)
    others: list[object] = [kind for kind in kinds if not _is_exception(kind)]
    if others:
        raise BindingError(f"retry_on has {others[0]!r}: give classes of exceptions")
    return kinds


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _whole(name: str, value: object, least: int, what: str) -> int:
    # numpy's are whole numbers, too
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise BindingError(f"{name} is {value!r}: give {what}, {least} or more")
    return int(value)


class Work(NamedTuple):
    """What a job is to do, before an engine has made a job of it."""

    function: Blob
    code: Sequence[Buffer]  # the function's pickle, in chunks
    arguments: Arguments
    inject: tuple[str, ...]
    options: CallOptions
    name: str = ""  # of the function, for people; empty: its client does not have it
    opens: bool = False  # calls open the storage for what they were given


@dataclass(slots=True, eq=False)
class Job:
    """What the engine works on: the wire header, the function, the arguments, and the table of its calls."""

    header: Header
    function: Sequence[Buffer]
    arguments: Arguments
    table: CallTable
    options: CallOptions
    runtime: Runtime = field(default_factory=Runtime)
    attempts: dict[int, int] = field(default_factory=dict)  # which one succeeded, by call, where it is not the first
    inputs: "Job | None" = None  # of a reducer: its map, whose stored results must stay until it has settled
    launched: bool = False
    held: set[int] | None = None  # calls that are not launched with the others, but when their time has come
    stores: bool = False  # something of it is in the storage
    keeps: bool = False  # and stays there: the caller wants it to persist
    then: Callable[[], None] | None = None  # done once, in the engine's thread, when every call has settled
    current: dict[int, int] = field(default_factory=dict)  # the attempt that counts, by call, where it is not the first
    invocations: list[Invocation] = field(default_factory=list)  # all that a backend with a queue of its own was given
    follows: bool = False  # futures that its functions return are followed
    wanted: bool = True  # False: its owner has ended it
    nested: "dict[int, Followed]" = field(default_factory=dict)  # by call, what waits for the calls that it returned
    depth: int = 0  # of a nested one: how many calls deep
    name: str = ""  # of its function, for people
    entry: "Entry | None" = None  # where job records are written
    modules: Sequence[Buffer] = ()  # packed, where they ride along

    def release(self, call: int) -> bool:
        """A call is held no longer; False if it was not, so that of two that ask one is told so."""
        try:
            (self.held or set()).remove(call)
        except KeyError:
            return False
        return True

    def invoke(self, calls: Sequence[int], attempt: int = 0) -> Invocation:
        """Some of the calls, to be handed to the backend."""
        shared = self.arguments, self.function, attempt, self.options.timeout, self.modules
        return Invocation(self.header, calls, *shared)


def make_header(
    executor: str,
    job: str,
    blob: Blob,
    options: CallOptions,
    *,
    inject: tuple[str, ...] = (),
    storage: Handle | None = None,
    bucket: str = "",
    persist: bool = False,
    gathered: bool = False,
    inline: int | None = None,
    heartbeat: float | None = None,
    modules: Blob | None = None,
    backend: str = "",
    clients: Mapping[str, Handle] = NOTHING,
) -> Header:
    """The header of a new job, with a key of its own."""
    key, env, timeout = os.urandom(32), options.env, options.timeout
    # By position, as by name they take twice as long.
    shared = storage, bucket, None, env, inject, timeout, persist, gathered, inline, heartbeat
    return Header(executor, job, key, blob, _PYTHON, modules, *shared, backend, clients)
