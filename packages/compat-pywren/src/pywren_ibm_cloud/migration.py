"""What `wren config migrate` asks for: the configuration of old as the text of a configuration file of wren's."""

from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from pywren_ibm_cloud import sources
from pywren_ibm_cloud.options import Left, convert
from wren.errors import ConfigError

__all__ = ["Migration", "migrate"]


@dataclass(frozen=True, slots=True)
class Migration:
    """`toml` may hold secrets and stays out of the repr; empty: nothing could be taken over."""

    source: str
    toml: str = field(repr=False)
    left: tuple[Left, ...]


def migrate(path: Path | None = None) -> Migration:
    """Convert the given file, else the configuration that PyWren would have read.  Raises ConfigError."""
    source = sources.read(path) if path else sources.find()
    if source is None:
        raise ConfigError(f"no configuration of PyWren was found in {sources.PLACES}: name its file with --from")
    converted = convert(source.sections, source.name)
    return Migration(source.name, tomli_w.dumps(converted.sections), converted.left)
