"""How an element of iterdata becomes arguments: each line of the table in docs/api.md."""

import copy
import functools
import inspect
import operator
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wren.binding import Bound, bind, describe_function, reducer_parameter
from wren.errors import BindingError

Extra = Sequence[Any] | Mapping[str, Any] | None


def outcomes(function: Callable[..., Any], iterdata: Iterable[Any], extra: Extra = None) -> list[Any]:
    """What the calls return when they are made as a worker makes them."""
    bound = bind(function, iterdata, extra)
    keywords = bound.kwargs or [{}] * len(bound.args)
    returned = []
    for call, (args, kwargs) in enumerate(zip(bound.args, keywords, strict=True)):
        injected = {"id": call} if "id" in bound.inject else {}
        returned.append(function(*args, **(injected | kwargs)))
    return returned


def one(x: Any) -> Any:
    return x


def two(x: Any, y: Any) -> Any:
    return x, y


def default(x: Any, y: Any = "default") -> Any:
    return x, y


def optional(x: Any = "x", y: Any = "y") -> Any:
    return x, y


def nothing() -> str:
    return "called"


def variadic(*args: Any) -> Any:
    return args


def leading(x: Any, *args: Any) -> Any:
    return x, args


def keywords_only(**kwargs: Any) -> Any:
    return kwargs


def named(x: Any, **kwargs: Any) -> Any:
    return x, kwargs


def keyword(x: Any, *, y: Any) -> Any:
    return x, y


def positional(x: Any, y: Any, /) -> Any:
    return x, y


def everything(x: Any, /, y: Any, *args: Any, z: Any = "z", **kwargs: Any) -> Any:
    return x, y, args, z, kwargs


# ---------------------------------------------------------------- the table

MARK = object()
Pair = namedtuple("Pair", ["left", "right"])  # noqa: PYI024 - users have these, too


@dataclass
class Point:
    x: Any
    y: Any = "default"


@pytest.mark.parametrize(
    "element",
    [0, 1.5, 2j, True, None, "text", b"bytes", MARK, {1, 2}, frozenset({1}), range(3), int, one, Point(1, 2)],
    ids=repr,
)
def test_a_scalar_none_or_object_is_the_one_argument(element: Any) -> None:
    (got,) = outcomes(one, [element])
    assert got is element


@pytest.mark.parametrize(
    ("function", "element", "returned"),
    [
        (two, (1, 2), (1, 2)),
        (one, (1,), 1),
        (one, ((1, 2),), (1, 2)),
        (default, (1,), (1, "default")),
        (default, (1, 2), (1, 2)),
        (variadic, (1, 2, 3), (1, 2, 3)),
        (nothing, (), "called"),
        (optional, (), ("x", "y")),
        (variadic, (), ()),
        (positional, (1, 2), (1, 2)),
        (two, Pair(1, 2), (1, 2)),
    ],
)
def test_a_tuple_is_the_positional_arguments(function: Callable[..., Any], element: Any, returned: Any) -> None:
    assert outcomes(function, [element]) == [returned]


@pytest.mark.parametrize(
    ("function", "element", "returned"),
    [
        # two or more positional parameters, and it binds
        (two, [1, 2], (1, 2)),
        (default, [1], (1, "default")),
        (default, [1, 2], (1, 2)),
        (leading, [1, 2, 3], (1, (2, 3))),
        (positional, [1, 2], (1, 2)),
        (optional, [], ("x", "y")),
        # it does not bind
        (default, [1, 2, 3], ([1, 2, 3], "default")),
        (default, [], ([], "default")),
        # fewer than two
        (one, [1], [1]),
        (one, [1, 2], [1, 2]),
        (one, [], []),
        (variadic, [1, 2], ([1, 2],)),
        (named, [1, 2], ([1, 2], {})),
    ],
)
def test_a_list_is_spread_where_two_or_more_parameters_take_it_and_else_is_the_argument(
    function: Callable[..., Any], element: Any, returned: Any
) -> None:
    assert outcomes(function, [element]) == [returned]


