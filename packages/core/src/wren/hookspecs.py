"""What a plugin's entry point must offer: a module (or object) with one of these hooks."""

from typing import Any

import pluggy

from wren.spi import Compute, Monitor, Storage

PROJECT = "wren"
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec
def wren_compute() -> type[Compute[Any]]:  # type: ignore[empty-body]
    """The class of a compute backend; core constructs it with its parsed options."""


@hookspec
def wren_storage() -> type[Storage[Any]]:  # type: ignore[empty-body]
    """The class of a storage."""


@hookspec
def wren_monitor() -> type[Monitor[Any]]:  # type: ignore[empty-body]
    """The class of a monitor."""
