"""What travels with a job, and what is an error before it is invoked."""

import importlib
import io
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from wren.binding import Bound
from wren.blobs import pickle_blob
from wren.errors import BindingError, ModuleError, PluginFault, WrenError
from wren.job import CallOptions, Choice, Work
from wren.modules.explanation import Explanation, explain
from wren.modules.luggage import Luggage
from wren.serialize import pickle_arguments
from wren.spi import Runtime, RuntimeInfo

Write: TypeAlias = Callable[[Mapping[str, str]], None]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PLATFORM = sysconfig.get_platform()
BARE = RuntimeInfo(PYTHON, PLATFORM, frozenset({"wren"}))


def work(function: Any, *data: Any, include: Iterable[Any] | None = (), exclude: Iterable[Any] = ()) -> Work:
    blob, code = pickle_blob(function, hashed=True)
    arguments = pickle_arguments(Bound([(each,) for each in data], None))
    return Work(blob, code, arguments, (), CallOptions(choice=Choice.of(include, exclude)))


@pytest.fixture
def packed(described: Callable[[RuntimeInfo], Any]) -> Callable[..., list[str]]:
    """The names of the files that travel with a function."""

    def pack(function: Any, *data: Any, info: RuntimeInfo = BARE, **choice: Any) -> list[str]:
        blob, chunks = Luggage(described(info)).pack([work(function, *data, **choice)], Runtime())
        if blob is None:
            assert not chunks
            return []
        content = b"".join(chunks)
        assert len(content) == blob.size
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()

    return pack


Packed: TypeAlias = Callable[..., list[str]]


def imported(name: str) -> Any:
    return importlib.import_module(name)


# ---- what travels


def test_nothing_travels_with_a_function_that_needs_nothing(packed: Packed) -> None:
    assert packed(len) == packed(lambda x: x, Path("x")) == []


def test_a_package_travels_whole_but_for_what_is_hidden_and_bytecode(write: Write, packed: Packed) -> None:
    files = ["whole/__init__.py", "whole/a.py", "whole/data/b.csv", "whole/sub/__init__.py"]
    write({**dict.fromkeys(files, ""), "whole/.env": "secret", "whole/.git/x": "", "whole/a.py~": "", "beside.py": ""})
    imported("whole.a")
    write({"whole/a.py": "def f(): ...", "whole/__pycache__/a.cpython-311.pyc": ""})
    assert packed(importlib.reload(imported("whole.a")).f) == files


def test_modules_that_are_imported_travel_and_others_do_not(write: Write, packed: Packed) -> None:
    write({"one.py": "import two\ndef f(): ...", "two.py": "", "three.py": ""})
    assert packed(imported("one").f) == ["one.py", "two.py"]


def test_an_excluded_module_stays_where_the_runtime_has_it(write: Write, packed: Packed) -> None:
    write({"one.py": "import two\ndef f(): ...", "two.py": ""})
    there = BARE._replace(modules=frozenset({"two"}))
    assert packed(imported("one").f, info=there, exclude=["two"]) == ["one.py"]
    assert packed(imported("one").f, info=there) == ["one.py", "two.py"]


def test_a_part_of_a_package_can_be_excluded(write: Write, packed: Packed) -> None:
    write({"part/__init__.py": "def f(): ...", "part/big/__init__.py": "", "part/big/data": "", "part/huge.py": ""})
    assert packed(imported("part").f, exclude=["part.big", "part.huge"]) == ["part/__init__.py"]


def test_modules_themselves_and_paths_can_be_named(write: Write, user: Path, packed: Packed) -> None:
    write({"named.py": "def f(): ...", "lib/__init__.py": "", "lib/inner.py": "", "lib/other.py": ""})
    module = imported("named")
    paths = [module, user / "lib" / "inner.py"]
    assert packed(module.f, include=paths) == ["lib/inner.py", "named.py"]
    assert packed(module.f, include=["named", f"{user}/lib"]) == [
        "lib/__init__.py",
        "lib/inner.py",
        "lib/other.py",
        "named.py",
    ]


