"""Defaults that say what the API documents and can still be told from the same value given by a caller.

`timeout=600` is more than some platforms allow, and an error there; a timeout that is left out is as long as the
platform allows, 600 s at most.  So the signatures' 600 is `TIMEOUT`, which equals 600 and is one object.
"""

import math
from numbers import Real
from typing import Any, Final

__all__ = [
    "BACKEND",
    "MODULES",
    "NOTHING_EXCLUDED",
    "RUNTIME_MEMORY",
    "STORAGE",
    "STORAGE_LOCAL",
    "TIMEOUT",
    "left_out",
    "number",
]


class _Number(int):
    """A number of its own."""


class _Name(str):
    """A name of its own."""

    __slots__ = ()


class _Modules(list[Any]):
    """A list of its own, which stays empty: it is a default."""


TIMEOUT: Final = _Number(600)  # seconds
RUNTIME_MEMORY: Final = _Number(256)  # MiB
BACKEND: Final = _Name("ibm_cf")
STORAGE: Final = _Name("ibm_cos")
STORAGE_LOCAL: Final = _Name("localhost")
MODULES: Final = _Modules()
NOTHING_EXCLUDED: Final = _Modules()


def number(given: object) -> float | None:
    """A number of whatever kind as a float, None for what is none; one that no float can hold is infinite."""
    if not isinstance(given, Real):
        return None
    try:
        return float(given)
    except OverflowError:
        return math.inf


def left_out(given: object, default: object) -> bool:
    """Whether a caller gave nothing: an equal value of their own is something."""
    return given is default
