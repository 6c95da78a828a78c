"""The conformance kit: an author of a plugin subclasses a conformance class, writes fixtures and has its tests.

    from wren.testing import StorageConformance

    class TestShelf(StorageConformance):
        plugin = ShelfStorage

        @pytest.fixture
        def options(self, tmp_path):
            return {"path": str(tmp_path)}

It needs `pip install 'wren-core[testing]'`.  Everything public is here, imported when it is first used: workers run
functions of this package, and have no pytest.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wren.testing.computes import ComputeConformance
    from wren.testing.distributions import plugged
    from wren.testing.fakes import ScriptedCompute
    from wren.testing.monitors import MonitorConformance
    from wren.testing.sockets import SocketMonitor
    from wren.testing.storages import StorageConformance

__all__ = [
    "ComputeConformance",
    "MonitorConformance",
    "ScriptedCompute",
    "SocketMonitor",
    "StorageConformance",
    "plugged",
]

_HOMES = {
    "ComputeConformance": "wren.testing.computes",
    "MonitorConformance": "wren.testing.monitors",
    "ScriptedCompute": "wren.testing.fakes",
    "SocketMonitor": "wren.testing.sockets",
    "StorageConformance": "wren.testing.storages",
    "plugged": "wren.testing.distributions",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'wren.testing' has no attribute {name!r}")
    if name.endswith("Conformance"):
        _show_compared_values()
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def _show_compared_values() -> None:
    """Have pytest rewrite the checks, as it does with a test's own module, before they are imported."""
    import pkgutil

    import pytest

    modules = {f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)}
    pytest.register_assert_rewrite(*modules - sys.modules.keys())


def __dir__() -> list[str]:
    return sorted(__all__)
