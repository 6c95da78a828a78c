"""The functions that make a `FunctionExecutor`, one for each backend of the API that wren implements.

Each says its parameters itself: as `**options` they would give users no types and worse errors.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from wren.config import Config
from wren.defaults import BACKEND, RUNTIME_MEMORY, STORAGE, STORAGE_LOCAL
from wren.executor import FunctionExecutor
from wren.local.factory import local_executor

__all__ = [
    "docker_executor",
    "function_executor",
    "ibm_cf_executor",
    "knative_executor",
    "local_executor",
    "openwhisk_executor",
]

Given: TypeAlias = Mapping[str, Any] | None

IBM_STORED: Final = {"ibm_cf", "knative", "openwhisk"}  # backends whose documented storage is IBM's


def ibm_cf_executor(
    config: Given = None,
    runtime: str | None = None,
    runtime_memory: int | None = RUNTIME_MEMORY,
    storage_backend: str | None = STORAGE,
    rabbitmq_monitor: bool = False,
    log_level: str | int | None = None,
    remote_invoker: bool = False,
    *,
    workers: int | None = None,
    retries: int | None = None,
    persist: bool | None = None,
    data_cleaner: bool | None = None,
) -> FunctionExecutor:
    """An executor on IBM Cloud Functions."""
    return FunctionExecutor(
        config,
        runtime,
        runtime_memory,
        "ibm_cf",
        storage(config, storage_backend),
        rabbitmq_monitor,
        log_level,
        remote_invoker,
        workers=workers,
        retries=retries,
        persist=persist,
        data_cleaner=data_cleaner,
    )


def knative_executor(
    config: Given = None,
    runtime: str | None = None,
    runtime_memory: int | None = RUNTIME_MEMORY,
    storage_backend: str | None = STORAGE,
    rabbitmq_monitor: bool = False,
    log_level: str | int | None = None,
    remote_invoker: bool = False,
    *,
    workers: int | None = None,
    retries: int | None = None,
    persist: bool | None = None,
    data_cleaner: bool | None = None,
) -> FunctionExecutor:
    """An executor on Knative."""
    return FunctionExecutor(
        config,
        runtime,
        runtime_memory,
        "knative",
        storage(config, storage_backend),
        rabbitmq_monitor,
        log_level,
        remote_invoker,
        workers=workers,
        retries=retries,
        persist=persist,
        data_cleaner=data_cleaner,
    )


def openwhisk_executor(
    config: Given = None,
    runtime: str | None = None,
    runtime_memory: int | None = RUNTIME_MEMORY,
    storage_backend: str | None = STORAGE,
    rabbitmq_monitor: bool = False,
    log_level: str | int | None = None,
    remote_invoker: bool = False,
    *,
    workers: int | None = None,
    retries: int | None = None,
    persist: bool | None = None,
    data_cleaner: bool | None = None,
) -> FunctionExecutor:
    """An executor on OpenWhisk."""
    return FunctionExecutor(
        config,
        runtime,
        runtime_memory,
        "openwhisk",
        storage(config, storage_backend),
        rabbitmq_monitor,
        log_level,
        remote_invoker,
        workers=workers,
        retries=retries,
        persist=persist,
        data_cleaner=data_cleaner,
    )


def function_executor(
    config: Given = None,
    runtime: str | None = None,
    runtime_memory: int | None = RUNTIME_MEMORY,
    backend: str | None = BACKEND,
    storage_backend: str | None = STORAGE,
    rabbitmq_monitor: bool = False,
    log_level: str | int | None = None,
    remote_invoker: bool = False,
    *,
    workers: int | None = None,
    retries: int | None = None,
    persist: bool | None = None,
    data_cleaner: bool | None = None,
) -> FunctionExecutor:
    """An executor on the named backend, else on the configuration's, else on IBM Cloud Functions.

    The storage is the named one, else the configuration's, else IBM's; but localhost's for localhost and for backends
    that have nothing to do with IBM's storage, as their workers may not reach it.
    """
    if backend is None or backend is BACKEND:
        backend = Config.load(config).wren.backend or str(BACKEND)
    if storage_backend is STORAGE and backend not in IBM_STORED:
        storage_backend = STORAGE_LOCAL
    return FunctionExecutor(
        config,
        runtime,
        runtime_memory,
        backend,
        storage(config, storage_backend),
        rabbitmq_monitor,
        log_level,
        remote_invoker,
        workers=workers,
        retries=retries,
        persist=persist,
        data_cleaner=data_cleaner,
    )


def docker_executor(
    config: Given = None,
    runtime: str | None = None,
    storage_backend: str | None = STORAGE_LOCAL,
    rabbitmq_monitor: bool = False,
    log_level: str | int | None = None,
    *,
    workers: int | None = None,
    retries: int | None = None,
    persist: bool | None = None,
    data_cleaner: bool | None = None,
) -> FunctionExecutor:
    """An executor that runs calls in containers on this machine."""
    return FunctionExecutor(
        config,
        runtime,
        backend="docker",
        storage_backend=storage(config, storage_backend),
        rabbitmq_monitor=rabbitmq_monitor,
        log_level=log_level,
        workers=workers,
        retries=retries,
        persist=persist,
        data_cleaner=data_cleaner,
    )


def storage(config: Given, named: str | None) -> str:
    """The storage that was named; else the configuration's, else the one that the function's signature shows."""
    if named is STORAGE or named is STORAGE_LOCAL or named is None:
        return Config.load(config).wren.storage or str(named or STORAGE_LOCAL)
    return named
