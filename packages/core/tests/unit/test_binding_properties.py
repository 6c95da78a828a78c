"""For any function and data, what arrives is what docs/api.md's table says, or an error before anything is invoked.

The oracle here knows Python's rules of calls and the table, and uses neither `inspect` nor calls: it works on a model
of the function's parameters.  `test_binding.py` has the table's lines one by one.
"""

import contextlib
import copy
import enum
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from wren import binding
from wren.binding import Bound, bind
from wren.errors import BindingError

Extra: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
Arrived: TypeAlias = dict[str, Any]  # value by parameter


class Kind(enum.IntEnum):
    """In the order in which they stand in a signature."""

    POSITIONAL_ONLY = 0
    EITHER = 1
    REST = 2  # *args
    KEYWORD_ONLY = 3
    MORE = 4  # **kwargs


BY_POSITION: Final = (Kind.POSITIONAL_ONLY, Kind.EITHER)
BY_NAME: Final = (Kind.EITHER, Kind.KEYWORD_ONLY)
DEFAULT: Final = "default"
INJECTED: Final = ("id", "storage", "internal_storage", "ibm_cos", "rabbitmq")


class Parameter(NamedTuple):
    name: str
    kind: Kind
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    parameters: tuple[Parameter, ...]

    @property
    def source(self) -> str:
        parts: list[str] = []
        last = None
        for parameter in self.parameters:
            if last is Kind.POSITIONAL_ONLY and parameter.kind is not last:
                parts.append("/")
            if parameter.kind is Kind.KEYWORD_ONLY and last not in {Kind.REST, Kind.KEYWORD_ONLY}:
                parts.append("*")
            stars = {Kind.REST: "*", Kind.MORE: "**"}.get(parameter.kind, "")
            parts.append(f"{stars}{parameter.name}" + (f"={DEFAULT!r}" if parameter.optional else ""))
            last = parameter.kind
        return ", ".join([*parts, "/"] if last is Kind.POSITIONAL_ONLY else parts)

    def function(self) -> Callable[..., Arrived]:
        """A function of this signature that returns what arrived."""
        made: Callable[..., Arrived] = eval(f"lambda {self.source}: locals()")
        return made

    def of(self, *kinds: Kind) -> list[Parameter]:
        return [parameter for parameter in self.parameters if parameter.kind in kinds]

    def without(self, names: Sequence[str]) -> "Signature":
        return Signature(tuple(parameter for parameter in self.parameters if parameter.name not in names))

    @property
    def injected(self) -> list[str]:
        """Which parameters wren fills in: none where such a name is the only one."""
        if len(self.parameters) == 1:
            return []
        return [parameter.name for parameter in self.of(*BY_NAME) if parameter.name in INJECTED]


# ---- the oracle


def arrive(signature: Signature, args: Sequence[Any], kwargs: Mapping[Any, Any]) -> Arrived | None:
    """What each parameter gets in a call, by the rules of the language; None where there is no such call."""
    places, rest, more = signature.of(*BY_POSITION), signature.of(Kind.REST), signature.of(Kind.MORE)
    arrived: Arrived = {parameter.name: value for parameter, value in zip(places, args, strict=False)}
    if len(args) > len(places) and not rest:
        return None
    known = {parameter.name for parameter in signature.of(*BY_NAME)}
    others: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name in known and name not in arrived:
            arrived[name] = value
        elif name in known or not more or not isinstance(name, str):
            return None
        else:
            others[name] = value
    for parameter in signature.of(*BY_POSITION, Kind.KEYWORD_ONLY):
        if parameter.name not in arrived:
            if not parameter.optional:
                return None
            arrived[parameter.name] = DEFAULT
    arrived |= {parameter.name: tuple(args[len(places) :]) for parameter in rest}
    return arrived | {parameter.name: others for parameter in more}


def by_the_table(signature: Signature, element: Any, extra: Extra) -> Arrived | None:
    """What arrives of an element where nothing is injected; None where it is an error."""
    appended: Sequence[Any] = extra if isinstance(extra, list | tuple) else ()
    added: Mapping[Any, Any] = extra if isinstance(extra, dict) else {}
    as_one = arrive(signature, [element, *appended], added)
    if isinstance(element, tuple):
        return arrive(signature, [*element, *appended], added)
    if isinstance(element, list):
        takes_two = len(signature.of(*BY_POSITION, Kind.REST)) >= 2
        spread = arrive(signature, [*element, *appended], added) if takes_two else None
        return as_one if spread is None else spread
    if isinstance(element, dict):
        by_name = arrive(signature, appended, {**added, **element})
        if by_name is None and len(signature.parameters) == 1:
            return as_one
        return by_name
    return as_one


