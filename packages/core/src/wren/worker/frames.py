"""What the http shell answers with: frames in the body of its response, read by `wren.http`.

A request is `POST /` with a payload (`wren.wire.encode`) as its body and the headers

    wren-tag          the deployment's tag, without which the shell answers 403 before it decodes anything
    wren-reply-delay  seconds that the answer's first byte waits, where a proxy would cut an earlier one; optional

and its answer either 200 and a chunked body of frames, or an error that says in a sentence what is wrong: 400 (no
payload), 403 (the tag), 413 (too large), 426 (another wire version), 503 (the shell is about to end).  Each answer of a
shell has the header `wren-shell`, by which it is told from one of a proxy.  A GET is answered with 200: it is ready.

A frame is the head `MAGIC · kind u8 · size u64` (little-endian) and a body: ACCEPTED has JSON `{"worker": ...}`, a name
of the shell that is the call's `wren.spi.Receipt`; HEARTBEAT nothing; STATUS a `wren.wire.encode_status`, one for each
call of the payload.  The last status ends the answer, not the connection's end.
"""

import struct
from collections.abc import Iterator
from typing import Final

from wren.wire import Buffer

__all__ = ["ACCEPTED", "DELAY", "HEARTBEAT", "SHELL", "STATUS", "TAG", "FrameReader", "NoFrame", "frame"]

MAGIC: Final = b"wren"
HEAD: Final = struct.Struct("<4sBQ")
ACCEPTED, HEARTBEAT, STATUS = range(1, 4)
TAG: Final = "wren-tag"
DELAY: Final = "wren-reply-delay"
SHELL: Final = "wren-shell"
QUOTED: Final = 4096  # bytes of what is no frame that are kept for an error, which quotes less


class NoFrame(ValueError):
    """Bytes that are no frame: what a proxy says in the place of the shell."""


def frame(kind: int, body: Buffer = b"") -> bytes:
    """One frame."""
    return HEAD.pack(MAGIC, kind, len(body)) + bytes(body)


class FrameReader:
    """Puts frames together from what comes in, however it is cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: Buffer) -> Iterator[tuple[int, bytes]]:
        """The frames (kind and body) that are complete now.  Raises NoFrame with the text that came instead."""
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            magic, kind, size = HEAD.unpack_from(self._buffer)
            if magic != MAGIC:
                break
            end = HEAD.size + size
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[HEAD.size : end])
            del self._buffer[:end]
            yield kind, body
        if not MAGIC.startswith(self._buffer[: len(MAGIC)]):
            raise NoFrame(self._buffer[:QUOTED].decode("utf-8", "replace").strip())

    @property
    def receiving(self) -> bool:
        """Whether a status is on the way."""
        return len(self._buffer) >= HEAD.size and HEAD.unpack_from(self._buffer)[1] == STATUS
