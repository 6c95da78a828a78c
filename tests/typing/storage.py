"""What a storage gives, in a program and in a function."""

import io
from typing import Any, assert_type

import wren


def program() -> None:
    with wren.Storage({"wren": {"storage": "memory"}}, backend="memory") as storage:
        assert_type(storage, wren.Storage)
        storage.put_object("bucket", "key", "text")
        storage.put_object("bucket", "key", [b"some", b"chunks"])
        assert_type(storage.get_object("bucket", "key"), bytes)
        assert_type(storage.get_object("bucket", "key", range=(1, None)), bytes)
        assert_type(storage.get_object("bucket", "key", stream=True), io.BufferedReader)
        assert_type(storage.list_keys("bucket"), list[str])
        assert_type(storage.head_object("bucket", "key").size, int)
        assert_type(storage.put_cloudobject(b"content"), wren.CloudObject)


def function(x: int, storage: wren.Storage) -> wren.CloudObject:
    return storage.put_cloudobject(str(x))


def mapped(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.map(function, [1]), list[wren.Future[wren.CloudObject]])
    assert_type(executor.storage, wren.Storage)
    assert_type(executor.map_reduce(function, [1], len), list[wren.Future[Any]])


def wrong(storage: wren.Storage) -> None:
    storage.put_object("bucket", "key", 5)  # error: arg-type | reportArgumentType
    storage.get_object("bucket", "key", range="0-5")  # error: call-overload | reportArgumentType
