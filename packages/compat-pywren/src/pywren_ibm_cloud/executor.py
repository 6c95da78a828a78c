"""The executors of old: wren's own, made from a configuration of either style, with what else they were called.

Users come here by `import pywren_ibm_cloud`.  Nothing is done here that `wren.executor` and `wren.factories` do.
"""

import functools
import inspect
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeAlias, cast

from pywren_ibm_cloud.options import configuration
from wren import executor, factories
from wren.defaults import RUNTIME_MEMORY
from wren.errors import BindingError, Unsupported
from wren.futures import Future
from wren.results import ALL_COMPLETED, ALWAYS, ANY_COMPLETED, Futures

__all__ = [
    "FunctionExecutor",
    "docker_executor",
    "function_executor",
    "ibm_cf_executor",
    "knative_executor",
    "local_executor",
    "openwhisk_executor",
]

P = ParamSpec("P")
Destination: TypeAlias = str | os.PathLike[str]

WHEN: Final[Mapping[int | str, str]] = {1: ALL_COMPLETED, 2: ANY_COMPLETED, 3: ALWAYS}  # the constants of old
REGIONS: Final = ("region", "compute_backend_region", "storage_backend_region")


class FunctionExecutor(executor.FunctionExecutor):
    """An executor of wren's, with the parameters' and methods' names of pywren-ibm-cloud 1.4 to 1.7.

    It has no state of its own.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        runtime: str | None = None,
        runtime_memory: int | None = RUNTIME_MEMORY,
        compute_backend: str | None = None,
        compute_backend_region: str | None = None,
        storage_backend: str | None = None,
        storage_backend_region: str | None = None,
        workers: int | None = None,
        rabbitmq_monitor: bool = False,
        remote_invoker: bool = False,
        log_level: str | int | None = None,
    ) -> None:
        _refuse_regions(
            {"compute_backend_region": compute_backend_region, "storage_backend_region": storage_backend_region}
        )
        super().__init__(
            configuration(config, compute_backend),
            runtime,
            runtime_memory,
            compute_backend,
            storage_backend,
            rabbitmq_monitor,
            log_level,
            remote_invoker,
            workers=workers,
        )

    def wait(
        self,
        fs: Futures = None,
        throw_except: bool = True,
        return_when: str | int = ALL_COMPLETED,
        download_results: bool = False,
        timeout: float | None = None,
        THREADPOOL_SIZE: int = 128,  # noqa: N803 - the API's own spelling
        WAIT_DUR_SEC: float = 1,  # noqa: N803 - the API's own spelling
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """As wren's; `return_when` may also be 1, 2 or 3: all, any, always."""
        when = WHEN.get(return_when, return_when)
        if not isinstance(when, str):
            raise BindingError(f"return_when is {when!r}: give one of {', '.join(WHEN.values())}, or 1, 2 or 3")
        return super().wait(fs, throw_except, when, download_results, timeout, THREADPOOL_SIZE, WAIT_DUR_SEC)

    def plot(self, fs: Futures | Destination = None, dst: Destination | None = None) -> None:
        """Draw the timeline and the histogram of calls into `{dst}_timeline.png` and `{dst}_histogram.png`.

        `fs`: of which calls; None: all of the executor's.  `dst` may stand in its place; by default it is a name of the
        present second in the folder `plots`.
        """
        if isinstance(fs, str | os.PathLike):
            fs, dst = None, fs
        path = Path("plots", str(int(time.time()))) if dst is None else Path(dst).expanduser()
        self.create_execution_plots(str(path.parent), path.name, fs)


def _refuse_regions(given: Mapping[str, Any]) -> None:
    for name in REGIONS:
        if given.get(name) is not None:
            raise Unsupported(
                f"{name} does not exist in wren: name the region's endpoint in the section of the backend or storage"
            )


def _as_of_old(
    factory: Callable[P, executor.FunctionExecutor], backend: str | None = None
) -> Callable[P, FunctionExecutor]:
    """A factory of wren's with its very parameters; `config` may be of either style, a region is refused.

    `backend`: the factory's, where it is not an argument.
    """
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> FunctionExecutor:
        _refuse_regions(kwargs)
        try:
            bound = signature.bind(*args, **{name: value for name, value in kwargs.items() if name not in REGIONS})
        except TypeError as error:
            raise TypeError(f"{factory.__name__}() {error}") from None
        given = bound.arguments
        given["config"] = configuration(given.get("config"), backend or given.get("backend"))
        made = factory(*bound.args, **bound.kwargs)
        # wren's factories know no subclasses, and this one has no state: the executor gets its methods by its class.
        # One that is of a class of its own keeps that.
        if type(made) is executor.FunctionExecutor:
            made.__class__ = FunctionExecutor
        return cast(FunctionExecutor, made)

    return make


ibm_cf_executor = _as_of_old(factories.ibm_cf_executor, "ibm_cf")
knative_executor = _as_of_old(factories.knative_executor, "knative")
openwhisk_executor = _as_of_old(factories.openwhisk_executor, "openwhisk")
function_executor = _as_of_old(factories.function_executor)
local_executor = _as_of_old(factories.local_executor, "localhost")
docker_executor = _as_of_old(factories.docker_executor, "docker")
