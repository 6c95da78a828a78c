"""An object as it is listed: a record that both sides have, in a room of its own, as it costs nothing to import."""

from typing import NamedTuple

__all__ = ["ObjectInfo"]


class ObjectInfo(NamedTuple):
    """An object as it is listed; `mtime` in epoch seconds."""

    key: str
    size: int
    mtime: float
    etag: str
