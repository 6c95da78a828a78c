"""What functions get for the parameters that wren fills in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from wren.wire import Buffer
from wren.worker.nested import process

STORAGES: Final = frozenset({"storage", "internal_storage"})


class _Worker(Protocol):
    """Of `wren.worker.run.WorkerStorage` what is needed here."""

    def put(self, bucket: str, key: str, chunks: Sequence[Buffer]) -> None: ...

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes: ...


class Storage:
    """The executor's storage, in a function that asks for it.  `bucket`: the one that the executor uses itself."""

    def __init__(self, worker: _Worker, bucket: str) -> None:
        self._worker = worker
        self.bucket = bucket

    def put_object(self, bucket: str, key: str, data: Buffer) -> None:
        """Write an object, wholly or not at all, in the place of one that is there."""
        if not isinstance(data, bytes | bytearray | memoryview):
            kind = type(data).__name__  # type: ignore[unreachable]  # the type checker believes the annotation
            raise TypeError(f"what is to be put into {bucket}/{key} is of type {kind}: give bytes")
        self._worker.put(bucket, key, [data])

    def get_object(self, bucket: str, key: str) -> bytes:
        """The content of an object; `wren.errors.NoSuchKey` if there is none."""
        return self.get_range(bucket, key, 0, None)

    def get_range(self, bucket: str, key: str, start: int, stop: int | None, etag: str | None = None) -> bytes:
        """Bytes `start` to `stop` of an object; `wren.errors.PreconditionFailed` if it has another etag."""
        try:
            return self._worker.get(bucket, key, start, stop, if_match=etag)
        except FileNotFoundError as error:
            from wren.errors import NoSuchKey

            raise NoSuchKey(f"there is no object {bucket}/{key}") from error

    def __repr__(self) -> str:
        return f"<wren.Storage {self.bucket}>"


def fill_in(names: Sequence[str], call: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a call: those that were given, and the parameters `names` that were not.

    Raises what opening the storage does.
    """
    kwargs = dict(given)
    for name in names:
        if name not in given:
            kwargs[name] = call if name == "id" else _storage()
    return kwargs


def _storage() -> Any:
    if process.storage is None:
        from wren.errors import CallError

        raise CallError(
            "a call that runs within another gets a storage only where that one has a parameter for it, too: "
            "give it one, or return the future"
        )
    return process.storage()


def storage_of(bucket: str, opened: Callable[[], _Worker]) -> Callable[[], Storage]:
    """What opens a job's storage for its functions."""
    return lambda: Storage(opened(), bucket)
