"""Parameters that have two names, as the API that wren implements has given them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

__all__ = ["also_spelled"]

S = TypeVar("S")


class also_spelled(Generic[S]):  # noqa: N801 - a decorator
    """Let keywords be spelled in another way: `other="parameter"`.  TypeError when both are given.

    `@also_spelled[Seen](...)`: type checkers see the function as `Seen`.
    """

    def __init__(self, **names: str) -> None:
        self._names = names

    def __call__(self, function: Callable[..., Any]) -> S:
        """The function, which takes its keywords by either name."""
        names = self._names

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for other in names.keys() & kwargs.keys():
                if names[other] in kwargs:
                    raise TypeError(f"{function.__name__}() got {other} and {names[other]}, which are the same")
                kwargs[names[other]] = kwargs.pop(other)
            return function(*args, **kwargs)

        return cast(S, call if names else function)
