"""Opens the storage of a configuration for a program: what `wren.Storage` is made of."""

from collections.abc import Mapping
from typing import Any

from wren import plugins, spi
from wren.config import Config

__all__ = ["open_storage"]


def open_storage(config: Mapping[str, Any] | None, name: str | None) -> spi.Storage[Any]:
    """The storage of that name, by default the configuration's, else localhost.  ConfigError, PluginNotFound."""
    loaded = Config.load(config)
    plugins.check_sections(loaded)
    kind = plugins.load_storage(name or loaded.wren.storage or "localhost")
    return kind(loaded.options(kind.name, kind.options_type))
