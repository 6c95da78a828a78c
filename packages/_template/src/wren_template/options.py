"""Section `[template]` of the configuration, which the backend and the storage share as they share the name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """Where things are."""

    path: str = "wren-template.db"  # of the storage's file
    bucket: str = "wren"
    python: str = ""  # the workers' interpreter, which has wren-core; empty: this one
    idle_exit: float = 30.0  # seconds without a client after which a shell ends by itself
