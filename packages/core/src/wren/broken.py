"""What the futures of `wren.Executor` raise where those of ProcessPoolExecutor would call their pool broken.

Code that was written for that one catches BrokenProcessPool, and PicklingError for a result that cannot be pickled.
Imported when there is such a failure: BrokenProcessPool is in a module that imports half of `multiprocessing`.
"""

from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from pickle import PicklingError
from typing import Final

from wren.errors import CallLost, OutOfMemory, RemoteError, SerializationError, WorkerLost

__all__ = ["as_of_a_pool"]


class PoolWorkerLost(WorkerLost, BrokenProcessPool):
    """`WorkerLost`, as of a process pool."""


class PoolOutOfMemory(OutOfMemory, BrokenProcessPool):
    """`OutOfMemory`, as of a process pool."""


class PoolCallLost(CallLost, BrokenProcessPool):
    """`CallLost`, as of a process pool."""


class PoolRemoteError(RemoteError, BrokenProcessPool):
    """`RemoteError`, as of a process pool."""


class PoolSerializationError(SerializationError, PicklingError, BrokenProcessPool):
    """`SerializationError`, as of a process pool: which is broken by what its two sides cannot exchange."""


_KINDS: Final[Mapping[type[BaseException], type[Exception]]] = {
    WorkerLost: PoolWorkerLost,
    OutOfMemory: PoolOutOfMemory,
    CallLost: PoolCallLost,
    RemoteError: PoolRemoteError,
    SerializationError: PoolSerializationError,
}


def as_of_a_pool(error: BaseException) -> BaseException:
    """The error, of a type that code written for ProcessPoolExecutor knows; what the function raised stays as it is."""
    kind = _KINDS.get(type(error))
    if kind is None:
        return error
    same = kind(*error.args)
    same.__dict__.update(error.__dict__)  # its notes
    same.__cause__ = error.__cause__
    return same
