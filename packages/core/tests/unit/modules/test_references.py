"""What a pickle refers to, found without anything of it being made."""

import collections
import dataclasses
import decimal
import fractions
import functools
import json.decoder
import pickle
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren.modules.references import References
from wren.worker.stream import cloudpickle_chunks, pickle_chunks


def references(value: object, chunks: Callable[[object], list[bytes]] = cloudpickle_chunks) -> References:
    found = References()
    found.add(chunks(value))
    return found


def modules(value: object) -> set[str]:
    return {module for module, _ in references(value).names}


@dataclasses.dataclass
class Loud:
    """An object that must not be made again."""

    x: Any = None

    def __setstate__(self, state: object) -> None:
        raise AssertionError("it was made")


def test_a_function_that_can_be_imported_is_named() -> None:
    assert ("json", "dumps") in references(json.dumps).names


def test_what_a_function_by_value_refers_to_is_named() -> None:
    decoder = json.decoder.JSONDecoder
    assert {"json.decoder", "decimal"} <= modules(lambda x=decimal.Decimal(1): (decoder, x))


def test_modules_that_a_function_by_value_refers_to_are_named() -> None:
    function: dict[str, Any] = {}
    exec("import json.decoder as d, xml.dom\ndef f(): return d, xml.dom.Node", function)
    assert {"json.decoder", "xml", "xml.dom"} <= modules(function["f"])


def test_code_that_travels_comes_with_its_package() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "__package__": "pack"}
    exec("def f():\n    from . import x\n    def g(): import y\n    return g", namespace)
    found = references(namespace["f"])
    assert {(code.co_name, package) for code, package in found.code} == {("f", "pack")}


def test_methods_of_a_class_by_value_are_found() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("import fractions\nclass C:\n  def m(self): return fractions.Fraction(1)", namespace)
    found = references([namespace["C"](), namespace["C"]])
    assert [code.co_name for code, _ in found.code] == ["m"]
    assert ("fractions", "") in found.names


def test_nothing_is_made() -> None:
    value = [Loud(Loud()), {Loud: functools.partial(Loud, 1)}, collections.OrderedDict(a=Loud())]
    assert __name__ in modules(value)
    with pytest.raises(AssertionError):
        pickle.loads(pickle.dumps(value))  # noqa: S301 - it is this test's own


def test_a_module_that_is_not_here_is_named_and_not_imported() -> None:
    pickled = b"\x80\x04\x8c\x07missing\x8c\x01f\x93."
    found = References()
    found.add([pickled])
    assert found.names == {("missing", "f")}
    assert "missing" not in sys.modules


def test_large_data_is_not_copied() -> None:
    data = bytes(200 << 20)
    chunks = pickle_chunks([Loud(data), decimal.Decimal(1)])
    found, before = References(), _memory()
    found.add(chunks)
    grown = _memory() - before
    assert {__name__, "decimal"} <= {module for module, _ in found.names}
    assert grown < 50 << 20


def _memory() -> int:
    """Bytes of this process that are in memory, at most so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


atoms = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(),
    st.builds(complex, st.integers(), st.integers()), st.fractions(), st.decimals(allow_nan=False), st.uuids(),
    st.datetimes(), st.sampled_from([int, Loud, json.dumps, range(3), slice(1), Ellipsis, uuid.UUID]),
)  # fmt: skip
hashable = st.one_of(st.integers(), st.text(), st.fractions(), st.uuids(), st.tuples(st.integers(), st.uuids()))
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(hashable, inner),
        st.sets(hashable),
        st.frozensets(hashable),
        st.builds(Loud, inner),
        st.builds(collections.deque, st.lists(inner)),
        st.builds(collections.OrderedDict, st.lists(st.tuples(hashable, inner))),
        st.builds(lambda pairs: collections.defaultdict(list, pairs), st.lists(st.tuples(hashable, inner))),
        st.builds(lambda x: functools.partial(Loud, x), inner),
        st.builds(bytearray, st.binary()),
    ),
)


def classes(value: Any) -> set[str]:
    """The modules of what a value holds, as far as this test looks."""
    if isinstance(value, Loud):
        return {__name__} | classes(value.x)
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return set().union(*map(classes, value))
    if isinstance(value, dict):
        return set().union(*map(classes, value.keys()), *map(classes, value.values()))
    if isinstance(value, fractions.Fraction | decimal.Decimal | uuid.UUID):
        return {type(value).__module__}
    return {__name__} if value is Loud else set()


@settings(max_examples=50)
@given(value=values, chunks=st.sampled_from([pickle_chunks, cloudpickle_chunks]))
def test_whatever_is_pickled_its_classes_are_named(value: object, chunks: Callable[[object], list[bytes]]) -> None:
    assert classes(value) <= {module for module, _ in references(value, chunks).names}
