"""What the service's answers mean, in sentences that name the key of the configuration; for both clients.

What a service says beside code and message is passed on nowhere: it may have the access key, and signatures.  Workers
import this, so `wren.errors` only where there is an error.
"""

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wren.errors import StorageError, StorageUnavailable

__all__ = ["HMAC", "IAM", "busy", "explanation", "place_of", "reason", "refusal", "unexplained", "unreachable"]

HMAC: Final = "access_key and secret_key in section [ibm_cos]"
IAM: Final = "api_key in section [ibm_cos]"

_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})  # statuses after which the same request may well succeed
_MISSING: Final = frozenset({"", "NoSuchKey", "NotFound", "NoSuchVersion"})  # codes of a missing object
_CODE: Final = re.compile("<Code>([^<]*)</Code>")
_MESSAGE: Final = re.compile("<Message>([^<]*)</Message>")
_LONGEST: Final = 200  # characters of what a service says
# By the service's code; {place} is the endpoint, {keys} the names of the credentials.
_SENTENCES: Final = {
    "InvalidAccessKeyId": "{place} does not know the access_key in section [ibm_cos]: give one of the service's",
    "SignatureDoesNotMatch": "{place} refuses the secret_key in section [ibm_cos]: give the one of this access_key",
    "RequestTimeTooSkewed": "this machine's clock and that of {place} differ too much: set them, by NTP for example",
    "ExpiredToken": "{keys} is no longer valid at {place}: the token that it gave has expired",
    "NoSuchBucket": "there is no bucket {bucket!r} at {place}: create it, or correct bucket in section [ibm_cos]",
    "InvalidBucketName": "{bucket!r} cannot be a bucket at {place}: correct bucket in section [ibm_cos]",
    "AuthorizationHeaderMalformed": "{place} refuses the region {region!r}: give its own, region in section [ibm_cos]",
    "PermanentRedirect": "the bucket {bucket!r} is not at {place}: correct endpoint in section [ibm_cos]",
    "AccessDenied": "{place} does not allow {what} with {keys}: give it permission, or other credentials",
    "KeyTooLongError": "the key of {what} is too long for {place}: give one of 1,024 bytes or less",
}
# Other codes of the same meaning, and statuses whose answer has no code, as those of HEAD.
_ALIASES: Final = {
    "TemporaryRedirect": "PermanentRedirect", "KeyTooLong": "KeyTooLongError", "InvalidToken": "ExpiredToken",
    "InvalidRegion": "AuthorizationHeaderMalformed", "Forbidden": "AccessDenied",
    "XAdminUserNotFound": "InvalidAccessKeyId",  # versitygw's
}  # fmt: skip
_STATUSES: Final = {301: "PermanentRedirect", 307: "PermanentRedirect", 401: "AccessDenied", 403: "AccessDenied"}


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    place: str,
    bucket: str,
    key: str = "",
    region: str = "",
    keys: str = HMAC,
) -> Exception:
    """The error that an answer other than a success means.

    `code` and `message` are the elements of the answer's XML, empty where it has none; `place` is the endpoint, `keys`
    the name of the credentials.  FileNotFoundError for an object that is not there, PreconditionFailed,
    StorageUnavailable for a service that is busy, StorageError for the others.
    """
    from wren.errors import PreconditionFailed, StorageError

    what = place_of(bucket, key)
    if status == 404 and code in _MISSING:
        return FileNotFoundError(f"no object {what} at {place}")
    if status in {304, 412}:
        return PreconditionFailed(f"the object {what} is there already, or has changed meanwhile")
    code = _ALIASES.get(code, code)
    sentence = _SENTENCES.get(code) or (_SENTENCES[_STATUSES[status]] if status in _STATUSES else "")
    if sentence:
        return StorageError(sentence.format(place=place, keys=keys, what=what, bucket=bucket, region=region))
    said = " ".join(part for part in (str(status), code, _line(message)) if part)
    if status in _BUSY or code == "ConditionalRequestConflict":
        return unreachable(f"it answers {said}", place=place, bucket=bucket, key=key)
    return StorageError(f"{place} refuses {what}: {said}")


def busy(error: Exception) -> bool:
    """Whether the same request may have another answer later."""
    from wren.errors import StorageUnavailable

    return isinstance(error, StorageUnavailable)


def unreachable(why: str, *, place: str, bucket: str, key: str = "") -> "StorageUnavailable":
    """The error for a service that did not answer, after all tries."""
    from wren.errors import StorageUnavailable

    return StorageUnavailable(
        f"{place_of(bucket, key)} is out of reach, see endpoint in section [ibm_cos], {place}: {why}"
    )


def unexplained(error: BaseException, said: str = "", *, place: str, bucket: str, key: str = "") -> "StorageError":
    """The error for what a client raises and nobody knows; `said`: what of its text can be shown."""
    from wren.errors import StorageError

    return StorageError(f"{place} cannot be used for {place_of(bucket, key)}: {_line(said) or type(error).__name__}")


def explanation(body: str) -> tuple[str, str]:
    """Code and message of the XML in a text."""
    code, message = _CODE.search(body), _MESSAGE.search(body)
    return code[1] if code else "", message[1] if message else ""


def reason(error: Exception) -> str:
    """Why there was no answer, in a few words."""
    import ssl
    from http.client import HTTPException, RemoteDisconnected

    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted, {_line(str(error))}; ca_file names others to trust"
        case ssl.SSLError():
            return f"no TLS is to be had there, {_line(str(error))}"
        case TimeoutError():
            return "no answer in time"
        case RemoteDisconnected():
            return "it closed the connection"
        case HTTPException():
            return f"what came is no HTTP, {type(error).__name__}"
    return _line(getattr(error, "strerror", None) or str(error)) or type(error).__name__


def place_of(bucket: str, key: str) -> str:
    """What an error is about, in one line."""
    return f"{bucket}/{key if key.isprintable() else repr(key)}" if key else f"bucket {bucket}"


def _line(text: str) -> str:
    """One line of what somebody else says, and not all of a long one."""
    return " ".join(text.split())[:_LONGEST]
