"""What a real service refuses: one plain error each, which names the key to correct and shows no secret."""

import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from tests.services.fixtures import Endpoint

from wren.errors import NoSuchKey, StorageError, StorageUnavailable
from wren.spi import Check
from wren_storage_cos import signing
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.objects import Objects
from wren_storage_cos.options import CosOptions
from wren_storage_cos.storage import CosStorage

if TYPE_CHECKING:
    from integration.conftest import Gateway, Opener

Verb: TypeAlias = Callable[[Objects, str], object]

# Those of ordinary objects are obstore's, the others are not.
VERBS: Final[dict[str, Verb]] = {
    "put": lambda objects, bucket: objects.put(bucket, "new", [b"content"]),
    "put if absent": lambda objects, bucket: objects.put(bucket, "new", [b"content"], if_absent=True),
    "put in parts": lambda objects, bucket: objects.put(bucket, "new", [b"content" * 1_000_000]),
    "get": lambda objects, bucket: objects.get(bucket, "k"),
    "get a range": lambda objects, bucket: objects.get(bucket, "k", 1, 3),
    "get nothing": lambda objects, bucket: objects.get(bucket, "k", 1, 1),
    "get an odd key": lambda objects, bucket: objects.get(bucket, "//k"),
    "head": lambda objects, bucket: objects.head(bucket, "k"),
    "head an odd key": lambda objects, bucket: objects.head(bucket, "//k"),
    "list": lambda objects, bucket: list(objects.list(bucket)),
    "delete": lambda objects, bucket: objects.delete(bucket, ["k"]),
}
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))

HUSH: Final = "a-secret-that-nobody-should-see"


@pytest.fixture
def bucket(s3: Endpoint, s3_bucket: str) -> Iterator[str]:
    """One with an object."""
    client = s3.client()
    client.put_object(Bucket=s3_bucket, Key="k", Body=b"0123456789")
    yield s3_bucket
    client.close()


def refused(verb: Verb, objects: Objects, bucket: str, *words: str) -> None:
    """It is a plain error with these words, and nothing that is shown of it has a secret."""
    with pytest.raises(StorageError) as caught:
        verb(objects, bucket)
    assert not isinstance(caught.value, StorageUnavailable), "there is no hope in asking again"
    for word in words:
        assert word in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    for secret in (HUSH, "StringToSign", "Signature=", "wrenkey/"):
        assert secret not in shown


@verbs
def test_a_wrong_secret_names_secret_key(verb: Verb, opened: "Opener", s3: Endpoint, bucket: str) -> None:
    wrong = opened(credentials=Credentials(s3.access_key, HUSH))
    refused(verb, wrong, bucket, "secret_key in section [ibm_cos]", s3.url)


@verbs
def test_a_wrong_access_key_names_access_key(verb: Verb, opened: "Opener", s3: Endpoint, bucket: str) -> None:
    wrong = opened(credentials=Credentials("nobody", HUSH))
    refused(verb, wrong, bucket, "access_key in section [ibm_cos]", s3.url)


@verbs
@pytest.mark.parametrize("name", ["my bucket", "{bucket}", "a\nb", "\ud800"])
@pytest.mark.parametrize("style", ["path", "virtual"])
def test_what_is_no_bucket_s_name_is_named(verb: Verb, opened: "Opener", name: str, style: str) -> None:
    """Over some of them obstore panics, which no `except Exception` catches."""
    if style == "virtual" and name == "{bucket}":
        pytest.skip("what a resolver makes of it is its own")
    refused(verb, opened(addressing_style=style), name, f"{name!r} cannot be a bucket")


@verbs
def test_a_missing_bucket_is_named(verb: Verb, objects: Objects, s3: Endpoint) -> None:
    refused(verb, objects, "wren-nowhere", "no bucket 'wren-nowhere'", s3.url, "bucket in section [ibm_cos]")


@verbs
def test_a_wrong_region_names_region(verb: Verb, opened: "Opener", bucket: str) -> None:
    refused(verb, opened(region="eu-de"), bucket, "'eu-de'", "region in section [ibm_cos]")


@verbs
def test_a_user_who_may_not_is_told_so(verb: Verb, opened: "Opener", gateway: "Gateway") -> None:
    gateway.client.create_bucket(Bucket="wren-closed")
    guest = opened(endpoint=gateway.url, credentials=Credentials("guest", "guestsecret"))
    try:
        refused(verb, guest, "wren-closed", "access_key and secret_key in section [ibm_cos]", "permission")
    finally:
        gateway.client.delete_bucket(Bucket="wren-closed")


