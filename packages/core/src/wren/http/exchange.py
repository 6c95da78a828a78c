"""Requests to shells: sends the payload, reads the frames, and tells the report what they say.

`wren.http` imports it late, for it imports aiohttp.  All of it runs in the client's thread.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Final

import aiohttp

from wren import wire
from wren.errors import BackendError, Unavailable, WrenError
from wren.http.refusals import broken, quoted, refused, undecided
from wren.http.request import Request
from wren.http.settings import HttpSettings, address, proxy_for, trust
from wren.http.thread import Client, Hook
from wren.logs import Log
from wren.spi import Receipt, escaped
from wren.worker.frames import ACCEPTED, DELAY, HEARTBEAT, STATUS, TAG, FrameReader, NoFrame

_log: Final = Log("wren.http")

PIECE: Final = 1 << 18  # bytes of a payload that are written at once
BUFFER: Final = 1 << 18  # bytes of an answer that may wait to be read
IDLE: Final = 10.0  # seconds that a connection is kept for the next request: less than shells and proxies keep it
LAST: Final = 5.0  # seconds to wait for what matters to nobody's call: the end of an answer, the text of a refusal
TEXT: Final = 4096  # bytes of a refusal that are read
HOOKS: Final = 8  # hooks of the backend that run at once
LARGE: Final = 1 << 16  # bytes from which on payloads take turns, so that not all of them are in memory at once
TURNS: Final = 32  # large payloads that are made and sent at once


class Exchanges:
    """The requests of one backend, and the connections that they share."""

    def __init__(self, name: str, settings: HttpSettings, hook: Hook | None, client: Client) -> None:
        self._name = name
        self._settings = settings
        self._hook = hook
        self._hooks = asyncio.Semaphore(HOOKS)
        self._turns = asyncio.Semaphore(TURNS)
        self._client = client
        self._proxies: dict[str, str | None] = {}  # by URL
        self._open = 0  # requests
        self._closing = False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=IDLE,
                ssl=trust(settings),
                resolver=aiohttp.ThreadedResolver(),
                socket_factory=client.socket,
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),  # a cookie would bind all calls to one container
            read_bufsize=BUFFER,
            auto_decompress=False,
        )

    def start(self, request: Request, over: Callable[[Request], None]) -> None:
        """Begin a request; `over` is called at its end."""
        self._open += 1
        request.task = self._client.begin(self._perform(request))
        request.task.add_done_callback(partial(self._ended, request, over))

    def close(self) -> None:
        """Close the connections when the last request is over."""
        self._closing = True
        self._close_idle()

    def _close_idle(self) -> None:
        if self._closing and not self._open:
            self._client.begin(self._session.close())

    def _ended(self, request: Request, over: Callable[[Request], None], task: asyncio.Task[None]) -> None:
        self._open -= 1
        request.task = None
        over(request)
        if not task.cancelled() and (error := task.exception()) is not None:
            invocation = request.invocation
            _log.error(
                "what became of a request to %r could not be told", request.deployment.name, exc_info=error,
                job=invocation.header.job, calls=invocation.calls, attempt=invocation.attempt,
            )  # fmt: skip
        self._close_idle()

    async def _perform(self, request: Request) -> None:
        """Tell the report what becomes of each call, however it ends."""
        failure: Exception
        try:
            await self._exchange(request)
            return
        except WrenError as error:
            failure = error
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            failure = broken(request, error)
        except Exception as error:  # noqa: BLE001 - a bug, here or in the report, fails its calls and nothing else
            failure = escaped(self._name, error)
        if isinstance(failure, Unavailable) and self._hook is not None:
            async with self._hooks:
                failure = await asyncio.to_thread(self._ask, self._hook, request, failure)
        request.fail(failure)

    def _ask(self, hook: Hook, request: Request, failure: Unavailable) -> Exception:
        try:
            return hook(request.deployment, failure)
        except BackendError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a backend's bug must fail its calls, not leave them waiting
            return escaped(self._name, error)

    async def _exchange(self, request: Request) -> None:
        address(request.deployment)
        url = request.deployment.url
        if url not in self._proxies:
            self._proxies[url] = proxy_for(url, self._settings)
        with contextlib.ExitStack() as turn:
            if _size(request) >= LARGE:
                await self._turns.acquire()
                turn.callback(self._turns.release)
            body = _body(request, turn.close)
            # A connection that was closed while idle must not be taken for this: after two rounds of the loop it has
            # been noticed, for the first reads what the kernel knew before.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            response = await self._session.post(
                url, data=body, headers=_headers(request), allow_redirects=False, proxy=self._proxies[url]
            )
        try:
            if response.status != 200:
                raise refused(request, response.status, response.headers, await _text(response))
            with _watched(response):
                await _read(request, response)
        finally:
            response.close()  # unless it was read to its end: then its connection serves the next request


def _headers(request: Request) -> dict[str, str]:
    deployment = request.deployment
    headers = {
        **deployment.headers,
        TAG: deployment.tag,
        "Content-Type": "application/json",
        "Content-Length": str(request.size),
        "Accept-Encoding": "identity",  # a proxy that compressed the frames would hold them back
    }
    if deployment.reply_delay > 0:
        headers[DELAY] = str(deployment.reply_delay)
    return headers


def _size(request: Request) -> int:
    """About how large its payload will be."""
    invocation = request.invocation
    code = sum(map(len, invocation.function)) if invocation.header.function.key is None else 0
    return code + invocation.arguments.mean_size * len(invocation.calls)


def _body(request: Request, done: Callable[[], None]) -> AsyncIterator[memoryview]:
    """The payload, in pieces; `done` is called with the last of them."""
    payload = memoryview(request.invocation.payload())
    request.size = len(payload)
    pieces = [payload[start : start + PIECE] for start in range(0, len(payload), PIECE)]
    return _sent(request, pieces[::-1], done)


async def _sent(request: Request, pieces: list[memoryview], done: Callable[[], None]) -> AsyncIterator[memoryview]:
    """The pieces, last first; each is let go of when it is sent: a held request must not hold its payload."""
    request.sent = True  # aiohttp asks for the first piece when it has a connection, and sends the headers with it
    while pieces:
        if len(pieces) == 1:
            done()
        yield pieces.pop()


async def _text(response: aiohttp.ClientResponse) -> str:
    """The beginning of a refusal's body, and its end if that comes soon, so that its connection can be kept."""
    text = bytearray()
    with contextlib.suppress(aiohttp.ClientError, OSError):  # what has come is enough
        async with asyncio.timeout(LAST):
            async for data in response.content.iter_any():
                text += data
                if len(text) >= TEXT:
                    break
    return text.decode("utf-8", "replace")


