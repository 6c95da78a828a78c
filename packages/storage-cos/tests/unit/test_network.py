"""Which endpoint a worker uses, and where its secrets are."""

import os
import subprocess
import sys

import pytest

from wren_storage_cos.credentials import Credentials
from wren_storage_cos.network import endpoint_of, here

PUBLIC, PRIVATE = "https://s3.example", "https://s3.private.example"


def test_workers_beside_the_client_use_its_endpoint() -> None:
    assert endpoint_of(PUBLIC, PRIVATE, here()) == PUBLIC
    seen = subprocess.run(
        [sys.executable, "-c", "from wren_storage_cos.network import here; print(here())"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert seen.stdout.strip() == here()


def test_workers_elsewhere_use_the_private_one_where_there_is_one() -> None:
    assert endpoint_of(PUBLIC, PRIVATE, "elsewhere") == PRIVATE
    assert endpoint_of(PUBLIC, "", "elsewhere") == PUBLIC


def test_another_network_namespace_is_elsewhere() -> None:
    """As a container has one."""
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-c"]
    command.append("from wren_storage_cos.network import here; print(here())")
    try:
        seen = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs unshare, of util-linux")
    if seen.returncode:
        pytest.skip(f"this machine gives nobody a network namespace: {seen.stderr.strip()}")
    assert seen.stdout.strip()
    assert seen.stdout.strip() != here()


def test_secrets_go_by_the_environment_and_are_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WREN_")]:
        monkeypatch.delenv(name)
    assert Credentials.found() == Credentials()
    given = Credentials("mine", "hush")
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert Credentials.found() == given
    assert "hush" not in f"{given} {given!r}"
