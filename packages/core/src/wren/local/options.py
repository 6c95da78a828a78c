"""Section `[localhost]` of the configuration: the local backend and the local storage share it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LocalhostOptions:
    """Options of calls in local processes and of objects in a local directory."""

    workers: int | None = None  # processes; None: one for each processor that this process may use
    path: str = ""  # of the storage; empty: a private directory of the user's below the temporary one
    bucket: str = "wren"