@contextlib.contextmanager
def _watched(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Have the body fail when its connection is lost.

    aiohttp sees to that itself, but where what came in is no HTTP (seen with 3.14.5): its reader would wait for ever.
    """
    protocol = response.connection.protocol if response.connection is not None else None
    lost = protocol.closed if protocol is not None else None
    if lost is None:  # it was read to its end already, or lost
        yield
        return

    def fail(_: asyncio.Future[None]) -> None:
        if not response.content.is_eof() and response.content.exception() is None:
            response.content.set_exception(aiohttp.ClientPayloadError())

    lost.remove_done_callback(_seen)
    lost.add_done_callback(_seen)
    lost.add_done_callback(fail)
    try:
        yield
    finally:
        lost.remove_done_callback(fail)  # the connection may serve others


def _seen(lost: asyncio.Future[None]) -> None:
    """Why a connection was lost is told by whoever used it; asyncio would complain that nobody has asked."""
    if not lost.cancelled():
        lost.exception()


async def _read(request: Request, response: aiohttp.ClientResponse) -> None:
    reader = FrameReader()
    wrong = "its answer ended before the last status"
    try:
        async for data in response.content.iter_any():
            for kind, body in reader.feed(data):
                _tell(request, kind, body)
            if request.over:
                break
            if reader.receiving:
                request.report.heartbeat(request.invocation, receiving=True)
    except NoFrame as error:
        wrong = f"in place of a frame came{quoted(request, str(error), ': ')}"
    if not request.over:  # raised here, for the text of a NoFrame may have secrets
        raise undecided(request, wrong)
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(LAST):
            await response.content.readany()  # the end of the body


def _tell(request: Request, kind: int, body: bytes) -> None:
    """Tell the report what a frame says."""
    report, invocation = request.report, request.invocation
    match kind:
        case _ if kind == ACCEPTED:
            worker = _worker(request, body)
            request.accepted = True
            report.accepted(invocation, Receipt(worker))
        case _ if kind == HEARTBEAT:
            report.heartbeat(invocation)
        case _ if kind == STATUS:
            status = _status(request, body)
            if request.take(status.call):
                report.status(invocation, status)
        case _:
            raise undecided(request, f"it sent a frame of the unknown kind {kind}")


def _worker(request: Request, body: bytes) -> str:
    try:
        return str(json.loads(body)["worker"])
    except (ValueError, LookupError, TypeError) as error:
        said = quoted(request, repr(error))
        raise undecided(request, f"it accepted the call in words that are none: {said}") from error


def _status(request: Request, body: bytes) -> wire.CallStatus:
    try:
        status = wire.decode_status(body)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        said = quoted(request, repr(error))
        raise undecided(request, f"it sent a status that cannot be read: {said}") from error
    header, invocation = request.invocation.header, request.invocation
    theirs = (status.executor, status.job, status.attempt)
    if theirs != (header.executor, header.job, invocation.attempt) or status.call not in invocation.calls:
        raise undecided(
            request,
            f"it sent the status of call {status.call} (attempt {status.attempt}) of job {status.executor}/{status.job}"
            ", which was not asked for",
        )
    return status
