"""Values of which parts are pickles of their own: `wren.worker.nested`."""

import pickle
from typing import Any

import pytest

from wren.worker.nested import Composition, Place, compose, part, process


def pickled(value: object) -> bytes:
    return pickle.dumps(value, 5)


def test_parts_come_into_their_places() -> None:
    value = {"a": Place(1), "b": [0, (Place(0),)]}
    assert compose(pickled(value), [pickled("zero"), pickled(["one"])]) == {"a": ["one"], "b": [0, ("zero",)]}


def test_a_place_that_is_there_twice_is_one_object() -> None:
    place = Place(0)
    first, second = compose(pickled([place, place]), [pickled([])])
    assert first is second


def test_a_composition_is_loaded_as_what_it_stands_for() -> None:
    # Given one whose part is another one
    inner = pickled(Composition(pickled([Place(0)]), [pickled(1)]))
    outer = Composition(pickled((Place(0), Place(1))), [inner, pickled(None)])
    # When it is loaded by whoever knows nothing of it, Then
    assert pickle.loads(pickled(outer)) == ([1], None)  # noqa: S301 - of this test


def test_a_composition_is_made_without_loading_its_parts() -> None:
    data = pickled(Composition(b"no pickle", [b"nor this"]))
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(data)  # noqa: S301 - of this test


def test_a_place_means_nothing_elsewhere() -> None:
    with pytest.raises(pickle.UnpicklingError, match="what call 3 returns"):
        pickle.loads(pickled(Place(3)))  # noqa: S301 - of this test


def test_the_parts_of_a_function_of_the_same_name_are_the_functions_own() -> None:
    value: Any = compose(pickled(len), [])
    assert value is len
    assert part.__module__ == "wren.worker.nested"


def test_this_process_is_no_worker() -> None:
    assert not process.is_worker
    assert process.recorder is None
