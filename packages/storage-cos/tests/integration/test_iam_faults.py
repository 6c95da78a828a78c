"""Worse moments of a service that is asked with an api key, and certificates of one's own."""

import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trustme
from tests.services.fixtures import Endpoint, Gate

from wren.errors import StorageError, StorageUnavailable
from wren_storage_cos.client import connect
from wren_storage_cos.credentials import Credentials
from wren_storage_cos.sdk import SdkObjects

if TYPE_CHECKING:
    from integration.conftest import Between


@pytest.fixture
def faulty(between: "Between", iam: Gate) -> "Between":
    between.real = urlsplit(iam.url).netloc
    return between


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(make_between: "Callable[..., Between]", authority: trustme.CA, iam: Gate) -> "Between":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    between = make_between(context)
    between.real = urlsplit(iam.url).netloc
    return between


@pytest.fixture
def opened(iam: Gate) -> Iterator[Callable[..., SdkObjects]]:
    made = list[SdkObjects]()

    def open_objects(**settings: Any) -> SdkObjects:
        given = {"endpoint": iam.url, "ibm_auth_endpoint": iam.auth(), "retries": 2, **settings}
        made.append(SdkObjects(**given, credentials=Credentials(api_key=iam.api_key)))
        return made[-1]

    yield open_objects
    for each in made:
        each.close()


@pytest.mark.parametrize("action", [503, 500, "close", "cut"])
def test_a_bad_moment_is_got_over(
    opened: Callable[..., SdkObjects], faulty: "Between", s3_bucket: str, action: int | str
) -> None:
    opened().put(s3_bucket, "k", [b"content"])
    faulty.will(action, action, "pass")
    assert opened(endpoint=faulty.url).get(s3_bucket, "k") == b"content"
    assert len(faulty.asked) == 3


@pytest.mark.parametrize("action", [503, "close"])
def test_a_body_is_sent_again_from_its_beginning(
    opened: Callable[..., SdkObjects], faulty: "Between", s3_bucket: str, action: int | str
) -> None:
    content = bytes(range(256)) * (6 << 12)
    faulty.will("pass", action, action, "pass")
    opened(endpoint=faulty.url, retries=4).put(s3_bucket, "k", [content])
    assert opened().get(s3_bucket, "k") == content


def test_a_conditional_put_is_not_sent_again(
    opened: Callable[..., SdkObjects], faulty: "Between", s3_bucket: str
) -> None:
    faulty.will("swallow", "pass")
    with pytest.raises(StorageUnavailable, match="it closed the connection"):
        opened(endpoint=faulty.url).put(s3_bucket, "k", [b"x"], if_absent=True)
    assert len(faulty.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "<html>",
        "",
        "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
        (
            "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>1</NextContinuationToken>"
            "</ListBucketResult>"
        ),
    ],
)
@pytest.mark.parametrize(
    "verb",
    [
        lambda objects, bucket: objects.get(bucket, "k", 1, 3),
        lambda objects, bucket: objects.head(bucket, "k"),
        lambda objects, bucket: [*objects.list(bucket), objects.get(bucket, "k", 1, 3)],
        lambda objects, bucket: objects.put(bucket, "k", [bytes(6 << 20)]),
    ],
)
def test_what_is_no_s3_is_an_error(
    opened: Callable[..., SdkObjects],
    faulty: "Between",
    s3_bucket: str,
    verb: Callable[[SdkObjects, str], object],
    answer: str,
) -> None:
    faulty.will((200, answer))
    with pytest.raises(StorageError) as caught:
        verb(opened(endpoint=faulty.url), s3_bucket)
    assert faulty.url in str(caught.value)


def test_half_a_character_is_an_error(opened: Callable[..., SdkObjects], s3_bucket: str) -> None:
    with pytest.raises(StorageError, match="half a character"):
        opened().put(s3_bucket, "\ud800", [b"x"])


def test_nothing_waits_for_ever(opened: Callable[..., SdkObjects], faulty: "Between", s3_bucket: str) -> None:
    faulty.will("stall")
    with pytest.raises(StorageUnavailable, match="no answer in time"):
        opened(endpoint=faulty.url, timeout=0.3, retries=1).get(s3_bucket, "k")
    with pytest.raises(StorageUnavailable, match=r"see ibm_auth_endpoint.*no answer in time"):
        opened(ibm_auth_endpoint=f"{faulty.url}/identity/token", timeout=0.3, retries=0).get(s3_bucket, "k")


def test_certificates_must_be_trusted(
    opened: Callable[..., SdkObjects], secure: "Between", authority: trustme.CA, s3_bucket: str
) -> None:
    tokens = f"{secure.url}/identity/token"
    for settings in ({"endpoint": secure.url}, {"ibm_auth_endpoint": tokens}):
        with pytest.raises(StorageUnavailable, match=r"its certificate is not trusted.*ca_file"):
            opened(**settings, retries=0).get(s3_bucket, "k")
    trusting = opened(endpoint=secure.url, ibm_auth_endpoint=tokens, ca=authority.cert_pem.bytes().decode())
    trusting.put(s3_bucket, "k", [b"content"])
    assert trusting.get(s3_bucket, "k") == b"content"


def test_the_sdks_client_trusts_them_too(
    secure: "Between", authority: trustme.CA, s3: Endpoint, s3_bucket: str
) -> None:
    secure.real = urlsplit(s3.url).netloc
    keys = Credentials(s3.access_key, s3.secret_key)
    client = connect(secure.url, ca=authority.cert_pem.bytes().decode(), credentials=keys)
    client.put_object(Bucket=s3_bucket, Key="k", Body=b"content")
    client.close()
    assert secure.asked
