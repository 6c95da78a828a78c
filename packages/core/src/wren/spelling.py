"""Parameters that have two names, as the API that wren implements has given them."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

__all__ = ["also_spelled"]

P = ParamSpec("P")
T = TypeVar("T")


def also_spelled(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let keywords be spelled in another way: `other="parameter"`.  TypeError when both are given."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> T:
            for other in names.keys() & kwargs.keys():
                if names[other] in kwargs:
                    raise TypeError(f"{function.__name__}() got {other} and {names[other]}, which are the same")
                kwargs[names[other]] = kwargs.pop(other)
            return function(*args, **kwargs)

        return call

    return decorate
