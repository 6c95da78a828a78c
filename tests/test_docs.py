"""What the documents promise: their programs run and print what they say, their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "packages/*/*.md", "packages/*/docs/**/*.md")
    for path in ROOT.glob(pattern)
)
# A block that this comment precedes is a sketch, and says so: <!-- not run: reason -->
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n+)?^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PRINTED = re.compile(r"^ *print\(.*\) +# (.*)$", re.MULTILINE)
# A reader's environment is `.venv`, a test's is the one that it runs in.
COMMAND = re.compile(r"^\$ (?:\.venv/bin/)?(wren .*)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def blocks(document: Path, language: str) -> list[str]:
    """Return the code blocks of a document that are to be run, in its order."""
    found = BLOCK.findall(document.read_text(encoding="utf-8"))
    return [code for sketch, marked, code in found if marked == language and not sketch]


def named(documents: list[Path]) -> list[str]:
    return [str(document.relative_to(ROOT)) for document in documents]


PROGRAMS = [document for document in DOCUMENTS if blocks(document, "python")]
SESSIONS = [document for document in DOCUMENTS if blocks(document, "console")]


@pytest.mark.parametrize("document", PROGRAMS, ids=named(PROGRAMS))
def test_programs_print_what_their_comments_say(document: Path, tmp_path: Path) -> None:
    # Given a document's Python blocks, which a reader enters one after the other
    code = "\n".join(blocks(document, "python"))
    program = tmp_path / "program.py"
    program.write_text(code, encoding="utf-8")
    # When they run as one program
    run = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    # Then nothing fails and each print shows what is written beside it
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == PRINTED.findall(code)


@pytest.mark.parametrize("document", SESSIONS, ids=named(SESSIONS))
def test_commands_succeed(document: Path, tmp_path: Path) -> None:
    text = "\n".join(blocks(document, "console"))
    commands = COMMAND.findall(text)
    assert len(commands) == len(re.findall(r"^\$ ", text, re.MULTILINE)), "only wren's commands are run"
    for command in commands:
        name, *arguments = command.split()
        run = subprocess.run(
            [Path(sys.executable).with_name(name), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, f"{command}: {run.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named(DOCUMENTS))
def test_links_lead_to_files_of_the_repository(document: Path) -> None:
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing
