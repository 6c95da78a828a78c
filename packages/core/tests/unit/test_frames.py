"""Frames of the http shell are put together however they are cut, and what is no frame is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren.worker.frames import ACCEPTED, HEARTBEAT, QUOTED, STATUS, FrameReader, NoFrame, frame

FRAMES = st.lists(st.tuples(st.sampled_from([ACCEPTED, HEARTBEAT, STATUS]), st.binary(max_size=60)), max_size=5)


@given(FRAMES, st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    encoded = b"".join(frame(kind, body) for kind, body in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=8)))
    reader = FrameReader()
    found: list[tuple[int, bytes]] = []
    for start, stop in zip([0, *cuts], [*cuts, len(encoded)], strict=True):
        found += reader.feed(encoded[start:stop])
    assert found == frames
    assert not reader.receiving


def test_the_bytes_of_a_frame() -> None:
    assert frame(STATUS, b"abc") == b"wren\x03\x03\x00\x00\x00\x00\x00\x00\x00abc"


@pytest.mark.parametrize(
    ("cut", "receiving"), [(0, False), (13, False), (20, False), (26, True), (28, True), (29, False)]
)
def test_a_status_is_seen_on_the_way(cut: int, receiving: bool) -> None:
    # Given a heartbeat of 13 bytes, and a status of 16 of which the first 13 say what it is
    reader = FrameReader()
    list(reader.feed((frame(HEARTBEAT) + frame(STATUS, b"abc"))[:cut]))
    assert reader.receiving == receiving


@pytest.mark.parametrize("text", ["upstream connect error", "wr0ng", "<html>502 Bad Gateway</html>"])
def test_what_is_no_frame_is_said(text: str) -> None:
    with pytest.raises(NoFrame) as caught:
        list(FrameReader().feed(text.encode()))
    assert str(caught.value) == text


def test_what_may_become_a_frame_is_waited_for() -> None:
    assert list(FrameReader().feed(b"wr")) == []


def test_what_a_proxy_says_behind_frames_is_said_behind_them() -> None:
    frames = FrameReader().feed(frame(HEARTBEAT) + b"stream reset")
    assert next(frames) == (HEARTBEAT, b"")
    with pytest.raises(NoFrame, match="stream reset"):
        next(frames)


def test_of_a_long_text_the_beginning_is_said() -> None:
    with pytest.raises(NoFrame) as caught:
        list(FrameReader().feed(b"x" * 10_000))
    assert str(caught.value) == "x" * QUOTED
