"""Patterns of keys: `*` and `?` stay within a folder, `**` does not, `[...]` is one of some characters."""

import re
from typing import Final

__all__ = ["is_glob", "matcher", "plain_prefix"]

_MAGIC: Final = re.compile(r"[*?\[]")
_TOKEN: Final = re.compile(r"(\*\*/|\*\*|\*|\?|\[(?:!.|[^!])[^\]]*\])", re.DOTALL)
_MEANING: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def is_glob(key: str) -> bool:
    """Whether there is anything in it that may stand for other characters."""
    return _MAGIC.search(key) is not None


def plain_prefix(glob: str) -> str:
    """How every key begins that matches."""
    return _MAGIC.split(glob, maxsplit=1)[0]


def matcher(glob: str) -> re.Pattern[str]:
    """A regular expression for whole keys."""
    tokens = _TOKEN.split(glob)  # every other one is a separator, which means something
    meant = [_meaning(token) if at % 2 else re.escape(token) for at, token in enumerate(tokens)]
    return re.compile("".join(meant), re.DOTALL)


def _meaning(token: str) -> str:
    if token in _MEANING:
        return _MEANING[token]
    negated = token[1] == "!"
    ranges = re.findall(r"(.)-(.)|(.)", token[1 + negated : -1], re.DOTALL)
    inside = "".join(
        re.escape(single) or f"{re.escape(low)}-{re.escape(high)}" for low, high, single in ranges if low <= high
    )
    if not inside:  # of ranges that are the wrong way round
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{inside}]"
