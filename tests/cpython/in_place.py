"""Puts `wren.Executor` in the place of ProcessPoolExecutor, for the programs that CPython's tests start.

`test_concurrent_futures.py` installs it in the environment of the tests, with a `.pth` file that imports it.
"""

import concurrent.futures

import wren

concurrent.futures.ProcessPoolExecutor = wren.Executor  # type: ignore[misc,assignment]
