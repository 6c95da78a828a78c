"""What users see of a storage, the same in a program and in its functions: objects, files, and objects without a name.

It is built on primitives that each storage has on both sides: `wren.spi.Storage`, and `wren.worker.run.WorkerStorage`.
Users come here by `wren.Storage`; a worker imports this when a function asks for the storage.  Standard library only.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, Protocol, Self, TypeAlias, overload

from wren.wire import Buffer
from wren.worker.bodies import Body, Source
from wren.worker.content import Content
from wren.worker.given import Range, byte_range, check_text, new_file, object_name
from wren.worker.listing import ObjectInfo
from wren.worker.nested import process

if TYPE_CHECKING:
    from io import BufferedReader

__all__ = ["CloudObject", "ObjectInfo", "Storage"]

TEMPORARY: Final = "wren.objects"  # the prefix of objects that were given no key

Name: TypeAlias = str | os.PathLike[str]


class CloudObject(NamedTuple):
    """Where an object is; to be returned by functions and given to others."""

    backend: str  # the storage's name
    bucket: str
    key: str


class Primitives(Protocol):
    """Of a storage what is needed here: a client's, or a worker's half of one."""

    def put(self, bucket: str, key: str, chunks: Iterable[Buffer]) -> None: ...

    def get(
        self, bucket: str, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> Buffer: ...

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterable[tuple[str, int, float, str]]: ...

    def head(self, bucket: str, key: str) -> tuple[str, int, float, str]: ...

    def delete(self, bucket: str, keys: Iterable[str]) -> None: ...


class Storage:
    """Objects of a storage, by bucket and key.  May be shared by threads; a context manager, which closes it.

    `config` is a mapping of sections that overrides the configuration file key by key; `backend` is a storage's name,
    by default the configuration's, else localhost.  In a function, without either, it is the storage of the call's
    executor, which the parameter `storage` gives as well.  `backend` and `bucket` say where wren's own objects are.

    Every method raises `wren.errors.StorageError`, and `wren.StorageNoSuchKey` where there is no object of that key;
    TypeError and ValueError for arguments that can be none.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, backend: str | None = None) -> None:
        if process.is_worker and config is None and backend is None:
            here: Storage = opened_here()
            self._hold(here._primitives, here.backend, here.bucket, None)
            return
        from wren.storage import open_storage

        opened = open_storage(config, backend)
        self._hold(opened, opened.name, opened.bucket, opened.close)

    @classmethod
    def over(cls, primitives: Primitives, backend: str, bucket: str) -> Self:
        """That of an executor, which sees to closing it."""
        made = cls.__new__(cls)
        made._hold(primitives, backend, bucket, None)
        return made

    def _hold(self, primitives: Primitives, backend: str, bucket: str, close: Callable[[], None] | None) -> None:
        self._primitives, self._close, self._closed = primitives, close, False
        self.backend, self.bucket = backend, bucket

    # ---- objects

    def put_object(self, bucket: str, key: str, body: Body) -> None:
        """Write an object, wholly or not at all, in the place of one that is there.

        `body`: bytes or another buffer, text, which is encoded as UTF-8, a binary file, which is read from where it is,
        or an iterable of chunks.  Files and chunks are streamed; what they raise comes out as it is.
        """
        name = object_name(bucket, key)
        source = Source(body, name)
        try:
            with self._asked(name):
                self._primitives.put(bucket, key, source)
        except Exception:
            if source.error is not None:
                raise source.error from None
            raise

    @overload
    def get_object(
        self,
        bucket: str,
        key: str,
        stream: Literal[False] = False,
        extra_get_args: Mapping[str, Any] | None = None,
        *,
        range: Range | None = None,
    ) -> bytes: ...

    @overload
    def get_object(
        self,
        bucket: str,
        key: str,
        stream: Literal[True],
        extra_get_args: Mapping[str, Any] | None = None,
        *,
        range: Range | None = None,
    ) -> "BufferedReader": ...

    @overload
    def get_object(
        self,
        bucket: str,
        key: str,
        stream: bool,
        extra_get_args: Mapping[str, Any] | None = None,
        *,
        range: Range | None = None,
    ) -> Any: ...

    def get_object(
        self,
        bucket: str,
        key: str,
        stream: bool = False,
        extra_get_args: Mapping[str, Any] | None = None,
        *,
        range: Range | None = None,
    ) -> Any:
        """The content of an object: bytes, or with `stream` an `io.BufferedReader`, which holds some MiB of it.

        `range`: from which byte to which, the last left out, None for the end; a negative first one counts from there.
        `extra_get_args` may have the same as `{"Range": "bytes=0-99"}`.  An object that is overwritten while it is read
        is `wren.errors.PreconditionFailed`: what was read is never of two versions.
        """
        content = self._content(bucket, key)
        start, stop = byte_range(range, extra_get_args)
        return content.stream(start, stop) if stream else content.read(start, stop)

    def head_object(self, bucket: str, key: str) -> ObjectInfo:
        """Size in bytes, time in epoch seconds and etag of an object."""
        with self._asked(object_name(bucket, key)):
            return ObjectInfo(*self._primitives.head(bucket, key))

    def delete_object(self, bucket: str, key: str) -> None:
        """Remove an object; no error if there is none."""
        self.delete_objects(bucket, [key])

    def delete_objects(self, bucket: str, key_list: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        if isinstance(key_list, str):
            raise TypeError(f"key_list is {key_list!r}: give a list of keys")
        keys = list(key_list)
        for key in keys:
            object_name(bucket, key)
        if keys:
            with self._asked(f"{bucket}/{keys[0]}" if len(keys) == 1 else f"{len(keys)} objects of {bucket}"):
                self._primitives.delete(bucket, keys)

    def list_objects(self, bucket: str, prefix: str | None = None) -> list[ObjectInfo]:
        """The objects whose keys begin with `prefix`, in the order of their keys."""
        check_text("bucket", bucket)
        if prefix:
            check_text("prefix", prefix)
        with self._asked(f"{bucket}/{prefix or ''}"):
            return [ObjectInfo(*found) for found in self._primitives.list(bucket, prefix or "")]

    def list_keys(self, bucket: str, prefix: str | None = None) -> list[str]:
        """Their keys."""
        return [found.key for found in self.list_objects(bucket, prefix)]

    # ---- files

    def upload_file(self, file_name: Name, bucket: str, key: str | None = None) -> None:
        """Write a file's content as an object, by default under the file's name."""
        path = Path(file_name)
        with path.open("rb") as file:
            self.put_object(bucket, path.name if key is None else key, file)

    def download_file(self, bucket: str, key: str, file_name: Name | None = None) -> None:
        """Write an object's content into a file, wholly or not at all; by default into one of the key's last part here.

        Raises OSError where the file cannot be made.
        """
        content = self._content(bucket, key)
        target = Path(key.rpartition("/")[2] if file_name is None else file_name)
        if not target.name:
            raise ValueError(f"the key {key!r} ends without the name of a file: give file_name")
        with new_file(target) as file:
            for block in content.blocks(0, None):
                file.write(block)

    # ---- objects without a name

    def put_cloudobject(self, body: Body, bucket: str | None = None, key: str | None = None) -> CloudObject:
        """Write an object, by default under a new key in the executor's bucket, and say where it is."""
        made = CloudObject(self.backend, bucket or self.bucket, key or f"{TEMPORARY}/{os.urandom(16).hex()}")
        self.put_object(made.bucket, made.key, body)
        return made

    def get_cloudobject(self, cloudobject: CloudObject, stream: bool = False) -> Any:
        """As `get_object`."""
        _, bucket, key = self._mine(cloudobject)
        return self.get_object(bucket, key, stream)

    def delete_cloudobject(self, cloudobject: CloudObject) -> None:
        """Remove one; no error if it is not there."""
        self.delete_cloudobjects([cloudobject])

    def delete_cloudobjects(self, cloudobjects: Iterable[CloudObject]) -> None:
        """Remove them; those that are not there are no error."""
        keys: dict[str, list[str]] = {}
        for each in cloudobjects:
            _, bucket, key = self._mine(each)
            keys.setdefault(bucket, []).append(key)
        for bucket, some in keys.items():
            self.delete_objects(bucket, some)

    put_cobject, get_cobject = put_cloudobject, get_cloudobject
    delete_cobject, delete_cobjects = delete_cloudobject, delete_cloudobjects

    # ---- the end

    def close(self) -> None:
        """Let go of connections.  Idempotent; what is asked of it later is a StorageError."""
        self._closed, close, self._close = True, self._close, None
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled: give the function a parameter named storage, which it gets")

    def __repr__(self) -> str:
        return f"<wren.Storage {self.backend}, bucket {self.bucket}>"

    # ---- what they share

    def get_range(self, bucket: str, key: str, start: int, stop: int | None, etag: str | None) -> Buffer:
        """Bytes of an object, by one request; `wren.errors.PreconditionFailed` if it has another etag."""
        with self._asked(f"{bucket}/{key}"):
            return self._primitives.get(bucket, key, start, stop, if_match=etag)

    def _content(self, bucket: str, key: str) -> Content:
        name = object_name(bucket, key)
        return Content(name, partial(self.get_range, bucket, key), partial(self.head_object, bucket, key))

    def _mine(self, cloudobject: CloudObject) -> CloudObject:
        if not isinstance(cloudobject, CloudObject):
            raise TypeError(f"the cloud object is {cloudobject!r}: give what put_cloudobject has returned")
        if cloudobject.backend != self.backend:
            from wren.errors import StorageError

            raise StorageError(f"{cloudobject} is in another storage than {self.backend}: open that one")
        return cloudobject

    @contextmanager
    def _asked(self, name: str) -> Iterator[None]:
        """Have what a worker's half raises come out as what a client's does."""
        from wren.errors import NoSuchKey, StorageError, WrenError

        if self._closed:
            raise StorageError(f"{self!r} is closed, and {name} was asked for: make another one")
        try:
            yield
        except WrenError:
            raise
        except FileNotFoundError as error:
            raise NoSuchKey(f"there is no object {name} in the {self.backend} storage") from error
        except Exception as error:
            raise StorageError(f"the {self.backend} storage cannot use {name}: {error}") from error


def opened_here() -> Any:
    """The storage of the call that runs in this process."""
    if process.storage is None:
        from wren.errors import CallError

        raise CallError(
            "this call has no storage open: give its function, or the one that it runs within, a parameter named "
            "storage, or return the future"
        )
    return process.storage()
