"""What functions get for the parameters that wren fills in."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from wren.worker.nested import process

if TYPE_CHECKING:
    from wren.worker.objects import Primitives, Storage

STORAGES: Final = frozenset({"storage", "internal_storage"})


class Injected:
    """The parameters of one call that wren fills in, from before it until it is over."""

    def __init__(self) -> None:
        self._entered: list[Any] = []  # the context managers among them
        self._pid = os.getpid()

    def fill_in(self, names: Sequence[str], call: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of a call: those that were given, and the parameters `names` that were not.

        Raises what opening a storage, and making a client, does.
        """
        kwargs = dict(given)
        for name in names:
            if name in given:
                continue
            if name == "id":
                kwargs[name] = call
            elif name in STORAGES:
                from wren.worker.objects import opened_here

                kwargs[name] = opened_here()
            else:
                kwargs[name] = self._client(name)
        return kwargs

    def _client(self, name: str) -> Any:
        handle = process.clients.get(name)
        if handle is None:
            from wren.errors import CallError

            raise CallError(
                f"a call that runs within another gets {name} only where that one has a parameter for it, too: "
                "give it one, or return the future"
            )
        from wren.worker.run import open_handle

        client = open_handle(handle)
        if not hasattr(type(client), "__exit__"):
            return client
        entered = client.__enter__()
        self._entered.append(client)
        return entered

    def leave(self) -> None:
        """The call is over.  What that raises is printed, as all that a call has to say beside its result."""
        while self._entered and os.getpid() == self._pid:  # of a forked child they are not
            try:
                self._entered.pop().__exit__(None, None, None)
            except Exception:  # noqa: BLE001 - of an SDK; the call has its result
                import traceback

                traceback.print_exc()


def storage_of(backend: str, bucket: str, opened: Callable[[], "Primitives"]) -> "Callable[[], Storage]":
    """What opens a job's storage for its functions."""

    def storage() -> "Storage":
        from wren.worker.objects import Storage

        return Storage.over(opened(), backend, bucket)

    return storage
