"""What http(s) URLs give: read in ranges, or as a whole where the server has none."""

import http.client
import io
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from wren.worker.lines import Read
from wren.worker.web import Web, shown

__all__ = ["Url", "WholeUrl", "probe", "shown"]

_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Url(NamedTuple):
    """What a server gives in ranges.  `version`: its entity tag, else when it was modified; empty: it says neither."""

    path: str
    size: int
    version: str

    @property
    def shown(self) -> str:
        return shown(self.path)

    def opened(self) -> tuple[Read, Callable[[], None]]:
        """As `wren.worker.partition.Source`."""
        return partial(self._read, Web(self.path)), _nothing

    def _read(self, web: Web, start: int, stop: int) -> bytes:
        def taken(answer: http.client.HTTPResponse) -> bytes:
            with answer:
                self._check(web, answer, start, stop)
                data = answer.read(stop - start + 1)
            if len(data) != stop - start:
                raise OSError(f"another number of bytes came than the {stop - start} that it promised")
            return data

        return web.ask({"Range": f"bytes={start}-{stop - 1}"}, taken)

    def _check(self, web: Web, answer: http.client.HTTPResponse, start: int, stop: int) -> None:
        """That this is the range that was asked for, of what it was asked of."""
        from wren.errors import PreconditionFailed, StorageError

        given = _range(answer)
        changed = answer.status == 416 if given is None else given[2] != self.size
        if changed or (answer.status == 206 and _version(answer) != self.version):
            raise PreconditionFailed(f"{web.shown} has changed since it was mapped over")
        if given is None or given[:2] != (start, stop):
            raise StorageError(
                f"{web.shown} was asked for bytes {start} to {stop} and gave others, though its server has ranges: "
                "put what is there into a storage, and map over that"
            )


class WholeUrl(NamedTuple):
    """What a server gives only as a whole."""

    path: str
    size: int = 0

    @property
    def shown(self) -> str:
        return shown(self.path)

    def stream(self) -> io.RawIOBase:
        """As `wren.worker.partition.Whole`."""
        web = Web(self.path)
        return web.ask({}, partial(_Body, web))


class _Body(io.RawIOBase):
    """All that an answer has, and StorageError where that is less than it says: http.client takes that for its end."""

    def __init__(self, web: Web, answer: http.client.HTTPResponse) -> None:
        if answer.status != 200:
            raise ValueError(f"it answers {answer.status} to a request for all of it")
        self._web, self._answer, self._left = web, answer, answer.length
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._checkClosed()
        if self._error is not None:  # an answer that broke off has no end
            self._web.fail(self._error)
        try:
            count = self._answer.readinto(buffer)
            if self._left is not None:
                self._left -= count
                if self._left and not count and len(buffer):
                    raise http.client.IncompleteRead(b"", self._left)
        except (http.client.HTTPException, OSError) as error:
            self._error = error
            self._answer.close()
            self._web.fail(error)
        return count

    def close(self) -> None:
        if not self.closed:
            self._answer.close()
        super().close()


def probe(url: str) -> Url | WholeUrl:
    """Ask a server what it has there.  NoSuchKey, StorageError."""
    web = Web(url)

    def found(answer: http.client.HTTPResponse) -> Url | WholeUrl | None:
        with answer:
            given = _range(answer)
            if given is not None and given[:2] == (0, 1):
                return Url(url, given[2], _version(answer))
            # Without a first byte it is empty, if the server knows what it says.
            return None if answer.status == 416 else WholeUrl(url)

    def empty(answer: http.client.HTTPResponse) -> bool:
        with answer:
            return answer.status == 200 and answer.length == 0

    source = web.ask({"Range": "bytes=0-0"}, found)
    if source is None:
        source = Url(url, 0, "") if web.ask({}, empty) else WholeUrl(url)
    return source


def _range(answer: http.client.HTTPResponse) -> tuple[int, int, int] | None:
    """The bytes, from which to which (that one excluded), that an answer has, and of how many."""
    given = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    # Of what was compressed on its way the ranges are no bytes of the content.
    encoded = answer.headers.get("Content-Encoding", "identity").lower() != "identity"
    if answer.status != 206 or given is None or encoded:
        return None
    return int(given[1]), int(given[2]) + 1, int(given[3])


def _version(answer: http.client.HTTPResponse) -> str:
    return str(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")


def _nothing() -> None:
    """There is nothing to close."""
