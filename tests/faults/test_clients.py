"""A client that is killed leaves nothing: local workers end at once, so do calls in shells, and then the shells."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

CLIENT: Final = """
import json, os, sys, time
import wren

def run(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    import re; re.match(r"(a+)+$", "a" * 64 + "b")   # busy in C

backend, config, folder = sys.argv[1:]
executor = wren.function_executor(json.loads(config), backend=backend, storage_backend=backend, workers=2)
executor.map(run, [folder + "/a", folder + "/b"])
print("started", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_client_leaves_no_process(
    number: signal.Signals,
    backend: str,
    config: dict[str, Any],
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], None],
    alive: Callable[[int], bool],
    leftovers: Callable[[], list[int]],
    defaults: bool,
) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    command = [sys.executable, "-c", CLIENT, backend, json.dumps(config), str(traces)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path) as client:
        eventually(lambda: {path.name for path in traces.iterdir() if path.read_text()} == {"a", "b"})
        calls = [int(path.read_text()) for path in traces.iterdir()]
        assert all(map(alive, calls))
        client.send_signal(number)
    killed = time.monotonic()
    eventually(lambda: not any(map(alive, calls)))
    assert time.monotonic() - killed < 5
    eventually(lambda: not leftovers())
    assert time.monotonic() - killed < (40 if defaults else 20)