@pytest.mark.parametrize(
    ("function", "element", "returned"),
    [
        (one, {"x": 1}, 1),
        (two, {"y": 2, "x": 1}, (1, 2)),
        (default, {"x": 1}, (1, "default")),
        (keyword, {"x": 1, "y": 2}, (1, 2)),
        (keywords_only, {"a": 1}, {"a": 1}),
        (named, {"x": 1, "a": 2}, (1, {"a": 2})),
        (two, OrderedDict(x=1, y=2), (1, 2)),
        # one parameter, and the keys are not its name
        (one, {"a": 1}, {"a": 1}),
        (one, {}, {}),
        (one, {1: 2}, {1: 2}),
        (one, {"x": 1, "a": 2}, {"x": 1, "a": 2}),
        (variadic, {"a": 1}, ({"a": 1},)),
    ],
)
def test_a_dict_is_the_keywords_where_its_keys_bind_and_else_the_one_argument(
    function: Callable[..., Any], element: Any, returned: Any
) -> None:
    assert outcomes(function, [element]) == [returned]


@pytest.mark.parametrize(("function", "returned"), [(nothing, "called"), (optional, ("x", "y")), (keywords_only, {})])
def test_the_keys_of_an_empty_dict_bind_to_a_function_that_needs_none(
    function: Callable[..., Any], returned: Any
) -> None:
    assert outcomes(function, [{}]) == [returned]


@pytest.mark.parametrize(
    ("function", "element", "said"),
    [
        (two, {"x": 1}, "missing y"),
        (two, {}, "missing x, y"),
        (two, {"a": 1, "b": 2}, "missing x, y; unexpected a, b"),
        (two, {"x": 1, "y": 2, "zebra": 3}, "unexpected zebra"),
        (default, {"y": 1}, "missing x"),
        (keyword, {"x": 1}, "missing y"),
        (named, {"a": 1, "b": 2}, "missing x"),
        (two, {1: 2, "x": 1, "y": 2}, "unexpected 1"),
        (nothing, {"a": 1}, "unexpected a"),
        (positional, {"x": 1}, "missing x, y"),
    ],
)
def test_a_dict_that_fits_in_no_way_is_an_error_with_the_names(
    function: Callable[..., Any], element: Any, said: str
) -> None:
    with pytest.raises(BindingError) as caught:
        bind(function, [element])
    assert str(caught.value).endswith(said)
    assert function.__name__ in str(caught.value)


def test_a_misspelt_name_is_answered_with_the_nearest_parameter() -> None:
    def resize(image: str, width: int) -> None:
        """Never called."""

    with pytest.raises(BindingError, match=r"missing width; unexpected widht \(did you mean width\?\)$"):
        bind(resize, [{"image": "a", "widht": 3}])


def test_a_missing_keyword_is_named_also_behind_extra_positional_arguments() -> None:
    def tagged(*rest: int, key: str) -> None:
        """Never called."""

    with pytest.raises(BindingError, match=r"missing key; unexpected kye \(did you mean key\?\)$"):
        bind(tagged, [{"kye": 1}], [1, 2])


@pytest.mark.parametrize(
    ("function", "element"),
    [
        (nothing, 1),
        (two, 1),
        (two, (1,)),
        (two, (1, 2, 3)),
        (one, ()),
        (keyword, (1, 2)),
        (keywords_only, 1),
        (nothing, [1]),
        (two, [1]),
    ],
)
def test_an_element_that_does_not_fit_is_an_error_before_anything_is_invoked(
    function: Callable[..., Any], element: Any
) -> None:
    with pytest.raises(BindingError, match=rf"^element 0 of iterdata, .*, does not fit {function.__name__}\("):
        bind(function, [element])


def test_the_error_names_the_element_that_does_not_fit() -> None:
    with pytest.raises(BindingError, match=r"^element 2 of iterdata, \(1, 2, 3\), does not fit two"):
        bind(two, [(1, 2), [1, 2], (1, 2, 3), (1,)])


def test_a_binding_error_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        bind(two, [1])


def test_elements_of_different_kinds_each_go_their_own_way() -> None:
    elements = [1, (2,), (3, 4), [5, 6], {"x": 7}, {"x": 8, "y": 9}, None]
    assert outcomes(default, elements) == [
        (1, "default"),
        (2, "default"),
        (3, 4),
        (5, 6),
        (7, "default"),
        (8, 9),
        (None, "default"),
    ]


# ---------------------------------------------------------------- iterdata


