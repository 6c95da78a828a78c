"""Has local workers accepted by the client's `multiprocessing` managers, as the workers of ProcessPoolExecutor are.

`wren.standard` pickles functions so that loading one goes through `accepted`.
"""

from collections.abc import Callable
from typing import Any


def accepted(function: Callable[..., Any], key: bytes) -> Callable[..., Any]:
    """The function, after this process has taken over the client's key, which a manager asks for."""
    from multiprocessing import current_process

    current_process().authkey = key
    return function
