"""What an element may be: everything that is right passes, and the return type is the futures'."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, assert_type

import wren

T = TypeVar("T")


def nothing() -> bytes:
    return b""


def one(x: int) -> str:
    return str(x)


def two(x: int, y: str) -> str:
    return y * x


def three(x: int, y: str, z: float) -> str:
    return f"{x} {y} {z}"


def four(a: int, b: int, c: int, d: int) -> str:
    return str(a + b + c + d)


def defaults(x: int, y: str = "") -> str:
    return y * x


def any_number(*numbers: int) -> str:
    return str(numbers)


def by_name(*, x: int, y: str = "") -> str:
    return y * x


def same(x: T) -> T:
    return x


def real(x: float, y: float) -> float:
    return x * y


def of_list(x: list[int]) -> int:
    return sum(x)


def of_dict(x: dict[str, int]) -> int:
    return len(x)


@dataclass
class Point:
    x: int

    def times(self, factor: int) -> "Point":
        return Point(self.x * factor)

    def __call__(self, factor: int) -> str:
        return str(self.x * factor)


class Named(TypedDict):
    x: int
    y: str


def numbers() -> Iterator[int]:
    yield 1


def scalars(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.call_async(one, 1), wren.Future[str])
    assert_type(executor.call_async(one, True), wren.Future[str])
    assert_type(executor.call_async(defaults, 1), wren.Future[str])
    assert_type(executor.call_async(any_number, 1), wren.Future[str])
    assert_type(executor.call_async(same, 1), wren.Future[int])
    assert_type(executor.map(one, [1, 2]), list[wren.Future[str]])
    assert_type(executor.map(one, range(3)), list[wren.Future[str]])
    assert_type(executor.map(one, {1, 2}), list[wren.Future[str]])
    assert_type(executor.map(one, numbers()), list[wren.Future[str]])
    assert_type(executor.map(one, {1: "a"}.keys()), list[wren.Future[str]])
    assert_type(executor.map(one, []), list[wren.Future[str]])
    assert_type(executor.map_reduce(one, [1, 2], len), list[wren.Future[Any]])


def callables(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.call_async(Point, 1), wren.Future[Point])
    assert_type(executor.call_async(Point(2).times, 1), wren.Future[Point])
    assert_type(executor.call_async(Point(2), 1), wren.Future[str])
    assert_type(executor.call_async(functools.partial(two, 1), "a"), wren.Future[str])
    assert_type(executor.call_async(len, "abc"), wren.Future[int])
    assert_type(executor.call_async(int, "1"), wren.Future[int])
    assert_type(executor.call_async(math.pow, (1, 2)), wren.Future[float])
    assert_type(executor.call_async(max, (1, 2)), wren.Future[int])
    assert_type(executor.map(str.upper, ["a"]), list[wren.Future[str]])
    assert_type(executor.map(sorted, [[2, 1]]), list[wren.Future[list[int]]])
    executor.map_reduce(sum, [[1, 2]], sum)


def lambdas(executor: wren.FunctionExecutor) -> None:
    # mypy takes what a lambda returns for Any here.
    number: int = executor.call_async(lambda x: x + 1, 1).result()
    text: str = executor.map(lambda x, y: x * y, [("a", number)])[0].result()
    executor.map_reduce(lambda x: x * 2, [text], len)


def tuples(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.call_async(nothing, ()), wren.Future[bytes])
    assert_type(executor.call_async(one, (1,)), wren.Future[str])
    assert_type(executor.call_async(two, (1, "a")), wren.Future[str])
    assert_type(executor.call_async(three, (1, "a", 1)), wren.Future[str])
    assert_type(executor.call_async(four, (1, 2, 3, 4)), wren.Future[str])
    assert_type(executor.call_async(defaults, (1,)), wren.Future[str])
    assert_type(executor.call_async(defaults, (1, "a")), wren.Future[str])
    assert_type(executor.call_async(any_number, (1, 2, 3, 4, 5, 6, 7)), wren.Future[str])
    assert_type(executor.call_async(real, (1, True)), wren.Future[float])
    assert_type(executor.call_async(same, (1,)), wren.Future[int])
    assert_type(executor.map(two, [(1, "a"), (2, "b")]), list[wren.Future[str]])
    assert_type(executor.map(two, zip([1], ["a"], strict=True)), list[wren.Future[str]])
    assert_type(executor.map(two, enumerate("abc")), list[wren.Future[str]])
    assert_type(executor.map(two, {1: "a"}.items()), list[wren.Future[str]])
    assert_type(executor.map(nothing, [(), ()]), list[wren.Future[bytes]])
    executor.map_reduce(three, [(1, "a", 1.0)], len)


def tuples_of_any_length(executor: wren.FunctionExecutor, row: tuple[float, ...], unknown: tuple[Any, ...]) -> None:
    assert_type(executor.call_async(real, row), wren.Future[float])
    assert_type(executor.call_async(two, unknown), wren.Future[str])
    assert_type(executor.map(real, [row]), list[wren.Future[float]])
    executor.map_reduce(real, [row], sum)


def lists(executor: wren.FunctionExecutor) -> None:
    assert_type(executor.call_async(two, [1, "a"]), wren.Future[str])
    assert_type(executor.call_async(any_number, [1, 2]), wren.Future[str])
    assert_type(executor.call_async(of_list, [1, 2]), wren.Future[int])
    assert_type(executor.map(two, [[1, "a"], [2, "b"]]), list[wren.Future[str]])
    assert_type(executor.map(of_list, [[1, 2]]), list[wren.Future[int]])
    executor.map_reduce(two, [[1, "a"]], len)


def dicts(executor: wren.FunctionExecutor, named: Named, names: Mapping[str, object]) -> None:
    assert_type(executor.call_async(two, {"x": 1, "y": "a"}), wren.Future[str])
    assert_type(executor.call_async(by_name, {"x": 1}), wren.Future[str])
    assert_type(executor.call_async(of_dict, {"a": 1}), wren.Future[int])
    assert_type(executor.call_async(two, named), wren.Future[str])
    assert_type(executor.call_async(two, names), wren.Future[str])
    assert_type(executor.map(two, [{"x": 1, "y": "a"}]), list[wren.Future[str]])
    executor.map_reduce(by_name, [{"x": 1, "y": "a"}], len)


def unknown(executor: wren.FunctionExecutor, element: Any, elements: list[Any], some: Callable[..., T]) -> T:
    assert_type(executor.call_async(two, element), wren.Future[str])
    assert_type(executor.map(two, elements), list[wren.Future[str]])
    assert_type(executor.map(two, element), list[wren.Future[str]])
    assert_type(executor.map(some, elements), list[wren.Future[T]])
    return executor.call_async(some, element).result()


def mixed(executor: wren.FunctionExecutor) -> None:
    # Elements of several kinds have no type in common that says what they are: they are said to be anything.
    elements: list[Any] = [1, (2, "b"), {"x": 3}]
    assert_type(executor.map(defaults, elements), list[wren.Future[str]])


def either(executor: wren.FunctionExecutor, element: int | tuple[int, str], optional: int | None) -> None:
    def maybe(x: int | None) -> str:
        return str(x)

    assert_type(executor.call_async(defaults, element), wren.Future[str])
    assert_type(executor.call_async(maybe, optional), wren.Future[str])
    assert_type(executor.map(maybe, [1, None]), list[wren.Future[str]])


def wrong(executor: wren.FunctionExecutor, row: tuple[str, ...]) -> None:
    executor.call_async(one, "a")  # error: arg-type | reportArgumentType, reportCallIssue
    executor.call_async(one, ("a",))  # error: arg-type | reportArgumentType, reportCallIssue
    executor.call_async(two, (1, 2))  # error: arg-type | reportArgumentType, reportCallIssue
    executor.call_async(two, (1, "a", 3))  # error: arg-type | reportArgumentType, reportCallIssue
    executor.call_async(three, (1, "a", "b"))  # error: arg-type | reportArgumentType, reportCallIssue
    executor.call_async(defaults, "a")  # error: arg-type | reportArgumentType, reportCallIssue
    executor.call_async(two, row)  # error: arg-type | reportArgumentType, reportCallIssue
    executor.call_async(math.sqrt, "a")  # error: arg-type | reportArgumentType, reportCallIssue
    executor.map(one, ["a"])  # error: list-item | reportArgumentType, reportCallIssue
    executor.map(one, 1)  # error: call-overload | reportArgumentType, reportCallIssue
    executor.map(two, [(1, 2)])  # error: arg-type | reportArgumentType, reportCallIssue
    executor.map(two, enumerate([1]))  # error: arg-type | reportArgumentType, reportCallIssue
    executor.map_reduce(one, ["a"], len)  # error: list-item | reportArgumentType, reportCallIssue
    executor.map([1], one)  # error: call-overload | reportArgumentType, reportCallIssue
