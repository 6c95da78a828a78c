"""Programs written in Go, built from the module proxy into the services' folder."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.services.base import Missing

# The first Go that fetches by itself the toolchain that a program asks for.
FETCHES: Final = (1, 21)
TOOLCHAIN: Final = "golang.org/toolchain@v0.0.1-go1.25.0.linux-{machine}"
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def build(package: str, version: str, folder: Path) -> Path:
    """The program of a package, at that version; built where it is not there yet.  Raises Missing."""
    program = folder / f"{package.rpartition('/')[2]}-{version}"
    if not program.exists():
        binaries = folder / "building"
        env = {**os.environ, "GOBIN": str(binaries), "GOTOOLCHAIN": "auto", "GOFLAGS": "-modcacherw"}
        _run([_go(), "install", "-ldflags=-s -w", f"{package}@{version}"], env)
        (binaries / package.rpartition("/")[2]).replace(program)
    return program


def _go() -> str:
    found = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if found is None:
        if not os.environ.get("CI") or os.geteuid() != 0:
            raise Missing(
                "needs Go 1.21 or later to build it: put `go` on PATH, or set CI as root to have it installed"
            )
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "--quiet", "update"], env)
        _run(["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", "golang-go", "ca-certificates"], env)
        found = str(shutil.which("go"))
    version = re.search(r"go(\d+)\.(\d+)", _run([found, "version"], dict(os.environ)))
    old = version is not None and (int(version[1]), int(version[2])) < FETCHES
    return newer(found) if old else found


def newer(go: str) -> str:
    """A Go that is new enough, fetched by one that is too old to fetch it by itself."""
    module = TOOLCHAIN.format(machine=_MACHINES.get(os.uname().machine, os.uname().machine))
    folder = Path(json.loads(_run([go, "mod", "download", "-json", module], dict(os.environ)))["Dir"])
    for program in (*folder.glob("bin/*"), *folder.glob("pkg/tool/*/*")):  # modules have no programs, for Go
        program.chmod(0o755)
    return str(folder / "bin" / "go")


def _run(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
