"""Types as users see them: mypy and pyright find in `tests/typing` the errors that its lines are marked with.

`# error: arg-type | reportArgumentType` names what each of the two says, and no other line has any.  Pyright is run as
basedpyright, the one distribution of it whose wheel has all that it needs.
"""

import functools
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

import wren
from wren.signatures import CallKeywords, MapKeywords, MapReduceKeywords

FOLDER: Final = Path(__file__).parent / "typing"
FILES: Final = sorted(path.name for path in FOLDER.glob("*.py"))
MARK: Final = re.compile(r"# error: (?P<mypy>[\w, -]+) \| (?P<pyright>[\w, ]+)$")

Finding: TypeAlias = tuple[str, int, str]  # file, line, rule


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in {0, 1}, done.stdout + done.stderr  # 1: errors were found
    return done.stdout


def mypy() -> Iterator[tuple[Finding, str]]:
    files = [str(FOLDER / name) for name in FILES]
    # As users run it: without the repository's configuration.
    lines = run("mypy", "--strict", "--config-file=", f"--cache-dir={os.devnull}", "--output=json", *files)
    for found in map(json.loads, lines.splitlines()):
        if found["severity"] == "error":
            yield (Path(found["file"]).name, found["line"], found["code"]), found["message"]


def pyright() -> Iterator[tuple[Finding, str]]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "pyrightconfig.json")
        config.write_text(json.dumps({"include": [str(FOLDER)], "typeCheckingMode": "strict"}), encoding="utf-8")
        report = json.loads(
            run("basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(config))
        )
    for found in report["generalDiagnostics"]:
        line = found["range"]["start"]["line"] + 1
        yield (Path(found["file"]).name, line, found.get("rule", found["severity"])), found["message"]


CHECKERS: Final[Mapping[str, Callable[[], Iterator[tuple[Finding, str]]]]] = {"mypy": mypy, "pyright": pyright}


@functools.cache
def findings(checker: str) -> Mapping[Finding, str]:
    """What it says of all files, which it reads in one go."""
    return dict(CHECKERS[checker]())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("checker", CHECKERS)
def test_users_code_has_the_marked_errors_and_no_others(checker: str, name: str) -> None:
    lines = enumerate((FOLDER / name).read_text(encoding="utf-8").splitlines(), 1)
    marks = [(number, mark) for number, line in lines if (mark := MARK.search(line))]
    expected = {(name, number, rule) for number, mark in marks for rule in mark[checker].split(", ")}
    found = {finding: message for finding, message in findings(checker).items() if finding[0] == name}
    assert not [f"{finding}: {message}" for finding, message in found.items() if finding not in expected]
    assert not sorted(expected - found.keys())


@pytest.mark.parametrize(
    ("method", "keywords", "before"),
    [
        (wren.FunctionExecutor.call_async, CallKeywords, ["self", "func", "data"]),
        (wren.FunctionExecutor.map, MapKeywords, ["self", "map_function", "map_iterdata", "extra_params"]),
        (
            wren.FunctionExecutor.map_reduce,
            MapReduceKeywords,
            ["self", "map_function", "map_iterdata", "reduce_function", "extra_params"],
        ),
    ],
)
def test_type_checkers_know_the_keywords_that_there_are(
    method: Callable[..., Any], keywords: Any, before: list[str]
) -> None:
    parameters = list(inspect.signature(method).parameters)
    assert parameters[: len(before)] == before
    assert set(parameters[len(before) :]) == keywords.__optional_keys__
