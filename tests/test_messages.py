"""What errors say, read from the sources: one plain sentence, alike everywhere, about something.

No message ends with a period, begins with a capital or has two lines; none is longer than a few lines of a terminal.
One in which nothing is filled in names no value and nothing of the user's: it is listed here with the reason.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from wren import errors

ROOT: Final = Path(__file__).parent.parent
LONGEST: Final = 260  # characters, of which what is filled in counts as none
# What we raise of our own, and of the language's where it is the right one.
RAISED: Final = {name for name in errors.__all__ if name[0].isupper() and name != "RemoteTraceback"} | {
    "AttributeError", "ClickException", "OSError", "RuntimeError", "TypeError", "ValueError",
}  # fmt: skip
# Names, as they are written.
NAMES: Final = re.compile(r"PyWren|CloudObject|THREADPOOL_SIZE|WREN_|SHA-256|Python")
# What names nothing of the user's.
FIXED: Final = {
    "CloudObjectUrls do not exist in wren yet: pass the URL itself": "a name of PyWren's",
    "CloudObjects do not exist in wren yet: return the object's bucket and key from the function": "likewise",
    "WREN_TAG is not set: give the shell the tag of its deployment": "there is no value",
    "a call that runs within another gets a storage only where that one has a parameter for it, too: give it one, or "
    "return the future": "no executor there knows a name of the call",
    "a worker cannot say which modules travel to it: call explain() where its client runs": "there is no name of it",
    "an executor cannot be pickled: make one where it is needed": "whichever it is",
    "an object's key cannot be empty": "it is empty",
    "cannot schedule new futures after interpreter shutdown": "the standard library's words",
    "cannot schedule new futures after shutdown": "likewise",
    "there is no api_key in section [ibm_cos], nor in WREN_IBM_COS__API_KEY: give one": "it is not there",
    "this is no sealed status: its identity has values of other types": "nobody is shown what a stranger has sent",
    "what ran here has stored nothing": "nobody asks for it",
}


class Message(NamedTuple):
    """A literal text that an error is made with; `{}` is in the place of what is filled in."""

    place: str
    text: str


def words(node: ast.expr) -> str | None:
    """The text of a literal, None for what is none."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(words(part) or "{}" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = words(left), words(right)
            return None if texts == (None, None) else "".join(text or "{}" for text in texts)
    return None


def messages() -> Iterator[Message]:
    for path in sorted(ROOT.glob("packages/*/src/**/*.py")):
        if "testing" in path.parts:  # the kit's are for authors, in assertions
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and node.args:
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                text = words(node.args[0])
                if name in RAISED and text is not None:
                    yield Message(f"{path.relative_to(ROOT)}:{node.lineno}", text)


MESSAGES: Final = list(messages())


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 100


@pytest.mark.parametrize("message", MESSAGES, ids=[message.place for message in MESSAGES])
def test_a_message_is_one_plain_sentence(message: Message) -> None:
    text = message.text
    assert len(text) <= LONGEST
    assert "\n" not in text
    assert not re.search(r"[.!\s]$", text), "errors end without a period"
    assert re.match(r"[a-z{]", text) or NAMES.match(text), "errors begin with a small letter"


def test_a_message_names_what_it_is_about() -> None:
    fixed = {message.text for message in MESSAGES if "{}" not in message.text}
    assert fixed == FIXED.keys()