def test_exclude_is_not_looked_at_when_include_is_given(write: Write, packed: Packed) -> None:
    write({"one.py": "def f(): ..."})
    assert packed(imported("one").f, include=["one"], exclude=["one"]) == ["one.py"]


def test_none_travels_where_none_is_to_be_included(write: Write, packed: Packed) -> None:
    write({"one.py": "def f(): ..."})
    assert packed(imported("one").f, info=BARE._replace(modules=frozenset({"one"})), include=None) == []


def test_where_it_is_not_known_what_the_runtime_has_nothing_is_missing(write: Write, packed: Packed) -> None:
    write({"one.py": "def f():\n import missing_module"})
    assert packed(imported("one").f, info=RuntimeInfo(PYTHON, PLATFORM)) == ["one.py"]


def test_the_same_files_are_packed_once(write: Write, described: Callable[[RuntimeInfo], Any]) -> None:
    write({"one.py": "def f(): ..."})
    luggage = Luggage(described(BARE))
    first, (data,) = luggage.pack([work(imported("one").f)], Runtime())
    again, (other,) = luggage.pack([work(imported("one").f)], Runtime())
    assert first == again
    assert other is data
    write({"one.py": "def f(): return 1"})
    assert luggage.pack([work(imported("one").f)], Runtime())[0] != first


def test_the_backend_is_asked_once_and_only_when_it_matters(
    write: Write, described: Callable[[RuntimeInfo], Any]
) -> None:
    write({"one.py": "def f(): ...", "two.py": "import hypothesis\ndef f(): ..."})
    compute = described(BARE._replace(modules=frozenset({"hypothesis"})))
    luggage = Luggage(compute)
    luggage.pack([work(imported("one").f)], Runtime())
    assert compute.asked == 0
    for memory in (None, 512):
        luggage.pack([work(imported("two").f)], Runtime(memory=memory))
    assert compute.asked == 1


# ---- errors before invocation


@pytest.mark.parametrize(
    "source",
    [
        "import missing_module\ndef f(): ...",
        "from missing_module.deep import x\ndef f(): ...",
        "import one_more\ndef f(): ...",
        "def f():\n import missing_module",
    ],
)
def test_an_unconditional_import_of_what_is_nowhere_is_an_error(write: Write, packed: Packed, source: str) -> None:
    write({"one.py": source, "one_more.py": "def g(): ...\nclass C:\n import missing_module"})
    sys.modules["missing_module"] = sys.modules["missing_module.deep"] = fake = type(sys)("missing_module")
    fake.x = 1  # type: ignore[attr-defined]
    try:
        function = imported("one").f
    finally:
        del sys.modules["missing_module"], sys.modules["missing_module.deep"]
    with pytest.raises(ModuleError) as raised:
        packed(function)
    said = str(raised.value)
    assert said.startswith("the module missing_module (needed by line ")
    assert "the runtime of the described backend" in said
    assert "pip install 'missing_module'" in said


@pytest.mark.parametrize(
    "source",
    [
        "try:\n import missing_module\nexcept ImportError: ...\ndef f(): ...",
        "import sys\nif sys.platform == 'win32':\n import missing_module\ndef f(): ...",
        "def f(): ...\ndef other():\n import missing_module",
        "try:\n import one_more\nexcept ImportError: ...\ndef f(): ...",
    ],
)
def test_a_conditional_import_of_what_is_nowhere_is_none(write: Write, packed: Packed, source: str) -> None:
    write({"one.py": source, "one_more.py": "import missing_module"})
    assert "one.py" in packed(imported("one").f)


def test_what_is_installed_here_and_not_there_is_an_error_with_its_version(write: Write, packed: Packed) -> None:
    write({"one.py": "import hypothesis\ndef f(): ..."})
    with pytest.raises(ModuleError, match=r"pip install 'hypothesis==\d.*include_modules=\['one', 'hypothesis'\]"):
        packed(imported("one").f)