@pytest.mark.parametrize("verb", [VERBS["list"], VERBS["get an odd key"], VERBS["put if absent"], VERBS["delete"]])
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_wrong_is_told(
    verb: Verb, hours: int, objects: Objects, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real server, of requests that were signed an hour ago, or will be."""

    class Wrong:
        strftime = staticmethod(time.strftime)

        @staticmethod
        def gmtime() -> time.struct_time:
            return time.gmtime(time.time() + hours * 3600)

    monkeypatch.setattr(signing, "time", Wrong)
    refused(verb, objects, bucket, "clock", "NTP")


def test_a_bucket_that_goes_is_missed(objects: Objects, s3: Endpoint, make_bucket: Callable[[], str]) -> None:
    bucket = make_bucket()
    client = s3.client()
    objects.put(bucket, "k", [b"content"])
    assert objects.head(bucket, "k")[1] == 7
    client.delete_object(Bucket=bucket, Key="k")
    client.delete_bucket(Bucket=bucket)
    client.close()
    for name in ("put", "put in parts", "get", "get a range", "list", "delete"):
        refused(VERBS[name], objects, bucket, f"no bucket {bucket!r}")
    with pytest.raises(FileNotFoundError):
        objects.head(bucket, "k")  # whose answer says no more


def test_a_missing_object_is_no_refusal(s3: Endpoint, bucket: str) -> None:
    storage = CosStorage(CosOptions(**s3.options(bucket)))
    with pytest.raises(NoSuchKey, match=f"no object {bucket}/gone in the ibm_cos storage"):
        storage.get(bucket, "gone")
    with pytest.raises(NoSuchKey, match=f"no object {bucket}/gone in the ibm_cos storage"):
        storage.head(bucket, "gone")
    storage.close()


@pytest.mark.parametrize("key", ["x" * 1_025, "é" * 600, "long/" * 400])
def test_a_key_that_is_too_long_is_an_error(key: str, objects: Objects, bucket: str) -> None:
    with pytest.raises(StorageError) as caught:
        objects.put(bucket, key, [b"content"])
    assert "\n" not in str(caught.value)


# ---- variables that are meant for other programs


@verbs
def test_variables_of_amazons_tools_change_nothing(
    verb: Verb, opened: "Opener", bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "another", "AWS_SECRET_ACCESS_KEY": "another", "AWS_SESSION_TOKEN": "another",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_REGION": "eu-de", "AWS_DEFAULT_REGION": "eu-de", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_SKIP_SIGNATURE": "true", "AWS_UNSIGNED_PAYLOAD": "true", "AWS_S3_EXPRESS": "true",
        "AWS_ALLOW_HTTP": "false", "AWS_REQUEST_PAYER": "requester",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        verb(opened(retries=0), bucket)
    except FileNotFoundError as error:
        assert "//k" in str(error)  # noqa: PT017 - of which there is none


# ---- proxies, and buckets before the host


@verbs
def test_a_bucket_may_stand_before_the_host_and_a_proxy_between(
    verb: Verb, opened: "Opener", gateway: "Gateway", s3: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes requests as proxies do; no other way leads to a bucket's name."""
    monkeypatch.setenv("http_proxy", gateway.url)
    monkeypatch.delenv("no_proxy", raising=False)
    gateway.client.create_bucket(Bucket="wren-virtual")
    gateway.client.put_object(Bucket="wren-virtual", Key="k", Body=b"0123456789")
    virtual = opened(endpoint="http://s3.test", addressing_style="virtual", retries=0)
    try:
        verb(virtual, "wren-virtual")
    except FileNotFoundError as error:
        assert "//k" in str(error)  # noqa: PT017 - of which there is none
    finally:
        for found in gateway.client.list_objects_v2(Bucket="wren-virtual").get("Contents", []):
            gateway.client.delete_object(Bucket="wren-virtual", Key=found["Key"])
        gateway.client.delete_bucket(Bucket="wren-virtual")


@verbs
def test_a_proxy_that_is_not_there_is_told(
    verb: Verb, opened: "Opener", bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:{HUSH}@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(StorageUnavailable, match="Connection refused") as caught:
        verb(opened(retries=0), bucket)
    assert HUSH not in "".join(traceback.format_exception(caught.value))


@verbs
def test_a_proxy_may_not_be_meant(verb: Verb, opened: "Opener", bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1,example.com")
    try:
        verb(opened(retries=0), bucket)
    except FileNotFoundError as error:
        assert "//k" in str(error)  # noqa: PT017 - of which there is none


# ---- wren doctor


def checked(s3: Endpoint, name: str, **values: Any) -> list[Check]:
    storage = CosStorage(CosOptions(**{**s3.options(name), **values}))
    try:
        return list(storage.check())
    finally:
        storage.close()


def test_a_check_finds_nothing_wrong(s3: Endpoint, bucket: str) -> None:
    assert [check for check in checked(s3, bucket) if not check.ok] == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bucket": "wren-nowhere"}, ["no bucket 'wren-nowhere'", "create it", "bucket in section [ibm_cos]"]),
        ({"secret_key": HUSH}, ["secret_key in section [ibm_cos]"]),
        ({"access_key": "nobody"}, ["access_key in section [ibm_cos]"]),
        ({"region": "eu-de"}, ["region in section [ibm_cos]"]),
        ({"endpoint": "http://127.0.0.1:9", "retries": 0}, ["endpoint in section [ibm_cos]"]),
    ],
    ids=str,
)
def test_a_check_says_what_to_correct(s3: Endpoint, bucket: str, values: dict[str, Any], words: list[str]) -> None:
    [failed] = [check for check in checked(s3, bucket, **values) if not check.ok]
    for word in words:
        assert word in failed.detail
    assert "[ibm_cos]" in failed.cure
    assert HUSH not in repr(failed)
