"""Both spellings of every keyword, and every option by its name and in its place."""

from typing import Any, TypeAlias, assert_type

import wren

Futures: TypeAlias = list[wren.Future[Any]]


def one(x: int) -> str:
    return str(x)


def two(x: int, y: int) -> str:
    return str(x + y)


def call_async(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.call_async(func=one, data=1), wren.Future[str])
    assert_type(executor.call_async(one, 1, {"A": 1, "B": None}, 256, 1.5, [], None), wren.Future[str])
    assert_type(
        executor.call_async(
            one,
            1,
            extra_env={"A": 1},
            runtime_memory=None,
            timeout=None,
            include_modules=["numpy"],
            exclude_modules=None,
            retries=1,
            retry_on=ValueError,
        ),
        wren.Future[str],
    )


def mapped(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.map(map_function=one, map_iterdata=[1]), list[wren.Future[str]])
    assert_type(executor.map(func=one, iterdata=[1]), list[wren.Future[str]])
    assert_type(executor.map(func=one, map_iterdata=[1]), list[wren.Future[str]])
    assert_type(executor.map(map_function=one, iterdata=[1]), list[wren.Future[str]])
    assert_type(executor.map(one, iterdata=[1]), list[wren.Future[str]])
    assert_type(executor.map(one, map_iterdata=[1]), list[wren.Future[str]])
    assert_type(executor.map(two, [1], [2]), list[wren.Future[str]])
    assert_type(executor.map(two, [1], extra_params=(2,)), list[wren.Future[str]])
    assert_type(executor.map(two, [1], extra_args={"y": 2}), list[wren.Future[str]])
    assert_type(executor.map(two, [()], extra_params=[1, 2]), list[wren.Future[str]])
    assert_type(executor.map(func=two, iterdata=[1], extra_args=[2], timeout=3), list[wren.Future[str]])
    assert_type(executor.map(one, [1], None, {"A": 1}, 256, 1.5, [], None, 1 << 20, None, 500), list[wren.Future[str]])
    assert_type(
        executor.map(
            one,
            [1],
            extra_env=None,
            runtime_memory=512,
            timeout=3,
            include_modules=None,
            exclude_modules=["numpy"],
            chunk_size=1 << 20,
            chunk_n=2,
            invoke_pool_threads=1,
            calls_per_activation=2,
            retries=1,
            retry_on=(ValueError, KeyError),
        ),
        list[wren.Future[str]],
    )


def reduced(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.map_reduce(map_function=one, map_iterdata=[1], reduce_function=len), Futures)
    assert_type(executor.map_reduce(func=one, iterdata=[1], reduce_func=len), Futures)
    assert_type(executor.map_reduce(map_func=one, iterdata=[1], reduce_func=len), Futures)
    assert_type(executor.map_reduce(map_func=one, map_iterdata=[1], reduce_function=len), Futures)
    assert_type(executor.map_reduce(one, iterdata=[1], reduce_func=len), Futures)
    assert_type(executor.map_reduce(one, iterdata=[1], reduce_function=len), Futures)
    assert_type(executor.map_reduce(one, [1], reduce_func=len), Futures)
    assert_type(executor.map_reduce(one, [1], reduce_function=len), Futures)
    assert_type(executor.map_reduce(two, [1], len, [2]), Futures)
    assert_type(executor.map_reduce(two, [1], len, extra_params={"y": 2}), Futures)
    assert_type(executor.map_reduce(two, [1], len, extra_args=(2,)), Futures)
    assert_type(
        executor.map_reduce(one, [1], len, None, True, {"A": 1}, 256, 256, 1.5, [], [], None, None, False, 500), Futures
    )
    assert_type(
        executor.map_reduce(
            one,
            [1],
            len,
            reducer_wait_local=True,
            extra_env={"A": None},
            map_runtime_memory=256,
            reduce_runtime_memory=512,
            timeout=3,
            include_modules=[],
            exclude_modules=[],
            chunk_size=None,
            chunk_n=None,
            reducer_one_per_object=True,
            invoke_pool_threads=500,
            calls_per_activation=2,
            retries=1,
            retry_on=ValueError,
        ),
        Futures,
    )


def wrong(executor: wren.FunctionExecutor) -> None:
    executor.call_async(one)  # error: call-overload | reportCallIssue
    executor.call_async(one, 1, timeout="1")  # error: call-overload | reportArgumentType, reportCallIssue
    executor.call_async(one, 1, nonsense=1)  # error: call-overload | reportCallIssue
    executor.call_async(one, 1, retry_on="ValueError")  # error: arg-type | reportArgumentType, reportCallIssue
    executor.map(one)  # error: call-overload | reportCallIssue
    executor.map(one, [1], timeout="1")  # error: call-overload | reportArgumentType, reportCallIssue
    executor.map(one, [1], nonsense=1)  # error: call-overload | reportCallIssue
    executor.map(one, [1], map_runtime_memory=1)  # error: call-overload | reportCallIssue
    executor.map(func=1, iterdata=[1])  # error: call-overload | reportArgumentType
    executor.map(func=one, iterdata=1)  # error: call-overload | reportArgumentType
    executor.map_reduce(one, [1])  # error: call-overload | reportCallIssue
    executor.map_reduce(one, [1], 1)  # error: call-overload | reportArgumentType, reportCallIssue
    executor.map_reduce(one, [1], len, runtime_memory=1)  # error: call-overload | reportCallIssue
