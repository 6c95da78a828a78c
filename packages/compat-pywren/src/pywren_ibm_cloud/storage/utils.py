"""What programs imported from here: the error for a missing object, and references to objects, which are wren's."""

from typing import Any, NoReturn

from wren.errors import NoSuchKey, Unsupported
from wren.worker.objects import CloudObject

__all__ = ["CloudObject", "CloudObjectUrl", "StorageNoSuchKeyError"]

StorageNoSuchKeyError = NoSuchKey


class CloudObjectUrl:
    """A reference to what is behind a URL.  Making one raises Unsupported, which says what to use."""

    def __init__(self, url_path: Any = None) -> NoReturn:
        raise Unsupported("CloudObjectUrls do not exist in wren yet: pass the URL itself")