class Countdown:
    """Iterable by the old protocol only."""

    def __getitem__(self, index: int) -> int:
        if index == 3:
            raise IndexError
        return 3 - index


@pytest.mark.parametrize(
    "iterdata",
    [[1, 2, 3], (1, 2, 3), range(1, 4), {1: "a", 2: "b", 3: "c"}.keys(), iter([1, 2, 3]), map(int, "123")],
    ids=lambda data: type(data).__name__,
)
def test_any_iterable_is_a_sequence_of_calls(iterdata: Iterable[int]) -> None:
    assert outcomes(one, iterdata) == [1, 2, 3]


def test_a_set_is_a_sequence_of_calls_in_its_own_order() -> None:
    elements = {"a", "b", "c"}
    assert outcomes(one, elements) == list(elements)


def test_what_is_iterable_by_index_only_is_a_sequence_of_calls() -> None:
    assert outcomes(one, Countdown()) == [3, 2, 1]  # type: ignore[arg-type]


def test_a_generator_is_used_up_before_anything_is_bound() -> None:
    # Given a generator that writes down what was drawn
    drawn: list[int] = []

    def elements() -> Iterator[int]:
        for number in range(3):
            drawn.append(number)
            yield number

    # When the first of its elements cannot be bound
    with pytest.raises(BindingError):
        bind(nothing, elements())
    # Then it was drawn to its end
    assert drawn == [0, 1, 2]


def test_an_error_inside_of_a_generator_comes_out_as_it_is() -> None:
    def elements() -> Iterator[int]:
        yield 1
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$") as caught:
        bind(one, elements())
    assert not isinstance(caught.value, BindingError)


@pytest.mark.parametrize("iterdata", ["text", b"bytes", bytearray(b"bytes"), {"a": 1}, OrderedDict()], ids=repr)
def test_a_string_bytes_or_dict_is_an_error_that_says_to_put_it_in_a_list(iterdata: Any) -> None:
    with pytest.raises(BindingError, match=rf"^iterdata is of type {type(iterdata).__name__}.* in a list"):
        bind(one, iterdata)


@pytest.mark.parametrize("iterdata", [5, None, 1.5, MARK], ids=repr)
def test_what_is_not_iterable_is_an_error_that_says_to_put_it_in_a_list(iterdata: Any) -> None:
    with pytest.raises(BindingError, match=rf"^iterdata is of type {type(iterdata).__name__}.* in a list$"):
        bind(one, iterdata)


@pytest.mark.parametrize("extra", [None, [1], {"y": 1}])
def test_no_elements_are_no_calls(extra: Extra) -> None:
    bound = bind(two, [], extra)
    assert (bound.args, bound.kwargs) == ([], None)


# ---------------------------------------------------------------- callables


class Scale:
    """Callable in many ways."""

    def __init__(self, factor: int = 10, offset: int = 0) -> None:
        self.factor, self.offset = factor, offset

    def __call__(self, x: int, y: int = 0) -> int:
        return self.factor * x + y

    def method(self, x: int, y: int) -> int:
        return self.factor * x + y

    @classmethod
    def make(cls, x: int, y: int) -> tuple[str, int, int]:
        return cls.__name__, x, y

    @staticmethod
    def plain(x: int, y: int) -> tuple[int, int]:
        return x, y


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return "wrapped", function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("function", "element", "returned"),
    [
        (lambda x, y: x - y, (3, 1), 2),
        (lambda x: x, [3, 1], [3, 1]),
        (Scale().method, [3, 1], 31),
        (Scale().method, {"y": 1, "x": 3}, 31),
        (Scale.make, [3, 1], ("Scale", 3, 1)),
        (Scale.plain, [3, 1], (3, 1)),
        (Scale(), [3, 1], 31),
        (Scale(), 3, 30),
        (Scale(), {"x": 3}, 30),
        (functools.partial(two, 1), 2, (1, 2)),
        (functools.partial(two, 1), [2], (1, [2])),
        (functools.partial(two, y=1), 2, (2, 1)),
        (functools.partial(two, y=1), {"x": 2, "y": 3}, (2, 3)),
        (functools.partial(everything, 1), [2, 3], (1, 2, (3,), "z", {})),
        (decorated(two), [1, 2], ("wrapped", (1, 2))),
        (Point, [3, 1], Point(3, 1)),
        (Point, 3, Point(3)),
        (Point, {"x": 3}, Point(3)),
        (Pair, (1, 2), Pair(1, 2)),
        (everything, (1, 2), (1, 2, (), "z", {})),
        (everything, [1, 2, 3, 4], (1, 2, (3, 4), "z", {})),
        (str.upper, "text", "TEXT"),
        (operator.add, [1, 2], 3),
        (len, [1, 2, 3], 3),
        (abs, -1, 1),
        (pow, (2, 5), 32),
        (pow, {"base": 2, "exp": 5}, 32),
    ],
)
def test_every_kind_of_callable_is_bound_by_its_signature(
    function: Callable[..., Any], element: Any, returned: Any
) -> None:
    assert outcomes(function, [element]) == [returned]


