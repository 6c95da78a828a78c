"""The imports of code, and which of them are certain to be made."""

import os
import sys
from pathlib import Path

import pytest

from wren.modules.imports import imports_of, imports_of_file

SURE, PERHAPS = False, True

CASES = {
    "import a": [("a", 0, (), SURE)],
    "import a.b as c": [("a.b", 0, (), SURE)],
    "from a import b, c": [("a", 0, ("b", "c"), SURE)],
    "from a import *": [("a", 0, ("*",), SURE)],
    "from . import a": [("", 1, ("a",), SURE)],
    "from ..a.b import c": [("a.b", 2, ("c",), SURE)],
    "x = 1\nif x:\n    y = 2\nimport a": [("a", 0, (), SURE)],
    "for x in y:\n    pass\nimport a": [("a", 0, (), SURE)],
    "class C:\n    import a": [("a", 0, (), SURE)],
    "import a\ntry:\n    b = 1\nexcept ValueError:\n    pass\nimport c": [("a", 0, (), SURE), ("c", 0, (), SURE)],
    "while x():\n    pass\nelse:\n    pass\nimport a": [("a", 0, (), SURE)],
    "if x:\n    import a": [("a", 0, (), PERHAPS)],
    "if x:\n    pass\nelse:\n    import a": [("a", 0, (), PERHAPS)],
    "if TYPE_CHECKING:\n    from a import b": [("a", 0, ("b",), PERHAPS)],
    "for x in y:\n    import a": [("a", 0, (), PERHAPS)],
    "while x:\n    import a": [("a", 0, (), PERHAPS)],
    "try:\n    import a\nexcept ImportError:\n    import b": [("a", 0, (), PERHAPS), ("b", 0, (), PERHAPS)],
    "try:\n    import a\nexcept ImportError:\n    a = None\nimport b": [("a", 0, (), PERHAPS), ("b", 0, (), SURE)],
    "with suppress(ImportError):\n    import a": [("a", 0, (), PERHAPS)],
    "x and __import__('a')": [],
    "def f():\n    import a": [("a", 0, (), PERHAPS)],
    "class C:\n    def f(self):\n        from a import b": [("a", 0, ("b",), PERHAPS)],
    "f = lambda: [__import__(x) for x in y]\nimport a": [("a", 0, (), SURE)],
    "match x:\n    case 1:\n        import a": [("a", 0, (), PERHAPS)],
    "raise ValueError\nimport a": [],
    "if False:\n    import a": [],
    "if x:\n    raise ValueError\nimport a": [("a", 0, (), SURE)],
}


@pytest.mark.parametrize("source", CASES)
def test_the_imports_of_code_are_found(source: str) -> None:
    found = [each[:4] for each in imports_of(compile(source, "<source>", "exec"))]
    assert found == CASES[source]


def test_those_of_a_functions_own_body_are_certain() -> None:
    namespace: dict[str, object] = {}
    exec(
        "def f(x):\n    import a\n    if x:\n        import b\n    def g():\n        import c\n    return g", namespace
    )
    code = namespace["f"].__code__  # type: ignore[attr-defined]
    assert [(each.name, each.conditional) for each in imports_of(code)] == [("a", SURE), ("b", PERHAPS), ("c", PERHAPS)]


def test_an_import_behind_more_constants_than_a_byte_can_count_is_found() -> None:
    source = "\n".join(f"x{number} = 'text {number}'" for number in range(1_000)) + "\nfrom a import b"
    (found,) = imports_of(compile(source, "<source>", "exec"))
    assert found == ("a", 0, ("b",), SURE, 1_001)


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import a")
    assert [each.name for each in imports_of_file(str(path))] == ["a"]
    path.write_text("import b")
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert [each.name for each in imports_of_file(str(path))] == ["b"]


def test_reading_a_file_is_no_import(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import sys\nsys.wren_was_here = True")
    assert [each.name for each in imports_of_file(str(path))] == ["sys"]
    assert not hasattr(sys, "wren_was_here")


def test_what_stands_behind_a_return_is_not_certain() -> None:
    namespace: dict[str, object] = {}
    exec("def f(x):\n    if x:\n        return x\n    import a", namespace)
    (found,) = imports_of(namespace["f"].__code__)  # type: ignore[attr-defined]
    assert found.conditional