def test_what_a_function_by_value_uses_is_looked_at(packed: Packed) -> None:
    import hypothesis

    with pytest.raises(ModuleError, match="the module hypothesis"):
        packed(lambda: hypothesis.given)


def test_what_data_is_made_of_is_looked_at(write: Write, packed: Packed) -> None:
    write({"data.py": "import hypothesis\nclass D: ..."})
    with pytest.raises(ModuleError, match="line 1 of data"):
        packed(len, imported("data").D())


CALLED = """
import functools
def wraps(f):
    @functools.wraps(f)
    def g(*args): return f(*args)
    return g
class C:
    def m(self): import missing_module
    @classmethod
    def c(cls): import missing_module
    def __call__(self): import missing_module
def f(x): import missing_module
@wraps
def decorated(x): import missing_module
@functools.cache
def cached(x): import missing_module
"""


@pytest.mark.parametrize(
    "called", ["C().m", "C.c", "C()", "f", "decorated", "cached", "functools.partial(f, 1)", "functools.partial(C().m)"]
)
@pytest.mark.parametrize("by_value", [False, True])
def test_what_is_called_is_found_in_whatever_it_is_wrapped(
    write: Write, packed: Packed, called: str, by_value: bool
) -> None:
    if by_value:
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(CALLED, namespace)
    else:
        write({"called.py": CALLED})
        namespace = vars(imported("called"))
    function = eval(called, namespace)
    if by_value and called in ("C()", "decorated"):  # which of the code that goes with it is called is not told
        assert packed(function) == []
        return
    with pytest.raises(ModuleError, match=r"the module missing_module \(needed by line \d+ of "):
        packed(function)


def test_what_others_import_in_their_bodies_may_be_missing(write: Write, packed: Packed) -> None:
    # Given functions and classes that go with the called one, by value and by reference
    write({"helpers.py": "def plot():\n import missing_module\nclass P:\n def show(self):\n  import missing_module"})
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "from helpers import P, plot\nclass C:\n def show(self): import missing_module\n"
        "def helper(): import missing_module\ndef f(x): return x or helper() or C().show() or plot() or P().show()",
        namespace,
    )
    assert packed(namespace["f"], namespace["helper"], namespace["C"]()) == ["helpers.py"]


def test_all_that_is_missing_is_named(write: Write, packed: Packed) -> None:
    write({"one.py": "import two_missing.a, two_missing.b, three_missing\ndef f(): ..."})
    names = ("two_missing", "two_missing.a", "two_missing.b", "three_missing")
    sys.modules.update({name: type(sys)(name) for name in names})
    try:
        function = imported("one").f
    finally:
        for name in names:
            del sys.modules[name]
    with pytest.raises(ModuleError, match=r"^the module two_missing .*, and likewise three_missing: use a runtime"):
        packed(function)


@pytest.mark.parametrize("choice", [{"include": None}, {"include": ["two"]}, {"exclude": ["one"]}])
def test_a_needed_module_that_is_left_out_is_an_error(write: Write, packed: Packed, choice: dict[str, Any]) -> None:
    write({"one.py": "def f(): ...", "two.py": ""})
    with pytest.raises(ModuleError, match=r"the module one .* (include|exclude)_modules.*: name it in include_modules"):
        packed(imported("one").f, **choice)


@pytest.mark.parametrize("name", ["missing_module", "/nowhere/module.py", "./module.py"])
def test_what_is_to_be_included_and_is_not_there_is_an_error(packed: Packed, name: str) -> None:
    with pytest.raises(ModuleError, match=r"include_modules names '.*module.*: correct the"):
        packed(len, include=[name])


