"""Every sentence, row and signature of docs/api.md is quoted by a test of this folder, or is in `elsewhere.toml`.

A test quotes by `@pytest.mark.api("some words", ...)`; the words stand in the document as they are in the mark, but for
line breaks.  A sentence that is changed there leads to its tests, and one that is added asks for one.
"""

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pytest

HERE: Final = Path(__file__).parent
DOCUMENT: Final = HERE.parents[1] / "docs" / "api.md"
NOT_RULES: Final = {"", "Not built yet"}  # the introduction, and what is not there yet
SHORTEST: Final = 7  # letters that name a sentence


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Sentences that other tests hold, or that another issue builds."""

    by: str  # a test, `path::name`, or the subject of an issue
    sentences: list[str]


def one_line(text: str) -> str:
    return " ".join(text.split())


def units(text: str) -> Iterator[str]:
    """The sentences, rows and signatures of a document's rules, each on one line."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        title, _, body = section.partition("\n")
        if title in NOT_RULES or section.startswith("# "):
            continue
        for block in re.findall(r"^```\n(.*?)^```$", body, re.MULTILINE | re.DOTALL):
            yield from (one_line(signature) for signature in re.split(r"\n(?=\S)", block.strip()))
        body = re.sub(r"^```.*?^```$", "", body, flags=re.MULTILINE | re.DOTALL)
        for paragraph in re.split(r"\n\n|\n(?=- )|\n(?=\|)", body):
            item = one_line(paragraph.removeprefix("- "))
            if item.startswith("|"):
                yield from [] if re.match(r"\|---|\| (element|name) \|", item) else [item]
            else:
                yield from filter(None, re.split(r"(?<=[.\]]) (?=[A-Z`\[])|(?<=,) (?=\[they)| (?=\[they)", item))


def quoted() -> dict[str, str]:
    """What the marks of this folder quote, each with its test."""
    quotes: dict[str, str] = {}
    for path in sorted(HERE.glob("test_*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for function in (node for node in nodes if isinstance(node, ast.FunctionDef)):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.api":
                    for argument in decorator.args:
                        quotes[one_line(ast.literal_eval(argument))] = f"{path.name}::{function.name}"
    return quotes


DOCUMENTED: Final = list(units(DOCUMENT.read_text(encoding="utf-8")))
ELSEWHERE: Final = msgspec.convert(
    tomllib.loads((HERE / "elsewhere.toml").read_text(encoding="utf-8"))["elsewhere"], list[Elsewhere]
)
QUOTES: Final = quoted()
EXCUSED: Final = {one_line(sentence): entry.by for entry in ELSEWHERE for sentence in entry.sentences}


def test_every_sentence_of_the_api_is_held_by_a_test_or_said_to_be_anothers() -> None:
    names = [*QUOTES, *EXCUSED]
    missing = [unit for unit in DOCUMENTED if not any(name in unit or unit in name for name in names)]
    assert not missing, f"{len(missing)} of {len(DOCUMENTED)} have no test: mark one, or add them to elsewhere.toml"


@pytest.mark.parametrize("quote", [*QUOTES, *EXCUSED])
def test_every_quote_stands_in_the_document(quote: str) -> None:
    assert len(quote) >= SHORTEST, "too short to name a sentence"
    where = QUOTES.get(quote) or EXCUSED[quote]
    assert any(quote in unit for unit in DOCUMENTED) or any(quote in each for each in _neighbours()), where


def _neighbours() -> Iterator[str]:
    """Sentences with the one behind them, for quotes that go on."""
    return (f"{first} {second}" for first, second in itertools.pairwise(DOCUMENTED))


def test_nothing_is_both_tested_here_and_excused() -> None:
    assert not QUOTES.keys() & EXCUSED.keys()


@pytest.mark.parametrize("by", sorted({entry.by for entry in ELSEWHERE if "::" in entry.by}))
def test_the_tests_that_are_named_elsewhere_are_there(by: str) -> None:
    path, _, name = by.partition("::")
    text = (HERE.parents[1] / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\(", text, re.MULTILINE)


def test_nothing_of_the_document_is_expected_to_fail() -> None:
    marks = [path.name for path in HERE.glob("test_*.py") if "mark." + "xfail" in path.read_text(encoding="utf-8")]
    assert not marks, "what is not built is in the document's table, and its sentences are in elsewhere.toml"