def with_injected(signature: Signature, element: Any, extra: Extra, call: int) -> Arrived | None:
    """The same where a parameter `id` may be among them: taken out before, and a dict's key goes before the number."""
    injected = signature.injected
    if not injected:
        return by_the_table(signature, element, extra)
    plain = signature.without(injected)
    if not isinstance(element, dict):
        arrived = by_the_table(plain, element, extra)
        return None if arrived is None else arrived | {"id": call}
    others = {key: value for key, value in element.items() if key not in injected}
    appended: Sequence[Any] = extra if isinstance(extra, list | tuple) else ()
    by_name = arrive(plain, appended, {**(extra if isinstance(extra, dict) else {}), **others})
    if by_name is not None:
        return by_name | {"id": element.get("id", call)}
    arrived = by_the_table(plain, element, extra) if len(plain.parameters) == 1 else None
    return None if arrived is None else arrived | {"id": call}


def impossible(signature: Signature, arrived: Arrived) -> bool:
    """Whether Python has no call for it: what is filled in by name stands before what goes to `*args`."""
    before = any(parameter.name in signature.injected for parameter in signature.of(*BY_POSITION))
    return before and any(arrived[parameter.name] for parameter in signature.of(Kind.REST))


# ---- what there is


def ordered(parameters: list[Parameter]) -> bool:
    """No parameter without a default behind one that has one."""
    optional = [parameter.optional for parameter in parameters if parameter.kind in BY_POSITION]
    return optional == sorted(optional)


NAMES: Final = "abcdefg"


@st.composite
def signatures(draw: st.DrawFn, *, injected: bool = False) -> Signature:
    """Functions of up to seven parameters, of every kind; with `injected` one of them, by name, is `id`."""
    kinds = sorted(
        draw(st.lists(st.sampled_from([Kind.POSITIONAL_ONLY, Kind.EITHER, Kind.EITHER, Kind.KEYWORD_ONLY]), max_size=5))
    )
    parameters = [Parameter(NAMES[at], kind, draw(st.booleans())) for at, kind in enumerate(kinds)]
    required = draw(st.integers(0, len(parameters)))
    parameters = [
        each._replace(optional=at >= required) if each.kind in BY_POSITION else each
        for at, each in enumerate(parameters)
    ]
    if draw(st.booleans()):
        parameters.append(Parameter("rest", Kind.REST))
    if draw(st.booleans()):
        parameters.append(Parameter("more", Kind.MORE))
    if injected:
        kind = draw(st.sampled_from(BY_NAME))
        parameters.insert(draw(st.integers(0, len(parameters))), Parameter("id", kind, draw(st.booleans())))
    parameters.sort(key=lambda parameter: parameter.kind)  # it is stable
    made = [each for each in parameters if ordered([*parameters[: parameters.index(each)], each])]
    return Signature(tuple(made))


class Pair(NamedTuple):
    first: Any
    second: Any


scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2) | st.binary(max_size=2)
nested = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abz"), inner, max_size=2)
    ),
    max_leaves=4,
)
keys = st.sampled_from([*NAMES, "id", "rest", "more", "z"])
elements = (
    scalars
    | st.lists(nested, max_size=6)
    | st.lists(nested, max_size=6).map(tuple)
    | st.dictionaries(keys, nested, max_size=5)
    | st.dictionaries(keys | st.integers(0, 1), scalars, max_size=2)
    | st.builds(Pair, nested, nested)
    | st.dictionaries(keys, scalars, max_size=3).map(OrderedDict)
    | st.dictionaries(keys, scalars, max_size=3).map(lambda items: defaultdict(list, items))
    | st.frozensets(scalars, max_size=2)
)
extras: st.SearchStrategy[Extra] = (
    st.none()
    | st.lists(nested, max_size=3)
    | st.lists(nested, max_size=3).map(tuple)
    | st.dictionaries(st.sampled_from([*NAMES, "z"]), nested, max_size=3)
)


def outcomes(signature: Signature, iterdata: Sequence[Any], extra: Extra) -> list[Arrived]:
    """What arrives when the calls are made as a worker makes them."""
    function = signature.function()
    bound = bind(function, iterdata, extra)
    assert sorted(bound.inject) == sorted(signature.injected)
    named: Sequence[dict[str, Any]] = bound.kwargs or [{}] * len(bound.args)
    filled = [{"id": call} if bound.inject else {} for call in range(len(bound.args))]
    return [function(*args, **(own | kwargs)) for own, args, kwargs in zip(filled, bound.args, named, strict=True)]


# ---- the properties


@settings(max_examples=1500)
@given(signatures(), elements, extras)
def test_what_arrives_is_what_the_table_says_or_an_error(signature: Signature, element: Any, extra: Extra) -> None:
    expected = by_the_table(signature, element, extra)
    event(f"{type(element).__name__}: {'an error' if expected is None else 'a call'}")
    before = copy.deepcopy((element, extra))
    if expected is None:
        with pytest.raises(BindingError, match=r"^element 0 of iterdata"):
            bind(signature.function(), [element], extra)
    else:
        assert outcomes(signature, [element], extra) == [expected]
    # Neither the caller's data nor the extra parameters are changed
    assert (element, extra) == before