@pytest.mark.parametrize(
    ("function", "element", "returned"),
    [
        (max, (1, 3, 2), 3),
        (max, [1, 3, 2], 3),
        (min, {"b": 1, "a": 2}, "a"),
        (dict, {"b": 1}, {"b": 1}),
        (dict, (), {}),
        (range, (1, 3), range(1, 3)),
        (int, "5", 5),
        (int, ("11", 2), 3),
    ],
)
def test_builtins_without_a_signature_get_their_arguments_by_position(
    function: Callable[..., Any], element: Any, returned: Any
) -> None:
    assert outcomes(function, [element]) == [returned]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (two, "two"),
        (Scale().method, "Scale.method"),
        (Scale(), "Scale"),
        (functools.partial(two, 1), "two"),
        (max, "max"),
        (Scale, "Scale"),
    ],
)
def test_a_function_is_described_by_its_name(function: Callable[..., Any], name: str) -> None:
    assert describe_function(function) == name


@pytest.mark.parametrize("function", [None, 3, "print"], ids=repr)
def test_what_cannot_be_called_is_an_error(function: Any) -> None:
    with pytest.raises(
        BindingError, match=rf"^the function is of type {type(function).__name__}, which cannot be called: "
    ):
        bind(function, [1])


# ---------------------------------------------------------------- extra_params


@pytest.mark.parametrize(
    ("function", "element", "extra", "returned"),
    [
        (two, 1, [2], (1, 2)),
        (two, 1, (2,), (1, 2)),
        (two, (1,), [2], (1, 2)),
        (two, {"a": 1}.keys(), [2], ({"a"}, 2)),
        (leading, [1, 2], [3], (1, (2, 3))),
        (two, [1, 2], [3], ([1, 2], 3)),
        (one, (), [1], 1),
        (two, 1, {"y": 2}, (1, 2)),
        (two, (1,), {"y": 2}, (1, 2)),
        (default, [1], {"y": 2}, (1, 2)),
        (keyword, 1, {"y": 2}, (1, 2)),
        (named, 1, {"a": 2}, (1, {"a": 2})),
        (two, {"x": 1}, {"y": 2}, (1, 2)),
        (two, {"y": 1}, [2], (2, 1)),
        (max, 1, [2], 2),
        (max, (1, -2), {"key": abs}, -2),
        (one, 1, [], 1),
        (one, 1, {}, 1),
    ],
)
def test_extra_params_are_appended_or_added_as_keywords(
    function: Callable[..., Any], element: Any, extra: Extra, returned: Any
) -> None:
    assert outcomes(function, [element], extra) == [returned]


def test_a_dict_element_wins_over_extra_keywords() -> None:
    assert outcomes(default, [{"x": 1, "y": 2}, {"x": 3}], {"y": 0}) == [(1, 2), (3, 0)]


@pytest.mark.parametrize(
    ("function", "element", "extra"),
    [
        (one, 1, [2]),
        (one, 1, {"y": 2}),
        (two, (1, 2), {"y": 2}),
        (two, {"x": 1}, [2]),
        (one, {"a": 1}, {"b": 2}),
        (named, 1, {1: 2}),
    ],
)
def test_extra_params_that_do_not_fit_are_an_error(function: Callable[..., Any], element: Any, extra: Any) -> None:
    with pytest.raises(BindingError, match="does not fit"):
        bind(function, [element], extra)


