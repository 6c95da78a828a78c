"""Any text is a key, also such as obstore would take for another one: a user's buckets have all of them."""

import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services.fixtures import Endpoint

from wren.errors import StorageError
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.objects import Objects

parts = st.sampled_from(["", ".", "..", "...", "a", " ", "+", "%", "%2F", "%41", "?", "#", "&", "\\", "~", "é", "日本"])
keys = st.one_of(
    st.lists(parts, min_size=1, max_size=5).map("/".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12),  # moto has no line breaks
).filter(bool)

ODD: Final = (
    "/", "//", ".", "..", "./", "../", "/lead", "trail/", "a//b", "a/./b", "a/../b", "a/..", " ", " a ", "a+b", "a%b",
    "%", "%41", "%2F", "a?b=1", "#", "&amp;", "<&>", "\\", "\t", "\r", "\x01", "\x7f", "\ufffe", "é",
    "e\u0301", "\U0001f426",
)  # fmt: skip


@pytest.fixture(scope="module")
def client(any_keys: Endpoint) -> Iterator[Any]:
    """An SDK's, so that a mistake in writing cannot hide one in reading."""
    made = any_keys.client()
    yield made
    made.close()


@pytest.fixture
def bucket(client: Any) -> str:
    """A new one; it goes with the server."""
    name = f"wren-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def mine(any_keys: Endpoint) -> Iterator[Objects]:
    made = Objects(any_keys.url, credentials=Credentials("mine", "hush"))
    yield made
    made.close()


def is_a_key_like_any_other(key: str, objects: Objects, client: Any, bucket: str) -> None:
    data = key.encode()
    objects.put(bucket, key, [data])
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == data
    assert [name for name, *_ in objects.list(bucket)] == [key]
    assert list(objects.list(bucket, key[:1])) == [objects.head(bucket, key)]
    assert objects.get(bucket, key) == data
    assert objects.get(bucket, key, 1, 3) == data[1:3]
    with pytest.raises(FileNotFoundError) as caught:
        objects.get(bucket, f"{key}/")
    assert "\n" not in str(caught.value)
    objects.delete(bucket, [key])
    assert list(objects.list(bucket)) == []


@pytest.mark.parametrize("key", ODD, ids=ascii)
def test_an_odd_key_is_a_key_like_any_other(key: str, mine: Objects, client: Any, bucket: str) -> None:
    is_a_key_like_any_other(key, mine, client, bucket)


@pytest.mark.parametrize("key", ["/lead", "trail/", "a//b", "a/../b", "é+%"], ids=ascii)
def test_an_object_of_an_odd_key_may_be_large(key: str, mine: Objects, client: Any, bucket: str) -> None:
    mine.put(bucket, key, [b"0123456789abcdef" * 400_000])  # in parts
    assert client.head_object(Bucket=bucket, Key=key)["ContentLength"] == 6_400_000
    mine.delete(bucket, [key])


@pytest.mark.parametrize("key", ["\n", "a\nb", "a\r\nb", "\t", "a b+%41é", "%", "?#&"], ids=ascii)
def test_signatures_of_odd_keys_are_right(key: str, objects: Objects, s3: Endpoint, s3_bucket: str) -> None:
    """As only this server looks at them."""
    client = s3.client()
    is_a_key_like_any_other(key, objects, client, s3_bucket)
    client.close()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=keys)
def test_any_text_is_a_key(key: str, mine: Objects, client: Any, bucket: str) -> None:
    is_a_key_like_any_other(key, mine, client, bucket)


def test_what_can_be_no_key_is_an_error(mine: Objects, bucket: str) -> None:
    for key in ("", "\ud800"):
        with pytest.raises(StorageError, match="key"):
            mine.put(bucket, key, [b"content"])
        with pytest.raises(StorageError, match="key"):
            mine.get(bucket, key)
        with pytest.raises(StorageError, match="key"):
            mine.head(bucket, key)
