"""What answers mean: one sentence each, which names what to correct and nothing that is secret."""

import http.client
import socket
import ssl
from typing import Final

import pytest

from wren.errors import PreconditionFailed, StorageError, StorageUnavailable
from wren_storage_cos.errors import IAM, explanation, reason, refusal

PLACE: Final = "https://s3.example"
# As AWS and others answer; most of it is nobody's business.
REFUSED: Final = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we '
    "calculated does not match</Message><AWSAccessKeyId>mine</AWSAccessKeyId><StringToSign>AWS4-HMAC</StringToSign>"
    "<SignatureProvided>5d1539</SignatureProvided></Error>"
)


def meaning(status: int, code: str = "", message: str = "", key: str = "k") -> Exception:
    return refusal(status, code, message, place=PLACE, bucket="b", key=key, region="eu-de")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "InvalidAccessKeyId", ["access_key in section [ibm_cos]", PLACE]),
        (404, "XAdminUserNotFound", ["access_key in section [ibm_cos]", PLACE]),
        (403, "SignatureDoesNotMatch", ["secret_key in section [ibm_cos]", PLACE]),
        (403, "RequestTimeTooSkewed", ["clock", PLACE, "NTP"]),
        (403, "AccessDenied", ["b/k", "access_key and secret_key in section [ibm_cos]", "permission"]),
        (403, "", ["b/k", "access_key and secret_key in section [ibm_cos]"]),
        (401, "", ["access_key and secret_key in section [ibm_cos]"]),
        (404, "NoSuchBucket", ["no bucket 'b'", PLACE, "bucket in section [ibm_cos]"]),
        (400, "InvalidBucketName", ["'b'", "bucket in section [ibm_cos]"]),
        (400, "AuthorizationHeaderMalformed", ["'eu-de'", "region in section [ibm_cos]"]),
        (301, "PermanentRedirect", ["'b'", "endpoint in section [ibm_cos]"]),
        (301, "", ["'b'", "endpoint in section [ibm_cos]"]),
        (400, "KeyTooLongError", ["b/k", "1,024 bytes"]),
        (400, "InvalidArgument", [PLACE, "b/k", "400", "InvalidArgument"]),
    ],
)
def test_a_refusal_names_what_to_correct(status: int, code: str, words: list[str]) -> None:
    error = meaning(status, code)
    assert type(error) is StorageError
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_service_is_unavailable(status: int) -> None:
    error = meaning(status, "SlowDown", "Please reduce\n your request rate")
    assert isinstance(error, StorageUnavailable)
    for word in (PLACE, "endpoint in section [ibm_cos]", f"{status} SlowDown Please reduce your request rate"):
        assert word in str(error)


@pytest.mark.parametrize("code", ["", "NoSuchKey"])
def test_a_missing_object_is_a_missing_file(code: str) -> None:
    assert isinstance(meaning(404, code), FileNotFoundError)


@pytest.mark.parametrize("status", [304, 412])
def test_a_failed_condition_is_one(status: int) -> None:
    assert isinstance(meaning(status), PreconditionFailed)


def test_the_credentials_are_named_that_were_used() -> None:
    assert IAM in str(refusal(403, "AccessDenied", "", place=PLACE, bucket="b", keys=IAM))


def test_nothing_but_code_and_message_is_read_of_an_answer() -> None:
    assert explanation(REFUSED) == ("SignatureDoesNotMatch", "The request signature we calculated does not match")
    assert explanation("<html>502 Bad Gateway</html>") == ("", "")
    error = str(meaning(403, *explanation(REFUSED)))
    for secret in ("mine", "5d1539", "AWS4"):
        assert secret not in error


def test_what_a_service_says_is_one_short_line() -> None:
    said = str(meaning(418, "Teapot", "short\n and stout" * 1_000))
    assert "\n" not in said
    assert len(said) < 400


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError("timed out"), "no answer in time"),
        (http.client.RemoteDisconnected("x"), "it closed the connection"),
        (http.client.BadStatusLine("SSH-2.0"), "what came is no HTTP"),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), "ca_file"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "no TLS"),
        (OSError(), "OSError"),
    ],
    ids=repr,
)
def test_a_lost_connection_has_a_reason(error: Exception, words: str) -> None:
    assert words in reason(error)
