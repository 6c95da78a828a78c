"""The storage objects of old: wren's own, made from a configuration of either style; the internal ones are none."""

from collections.abc import Mapping
from typing import Any, NoReturn

from pywren_ibm_cloud.options import configuration
from wren.errors import Unsupported
from wren.worker import objects

__all__ = ["InternalStorage", "Storage"]


class Storage(objects.Storage):
    """A user's door to the storage: wren's, with the parameters of old.  `executor_id` is accepted."""

    def __init__(
        self,
        pywren_config: Mapping[str, Any] | None = None,
        storage_backend: str | None = None,
        executor_id: str | None = None,
    ) -> None:
        super().__init__(configuration(pywren_config), storage_backend)


class InternalStorage:
    """PyWren's own door to the storage, which programs have used, too.  Making one raises Unsupported."""

    def __init__(self, storage_config: Any = None) -> NoReturn:
        raise Unsupported(f"{type(self).__name__} objects do not exist in wren: use Storage, which has what users need")
