"""What wren itself keeps in a storage: large functions and arguments on the way there, results and statuses back."""

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from wren import wire
from wren.errors import NoSuchKey, SerializationError, StorageError, StorageUnavailable
from wren.serialize import UNEXPLAINED, StoredArguments
from wren.spi import Arguments, Feature, Limits, Listed, Pickled, Storage, Stored
from wren.wire import Blob, Buffer, CallStatus, Failure, Header, Span
from wren.worker.run import PAUSES

__all__ = [
    "Packer",
    "fetch",
    "list_statuses",
    "read_result",
    "read_returned",
    "read_status",
]

T_co = TypeVar("T_co", covariant=True)

INLINE: Final = 1 << 16  # bytes of a function, of its modules, of arguments or of a stored result that ride along
DIRECT_INLINE: Final = 1 << 20  # bytes of a result that comes back on the backend's channel although there is a storage
ENVELOPE: Final = 4096  # bytes of a payload beside the function and the arguments, environment not counted
DAY: Final = 86_400.0  # seconds


class Packed(NamedTuple):
    """A job's function, modules and arguments, of which what is large is stored now."""

    function: Blob
    modules: Blob | None
    arguments: Arguments
    in_storage: bool  # whether any of it is


class Packer:
    """Puts what does not fit into payloads into the storage, for one engine."""

    def __init__(self, storage: Storage[Any], limits: Limits, retention: float) -> None:
        self._storage, self._limits, self._retention = storage, limits, retention
        self._reachable = Feature.WORKER in storage.features

    def result_inline(self, stored: bool) -> int | None:
        """Bytes of a result that may ride in a status; `stored`: the job stores its results anyway."""
        wanted = (INLINE if stored else DIRECT_INLINE) if self._reachable else None
        return min((limit for limit in (wanted, self._limits.result) if limit is not None), default=None)

    def pack(
        self,
        executor: str,
        job: str,
        blob: Blob,
        code: Sequence[Buffer],
        arguments: Arguments,
        modules: Blob | None = None,
        archive: Sequence[Buffer] = (),
    ) -> Packed:
        """Store what is large.  SerializationError where it can neither travel nor be stored; StorageError."""
        room = self._limits.payload
        if not self._reachable:
            self._check_fits(blob, modules, arguments)
            return Packed(blob, modules, arguments, in_storage=False)
        parts = 2 if modules is None else 3
        limit = INLINE if room is None else min(INLINE, (room - ENVELOPE) * 3 // 4 // parts)  # in base64
        function = blob if blob.size <= limit else self._store(blob, f"wren/functions/{blob.id}", code)
        if modules is not None and modules.size > limit and modules.key is None:
            modules = self._store(modules, f"wren/modules/{modules.id}", archive)
        spans = self._store_arguments(executor, job, arguments, limit)
        stored = bool(spans) or function.key is not None or (modules is not None and modules.key is not None)
        return Packed(function, modules, StoredArguments(arguments, spans) if spans else arguments, in_storage=stored)

    def _check_fits(self, blob: Blob, modules: Blob | None, arguments: Arguments) -> None:
        room = self._limits.payload
        if room is None:
            return
        shared = blob.size + (modules.size if modules is not None else 0)
        for call in range(len(arguments)):
            size = sum(map(len, arguments.pickled(call))) if arguments.stored(call) is None else 0
            if (shared + size) * 4 // 3 + ENVELOPE > room:
                raise SerializationError(
                    f"call {call} needs {size} bytes of arguments and {shared} of function and modules, more than the "
                    f"payload of {room} bytes that the backend takes: use a storage that workers can open, which the "
                    f"{self._storage.name} storage is not"
                )

    def _store(self, blob: Blob, key: str, content: Sequence[Buffer]) -> Blob:
        """Once for all jobs and sessions; again when it may soon be cleaned away."""
        bucket = self._storage.bucket
        try:
            fresh = time.time() - self._storage.head(bucket, key).mtime < self._retention * DAY / 2
        except NoSuchKey:
            fresh = False
        if not fresh:
            self._storage.put(bucket, key, content)
        return blob._replace(key=key)

    def _store_arguments(self, executor: str, job: str, arguments: Arguments, limit: int) -> dict[int, Span]:
        """All that are large in one object, streamed, to be read by range."""
        bucket, key = self._storage.bucket, f"{wire.job_prefix(executor, job)}data"
        spans: dict[int, Span] = {}

        def chunks() -> Iterator[Buffer]:
            start = 0
            for call in range(len(arguments)):
                if arguments.stored(call) is not None:
                    continue
                pickled = arguments.pickled(call)
                size = sum(map(len, pickled))
                if size > limit:
                    digest = hashlib.sha256()
                    for chunk in pickled:
                        digest.update(chunk)
                        yield chunk
                    spans[call] = Span(bucket, key, start, start + size, digest.hexdigest())
                    start += size

        source = chunks()
        first = next(source, None)
        if first is not None:
            self._storage.put(bucket, key, chain([first], source))
        return spans


def list_statuses(storage: Storage[Any], job: Header, shard: int) -> Iterator[Listed]:
    """The stored statuses of a shard of calls; what else somebody has put there is no matter of ours."""
    for info in storage.list(job.bucket, wire.status_prefix(job.executor, job.job, shard)):
        with contextlib.suppress(ValueError):
            call, attempt, state = wire.parse_status_key(info.key)
            yield Listed(job.executor, job.job, call, attempt, state, info.mtime)


def fetch(storage: Storage[Any], job: Header, call: int, stored: Stored) -> Pickled | Failure:
    """A stored result, or why there is none.  StorageError for what the job's own worker did not seal."""
    if stored.state == "ok":
        return Pickled(read_result(storage, job, call, stored))
    return read_status(storage, job, call, stored).failure or UNEXPLAINED


def read_result(storage: Storage[Any], job: Header, call: int, stored: Stored) -> memoryview:
    """The pickle of a stored result.  StorageError where there is none that the job's own worker sealed."""
    key = wire.result_key(job.executor, job.job, call, stored.attempt)
    return _unsealed(storage, job, key, call, stored, wire.unseal)


def read_returned(storage: Storage[Any], job: Header, call: int, attempt: int) -> memoryview:
    """The stored `wire.Returned` of an attempt, encoded.  StorageError as above."""
    key = wire.nested_key(job.executor, job.job, call, attempt)
    return _unsealed(storage, job, key, call, Stored(attempt, "nested"), wire.unseal)


def read_status(storage: Storage[Any], job: Header, call: int, stored: Stored) -> CallStatus:
    """The stored status of an attempt.  StorageError where there is none that the job's own worker sealed."""
    key = wire.status_key(job.executor, job.job, call, stored.attempt, stored.state)
    return _unsealed(storage, job, key, call, stored, wire.unseal_status)


class _Unseal(Protocol[T_co]):
    def __call__(
        self, key: bytes, executor: str, job: str, call: int, attempt: int, state: wire.State, sealed: Buffer
    ) -> T_co:
        """The content."""


def _unsealed(storage: Storage[Any], job: Header, key: str, call: int, stored: Stored, unseal: _Unseal[T_co]) -> T_co:
    sealed = _read(storage, job.bucket, key)
    try:
        return unseal(job.mac_key, job.executor, job.job, call, stored.attempt, stored.state, sealed)
    except ValueError as error:
        raise StorageError(f"{error}: {job.bucket}/{key} in the {storage.name} storage was not read") from error


def _read(storage: Storage[Any], bucket: str, key: str) -> Buffer:
    """An object, asked for again when the storage does not answer: it may have its moments."""
    for pause in PAUSES:
        try:
            return storage.get(bucket, key)
        except NoSuchKey:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the last try raises it
            time.sleep(pause)
    try:
        return storage.get(bucket, key)
    except NoSuchKey:
        raise
    except Exception as error:  # of a plugin with a bug, too
        raise StorageUnavailable(f"{bucket}/{key} in the {storage.name} storage cannot be read: {error}") from error
