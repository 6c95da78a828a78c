"""What wren fills in need not be given, wherever it stands among the parameters."""

from typing import Any, assert_type

import wren


def second(x: str, id: int) -> str:
    return x * id


def third(x: str, y: float, id: int) -> str:
    return f"{x} {y} {id}"


def keyword(x: str, *, id: int) -> str:
    return x * id


def keyword_of_two(x: str, y: float, *, storage: object) -> str:
    return f"{x} {y} {storage}"


def between(x: str, id: int, y: float) -> str:
    return f"{x} {y} {id}"


def several(x: str, id: int, storage: object) -> str:
    return f"{x} {id} {storage}"


def number_first(id: int, x: str) -> str:
    return x * id


def storage_first(storage: object, x: str) -> str:
    return f"{x} {storage}"


def internal_storage_first(internal_storage: bytes, x: str) -> str:
    return f"{x} {internal_storage!r}"


def ibm_cos_first(ibm_cos: bytes, x: str, y: float) -> str:
    return f"{x} {y} {ibm_cos!r}"


def rabbitmq_first(rabbitmq: bytes, x: str) -> str:
    return f"{x} {rabbitmq!r}"


def partition(obj: bytes) -> str:
    return obj.decode()


def page(url: bytes, x: int) -> str:
    return url.decode() * x


def call_async(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.call_async(second, "a"), wren.Future[str])
    assert_type(executor.call_async(second, ("a",)), wren.Future[str])
    assert_type(executor.call_async(second, {"x": "a"}), wren.Future[str])
    assert_type(executor.call_async(third, ("a", 1.5)), wren.Future[str])
    assert_type(executor.call_async(keyword, "a"), wren.Future[str])
    assert_type(executor.call_async(keyword_of_two, ("a", 1.5)), wren.Future[str])
    assert_type(executor.call_async(between, ("a", 1.5)), wren.Future[str])
    assert_type(executor.call_async(several, "a"), wren.Future[str])
    assert_type(executor.call_async(number_first, "a"), wren.Future[str])
    assert_type(executor.call_async(storage_first, "a"), wren.Future[str])
    assert_type(executor.call_async(internal_storage_first, "a"), wren.Future[str])
    assert_type(executor.call_async(ibm_cos_first, ("a", 1.5)), wren.Future[str])
    assert_type(executor.call_async(rabbitmq_first, "a"), wren.Future[str])
    assert_type(executor.call_async(partition, "cos://bucket/key"), wren.Future[str])
    assert_type(executor.call_async(page, ("https://example.org", 1)), wren.Future[str])


def mapped(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.map(second, ["a"]), list[wren.Future[str]])
    assert_type(executor.map(third, [("a", 1.5)]), list[wren.Future[str]])
    assert_type(executor.map(keyword, ["a"]), list[wren.Future[str]])
    assert_type(executor.map(keyword_of_two, [("a", 1.5)]), list[wren.Future[str]])
    assert_type(executor.map(between, [("a", 1.5)]), list[wren.Future[str]])
    assert_type(executor.map(several, ["a"]), list[wren.Future[str]])
    assert_type(executor.map(number_first, ["a"]), list[wren.Future[str]])
    assert_type(executor.map(storage_first, ["a"]), list[wren.Future[str]])
    assert_type(executor.map(internal_storage_first, ["a"]), list[wren.Future[str]])
    assert_type(executor.map(ibm_cos_first, [("a", 1.5)]), list[wren.Future[str]])
    assert_type(executor.map(rabbitmq_first, ["a"]), list[wren.Future[str]])
    assert_type(executor.map(partition, ["cos://bucket/"]), list[wren.Future[str]])
    assert_type(executor.map(page, [("https://example.org", 1)]), list[wren.Future[str]])


def reduced(executor: wren.FunctionExecutor) -> None:
    def total(results: list[str], id: int, storage: object) -> str:
        return f"{results} {id} {storage}"

    assert_type(executor.map_reduce(second, ["a"], total), list[wren.Future[Any]])
    assert_type(executor.map_reduce(number_first, ["a"], total), list[wren.Future[Any]])
    assert_type(executor.map_reduce(storage_first, ["a"], len), list[wren.Future[Any]])
    assert_type(executor.map_reduce(partition, ["cos://bucket/"], len), list[wren.Future[Any]])


def wrong(executor: wren.FunctionExecutor) -> None:
    executor.call_async(second, 1)  # error: arg-type | reportArgumentType, reportCallIssue
    executor.call_async(third, (1, 1.5))  # error: arg-type | reportArgumentType, reportCallIssue
    executor.map(second, [1])  # error: list-item | reportArgumentType, reportCallIssue
    executor.map_reduce(second, [1], len)  # error: list-item | reportArgumentType, reportCallIssue
