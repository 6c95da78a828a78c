"""wren and its peers behind one interface: a task for each item, as a user would write it, with no chunks by hand."""

import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

WORKERS: Final = os.cpu_count() or 1

Function = Callable[[Any], Any]


class Peer(Protocol):
    """One of them, in a `with`: workers that are started, as far as it starts them before they are needed."""

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """The results of all items, in order."""

    def call(self, function: Function, item: Any) -> Any:
        """The result of one item."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _Closing:
    """What ends with what it has opened."""

    _opened: Any

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__(None, None, None)


class Wren(_Closing):
    """The executor API.  A tuple is a call's arguments."""

    def __init__(self) -> None:
        import wren

        self._opened = wren.local_executor()

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        results: list[Any] = self._opened.get_result(self._opened.map(function, [(item,) for item in items]))
        return results

    def call(self, function: Function, item: Any) -> Any:
        return self._opened.get_result(self._opened.call_async(function, (item,)))


class _Standard(_Closing):
    """An executor of the standard interface."""

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._opened.map(function, items))

    def call(self, function: Function, item: Any) -> Any:
        return self._opened.submit(function, item).result()


class WrenStandard(_Standard):
    """The same engine behind the standard interface."""

    def __init__(self) -> None:
        import wren

        self._opened = wren.Executor()


class ProcessPool(_Standard):
    """concurrent.futures."""

    def __init__(self) -> None:
        from concurrent.futures import ProcessPoolExecutor

        self._opened = ProcessPoolExecutor(WORKERS)


class Loky(_Standard):
    """Processes that are used again, as joblib has them."""

    def __init__(self) -> None:
        import loky

        self._opened = loky.get_reusable_executor(WORKERS)

    def __exit__(self, *_: object) -> None:
        self._opened.shutdown()


class Executorlib(_Standard):
    """Of the pyiron project."""

    def __init__(self) -> None:
        from executorlib import SingleNodeExecutor

        self._opened = SingleNodeExecutor(max_workers=WORKERS, block_allocation=True)
        self._opened.__enter__()

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        futures = [self._opened.submit(function, item) for item in items]
        return [future.result() for future in futures]


class Joblib(_Closing):
    """Batches of calls over loky's processes; it gives a list and no futures."""

    def __init__(self) -> None:
        import joblib

        self._joblib, self._opened = joblib, joblib.Parallel(n_jobs=WORKERS)
        self._opened.__enter__()

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        results: list[Any] = self._opened(self._joblib.delayed(function)(item) for item in items)
        return results

    def call(self, function: Function, item: Any) -> Any:
        return self._opened([self._joblib.delayed(function)(item)])[0]


class Mpire(_Closing):
    """A pool whose workers are forks."""

    def __init__(self) -> None:
        import mpire

        self._opened = mpire.WorkerPool(WORKERS, use_dill=False)
        self._opened.__enter__()

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        results: list[Any] = self._opened.map(function, [(item,) for item in items])
        return results

    def call(self, function: Function, item: Any) -> Any:
        return self._opened.apply(function, (item,))


class Dask:
    """A scheduler, and workers that are reached by TCP."""

    def __init__(self) -> None:
        from distributed import Client

        options: dict[str, Any] = {"dashboard_address": None, "silence_logs": 50}
        self._client = Client(n_workers=WORKERS, threads_per_worker=1, **options)

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        results: list[Any] = self._client.gather(self._client.map(function, items, pure=False))
        return results

    def call(self, function: Function, item: Any) -> Any:
        return self._client.submit(function, item, pure=False).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


class Ray:
    """Workers around a shared object store."""

    def __init__(self) -> None:
        import logging

        import ray

        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        self._ray = ray

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        remote = self._ray.remote(function)
        results: list[Any] = self._ray.get([remote.remote(item) for item in items])
        return results

    def call(self, function: Function, item: Any) -> Any:
        return self._ray.get(self._ray.remote(function).remote(item))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()


class Lithops(_Closing):
    """Serverless functions, here on localhost."""

    def __init__(self) -> None:
        import lithops

        config = {
            "lithops": {"backend": "localhost", "storage": "localhost", "log_level": None},
            "localhost": {"worker_processes": WORKERS, "runtime": sys.executable},
        }
        self._opened = lithops.FunctionExecutor(config=config)

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        futures = self._opened.map(function, [(item,) for item in items])
        results: list[Any] = self._opened.get_result(futures, show_progressbar=False)
        return results

    def call(self, function: Function, item: Any) -> Any:
        return self._opened.get_result(self._opened.call_async(function, item), show_progressbar=False)


PEERS: Final[dict[str, Callable[[], Peer]]] = {
    "wren": Wren,
    "wren-std": WrenStandard,
    "processpool": ProcessPool,
    "loky": Loky,
    "joblib": Joblib,
    "mpire": Mpire,
    "executorlib": Executorlib,
    "dask": Dask,
    "ray": Ray,
    "lithops": Lithops,
}
