"""Puts `wren.Executor` in the place of ProcessPoolExecutor.

Installed in the environment that CPython's tests run in: as `wren_in_place`, imported by a `.pth` file, so that the
programs which the tests start have it, too.
"""

import concurrent.futures

import wren

concurrent.futures.ProcessPoolExecutor = wren.Executor  # type: ignore[misc]
