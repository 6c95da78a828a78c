"""Signatures: those of Amazon's own examples."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren_storage_cos import signing
from wren_storage_cos.signing import Signer, digest, encoded_path, encoded_query


class Clock:
    """The moment of Amazon's examples."""

    strftime = staticmethod(time.strftime)

    @staticmethod
    def gmtime() -> time.struct_time:
        return time.strptime("20130524T000000Z", "%Y%m%dT%H%M%SZ")


def test_a_signature_is_the_one_of_amazons_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """GET Bucket Lifecycle, in "Signature Calculations for the Authorization Header" of the S3 API reference."""
    monkeypatch.setattr(signing, "time", Clock)
    signer = Signer("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
    headers = signer.headers("GET", "examplebucket.s3.amazonaws.com", "/", encoded_query({"lifecycle": ""}), digest([]))
    assert headers == {
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "x-amz-date": "20130524T000000Z",
        "authorization": (
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
            "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        ),
    }


def test_queries_are_sorted_and_encoded() -> None:
    """As in the same document: List Objects."""
    assert encoded_query({"prefix": "J", "max-keys": "2"}) == "max-keys=2&prefix=J"
    assert encoded_query({"prefix": "a b/+é"}) == "prefix=a%20b%2F%2B%C3%A9"


def test_paths_are_encoded_once_and_not_normalised() -> None:
    assert encoded_path("/b//a/../ +%41~é") == "/b//a/../%20%2B%2541~%C3%A9"


@given(st.lists(st.binary(max_size=100)))
def test_a_digest_does_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    assert digest(pieces) == digest([b"".join(pieces)])
