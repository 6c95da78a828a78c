"""The storage objects of old, which can be imported and not be made: wren has no counterpart of them yet."""

from typing import Any, NoReturn

from wren.errors import Unsupported

__all__ = ["InternalStorage", "Storage"]


class Storage:
    """A user's door to the storage.  Making one raises Unsupported, which says what to use."""

    def __init__(self, pywren_config: Any = None, storage_backend: Any = None, executor_id: Any = None) -> NoReturn:
        raise Unsupported(
            f"{type(self).__name__} objects do not exist in wren yet: give the function a parameter named storage, "
            "and in your own process use the library of that storage"
        )


class InternalStorage(Storage):
    """PyWren's own door to the storage, which programs have used, too.  Making one raises Unsupported."""

    def __init__(self, storage_config: Any = None) -> NoReturn:
        super().__init__(storage_config)
