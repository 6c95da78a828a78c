"""wren's conformance kit over the storage ibm_cos with an api key: real servers, behind tokens that end."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import pytest
from tests.services.fixtures import Endpoint, Gate, gate_before

from wren.spi import Storage
from wren.testing import StorageConformance
from wren_storage_cos.storage import CosStorage

NAMES: Final = ("a-b", "a/b/c", "a/c", "ab", "b", "A", "~", "é", "日本/語", "\uffee", "\U0001f426")
SDK: Final = (
    "ibm_boto3", "ibm_botocore", "ibm_s3transfer", "certifi", "charset_normalizer", "dateutil", "idna", "jmespath",
    "requests", "six", "urllib3",
)  # fmt: skip


@pytest.fixture(scope="module")
def gate(any_keys: Endpoint) -> Iterator[Gate]:
    with gate_before(any_keys) as gate:
        yield gate


class IamConformance(StorageConformance):
    """What both have."""

    plugin: ClassVar[type[Storage[Any]]] = CosStorage
    worker_packages: ClassVar[tuple[str, ...]] = SDK
    client: Any  # an SDK's, with HMAC keys

    @pytest.fixture
    def storage(self, options: Mapping[str, Any]) -> Iterator[Storage[Any]]:
        """The kit's, opened: what the SDK says of itself in memory, 15 MB, is no object's."""
        storage: Storage[Any] = self.make(options)
        next(storage.list(storage.bucket), None)
        yield storage
        storage.close()

    @pytest.fixture
    def unreachable(self, iam: Gate) -> Mapping[str, Any]:
        return {**iam.options("wren"), "endpoint": "http://127.0.0.1:9", "retries": 1}

    def raw_put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def raw_get(self, bucket: str, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data


class TestIam(IamConformance):
    """Over versitygw."""

    xfails: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "test_a_listing_begins_behind_after",
            "test_a_key_may_be_another_ones_folder",
            "test_odd_keys_are_keys_like_any_other",
            "test_delete_removes_those_named_and_no_others",
        ),
        "this server keeps objects as files: a key cannot be another one's folder, nor have empty or dotted parts",
    )

    @pytest.fixture
    def options(self, s3: Endpoint, iam: Gate, s3_bucket: str) -> Iterator[Mapping[str, Any]]:
        self.client = s3.client()
        yield iam.options(s3_bucket)
        self.client.close()

    @pytest.fixture
    def named(self, storage: Storage[Any], bucket: str, prefix: str) -> list[str]:
        """The kit's, but for those that are folders of others."""
        names = sorted((prefix + name for name in NAMES), key=str.encode)
        for name in reversed(names):
            storage.put(bucket, name, [name.encode()])
        return names


class TestIamWithAnyKeys(IamConformance):
    """Over moto, whose keys are any text, as the service's are."""

    @pytest.fixture
    def options(self, any_keys: Endpoint, gate: Gate) -> Iterator[Mapping[str, Any]]:
        bucket = f"wren-{uuid.uuid4().hex}"  # it goes with the server
        self.client = any_keys.client()
        self.client.create_bucket(Bucket=bucket)
        yield gate.options(bucket)
        self.client.close()
