"""What a service's answers say: pages of listings, and elements of other XML.

Standard library only, for workers import it.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

Listing: TypeAlias = tuple[str, int, float, str]  # key, size, mtime, etag: a `wren.spi.ObjectInfo`'s fields

_UNFIT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})


def fits_xml(text: str) -> bool:
    """Whether XML can have all characters of a text."""
    return _UNFIT.search(text) is None


def escaped(text: str) -> str:
    """A text as an element's content."""
    return text.translate(_ESCAPES)


class Unreadable(Exception):
    """What came is not what was asked for; the text says what it should have been."""


class Document(NamedTuple):
    """An XML document of one namespace."""

    root: ET.Element
    space: str  # before the name of each element

    @classmethod
    def read(cls, body: bytes, name: str) -> "Document":
        """One whose root has that name.  Raises Unreadable."""
        try:
            root = ET.fromstring(body)
        except ET.ParseError as error:
            raise Unreadable(f"what came is no {name}") from error
        space = root.tag[: root.tag.rfind("}") + 1]
        if root.tag != space + name:
            raise Unreadable(f"what came is no {name}")
        return cls(root, space)

    def text(self, name: str, within: ET.Element | None = None) -> str:
        """The content of the root's, or another element's, child of that name; empty if there is none."""
        return (self.root if within is None else within).findtext(self.space + name) or ""

    def children(self, name: str) -> Iterator[ET.Element]:
        """The root's."""
        return self.root.iterfind(self.space + name)


class Page(NamedTuple):
    """A part of a listing; `token` brings the next one, and is empty where there is none."""

    objects: list[Listing]
    token: str

    @classmethod
    def read(cls, body: bytes) -> "Page":
        """Raises Unreadable."""
        page = Document.read(body, "ListBucketResult")
        encoded = page.text("EncodingType") == "url"
        objects = []
        for found in page.children("Contents"):
            key = page.text("Key", found)
            try:
                # In whole seconds, as an object's own headers have it.
                mtime = datetime.fromisoformat(page.text("LastModified", found)).timestamp() // 1
                size = int(page.text("Size", found))
            except ValueError as error:
                raise Unreadable("what came is a ListBucketResult without an object's size or time") from error
            etag = page.text("ETag", found).strip('"')
            objects.append((unquote_plus(key) if encoded else key, size, mtime, etag))
        return cls(objects, page.text("NextContinuationToken") if page.text("IsTruncated") == "true" else "")


def described(key: str, headers: Message) -> Listing:
    """What the headers of an object's answer say of it.  Raises Unreadable."""
    try:
        mtime = parsedate_to_datetime(headers["last-modified"]).timestamp()
        return key, int(headers["content-length"]), mtime, headers["etag"].strip('"')
    except (LookupError, ValueError, TypeError, AttributeError) as error:  # None, where there is no such header
        raise Unreadable("what came has no size, time and ETag of an object") from error
