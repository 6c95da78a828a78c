"""Patterns mean for a key what the standard library's mean for a name, but that `/` is special."""

import fnmatch
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren.globs import is_glob, matcher, plain_prefix

GLOBS = st.text("ab-*?[]!^&~|\\.\n", max_size=12)


@settings(max_examples=2_000)
@given(GLOBS, st.text("ab-*?[]!^&~|\\.\n", max_size=8))
def test_within_a_folder_they_mean_what_fnmatch_says(glob: str, key: str) -> None:
    assert bool(matcher(glob).fullmatch(key)) == fnmatch.fnmatchcase(key, glob)


@given(GLOBS, st.text("ab/", max_size=8))
def test_what_matches_begins_with_what_is_plain(glob: str, key: str) -> None:
    if matcher(glob).fullmatch(key):
        assert key.startswith(plain_prefix(glob))
    assert is_glob(glob) == (plain_prefix(glob) != glob)


@given(st.text(max_size=10))
def test_what_is_escaped_is_itself(key: str) -> None:
    escaped = re.sub(r"[*?\[]", r"[\g<0>]", key)
    assert matcher(escaped).fullmatch(key)
    assert not matcher(escaped).fullmatch(f"{key}x")


@pytest.mark.parametrize(
    ("glob", "key", "matches"),
    [
        ("*.csv", "a/b.csv", False),
        ("?", "/", False),
        ("a[!b]c", "a/c", False),
        ("a[+-0]c", "a/c", False),
        ("**.csv", "a/b.csv", True),
        ("**/b.csv", "b.csv", True),
        ("**/b.csv", "a/c/b.csv", True),
        ("**/b.csv", "ab.csv", False),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/b", "a/b", True),
        ("*", "", True),
    ],
)
def test_a_folder_ends_where_a_slash_is(glob: str, key: str, matches: bool) -> None:
    assert bool(matcher(glob).fullmatch(key)) == matches