@pytest.mark.parametrize("extra", ["text", b"bytes", 5, {1, 2}, MARK], ids=repr)
def test_extra_params_of_another_type_are_an_error_that_says_what_to_give(extra: Any) -> None:
    with pytest.raises(
        BindingError, match=rf"^extra_params is of type {type(extra).__name__}: give a list, a tuple or a dict$"
    ):
        bind(two, [1], extra)


@pytest.mark.parametrize("extra", [None, [[9]], {"y": [9]}])
def test_nothing_of_the_callers_is_changed_even_by_a_function_that_changes_its_arguments(extra: Extra) -> None:
    # Given elements of every kind, and a function that changes the containers that it is called with
    def greedy(*args: Any, **kwargs: Any) -> None:
        kwargs["more"] = 1

    elements = [1, (2,), [3], {"x": 4}, (), [], {"a": {}}]
    before = copy.deepcopy((elements, extra))
    # When all of them were called
    outcomes(greedy, elements, extra)
    # Then the caller's data is as it was
    assert (elements, extra) == before


# ---------------------------------------------------------------- injected parameters


def test_id_is_the_number_of_the_call() -> None:
    def tell(x: str, id: int) -> tuple[str, int]:
        return x, id

    assert outcomes(tell, ["a", "b", "c"]) == [("a", 0), ("b", 1), ("c", 2)]
    assert bind(tell, ["a"]).inject == ("id",)


def test_id_may_stand_before_the_other_parameters() -> None:
    def tell(id: int, x: str) -> tuple[str, int]:
        return x, id

    assert outcomes(tell, ["a", "b"]) == [("a", 0), ("b", 1)]


@pytest.mark.parametrize(
    ("element", "returned"),
    [
        (1, (1, "y", 0)),
        ((1, 2), (1, 2, 0)),
        ([1, 2], (1, 2, 0)),
        ({"x": 1, "y": 2}, (1, 2, 0)),
        ({"x": 1, "id": "mine"}, (1, "y", "mine")),
    ],
)
def test_id_is_taken_out_of_the_signature_and_a_dicts_key_overrides_it(element: Any, returned: Any) -> None:
    def tell(x: Any, y: Any = "y", *, id: Any) -> Any:
        return x, y, id

    assert outcomes(tell, [element]) == [returned]


def test_a_list_is_not_spread_over_an_injected_parameter() -> None:
    def tell(x: Any, id: int) -> Any:
        return x, id

    assert outcomes(tell, [[1, 2], {"a": 1}]) == [([1, 2], 0), ({"a": 1}, 1)]


def test_an_injected_parameter_is_not_for_positional_arguments() -> None:
    def tell(x: Any, id: int) -> Any:
        return x, id

    with pytest.raises(BindingError, match="too many positional arguments"):
        bind(tell, [(1, 2)])


@pytest.mark.parametrize("name", ["id", "storage", "internal_storage", "ibm_cos", "rabbitmq"])
def test_an_injected_name_that_is_the_only_parameter_is_an_ordinary_one(name: str) -> None:
    function = eval(f"lambda {name}: {name}")
    assert outcomes(function, [5, (6,), {name: 7}, {"other": 8}]) == [5, 6, 7, {"other": 8}]
    assert bind(function, [5]).inject == ()


@pytest.mark.parametrize("name", ["ibm_cos", "rabbitmq"])
@pytest.mark.parametrize("signature", ["x, {}", "{}, x", "x, *, {}", "x, {}=None", "id, {}, x"])
def test_clients_are_injected_whether_anybody_makes_them_or_not(name: str, signature: str) -> None:
    function = eval(f"lambda {signature.format(name)}: None")
    assert name in bind(function, [1]).inject


@pytest.mark.parametrize("name", ["obj", "url"])
@pytest.mark.parametrize("element", ["a/b", ("a/b",), ("a/b", 7), {"obj": "a/b", "url": "a/b", "x": 7}])
def test_objects_and_urls_are_given_by_name_and_said_to_become_parts(name: str, element: Any) -> None:
    function = eval(f"lambda {name}, id, x=7: None")
    if isinstance(element, dict):
        element = {key: value for key, value in element.items() if key in (name, "x")}
    bound = bind(function, [element])
    assert (bound.args, bound.inject, bound.parted) == ([()], ("id",), name)
    assert bound.kwargs in ([{name: "a/b"}], [{name: "a/b", "x": 7}])


