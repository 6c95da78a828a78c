"""What the kit runs where a worker would: uses the worker's half of a storage or monitor, in a Python of its own.

`wren.testing.interpreters` starts it.  Standard library and wren.worker only; bytes cross as base64 in JSON.
"""

import base64
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from wren.wire import Handle
from wren.worker.run import Reporter, WorkerStorage, open_handle

__all__ = ["Source", "main", "report", "use_storage"]


class Source(Exception):
    """What the source of a put raises when it is told to."""


def main(entry: Callable[[Handle, Sequence[Any]], Any]) -> None:
    """Answer the task on standard input."""
    task = json.load(sys.stdin)
    json.dump(entry(Handle(task["target"], task["options"]), task["steps"]), sys.stdout)


def use_storage(handle: Handle, steps: Sequence[Any]) -> list[Any]:
    """For each step what it gave: base64 of a get, None of a put, and for an error the name of its type.

    Steps are `["get", bucket, key, start, stop, if_match]`, `["put", bucket, key, chunks]`, the same with "break",
    whose source fails after these chunks, `["list", bucket, prefix, after]`, `["head", bucket, key]` and
    `["delete", bucket, keys]`.
    """
    storage: WorkerStorage = open_handle(handle)
    return [_step(storage, *step) for step in steps]


def _step(storage: WorkerStorage, verb: str, bucket: str, key: Any, *rest: Any) -> Any:
    try:
        match verb:
            case "get":
                start, stop, *if_match = rest
                data = storage.get(bucket, key, start, stop, if_match=if_match[0] if if_match else None)
                return base64.b64encode(data).decode()
            case "list":
                return list(storage.list(bucket, key, *rest))
            case "head":
                return storage.head(bucket, key)
            case "delete":
                storage.delete(bucket, key)
            case _:
                storage.put(bucket, key, _chunks(rest[0], fails=verb == "break"))
    except FileNotFoundError:
        return "FileNotFoundError"  # or a kind of it
    except Exception as error:  # noqa: BLE001 - which one it was is the answer
        return type(error).__name__
    return None


def _chunks(encoded: Sequence[str], *, fails: bool) -> Iterator[bytes]:
    for chunk in encoded:
        yield base64.b64decode(chunk)
    if fails:
        raise Source


def report(handle: Handle, steps: Sequence[str]) -> int:
    """Report these messages, base64, and say how many there were."""
    reporter: Reporter = open_handle(handle)
    for message in steps:
        reporter.report(base64.b64decode(message))
    reporter.close()
    return len(steps)
