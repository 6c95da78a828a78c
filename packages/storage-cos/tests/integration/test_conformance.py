"""wren's conformance kit over real servers."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import pytest
from tests.services.fixtures import Endpoint

from wren.spi import Storage
from wren.testing import StorageConformance
from wren_storage_cos.storage import CosStorage

NAMES: Final = ("a-b", "a/b/c", "a/c", "ab", "b", "A", "~", "é", "日本/語", "\uffee", "\U0001f426")


class HmacConformance(StorageConformance):
    """What both have."""

    plugin: ClassVar[type[Storage[Any]]] = CosStorage
    worker_packages: ClassVar[tuple[str, ...]] = ("obstore",)
    client: Any  # an SDK's

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any]:
        keys = {"access_key": "mine", "secret_key": "hush"}
        return {"endpoint": "http://127.0.0.1:9", "bucket": "wren", "retries": 1, **keys}

    def raw_put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def raw_get(self, bucket: str, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data


class TestHmac(HmacConformance):
    """Over versitygw, which checks signatures as the service does."""

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
    def options(self, s3: Endpoint, s3_bucket: str) -> Iterator[Mapping[str, Any]]:
        self.client = s3.client()
        yield s3.options(s3_bucket)
        self.client.close()

    @pytest.fixture
    def named(self, storage: Storage[Any], bucket: str, prefix: str) -> list[str]:
        """The kit's, but for those that are folders of others."""
        names = sorted((prefix + name for name in NAMES), key=str.encode)
        for name in reversed(names):
            storage.put(bucket, name, [name.encode()])
        return names


class TestHmacWithAnyKeys(HmacConformance):
    """Over moto, whose keys are any text, as the service's are."""

    @pytest.fixture
    def options(self, any_keys: Endpoint) -> Iterator[Mapping[str, Any]]:
        bucket = f"wren-{uuid.uuid4().hex}"  # it goes with the server
        self.client = any_keys.client()
        self.client.create_bucket(Bucket=bucket)
        yield any_keys.options(bucket)
        self.client.close()
