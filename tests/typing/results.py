"""What comes back: futures, what they are waited for with, and results."""

import asyncio
import concurrent.futures
from collections.abc import Iterable, Mapping
from typing import Any, assert_type

import wren


def one(x: int) -> str:
    return str(x)


async def awaited(future: wren.Future[str]) -> None:
    assert_type(await future, str)
    assert_type(await asyncio.wait_for(asyncio.wrap_future(future), 1), str)


def of_future(executor: wren.FunctionExecutor) -> None:
    future = executor.call_async(one, 1)
    assert_type(future.result(), str)
    assert_type(future.result(timeout=1.5), str)
    assert_type(future.exception(), BaseException | None)
    assert_type(future.done(), bool)
    assert_type(future.cancel(), bool)
    assert_type(future.kill(), bool)
    assert_type(future.logs, str)
    assert_type(future.stats, Mapping[str, float])
    assert_type(future.executor_id, str)
    assert_type(future.job_id, str)
    assert_type(future.call_id, str)
    standard: concurrent.futures.Future[str] = future
    standard.add_done_callback(lambda done: print(done.result().upper()))
    assert_type([mapped.result() for mapped in executor.map(one, [1])], list[str])


def of_executor(executor: wren.FunctionExecutor, some: Iterable[wren.Future[str]]) -> None:
    futures = executor.map(one, [1])
    assert_type(executor.get_result(), Any)
    assert_type(executor.get_result(futures), Any)
    assert_type(executor.get_result(futures[0], throw_except=False, timeout=1, THREADPOOL_SIZE=1), Any)
    assert_type(executor.wait(), tuple[list[wren.Future[Any]], list[wren.Future[Any]]])
    done, not_done = executor.wait(some, False, wren.ANY_COMPLETED, True, 1.5, 128, 0.5)
    assert_type(done, list[wren.Future[Any]])
    executor.wait(not_done, return_when="ALWAYS")
    executor.clean(futures, local_execution=True)
    executor.create_execution_plots("plots", "name", futures)
    with executor as same:
        assert_type(same, wren.FunctionExecutor)


def of_reducer(executor: wren.FunctionExecutor) -> None:
    *mapped, reduced = executor.map_reduce(one, [1], len)
    total: int = reduced.result()
    texts: list[str] = [future.result() for future in mapped]
    print(total, texts)


def of_standard(executor: wren.Executor) -> None:
    standard: concurrent.futures.Executor = executor
    assert_type(executor.submit(one, 1), wren.Future[str])
    assert_type(executor.submit(one, x=1).result(), str)
    assert_type(list(executor.map(one, [1], timeout=1.5)), list[str])
    assert_type(list(standard.map(one, [1])), list[str])
    with wren.Executor(2, backend="localhost", retries=1) as same:
        assert_type(same, wren.Executor)


def wrong(executor: wren.FunctionExecutor, standard: wren.Executor) -> None:
    number: int = executor.call_async(one, 1).result()  # error: assignment | reportAssignmentType
    futures = executor.map(one, [1])
    numbers: list[wren.Future[int]] = futures  # error: assignment | reportAssignmentType
    executor.wait(1)  # error: arg-type | reportArgumentType
    executor.wait(return_when=1)  # error: arg-type | reportArgumentType
    executor.get_result([1])  # error: list-item | reportArgumentType
    executor.clean(local=True)  # error: call-arg | reportCallIssue
    standard.submit(one, "a")  # error: arg-type | reportArgumentType
    standard.submit(one)  # error: call-arg | reportCallIssue
    print(number, numbers)
