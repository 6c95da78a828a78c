"""An S3 server, versitygw over a directory: signatures are checked, answers are those of the real thing.

`python -m tests.services.s3 start|stop|status`, in the root.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from tests.services.base import HOST, Missing, Service
from tests.services.golang import build

PACKAGE: Final = "github.com/versity/versitygw/cmd/versitygw"
VERSION: Final = "v1.8.0"
ACCESS_KEY: Final = "wrenkey"
SECRET_KEY: Final = "wrensecret"


class S3(Service):
    """Listens on this machine, and for its containers and pods where there are such networks; for nobody else."""

    name: ClassVar[str] = "s3"
    port: ClassVar[int] = 9000

    def install(self) -> None:
        self._program = build(PACKAGE, VERSION, self.folder)

    def command(self, port: int, data: Path) -> tuple[list[str], Mapping[str, str]]:
        ports = [f"--port={address}:{port}" for address in (HOST, *_bridges())]
        env = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        return [str(self._program), *ports, "--quiet", "posix", str(data)], env

    def place(self) -> str:
        """In memory where that is possible; what an object has beside its content is in extended attributes."""
        for parent in ("/dev/shm", tempfile.gettempdir(), str(self.folder)):
            try:
                with tempfile.NamedTemporaryFile(dir=parent) as probe:
                    os.setxattr(probe.name, "user.wren", b"1")
            except OSError:
                continue
            return parent
        raise Missing("needs a file system with extended attributes: /dev/shm, the temporary folder or the cache")


def _bridges() -> list[str]:
    """The addresses by which containers and pods reach this machine."""
    try:
        listed = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return []
    return re.findall(r"^\d+: (?:docker0|kn0)\s+inet ([\d.]+)", listed, re.MULTILINE)


if __name__ == "__main__":
    sys.exit(S3().main(sys.argv[1:]))
