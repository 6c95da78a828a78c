"""A job: one function over many calls, everything pickled, nothing invoked yet."""

import hashlib
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wren.errors import BindingError
from wren.serialize import pickle_function
from wren.spi import Arguments, Invocation
from wren.table import CallTable
from wren.wire import Blob, Buffer, Handle, Header

__all__ = ["CallOptions", "Job", "make_header", "pickle_blob"]

HASH_LIMIT: Final = 1 << 20  # bytes; hashing a larger function costs more than sending it down a pipe again


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What the caller of call_async, map or map_reduce may ask for each call."""

    env: Mapping[str, str | None] = field(default_factory=dict)
    timeout: float | None = None  # seconds; None: no limit
    retries: int = 0

    @classmethod
    def of(cls, extra_env: Mapping[str, Any] | None, timeout: float | None, retries: int) -> "CallOptions":
        """Checked options; values of `extra_env` become str, None stays and unsets."""
        if timeout == math.inf:
            timeout = None
        given: object = timeout
        if timeout is not None and not (isinstance(given, int | float) and given > 0):  # nor is NaN
            raise BindingError(f"timeout is {timeout!r}: give a number of seconds above 0, or None for no limit")
        if not isinstance(retries, int):
            raise BindingError(f"retries is {retries!r}: give how often a lost call may run again, 0 or more")
        if retries < 0:
            raise BindingError(f"retries is {retries}: give how often a lost call may run again, 0 or more")
        env = {str(name): value if value is None else str(value) for name, value in (extra_env or {}).items()}
        for name, value in env.items():
            if not name or "=" in name or "\0" in name or "\0" in (value or ""):
                raise BindingError(f"extra_env cannot set the variable {name!r}: a name has no '=', and neither a NUL")
        return cls(env, timeout, retries)


@dataclass(slots=True, eq=False)
class Job:
    """What the engine works on: the wire header, the function, the arguments, and the table of its calls."""

    header: Header
    function: Sequence[Buffer]
    arguments: Arguments
    table: CallTable
    options: CallOptions
    attempts: dict[int, int] = field(default_factory=dict)  # which one succeeded, by call, where it is not the first
    inputs: "Job | None" = None  # of a reducer: its map, whose stored results must stay until it has settled
    launched: bool = False
    stores: bool = False  # something of it is in the storage
    then: Callable[[], None] | None = None  # done once, in the engine's thread, when every call has settled
    current: dict[int, int] = field(default_factory=dict)  # the attempt that counts, by call, where it is not the first
    invocations: list[Invocation] = field(default_factory=list)  # all that a backend with a queue of its own was given

    def invoke(self, calls: Sequence[int], attempt: int = 0) -> Invocation:
        """Some of the calls, to be handed to the backend."""
        return Invocation(self.header, calls, self.arguments, self.function, attempt, self.options.timeout)


def pickle_blob(function: Callable[..., Any], *, hashed: bool) -> tuple[Blob, list[bytes]]:
    """A function's pickle and what it is known by: its SHA-256, or a unique name if it is large and not `hashed`."""
    chunks = pickle_function(function)
    size = sum(map(len, chunks))
    if size > HASH_LIMIT and not hashed:
        return Blob(os.urandom(16).hex(), size), chunks
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return Blob(digest.hexdigest(), size), chunks


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
) -> Header:
    """The header of a new job, with a key of its own."""
    return Header(
        executor=executor,
        job=job,
        mac_key=os.urandom(32),
        function=blob,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        storage=storage,
        bucket=bucket,
        env=options.env,
        inject=inject,
        timeout=options.timeout,
        persist=persist,
        gathered=gathered,
        inline=inline,
        heartbeat=heartbeat,
    )
