"""Secrets on their way to workers: by environment variables, as which `Storage.secrets` gives them to deployments.

Standard library only, for workers import it.
"""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

# The variables that the configuration would read them from, too.
PREFIX: Final = "WREN_IBM_COS__"


class Credentials(NamedTuple):
    """Either `access_key` and `secret_key`, or `api_key`; what is not given is empty."""

    access_key: str = ""
    secret_key: str = ""
    api_key: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"  # they are in no log

    def environment(self) -> Mapping[str, str]:
        """Those that are given, as environment variables."""
        return {f"{PREFIX}{name.upper()}": value for name, value in self._asdict().items() if value}

    @classmethod
    def found(cls) -> "Credentials":
        """Those of this process's environment."""
        return cls(*(os.environ.get(f"{PREFIX}{name.upper()}", "") for name in cls._fields))
