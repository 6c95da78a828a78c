"""When `wait` returns: the constants of old.  They were the integers 1, 2 and 3, which `wait` still takes."""

from wren.results import ALL_COMPLETED, ALWAYS, ANY_COMPLETED

__all__ = ["ALL_COMPLETED", "ALWAYS", "ANY_COMPLETED"]
