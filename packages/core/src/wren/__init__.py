"""wren: Python functions over many inputs on serverless compute, results as futures.

    import wren

    with wren.local_executor() as executor:
        executor.map(str.upper, ["a", "b"])
        print(executor.get_result())

Everything public is here, imported when it is first used: `import wren` itself costs next to nothing, also in workers.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wren import errors
    from wren.errors import StorageNoSuchKey
    from wren.executor import FunctionExecutor
    from wren.factories import (
        docker_executor,
        function_executor,
        ibm_cf_executor,
        knative_executor,
        openwhisk_executor,
    )
    from wren.futures import Future
    from wren.history import attach
    from wren.local.factory import local_executor
    from wren.results import ALL_COMPLETED, ALWAYS, ANY_COMPLETED, ReturnWhen
    from wren.standard import Executor
    from wren.worker.objects import CloudObject, Storage

__all__ = [
    "ALL_COMPLETED",
    "ALWAYS",
    "ANY_COMPLETED",
    "CloudObject",
    "Executor",
    "FunctionExecutor",
    "Future",
    "ReturnWhen",
    "Storage",
    "StorageNoSuchKey",
    "attach",
    "docker_executor",
    "errors",
    "function_executor",
    "ibm_cf_executor",
    "knative_executor",
    "local_executor",
    "openwhisk_executor",
]

_HOMES = {
    "ALL_COMPLETED": "wren.results",
    "ALWAYS": "wren.results",
    "ANY_COMPLETED": "wren.results",
    "CloudObject": "wren.worker.objects",
    "Executor": "wren.standard",
    "FunctionExecutor": "wren.executor",
    "Future": "wren.futures",
    "ReturnWhen": "wren.results",
    "Storage": "wren.worker.objects",
    "StorageNoSuchKey": "wren.errors",
    "attach": "wren.history",
    "errors": "wren.errors",
    "local_executor": "wren.local.factory",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'wren' has no attribute {name!r}")
    module = importlib.import_module(_HOMES.get(name, "wren.factories"))
    value = module if name == "errors" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
