"""The SDKs' clients that functions ask for by a parameter's name: which plugin makes each, and with which secrets.

It is the executor's own storage or monitor where that has the name, else the one of the section of that name, which is
loaded beside it when the first function asks for it.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from wren import plugins
from wren.config import Config
from wren.errors import BindingError, PluginNotFound
from wren.plugins import Kind
from wren.spi import Monitor, Storage
from wren.wire import NOTHING, Handle

__all__ = ["CLIENTS", "Clients"]

CLIENTS: Final[Mapping[str, Kind]] = {"ibm_cos": "storage", "rabbitmq": "monitor"}  # by the parameter's name


class Clients:
    """Those of the functions of one executor.

    `changed` is called when workers need other secrets than before.
    """

    def __init__(
        self,
        config: Config,
        own: Callable[[], Iterable[Storage[Any] | Monitor[Any]]],
        changed: Callable[[], None],
    ) -> None:
        self._config, self._own, self._changed = config, own, changed
        self._lock = threading.Lock()
        self._loaded: dict[str, Storage[Any] | Monitor[Any]] = {}  # beside the executor's own
        self._secrets: dict[str, str] = {}

    def handles(self, inject: Sequence[str]) -> Mapping[str, Handle]:
        """How workers make the clients among what a function asks for.

        BindingError where nobody is configured to make one, PluginError and ConfigError for one that cannot.
        """
        names = [name for name in inject if name in CLIENTS]
        return {name: self._handle(name) for name in names} if names else NOTHING

    def secrets(self) -> Mapping[str, str]:
        """What the workers need for those that were asked for."""
        return dict(self._secrets)

    def close(self) -> None:
        """Let go of what the plugins hold; they are loaded anew for a later job."""
        with self._lock:
            loaded = list(self._loaded.values())
            self._loaded.clear()
        for each in loaded:
            each.close()

    def _handle(self, name: str) -> Handle:
        with self._lock:
            plugin = self._find(name)
            handle, secrets = plugin.client(), plugin.secrets()
            fresh = not secrets.items() <= self._secrets.items()
            self._secrets |= secrets
        if fresh:
            self._changed()
        return handle

    def _find(self, name: str) -> Storage[Any] | Monitor[Any]:
        kind = CLIENTS[name]
        candidates: list[Storage[Any] | Monitor[Any]] = [*self._own(), *self._loaded.values()]
        for known in candidates:
            if known.name == name and isinstance(known, Monitor) == (kind == "monitor"):
                return known
        package = plugins.PACKAGES[kind, name]
        if not self._config.sections.get(name):
            raise BindingError(
                f"a function has a parameter {name!r}, and the configuration has no section [{name}] to fill it in: "
                f"add that, with the package {package}, or rename the parameter"
            )
        try:
            plugin = plugins.load(kind, name)
        except PluginNotFound as error:
            raise BindingError(
                f"a function has a parameter {name!r}, for which section [{name}] needs a package: "
                f"pip install {package}"
            ) from error
        made: Storage[Any] | Monitor[Any] = plugin(self._config.options(name, plugin.options_type))
        return self._loaded.setdefault(name, made)
