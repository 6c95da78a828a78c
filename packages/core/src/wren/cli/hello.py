"""`wren hello`: the shortest check that a backend runs calls."""

import os
import platform
import time
from dataclasses import dataclass

__all__ = ["Greeting", "greet", "run"]


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a worker says of itself."""

    python: str  # its version
    system: str  # as `Linux x86_64`
    pid: int
    host: str


def greet() -> Greeting:
    """Runs in the worker."""
    return Greeting(
        platform.python_version(), f"{platform.system()} {platform.machine()}", os.getpid(), platform.node()
    )


def run(backend: str | None) -> None:
    """Run one call and print what ran it.  Raises what the executor and the call raise."""
    import click

    from wren.config import Config
    from wren.executor import FunctionExecutor

    name = backend or Config.load().wren.backend or "localhost"
    start = time.monotonic()
    with FunctionExecutor(backend=name) as executor:
        greeting = executor.call_async(greet, ()).result()
        seconds = time.monotonic() - start
    click.echo(f"Hello from {name}!")
    click.echo(
        f"Python {greeting.python} ran this call, in process {greeting.pid} on {greeting.host} ({greeting.system})."
    )
    click.echo(f"Its result was here after {seconds:.2f} s.")
