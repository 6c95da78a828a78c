"""The class of futures by its name of old, for `isinstance`."""

from wren.futures import Future

__all__ = ["ResponseFuture"]

ResponseFuture = Future
