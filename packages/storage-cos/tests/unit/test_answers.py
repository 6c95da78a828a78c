"""Listings: what servers answer, as objects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren_storage_cos.answers import Document, Page, Unreadable, escaped, fits_xml

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult{space}><Name>b</Name><Prefix>a</Prefix>{more}<EncodingType>{encoding}</EncodingType>
<Contents><Key>{key}</Key><LastModified>2026-11-28T20:47:20.987Z</LastModified><ETag>&quot;abc-2&quot;</ETag>
<Size>5000000000</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"""
AMAZON = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
LISTED = 1795898840.0  # in whole seconds, as HEAD has it


@pytest.mark.parametrize("space", ["", AMAZON])
def test_a_page_is_read_with_a_namespace_or_without(space: str) -> None:
    page = Page.read(PAGE.format(space=space, more="<IsTruncated>false</IsTruncated>", encoding="", key="a").encode())
    assert page == Page([("a", 5_000_000_000, LISTED, "abc-2")], "")


def test_a_page_names_the_next_one() -> None:
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>to ken</NextContinuationToken>"
    assert Page.read(PAGE.format(space=AMAZON, more=more, encoding="", key="a").encode()).token == "to ken"


@pytest.mark.parametrize(
    ("encoding", "key"),
    [("", "a+b%41 &amp;&lt;"), ("url", "a%2Bb%2541+%26%3C"), ("url", "a%2Bb%2541%20%26%3C")],
)
def test_keys_are_read_as_they_are_encoded(encoding: str, key: str) -> None:
    page = Page.read(PAGE.format(space=AMAZON, more="", encoding=encoding, key=key).encode())
    assert page.objects[0][0] == "a+b%41 &<"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"<html></html>", b"<ListBucketResult>\x01</ListBucketResult>", b"{}"]
)
def test_what_is_no_listing_is_told(body: bytes) -> None:
    with pytest.raises(Unreadable, match="no ListBucketResult"):
        Page.read(body)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_keys_come_through_xml(key: str) -> None:
    if fits_xml(key):
        assert Document.read(f"<a><b>{escaped(key)}</b></a>".encode(), "a").text("b") == key
    else:
        with pytest.raises(Unreadable):
            Document.read(f"<a><b>{escaped(key)}</b></a>".encode(), "a")
