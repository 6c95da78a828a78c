"""Fixtures of the real services, for the tests of every package; the root's conftest.py loads them."""

import contextlib
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from tests.services.base import ROOT, Missing, started

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an S3 server is, and the keys that it knows."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)

    def client(self) -> Any:
        """An SDK's client, so that a test has a way of its own to what it tests."""
        import ibm_boto3
        from ibm_botocore.config import Config

        return ibm_boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )

    def options(self, bucket: str) -> "Mapping[str, Any]":
        """As section `[ibm_cos]` has it."""
        return {
            "endpoint": self.url,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "bucket": bucket,
        }


@dataclass(frozen=True, slots=True)
class Gate:
    """The same server as it is for an api key: `tests.services.iam` says what it does."""

    url: str
    api_key: str = field(repr=False)
    reader: str = field(repr=False)  # an api key that may only read

    def auth(self, path: str = "token") -> str:
        """The URL of a service of tokens."""
        return f"{self.url}/identity/{path}"

    def count(self, path: str) -> int:
        """How many requests it has had."""
        with urllib.request.urlopen(f"{self.url}/identity/counts/{path}", timeout=10) as answer:
            return int(answer.read())

    def options(self, bucket: str, path: str = "token") -> "Mapping[str, Any]":
        """As section `[ibm_cos]` has it."""
        return {"endpoint": self.url, "api_key": self.api_key, "ibm_auth_endpoint": self.auth(path), "bucket": bucket}


def absent(error: Missing) -> NoReturn:
    """Skip on a laptop, and fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI has all services, but this one: {error}")
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def s3() -> Endpoint:
    """An S3 server: that of WREN_S3_URL, WREN_S3_ACCESS_KEY and WREN_S3_SECRET_KEY, or one of this machine."""
    from tests.services.s3 import ACCESS_KEY, SECRET_KEY

    url = os.environ.get("WREN_S3_URL")
    if url:
        return Endpoint(url, os.environ["WREN_S3_ACCESS_KEY"], os.environ["WREN_S3_SECRET_KEY"])
    try:
        return Endpoint(started("tests.services.s3"), ACCESS_KEY, SECRET_KEY)
    except Missing as error:
        absent(error)


@pytest.fixture(scope="session")
def iam(s3: Endpoint) -> Iterator[Gate]:
    """The S3 server behind tokens for an api key."""
    with gate_before(s3) as gate:
        yield gate


@contextlib.contextmanager
def gate_before(server: Endpoint) -> Iterator[Gate]:
    """A gate before any S3 server, for as long as it is used."""
    from tests.services.iam import API_KEY, READER

    env = {**os.environ, "S3_ACCESS_KEY": server.access_key, "S3_SECRET_KEY": server.secret_key}
    command = [sys.executable, "-m", "tests.services.iam", server.url]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as gate:
        try:
            assert gate.stdout is not None
            yield Gate(gate.stdout.readline().strip(), API_KEY, READER)
        finally:
            gate.terminate()


@pytest.fixture
def make_bucket(s3: Endpoint) -> Iterator[Callable[[], str]]:
    """Makes buckets, which go with the test."""
    client, made = s3.client(), list[str]()

    def make() -> str:
        name = f"wren-{uuid.uuid4().hex[:16]}"
        client.create_bucket(Bucket=name)
        made.append(name)
        return name

    yield make
    for name in made:
        remove_bucket(client, name)
    client.close()


@pytest.fixture
def s3_bucket(make_bucket: Callable[[], str]) -> str:
    """A new bucket, which goes with the test."""
    return make_bucket()


def remove_bucket(client: Any, name: str) -> None:
    """Remove a bucket with all that is in it; one that is not there is none."""
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for found in page.get("Contents", []):
                client.delete_object(Bucket=name, Key=found["Key"])
        uploads = client.list_multipart_uploads(Bucket=name).get("Uploads") or []
        for upload in uploads:
            client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        client.delete_bucket(Bucket=name)
    except client.exceptions.NoSuchBucket:
        pass
