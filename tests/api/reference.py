"""Compares `reference.toml` with the document that it was made from: `python tests/api/reference.py DOCUMENT.md`.

The document, "PyWren API Details" of PyWren for IBM Cloud, is not part of this repository.  Each executor and method of
it has a bold signature, a table of parameters and a block of usage; those are what is compared, nothing else of it is
looked at.  `test_reference.py` holds wren to the TOML file, and tests this script on a document of the same shape.
"""

import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypedDict

HERE: Final = Path(__file__).parent

# **name(\*\*kwargs)** of an executor, and **name**(func, data, \*\*kwargs) of a method.
SIGNATURE: Final = re.compile(r"^\*\*(?P<name>\w+)(?:\*\*)?\((?P<positional>[^)]*)\)(?:\*\*)?$", re.MULTILINE)
ROW: Final = re.compile(r"^\|([^|\n]*)\|([^|\n]*)\|[^\n]*\|$", re.MULTILINE)
BLOCK: Final = re.compile(r"^([ ]*)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Entry(TypedDict):
    """An executor or a method, as the document has it."""

    positional: list[str]  # the names of the signature; the table may have others for the same parameters
    parameters: list[list[str]]  # name and text of the default, empty where there is none
    usage: str


class Document(TypedDict):
    """All of it; methods are those of an executor."""

    executors: dict[str, Entry]
    methods: dict[str, Entry]


def parse(text: str) -> Document:
    """The tables and blocks of usage of a document."""
    document = Document(executors={}, methods={})
    found = list(SIGNATURE.finditer(text))
    for at, signature in enumerate(found):
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        entry = _entry(signature["positional"], text[signature.end() : end])
        document["executors" if signature["name"].endswith("_executor") else "methods"][signature["name"]] = entry
    return document


def _entry(positional: str, body: str) -> Entry:
    names = [name.strip() for name in positional.split(",")]
    rows = [[cell.strip() for cell in row] for row in ROW.findall(body)]
    block = BLOCK.search(body)
    return Entry(
        positional=[name for name in names if name and not name.startswith("\\*")],
        parameters=[row for row in rows if row[0] != "Parameter" and not row[0].startswith("-")],
        usage=textwrap.dedent(block[2]).strip() if block else "",
    )


def differences(ours: Document, theirs: Document) -> Iterator[str]:
    """A line for each thing that one has and the other has not, or has otherwise."""
    for kind, mine, other in (
        ("executor", ours["executors"], theirs["executors"]),
        ("method", ours["methods"], theirs["methods"]),
    ):
        for name in [*mine, *(name for name in other if name not in mine)]:
            if name not in other or name not in mine:
                yield f"{kind} {name} is only in {'the TOML file' if name in mine else 'the document'}"
                continue
            if mine[name]["positional"] != other[name]["positional"]:
                yield f"{name}: positional is {mine[name]['positional']}, in the document {other[name]['positional']}"
            if mine[name]["parameters"] != other[name]["parameters"]:
                yield f"{name}: parameters is {mine[name]['parameters']}, in the document {other[name]['parameters']}"
            if mine[name]["usage"].strip() != other[name]["usage"]:
                yield f"{name}: usage is {mine[name]['usage']!r}, in the document {other[name]['usage']!r}"


def main(document: str, data: str = str(HERE / "reference.toml")) -> int:
    """Print the differences; 1 if there are any."""
    ours: Document = tomllib.loads(Path(data).read_text(encoding="utf-8"))  # type: ignore[assignment]  # as it is written
    found = list(differences(ours, parse(Path(document).read_text(encoding="utf-8"))))
    print(*found, sep="\n") if found else print("no differences")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