@settings(max_examples=1500)
@given(signatures(injected=True), elements, extras)
def test_so_it_is_with_an_injected_parameter(signature: Signature, element: Any, extra: Extra) -> None:
    expected = with_injected(signature, element, extra, 0)
    if expected is None or impossible(signature, expected):
        with pytest.raises(BindingError, match=r"^element 0 of iterdata"):
            bind(signature.function(), [element], extra)
    else:
        assert outcomes(signature, [element], extra) == [expected]


@settings(max_examples=500)
@given(signatures() | signatures(injected=True), st.lists(elements, max_size=6), extras)
def test_each_element_goes_its_own_way_and_one_that_does_not_fit_is_named(
    signature: Signature, iterdata: list[Any], extra: Extra
) -> None:
    # Given elements of all kinds for one function
    expected = [with_injected(signature, element, extra, call) for call, element in enumerate(iterdata)]
    bad = [call for call, each in enumerate(expected) if each is None or impossible(signature, each)]
    # Then each arrives as it would alone, or the first that does not fit is named and nothing is bound
    if bad:
        with pytest.raises(BindingError, match=rf"^element {bad[0]} of iterdata"):
            bind(signature.function(), iterdata, extra)
    else:
        assert outcomes(signature, iterdata, extra) == expected


@settings(max_examples=500)
@given(
    signatures(),
    st.lists(scalars, min_size=1, max_size=4) | st.lists(st.tuples(nested, nested), min_size=1, max_size=4),
)
def test_elements_of_one_kind_which_are_bound_together_arrive_the_same(
    signature: Signature, iterdata: list[Any]
) -> None:
    expected = [by_the_table(signature, element, None) for element in iterdata]
    if None in expected:
        with pytest.raises(BindingError):
            bind(signature.function(), iterdata)
    else:
        assert outcomes(signature, iterdata, None) == expected


@settings(max_examples=500)
@given(signatures() | signatures(injected=True), st.lists(elements, max_size=4) | st.lists(scalars, max_size=4))
def test_the_short_way_that_plain_functions_go_ends_where_the_long_one_does(
    signature: Signature, iterdata: list[Any]
) -> None:
    def ended() -> Bound | str:
        try:
            return bind(function, iterdata)
        except BindingError as error:
            return str(error)

    function = signature.function()
    short = ended()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binding, "_accepted", lambda _: range(0))
        assert ended() == short


@settings(max_examples=300)
@given(signatures(), elements, st.sampled_from(["ibm_cos", "rabbitmq"]), st.sampled_from(BY_NAME))
def test_a_client_is_asked_for_whatever_the_element(signature: Signature, element: Any, name: str, kind: Kind) -> None:
    # Given a function with another parameter besides
    parameters = sorted([*signature.parameters, Parameter(name, kind, True)], key=lambda each: each.kind)
    wanting = Signature(tuple(parameters))
    if not ordered(parameters):
        wanting = Signature(
            tuple(each._replace(optional=each.kind not in {Kind.REST, Kind.MORE}) for each in parameters)
        )
    if len(parameters) > 1:
        with contextlib.suppress(BindingError):  # which other properties are about
            assert bind(wanting.function(), [element]).inject == (name,)
    else:
        expected = by_the_table(wanting, element, None)
        assert expected is None or outcomes(wanting, [element], None) == [expected]


@settings(max_examples=300)
@given(signatures(), elements, st.text() | st.integers() | st.binary() | st.frozensets(st.integers()) | st.just({1: 2}))
def test_extra_params_of_another_type_are_an_error(signature: Signature, element: Any, extra: Any) -> None:
    expected = None if not isinstance(extra, dict) else by_the_table(signature, element, extra)
    if expected is None:
        with pytest.raises(BindingError):
            bind(signature.function(), [element], extra)


def test_the_model_of_a_function_is_the_function() -> None:
    # Given one parameter of every kind
    kinds = [Kind.POSITIONAL_ONLY, Kind.EITHER, Kind.REST, Kind.KEYWORD_ONLY, Kind.MORE]
    signature = Signature(tuple(Parameter(name, kind) for name, kind in zip("abrcm", kinds, strict=True)))
    assert signature.source == "a, /, b, *r, c, **m"
    # Then the oracle says of a call what the call says
    called = signature.function()(1, 2, 3, c=4, a=5)
    assert called == arrive(signature, (1, 2, 3), {"c": 4, "a": 5})
    assert arrive(signature, (1,), {"c": 4}) is None


@pytest.mark.parametrize("kinds", [[Kind.POSITIONAL_ONLY], [Kind.KEYWORD_ONLY], [Kind.EITHER, Kind.KEYWORD_ONLY]])
def test_the_models_source_has_the_marks_of_its_kinds(kinds: list[Kind]) -> None:
    signature = Signature(tuple(Parameter(name, kind, True) for name, kind in zip("ab", kinds, strict=False)))
    assert signature.function()() == {parameter.name: DEFAULT for parameter in signature.parameters}
