"""Users' code in every shape runs on a backend whose workers have nothing of it: `shapes.txt`."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

TEXT: Final = Path(__file__).with_name("shapes.txt")
PROGRAM: Final = re.compile(
    r"(?:^include (?P<include>.*)\n)?^>>> (?P<imports>.*)\n>>> (?P<call>.*)\n(?P<result>.*)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A user's files by their paths, and a call."""

    name: str
    files: dict[str, str]
    imports: str
    call: str  # the function, and its arguments
    result: str  # its repr
    include: list[str]


def shapes(text: str) -> Iterator[Shape]:
    """Those of a text."""
    for section in text.split("\n## ")[1:]:
        name, _, body = section.partition("\n")
        program = PROGRAM.search(body)
        assert program is not None, name
        files = re.split(r"^--- (\S+)\n", body[: program.start()], flags=re.MULTILINE)[1:]
        yield Shape(
            name,
            dict(zip(files[::2], files[1::2], strict=True)),
            program["imports"],
            program["call"],
            program["result"],
            (program["include"] or "").split(),
        )


SHAPES: Final = list(shapes(TEXT.read_text(encoding="utf-8")))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_of_users_code_runs(
    shape: Shape, user: Path, write: Callable[[Path, Mapping[str, str]], None], run: Callable[..., Any]
) -> None:
    write(user, shape.files)
    result = run(shape.imports, shape.call, include_modules=shape.include)
    assert shape.result in (repr(result), str(result))


def test_there_are_at_least_thirty() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES) >= 30