def test_a_parameter_of_that_name_that_is_given_by_partial_is_the_users_own() -> None:
    assert bind(functools.partial(lambda x, obj: None, obj=1), [2]) == Bound([(2,)], None)


def test_names_of_variadic_parameters_are_not_injected() -> None:
    def collect(*storage: Any, **id: Any) -> Any:
        return storage, id

    assert outcomes(collect, [(1, 2)]) == [((1, 2), {})]
    assert outcomes(collect, [{"a": 1}]) == [((), {"a": 1})]


# ---------------------------------------------------------------- reducers


def reduced(reducer: Callable[..., Any], results: list[Any]) -> Any:
    """What a reducer returns when it is called as a worker does."""
    parameter, inject = reducer_parameter(reducer)
    injected = {"id": 0} if "id" in inject else {}
    return reducer(**injected, **{parameter: results}) if parameter else reducer(results, **injected)


@pytest.mark.parametrize(
    ("reducer", "returned"),
    [
        (lambda results: results, [3, 1]),
        (lambda anything, more=1: (anything, more), ([3, 1], 1)),
        (lambda *results: results, ([3, 1],)),
        (lambda *, results: results, [3, 1]),
        (sum, 4),
        (max, 3),
        (lambda id: id, [3, 1]),
        (lambda results, id: (results, id), ([3, 1], 0)),
        (lambda id, results: (results, id), ([3, 1], 0)),
        (lambda id, results, more=1: (results, id), ([3, 1], 0)),
        (lambda id, *, results: (results, id), ([3, 1], 0)),
        (lambda results, /, id: (results, id), ([3, 1], 0)),
        (lambda *results, id: (results, id), (([3, 1],), 0)),
    ],
)
def test_a_reducer_gets_the_results_as_its_first_parameter_that_is_not_injected(
    reducer: Callable[..., Any], returned: Any
) -> None:
    assert reduced(reducer, [3, 1]) == returned


@pytest.mark.parametrize(
    "reducer",
    [
        lambda: None,
        lambda results, other: None,
        lambda results, other, id: None,
        lambda id, results, other: None,
        lambda results, *, other: None,
        lambda **kwargs: None,
        lambda id, **kwargs: None,
    ],
)
def test_a_reducer_that_a_list_of_results_does_not_fit_is_an_error(reducer: Callable[..., Any]) -> None:
    with pytest.raises(BindingError, match=r"^the reducer .*cannot be called with a list"):
        reducer_parameter(reducer)


def test_the_error_of_a_reducer_is_not_about_iterdata() -> None:
    with pytest.raises(BindingError) as caught:
        reducer_parameter(two)
    assert "reducer two" in str(caught.value)
    assert "iterdata" not in str(caught.value)


# ---------------------------------------------------------------- any signature, any element


class Shape(NamedTuple):
    """A function that returns its arguments, by the text of its parameters; with and without `id` among them."""

    source: str
    with_id: str
    rest_behind_id: bool


