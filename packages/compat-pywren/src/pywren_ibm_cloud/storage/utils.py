"""What programs imported from here: the error for a missing object, which is wren's, and references to objects."""

from typing import Any, NoReturn

from wren.errors import NoSuchKey, Unsupported

__all__ = ["CloudObject", "CloudObjectUrl", "StorageNoSuchKeyError"]

StorageNoSuchKeyError = NoSuchKey


class CloudObject:
    """A reference to an object.  Making one raises Unsupported, which says what to use."""

    def __init__(self, storage_backend: Any = None, bucket: Any = None, key: Any = None) -> NoReturn:
        raise Unsupported("CloudObjects do not exist in wren yet: return the object's bucket and key from the function")


class CloudObjectUrl:
    """A reference to what is behind a URL.  Making one raises Unsupported, which says what to use."""

    def __init__(self, url_path: Any = None) -> NoReturn:
        raise Unsupported("CloudObjectUrls do not exist in wren yet: pass the URL itself")
