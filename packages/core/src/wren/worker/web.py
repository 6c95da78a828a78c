"""Asks an http(s) server for what is at a URL: patiently, but never for ever.

With urllib, for a worker's runtime need not have anything else: it honours proxy variables and `SSL_CERT_FILE`.
"""

import base64
import http.client
import io
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

T = TypeVar("T")

__all__ = ["Web", "shown"]

PATIENCE: Final = 60.0  # seconds for an answer to begin
SLOWEST: Final = 16 << 10  # bytes a second that a server must send from then on
PAUSES: Final = (0.2, 0.5, 1.0, 2.0)  # seconds before each new try of what may pass
LONGEST: Final = 20.0  # seconds of a pause that a server asks for
_ANSWERS: Final = frozenset({200, 206, 416})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAFE: Final = "%/:?#[]@!$&'()*+,;=~"  # what has a meaning in a path or query stays as it was written


class Refused(OSError):
    """A status that brings no data."""

    def __init__(self, status: int, reason: str, after: float = 0.0) -> None:
        super().__init__(f"it answers {status} {reason[:80]}".rstrip())
        self.status, self.after = status, after


class Web:
    """A URL and how it is asked.  Thread-safe."""

    def __init__(self, url: str) -> None:
        self.shown = shown(url)
        try:
            parts = urlsplit(url)
        except ValueError as error:
            self.fail(error)
        user, at, host = parts.netloc.rpartition("@")
        self._url = urlunsplit((parts.scheme, host, quote(parts.path, _SAFE), quote(parts.query, _SAFE), ""))
        self._user = unquote(user) if at else None
        # Only these: a server must not lead to a file of this machine, or to ftp.
        self._opener = urllib.request.OpenerDirector()
        for handler in _HANDLERS:
            self._opener.add_handler(handler())

    def ask(self, headers: Mapping[str, str], then: Callable[[http.client.HTTPResponse], T]) -> T:
        """What `then` makes of the answer, whose status is 200, 206 or 416; it closes it.

        What may pass is tried again: NoSuchKey or StorageError then.  `then` raises OSError for what may pass.
        """
        patience = time.monotonic() + PATIENCE
        pauses = iter(PAUSES)
        while True:
            try:
                return self._asked(headers, then)
            except (http.client.HTTPException, OSError, ValueError) as error:
                pause = next(pauses, None) if _passes(error) else None
                if isinstance(error, Refused) and pause is not None:
                    pause = max(pause, error.after)
                if pause is None or time.monotonic() + pause > patience:
                    self.fail(error)
            time.sleep(pause)

    def _asked(self, headers: Mapping[str, str], then: Callable[[http.client.HTTPResponse], T]) -> T:
        request = urllib.request.Request(self._url, headers={"Accept-Encoding": "identity", **headers})
        if self._user is not None:  # for this host only, wherever it leads
            credentials = base64.b64encode(self._user.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {credentials}")
        answer: http.client.HTTPResponse = self._opener.open(request, timeout=PATIENCE)
        try:
            if answer.status not in _ANSWERS:
                raise Refused(answer.status, answer.reason, _seconds(answer.headers.get("Retry-After", "")))
            return then(answer)
        except BaseException:
            answer.close()
            raise

    def fail(self, error: Exception) -> NoReturn:
        """Raise NoSuchKey or StorageError, which says what an error means."""
        from wren.errors import NoSuchKey, StorageError

        kind = NoSuchKey if isinstance(error, Refused) and error.status in (404, 410) else StorageError
        raise kind(f"{self.shown} cannot be read: {_said(error)}") from None


def shown(url: str) -> str:
    """A URL for people: what is behind `?` may be a signature, and what is before `@` a password."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def _said(error: Exception) -> str:
    """What an error means."""
    if isinstance(error, urllib.error.HTTPError):  # of urllib's own, which has followed redirects
        error.close()
        return "it redirects without end, or nowhere that is http or https"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"{reason.verify_message}: SSL_CERT_FILE can name the certificates to trust"
    if isinstance(reason, TimeoutError):
        return f"it sends too slowly, or has not answered in {PATIENCE:g} seconds"
    if isinstance(reason, http.client.IncompleteRead):
        return "the connection was closed before all of it had come"
    return str(reason) or type(reason).__name__


def _passes(error: Exception) -> bool:
    if isinstance(error, Refused):
        return error.status in _PASSING
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    lasting = (urllib.error.HTTPError, ValueError, ssl.SSLCertVerificationError, http.client.InvalidURL, str)
    if isinstance(error, lasting) or isinstance(reason, lasting):
        return False
    return not (isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME)


def _seconds(text: str) -> float:
    """Of a `Retry-After` that is no date."""
    return min(float(text), LONGEST) if re.fullmatch(r"\d{1,9}", text) else 0.0


class _Statuses(urllib.request.HTTPErrorProcessor):
    """Every answer is one, but those that lead elsewhere."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        if response.status not in _REDIRECTS:
            return response
        response.close()  # the handler of redirects would read all of it
        return super().http_response(request, response)

    https_response = http_response


class _Patient(io.RawIOBase):
    """What comes from a socket, as long as it comes: a timeout is for each byte, and a server may send them slowly."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._raw = sock, sock.makefile("rb", buffering=0)
        self._waited, self._got = 0.0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = PATIENCE + self._got / SLOWEST - self._waited
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(min(left, PATIENCE))
        begun = time.monotonic()
        count = self._raw.readinto(buffer)
        self._waited += time.monotonic() - begun  # not what the reader needs between two reads
        self._got += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Patient(sock))


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


@cache
def _trusting(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Loading the certificates, which these name, takes 20 ms: not for http, and once for however many URLs."""
    return ssl.create_default_context()


class _Https(urllib.request.AbstractHTTPHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        named = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        return self.do_open(_SecureConnection, req, context=_trusting(*named))

    https_request = urllib.request.AbstractHTTPHandler.do_request_


_HANDLERS: Final[tuple[type[urllib.request.BaseHandler], ...]] = (
    urllib.request.ProxyHandler, _Http, _Https, _Statuses, urllib.request.HTTPRedirectHandler,
    urllib.request.UnknownHandler, urllib.request.HTTPDefaultErrorHandler,
)  # fmt: skip