@pytest.mark.parametrize("given", ["numpy", Path("x"), 3, [3], [""], [None]])
def test_what_is_no_list_of_modules_is_an_error(given: Any) -> None:
    with pytest.raises(BindingError, match=r"include_modules (is|has) .*: give"):
        Choice.of(given, [])
    with pytest.raises(BindingError, match=r"exclude_modules (is|has) .*: give"):
        Choice.of([], given)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (BARE._replace(platform="linux-riscv64"), rf"for {PLATFORM} \(.*\), and .* is linux-riscv64"),
        (BARE._replace(platform="macosx-14-arm64"), r".*and .* is macosx-14-arm64"),
        (BARE._replace(python="3.99"), rf"for Python {PYTHON} \(.*\), and .* is Python 3.99"),
    ],
)
def test_a_compiled_module_of_another_platform_is_an_error(
    write: Write, user: Path, packed: Packed, info: RuntimeInfo, said: str
) -> None:
    # Given a package with a compiled module, as far as anybody looks
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    write(
        {"compiled.py": "from fast import core\ndef f(): ...", "fast/__init__.py": "core = 1", f"fast/core{suffix}": ""}
    )
    function = imported("compiled").f
    # Then there it is an error, here it is not
    with pytest.raises(ModuleError, match=rf"the module fast.core is compiled {said}: install it there"):
        packed(function, info=info)
    assert packed(function) == ["compiled.py", "fast/__init__.py", f"fast/core{suffix}"]
    # Nor where the other platform's is beside it
    python, machine = info.python.replace(".", ""), info.platform.partition("-")[2].replace("-", "_")
    write({f"fast/core.cpython-{python}-{machine}-gnu.so": ""})
    assert packed(function, info=info)


def test_a_foreign_error_of_describe_is_the_plugins_fault(
    write: Write, described: Callable[[RuntimeInfo], Any]
) -> None:
    write({"one.py": "import hypothesis\ndef f(): ..."})
    compute = described(BARE)
    compute.describe = lambda runtime: 1 / 0
    with pytest.raises(PluginFault, match="division by zero"):
        Luggage(compute).pack([work(imported("one").f)], Runtime())
    assert issubclass(ModuleError, WrenError)


def test_a_path_cannot_be_excluded() -> None:
    with pytest.raises(BindingError, match=r"exclude_modules has the path /somewhere/x\.py: give names of modules"):
        Choice.of([], ["/somewhere/x.py"])


# ---- in words


def explained(function: Any, info: RuntimeInfo | None, **choice: Any) -> Explanation:
    return explain(
        map(bytes, work(function).code), [], Choice.of(choice.get("include", ()), choice.get("exclude", ())), info
    )


def test_an_explanation_has_a_row_for_each_module(write: Write) -> None:
    write(
        {
            "one.py": "import two, hypothesis\ntry:\n import missing_module\nexcept ImportError: ...\ndef f(): ...",
            "two.py": "#" * 99,
        }
    )
    function = imported("one").f
    rows = {row.name: row for row in explained(function, BARE._replace(modules=frozenset({"hypothesis"})))}
    assert list(rows) == ["two", "one", "hypothesis", "missing_module"]
    assert (rows["two"].travels, rows["two"].size, rows["two"].why) == (True, 99, "needed by line 1 of one")
    assert rows["one"].why == "needed by the function or its data"
    assert (rows["hypothesis"].travels, rows["hypothesis"].why) == (False, "the runtime has it")
    assert rows["hypothesis"].version
    assert rows["missing_module"].why == "missing in the runtime: perhaps needed by line 3 of one"
    explanation = explained(function, BARE, exclude=["two"])
    assert repr(explanation).startswith("<1 of 4 modules travel, ")
    assert explanation[1].why == "it is named in exclude_modules; missing in the runtime"


def test_on_localhost_an_explanation_says_that_nothing_travels(write: Write) -> None:
    write({"one.py": "import hypothesis\ndef f(): ..."})
    rows = explained(imported("one").f, None)
    assert [(row.name, row.travels, row.why) for row in rows] == [
        ("one", False, "local workers import the same files"),
        ("hypothesis", False, "it is installed here"),
    ]
