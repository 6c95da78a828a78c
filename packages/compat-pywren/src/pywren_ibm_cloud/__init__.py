"""Programs written for pywren-ibm-cloud run on wren.

    import pywren_ibm_cloud as pywren

    pw = pywren.local_executor()
    pw.map(str.upper, ["a", "b"])
    print(pw.get_result())

The executors are wren's; what is here are the names, spellings and configuration files of old.  As with `import wren`,
everything is imported when it is first used: functions that mention this package bring it into every worker.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pywren_ibm_cloud import future, storage, version, wait
    from pywren_ibm_cloud.executor import (
        FunctionExecutor,
        docker_executor,
        function_executor,
        ibm_cf_executor,
        knative_executor,
        local_executor,
        openwhisk_executor,
    )
    from pywren_ibm_cloud.version import __version__

__all__ = [
    "FunctionExecutor",
    "__version__",
    "docker_executor",
    "function_executor",
    "future",
    "ibm_cf_executor",
    "knative_executor",
    "local_executor",
    "openwhisk_executor",
    "storage",
    "version",
    "wait",
]

_MODULES: Final = frozenset({"future", "storage", "version", "wait"})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pywren_ibm_cloud' has no attribute {name!r}")
    if name in _MODULES:
        return importlib.import_module(f"pywren_ibm_cloud.{name}")
    home = "version" if name == "__version__" else "executor"
    value = getattr(importlib.import_module(f"pywren_ibm_cloud.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