def returning(source: str) -> Callable[..., Any]:
    function = eval(f"lambda {source}: locals()")
    assert inspect.isfunction(function)
    return function


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Signatures with every kind of parameter."""
    names = iter("abcdef")
    required = [next(names) for _ in range(draw(st.integers(0, 3)))]
    parts = required + [f"{next(names)}='default'" for _ in range(draw(st.integers(0, 2)))]
    slash = draw(st.integers(0, len(parts)))
    parts[slash:slash] = ["/"] if slash else []
    keywords = draw(st.sampled_from([[], ["k"], ["m='default'"], ["k", "m='default'"]]))
    star = draw(st.sampled_from(["*rest", "*" if keywords else ""]))
    last = ["**kw"] if draw(st.booleans()) else []
    # `id` may stand behind the slash and before the first default, or among the keywords
    earliest = slash + 1 if slash else 0
    places = [at for at in range(earliest, len(parts) + 1) if not any("=" in part for part in parts[:at])]
    place = draw(st.sampled_from([*places, None]))
    tail = [star, *keywords] if star else keywords
    if place is None:
        with_id = [*parts, star or "*", *keywords, "id", *last]
    else:
        with_id = [*parts[:place], "id", *parts[place:], *tail, *last]
    without_id = [*parts, *tail, *last]
    return Shape(", ".join(without_id), ", ".join(with_id), place is not None and star == "*rest")


values = st.integers() | st.none() | st.text(max_size=3)
elements = (
    values
    | st.lists(values, max_size=4)
    | st.lists(values, max_size=4).map(tuple)
    | st.dictionaries(st.sampled_from("abcdkmz"), values, max_size=4)
)
extras = (
    st.none()
    | st.lists(values, max_size=2)
    | st.lists(values, max_size=2).map(tuple)
    | st.dictionaries(st.sampled_from("abkz"), values, max_size=2)
)


def by_the_table(function: Callable[..., Any], element: Any, extra: Any) -> Any:
    """What the call returns by the table, read line by line; TypeError where no line fits."""
    args, kwargs = (tuple(extra), {}) if isinstance(extra, list | tuple) else ((), dict(extra or {}))
    parameters = inspect.signature(function).parameters.values()
    taking = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if isinstance(element, tuple):
        return function(*element, *args, **kwargs)
    if isinstance(element, list) and len(taking) >= 2:
        try:
            return function(*element, *args, **kwargs)
        except TypeError:
            return function(element, *args, **kwargs)
    if isinstance(element, dict):
        try:
            return function(*args, **{**kwargs, **element})
        except TypeError:
            if len(parameters) > 1:
                raise
    return function(element, *args, **kwargs)


@settings(max_examples=500)
@given(shapes(), elements, extras)
def test_what_arrives_is_what_the_table_says_or_binding_fails(shape: Shape, element: Any, extra: Any) -> None:
    # Given a function of any signature, an element and extra parameters
    function = returning(shape.source)
    before = copy.deepcopy((element, extra))
    # When the table has a line for them, then that is what arrives; when it has none, binding fails
    try:
        expected = by_the_table(function, element, extra)
    except TypeError:
        with pytest.raises(BindingError):
            bind(function, [element], extra)
    else:
        assert outcomes(function, [element], extra) == [expected]
    assert (element, extra) == before


@settings(max_examples=300)
@given(shapes(), st.lists(elements, max_size=5), extras)
def test_elements_are_bound_together_as_they_are_one_by_one(shape: Shape, many: list[Any], extra: Any) -> None:
    function = returning(shape.source)
    try:
        expected = [returned for element in many for returned in outcomes(function, [element], extra)]
    except BindingError:
        with pytest.raises(BindingError):
            bind(function, many, extra)
    else:
        assert outcomes(function, many, extra) == expected


@settings(max_examples=500)
@given(shapes(), elements, extras)
def test_what_arrives_is_the_same_with_an_id_among_the_parameters(shape: Shape, element: Any, extra: Any) -> None:
    # Given the same function without and with `id` somewhere in its signature, where it is not the only parameter
    plain, injected = returning(shape.source), returning(shape.with_id)
    assume(shape.source)
    # Then the same arguments arrive, and the call's number besides
    try:
        (expected,) = outcomes(plain, [element], extra)
    except BindingError:
        with pytest.raises(BindingError):
            bind(injected, [element], extra)
        return
    if shape.rest_behind_id and expected["rest"]:  # no call can pass these beside an `id` by name
        with pytest.raises(BindingError, match=r"before \*args"):
            bind(injected, [element], extra)
        return
    assert outcomes(injected, [element], extra) == [expected | {"id": 0}]


def test_a_tuple_that_is_too_long_is_answered_with_how_to_pass_it_as_one() -> None:
    with pytest.raises(BindingError, match=r"wrap it, \(element,\), to pass it as one$"):
        bind(one, [(1, 2)])


def test_a_scalar_for_several_parameters_is_answered_with_what_to_give() -> None:
    with pytest.raises(BindingError, match=r"give a tuple for each call, or extra_params"):
        bind(two, [1])


def test_an_async_function_is_an_error_that_says_what_to_map_instead() -> None:
    async def coroutine(x: int) -> int:
        return x

    with pytest.raises(BindingError, match=r"async function.*asyncio\.run$"):
        bind(coroutine, [1])


def test_function_and_data_in_the_wrong_order_are_told_apart() -> None:
    with pytest.raises(BindingError, match="the function comes first"):
        bind([1, 2], one)  # type: ignore[arg-type]
