"""wren's conformance kit over the storage ibm_cos with an api key, before a real S3 server."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from tests.services.fixtures import Endpoint, Gate
from wren.spi import Storage
from wren.testing import StorageConformance
from wren_storage_cos.storage import CosStorage

SDK = ("ibm_boto3", "ibm_botocore", "ibm_s3transfer", "certifi", "charset_normalizer", "dateutil", "idna", "jmespath",
       "obstore", "requests", "six", "urllib3")  # fmt: skip


class TestStorage(StorageConformance):
    plugin: ClassVar[type[Storage[Any]]] = CosStorage
    worker_packages: ClassVar[tuple[str, ...]] = SDK

    @pytest.fixture
    def options(self, s3: Endpoint, iam: Gate, s3_bucket: str) -> Iterator[Mapping[str, Any]]:
        self.client = s3.client()
        yield iam.options(s3_bucket)
        self.client.close()

    @pytest.fixture
    def unreachable(self, iam: Gate) -> Mapping[str, Any]:
        return {**iam.options("wren"), "endpoint": "http://127.0.0.1:1", "retries": 1}

    def raw_put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def raw_get(self, bucket: str, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content
