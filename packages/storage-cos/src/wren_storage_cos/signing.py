"""AWS Signature Version 4, by which S3 knows who asks: a request's headers.

Standard library only, for workers import it.  The algorithm is that of Amazon's document "Authenticating Requests:
Using the Authorization Header".
"""

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote

from wren.wire import Buffer

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNRESERVED: Final = "-_.~"


def encoded_path(path: str) -> str:
    """A path as it is sent and signed: once percent-encoded, and nothing of it normalised."""
    return quote(path, safe="/" + _UNRESERVED)


def encoded_query(query: Mapping[str, str]) -> str:
    """A query as it is sent and signed."""
    pairs = sorted((quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED)) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def digest(body: Iterable[Buffer]) -> str:
    """The SHA-256 of a body in pieces, as the header `x-amz-content-sha256` has it."""
    made = hashlib.sha256()
    for piece in body:
        made.update(piece)
    return made.hexdigest()


class Signer:
    """Signs requests with one pair of keys for one region."""

    def __init__(self, access_key: str, secret_key: str, region: str) -> None:
        self._access_key, self._secret_key, self._region = access_key, secret_key, region
        self._key = "", b""  # the day's, which is made once

    def headers(self, method: str, host: str, path: str, query: str, content: str) -> dict[str, str]:
        """What makes a request of encoded path and query an authentic one for some minutes; `content`: its `digest`."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        day = moment[:8]
        scope = f"{day}/{self._region}/s3/aws4_request"
        signed = {"host": host, "x-amz-content-sha256": content, "x-amz-date": moment}
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{content}"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.new(self._key_of(day), text.encode(), hashlib.sha256).hexdigest()
        said = f"{_ALGORITHM} Credential={self._access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**signed, "authorization": said}

    def _key_of(self, day: str) -> bytes:
        known, key = self._key
        if known != day:
            key = b"AWS4" + self._secret_key.encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            self._key = day, key
        return key
