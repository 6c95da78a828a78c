"""Debian packages that tests need: installed where CI runs as root, and nowhere else."""

import os
import subprocess
from functools import cache
from typing import Protocol

import pytest


class Install(Protocol):
    """Sees to it that Debian packages are there; skips the test, or fails it in CI, where they cannot be had."""

    def __call__(self, *packages: str) -> None: ...


@pytest.fixture(scope="session")
def install_debian() -> Install:
    return install


def install(*packages: str) -> None:
    """What is missing is installed on CI's own machine only: nobody's laptop is changed."""
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    names = " ".join(missing)
    if not os.environ.get("CI"):
        pytest.skip(f"needs Debian's {names}: apt-get install --no-install-recommends {names}")
    if os.geteuid() != 0:
        pytest.fail(f"CI needs Debian's {names}, and only root can install it")
    _update()
    _apt_get("install", "--yes", "--no-install-recommends", *missing)


def _installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
    except FileNotFoundError:  # this is no Debian
        return False


@cache
def _update() -> None:
    _apt_get("update")


def _apt_get(*arguments: str) -> None:
    command = ["apt-get", "--quiet", *arguments]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
