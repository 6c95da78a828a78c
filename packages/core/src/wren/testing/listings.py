"""The conformance of storages: their fixtures, and the checks of listings, keys and many objects at once."""

import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wren.spi import Storage
from wren.testing.conformance import Conformance

__all__ = ["ListingConformance", "ObjectsConformance"]

MANY: Final = 1_500  # objects: more than the 1,000 of a page or a request that S3 and its like have
NAMES: Final = ["a", "a/", "a/b", "a/b/c", "a-b", "ab", "b", "A", "~", "é", "日本/語", "\uffee", "\U0001f426"]

# Keys that are odd, but that a user may have: from parts that mean something elsewhere, and from any text.
parts = st.sampled_from(
    ["", ".", "..", "...", "a", "a b", " ", "%", "%41", "%2F", "+", "&x=1", "?", "#", "\\", "'\"<>"]
)
texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=8)
odd_keys = st.lists(parts | texts, min_size=1, max_size=4).map("/".join).filter(bool)


class ObjectsConformance(Conformance):
    """The fixtures and helpers of storages."""

    @pytest.fixture
    def storage(self, options: Mapping[str, Any]) -> Iterator[Storage[Any]]:
        """The plugin with the author's options."""
        storage: Storage[Any] = self.make(options)
        yield storage
        storage.close()

    @pytest.fixture
    def bucket(self, storage: Storage[Any]) -> str:
        """A bucket that is there."""
        return storage.bucket

    @pytest.fixture
    def prefix(self, storage: Storage[Any], bucket: str) -> Iterator[str]:
        """Where a test's keys begin."""
        prefix = f"wren-conformance/{uuid.uuid4().hex}/"
        yield prefix
        storage.delete(bucket, self.keys(storage, bucket, prefix))

    def raw_put(self, bucket: str, key: str, data: bytes) -> None:
        """Write an object without the plugin: the author's.  The keys are of ASCII letters, digits, `-` and `/`."""
        raise NotImplementedError(f"write {type(self).__qualname__}.raw_put(bucket, key, data), without the plugin")

    def raw_get(self, bucket: str, key: str) -> bytes:
        """Read an object without the plugin: the author's."""
        raise NotImplementedError(f"write {type(self).__qualname__}.raw_get(bucket, key), without the plugin")

    def keys(self, storage: Storage[Any], bucket: str, prefix: str, after: str = "") -> list[str]:
        """What is listed."""
        return [info.key for info in storage.list(bucket, prefix, after)]


class ListingConformance(ObjectsConformance):
    """Listings and keys."""

    @pytest.fixture
    def many(self, storage: Storage[Any], bucket: str, prefix: str) -> list[str]:
        """Keys of more objects than a service lists in one answer, in order."""
        keys = [f"{prefix}many/{number:05d}" for number in range(MANY)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: storage.put(bucket, key, [b"x"]), reversed(keys)))
        return keys

    @pytest.fixture
    def named(self, storage: Storage[Any], bucket: str, prefix: str) -> list[str]:
        """Keys of some objects, in order."""
        for name in reversed(NAMES):
            storage.put(bucket, prefix + name, [name.encode()])
        return sorted((prefix + name for name in NAMES), key=str.encode)

    def test_keys_are_listed_in_the_order_of_their_bytes(
        self, storage: Storage[Any], bucket: str, prefix: str, named: list[str]
    ) -> None:
        """Of their UTF-8: other orders differ beyond the Basic Multilingual Plane, or by language."""
        assert self.keys(storage, bucket, prefix) == named

    def test_a_prefix_need_not_be_a_folder(
        self, storage: Storage[Any], bucket: str, prefix: str, named: list[str]
    ) -> None:
        for start in ("a", "a/", "a/b", "a-", "日", "b/", "c", "a/b/c/d"):
            wanted = [key for key in named if key.startswith(prefix + start)]
            assert self.keys(storage, bucket, prefix + start) == wanted

    def test_a_listing_begins_behind_after(
        self, storage: Storage[Any], bucket: str, prefix: str, named: list[str]
    ) -> None:
        """Behind, not at; and `after` need be no key, nor begin with the prefix."""
        for after in ["a", "a/b", "a/b/b", "b", "zzz", "é", "\U0001f426"]:
            wanted = [key for key in named if key.encode() > (prefix + after).encode()]
            assert self.keys(storage, bucket, prefix, prefix + after) == wanted
        assert self.keys(storage, bucket, f"{prefix}a/", prefix) == [prefix + name for name in ("a/", "a/b", "a/b/c")]
        assert self.keys(storage, bucket, prefix, "\U0010fffd") == []

    def test_a_listing_of_many_pages_loses_nothing(
        self, storage: Storage[Any], bucket: str, prefix: str, many: list[str]
    ) -> None:
        assert self.keys(storage, bucket, prefix) == many
        assert self.keys(storage, bucket, prefix, many[1_250]) == many[1_251:]
        assert self.keys(storage, bucket, f"{prefix}many/00") == many[:1_000]

    def test_many_objects_are_deleted_at_once(
        self, storage: Storage[Any], bucket: str, prefix: str, many: list[str]
    ) -> None:
        storage.put(bucket, f"{prefix}other", [b"stays"])
        storage.delete(bucket, iter(many))
        assert self.keys(storage, bucket, prefix) == [f"{prefix}other"]

    def test_a_prefix_of_nothing_lists_nothing(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        assert self.keys(storage, bucket, prefix) == []

    def test_a_listing_says_what_head_says(
        self, storage: Storage[Any], bucket: str, prefix: str, named: list[str]
    ) -> None:
        assert list(storage.list(bucket, prefix)) == [storage.head(bucket, key) for key in named]

    def test_objects_may_go_while_they_are_listed(
        self, storage: Storage[Any], bucket: str, prefix: str, named: list[str]
    ) -> None:
        listed = []
        for info in storage.list(bucket, prefix):
            listed.append(info.key)
            storage.delete(bucket, named[3:])
        assert listed[:3] == named[:3]
        assert set(listed) <= set(named)

    def test_a_key_may_be_another_ones_folder(self, storage: Storage[Any], bucket: str, prefix: str) -> None:
        nested = [prefix + name for name in ("a", "a/", "a/b", "a/b/c")]
        for order in (nested, nested[::-1]):
            for key in order:
                storage.put(bucket, key, [key.encode()])
            assert [storage.get(bucket, key) for key in nested] == [key.encode() for key in nested]
            assert self.keys(storage, bucket, prefix) == nested
            storage.delete(bucket, [f"{prefix}a"])
            assert self.keys(storage, bucket, prefix) == nested[1:]
            storage.delete(bucket, nested)

    # The same examples everywhere and nothing kept; fixtures are shared by them, as each has a prefix of its own.
    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(names=st.lists(odd_keys, min_size=1, max_size=6, unique=True))
    def test_odd_keys_are_keys_like_any_other(
        self, storage: Storage[Any], bucket: str, prefix: str, names: list[str]
    ) -> None:
        own = f"{prefix}{uuid.uuid4().hex}/"
        keys = sorted((own + name for name in names), key=str.encode)
        for key in keys:
            storage.put(bucket, key, [key.encode()])
        assert [storage.get(bucket, key) for key in keys] == [key.encode() for key in keys]
        assert list(storage.list(bucket, own)) == [storage.head(bucket, key) for key in keys]
        assert self.keys(storage, bucket, own) == keys
        storage.delete(bucket, keys)
        assert self.keys(storage, bucket, own) == []
