"""What an answer means that is not the shell's frames, and what a broken connection means: the delivery rules.

Called by `exchange`.  A call is sent again freely only when it was certainly not delivered (`Unavailable`,
`Throttled`); `Undecided` is everything after which it may be running.  What a request carries as a secret is in no
text, and in no cause: aiohttp's own errors may refer to the whole request, so the errors below them are the causes.
"""

import os
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.http import HttpProcessingError

from wren.errors import BackendError, NotDeployed, Throttled, Unavailable, Undecided
from wren.http.request import Request
from wren.http.settings import address
from wren.worker.frames import SHELL

QUOTED: Final = 500  # characters of an answer that an error quotes
SECRET: Final = 4  # characters that a secret, or a word of one, has at least
PUBLIC: Final = frozenset({"accept", "content-type", "host"})  # headers that are no secrets, and may explain an answer
LONGEST: Final = 86_400.0  # seconds that a platform may ask to wait

MEANINGS: Final[Mapping[int, tuple[type[BackendError], str]]] = {
    401: (BackendError, "refused the credentials: correct those that its section of the configuration gives"),
    403: (NotDeployed, "is another deployment by now"),
    404: (NotDeployed, "is not there any more"),
    407: (BackendError, "is behind a proxy that wants a user and a password in its URL"),
    413: (BackendError, "takes no payload of {size} bytes"),
    426: (NotDeployed, "speaks another version of the wire format"),
    429: (Throttled, "is busy"),
    503: (Unavailable, "is not available"),
}


def refused(request: Request, status: int, headers: Mapping[str, str], text: str) -> BackendError:
    """The error for an answer other than 200."""
    kind: type[BackendError]
    if status in MEANINGS:
        kind, what = MEANINGS[401 if status == 403 and SHELL not in headers else status]
    elif 300 <= status < 400:
        target = quoted(request, headers.get("Location", "").partition("?")[0], " to ")
        kind, what = BackendError, f"redirects{target}, which is not followed: correct its address"
    elif 400 <= status < 500:
        kind, what = BackendError, "refused the request"
    else:
        kind, what = Undecided, "did not answer as a shell, so the call may have run"
    what = what.replace("{size}", str(request.size))
    message = f"{named(request)} {what} ({status}){quoted(request, text, ': ')}"
    delay = retry_after(headers.get("Retry-After", ""))
    if kind is Throttled or (kind is Unavailable and delay is not None):
        return Throttled(message, delay)
    return kind(message)


def broken(request: Request, error: Exception) -> BackendError:
    """The error for what aiohttp raised: nothing was delivered before the request's first byte went out."""
    where = named(request)
    cause = error.__cause__ or error
    if isinstance(error, aiohttp.ClientHttpProxyError):
        # It refers to the request, and so to the proxy's password: it is no cause.
        said = f"the proxy before {where} answered {error.status}{quoted(request, error.message, ' ')}"
        final = error.status < 500 and error.status != 429
        return BackendError(f"{said}: correct the proxy's settings") if final else Unavailable(said)
    failure: BackendError
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        failure = BackendError(f"{where} has an address that no request can be sent to: deploy it again")
    elif not request.sent:
        cure = "; ca_file may name the certificate of its authority" if isinstance(cause, ssl.SSLError) else ""
        failure = Unavailable(f"{where} cannot be reached: {_said(request, error)}{cure}")
    else:
        failure = undecided(request, _said(request, error))
    # Errors of the system say nothing of a request; those of a parser quote what came in.
    failure.__cause__ = cause if isinstance(cause, OSError | aiohttp.ClientError) else None
    return failure


def undecided(request: Request, what: str) -> Undecided:
    """The error for an answer that ended or went wrong half-way."""
    when = "after" if request.accepted else "before"
    return Undecided(f"{named(request)} was lost {when} it accepted the call, which may have run: {what}")


def named(request: Request) -> str:
    """The deployment, as texts name it."""
    return f"the deployment {request.deployment.name!r} at {address(request.deployment)}"


def quoted(request: Request, text: str, before: str = "") -> str:
    """What the other side said, on one line, without the request's secrets, which proxies may show."""
    for secret in _secrets(request):
        text = text.replace(secret, "***")
    text = " ".join(text.split())[:QUOTED]
    return f"{before}{text}" if text else ""


def retry_after(value: str) -> float | None:
    """The seconds that a Retry-After header asks to wait, as a number or as a date; None without a good one."""
    try:
        if value.strip().isdecimal():
            return min(LONGEST, float(value))
        return min(LONGEST, max(0.0, parsedate_to_datetime(value).timestamp() - time.time()))
    except (ValueError, OverflowError):
        return None


def _secrets(request: Request) -> list[str]:
    """Longest first: one may be part of another."""
    headers = request.deployment.headers.items()
    values = {request.deployment.tag, *(value for name, value in headers if name.lower() not in PUBLIC)}
    words = {word for value in values for word in (value, *value.split()) if len(word) >= SECRET}
    return sorted(words, key=len, reverse=True)


def _said(request: Request, error: Exception) -> str:
    """An error of aiohttp's in words.  Its own may name the whole URL, the errors below do not."""
    cause = error.__cause__ or error
    match error:
        case TimeoutError():
            said = "no connection was made in time"
        case aiohttp.ServerDisconnectedError():
            said = "the connection was closed"
        case aiohttp.ClientPayloadError():
            said = "the answer was cut off"
        case _ if isinstance(cause, HttpProcessingError):
            said = f"this is no HTTP: {cause.message}"
        case _ if isinstance(cause, ssl.SSLError):
            said = str(cause)
        case _ if isinstance(cause, OSError) and cause.errno is not None:
            # The number of an error of getaddrinfo is negative, and not the system's.
            said = os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        case _:
            said = "" if isinstance(cause, aiohttp.ClientError) else str(cause)
    return quoted(request, said) or type(cause).__name__
