"""What the SDK is given and gives, without a server."""

import io

from hypothesis import given
from hypothesis import strategies as st

from wren_storage_cos.sdk_requests import Pieces, _root
from wren_storage_cos.tokens import Token


@given(pieces=st.lists(st.binary(max_size=20), max_size=8), at=st.integers(0, 200), size=st.integers(1, 30))
def test_pieces_read_as_one_file(pieces: list[bytes], at: int, size: int) -> None:
    whole, body = b"".join(pieces), Pieces(pieces)
    assert body.seek(0, io.SEEK_END) == len(whole)
    assert body.seek(at) == body.tell() == at
    assert b"".join(iter(lambda: body.read(size) or b"", b"")) == whole[at:]
    assert body.seek(0) == 0
    assert body.read() == whole
    body.close()


def test_what_is_behind_layers_of_errors_is_found() -> None:
    inner = ConnectionRefusedError(111, "Connection refused")
    outer = RuntimeError("aborted", OSError("between"))
    outer.args[1].__cause__ = inner
    assert _root(outer) is inner
    circle = ValueError("one")
    circle.__cause__ = circle
    assert _root(circle) is circle


def test_a_token_is_shown_nowhere() -> None:
    assert "hush" not in f"{Token('hush', 1.0, 2.0)} {Token('hush', 1.0, 2.0)!r}"
