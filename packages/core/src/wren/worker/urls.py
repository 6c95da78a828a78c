"""What http(s) URLs give: read in ranges, or as a whole where the server has none.

With urllib, for a worker's runtime need not have anything else: it honours proxy variables and `SSL_CERT_FILE`.
"""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

from wren.worker.lines import Read

__all__ = ["Url", "WholeUrl", "probe", "shown"]

PATIENCE: Final = 60.0  # seconds for each answer to begin, and between its bytes
PAUSES: Final = (0.2, 0.5, 1.0, 2.0)  # seconds before each new try of what may pass
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class Url(NamedTuple):
    """What a server gives in ranges.  `version`: its entity tag, else when it was modified; empty: it says neither."""

    path: str
    size: int
    version: str

    def opened(self) -> tuple[Read, Callable[[], None]]:
        """As `wren.worker.partition.Source`."""
        return self._read, _nothing

    def _read(self, start: int, stop: int) -> bytes:
        pauses = iter(PAUSES)
        while True:
            try:
                with _open(self.path, {"Range": f"bytes={start}-{stop - 1}"}) as answer:
                    self._check(answer, start, stop)
                    data: bytes = answer.read()
                if len(data) == stop - start:
                    return data
            except (http.client.HTTPException, OSError) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()  # it has the connection
                passing = not isinstance(error, urllib.error.HTTPError) or error.code in _PASSING
                pause = next(pauses, None) if passing else None
                if pause is None:
                    _fail(self.path, error)
                time.sleep(pause)
            else:
                pause = next(pauses, None)
                if pause is None:
                    _fail(self.path, OSError(f"{len(data)} bytes came in place of {stop - start}"))
                time.sleep(pause)

    def _check(self, answer: Any, start: int, stop: int) -> None:
        """That this is the range that was asked for, of what it was asked of."""
        from wren.errors import PreconditionFailed, StorageError

        given = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status != 206 or given is None or int(given[1]) != start:
            raise StorageError(
                f"{shown(self.path)} was asked for bytes {start} to {stop} and gave others: use it whole"
            )
        if int(given[3]) != self.size or _version(answer.headers) != self.version:
            raise PreconditionFailed(f"{shown(self.path)} has changed since it was mapped over")


class WholeUrl(NamedTuple):
    """What a server gives only as a whole."""

    path: str
    size: int = 0

    def stream(self) -> Any:
        """As `wren.worker.partition.Whole`."""
        try:
            return _open(self.path, {})
        except (http.client.HTTPException, OSError) as error:
            _fail(self.path, error)


def probe(url: str) -> Url | WholeUrl:
    """Ask a server what it has there.  NoSuchKey, StorageError."""
    try:
        with _open(url, {"Range": "bytes=0-0"}) as answer:
            given = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if answer.status == 206 and given is not None:
                return Url(url, int(given[3]), _version(answer.headers))
            return WholeUrl(url)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # it has no first byte
            return Url(url, 0, _version(error.headers))
        _fail(url, error)
    except (http.client.HTTPException, OSError, ValueError) as error:
        _fail(url, error)


def shown(url: str) -> str:
    """A URL for people: what is behind `?` may be a signature."""
    address = url.partition("?")[0]
    return re.sub(r"//[^/@]*@", "//", address)


def _open(url: str, headers: Mapping[str, str]) -> Any:
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **headers})
    return urllib.request.urlopen(request, timeout=PATIENCE)


def _version(headers: Any) -> str:
    return str(headers.get("ETag") or headers.get("Last-Modified") or "")


def _fail(url: str, error: Exception) -> NoReturn:
    from wren.errors import NoSuchKey, StorageError

    if isinstance(error, urllib.error.HTTPError):
        kind = NoSuchKey if error.code in (404, 410) else StorageError
        raise kind(f"{shown(url)} cannot be read: it answers {error.code} {error.reason}") from None
    reason = getattr(error, "reason", None) or error
    raise StorageError(f"{shown(url)} cannot be read: {reason}") from None


def _nothing() -> None:
    """There is nothing to close."""
