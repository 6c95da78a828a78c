"""`local_executor`: apart from the other factories, for it has a worker on its way before anything else is imported."""

import os
from typing import TYPE_CHECKING

from wren.defaults import STORAGE_LOCAL
from wren.local.start import prepare

if TYPE_CHECKING:
    from wren.executor import FunctionExecutor
    from wren.factories import Given

__all__ = ["local_executor"]


def local_executor(
    config: "Given" = None,
    storage_backend: str | None = STORAGE_LOCAL,
    rabbitmq_monitor: bool = False,
    log_level: str | int | None = None,
    *,
    workers: int | None = None,
    retries: int | None = None,
    persist: bool | None = None,
    data_cleaner: bool | None = None,
) -> "FunctionExecutor":
    """An executor that runs calls in local processes."""
    # The most that are sure to be needed soon: another than the first as soon as there is a second call.
    most = len(os.sched_getaffinity(0)) if workers is None else workers  # whatever that is: the executor checks it
    prepare(1 if most == 1 else 2)
    from wren.executor import FunctionExecutor
    from wren.factories import storage

    return FunctionExecutor(
        config,
        backend="localhost",
        storage_backend=storage(config, storage_backend),
        rabbitmq_monitor=rabbitmq_monitor,
        log_level=log_level,
        workers=workers,
        retries=retries,
        persist=persist,
        data_cleaner=data_cleaner,
    )
