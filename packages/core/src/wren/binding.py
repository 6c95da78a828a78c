"""How an element of iterdata becomes the arguments of a call: the table of `docs/api.md`.

The signature is looked at once for each job, and a check that needs only an element's type and length is done for all
elements together, so that binding 100,000 scalars costs a fraction of calling the function.
"""

import functools
import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeAlias

from wren.errors import BindingError
from wren.worker.stream import SCALARS

__all__ = ["INJECTED", "Bound", "bind", "describe_function", "reducer_parameter"]

# Parameters that wren fills in.  Of `obj` and `url` the element becomes the value.
INJECTED: Final = frozenset({"id", "storage", "internal_storage", "ibm_cos", "rabbitmq"})
PARTITIONED: Final = frozenset({"obj", "url"})
_SPECIAL: Final = INJECTED | PARTITIONED

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_RENAMED: Final = "__positional_only"
_KEYWORD_ONLY: Final = inspect.Parameter.KEYWORD_ONLY
_VARIADIC: Final = inspect.Parameter.VAR_POSITIONAL
_NOT_PLAIN: Final = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
_NOTHING: Final = range(0)


Extra: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


class Bound(NamedTuple):
    """The arguments of all calls of a job, in columns; `kwargs` is None when no call has any."""

    args: list[tuple[Any, ...]]
    kwargs: list[dict[str, Any]] | None
    inject: tuple[str, ...] = ()
    parted: str | None = None  # the parameter, given by name, whose value is to become parts of objects or URLs


def bind(
    function: Callable[..., Any], iterdata: Iterable[Any], extra: Sequence[Any] | Mapping[str, Any] | None = None
) -> Bound:
    """The arguments of each call.

    `extra` goes to all calls: a sequence behind the positional arguments, a mapping as keywords.  Neither it nor the
    elements are changed.  Raises BindingError, which names the element and what is missing or too much.
    """
    if extra is None and (accepted := _accepted(function)):
        elements = _materialise(iterdata)
        if bound := _bind_plainly(accepted, elements):
            return bound
        iterdata = elements
    target = _target(function)
    elements = _materialise(iterdata)
    extra_args, extra_kwargs = _split_extra(extra)
    plain = not extra_args and not extra_kwargs and not target.inject and target.parted is None
    if plain and (bound := _bind_together(target, elements)):
        return bound
    args: list[tuple[Any, ...]] = []
    kwargs: list[dict[str, Any]] = []
    for index, element in enumerate(elements):
        positional, named = target.arguments(element, extra_args, extra_kwargs, index)
        args.append(positional)
        kwargs.append(named)
    return Bound(args, kwargs if any(kwargs) else None, target.inject, target.parted)


def reducer_parameter(function: Callable[..., Any]) -> tuple[str | None, tuple[str, ...]]:
    """Which parameter of a reducer gets the list of results (None: the first positional), and what is injected."""
    target = _target(function)
    if target.signature is None:
        return None, ()
    first = next(iter(target.signature.parameters.values()), None)
    by_name = first is not None and (first.kind is _KEYWORD_ONLY or first.name in target.by_name)
    parameter = first.name if first is not None and by_name else None
    try:
        target.spread(() if parameter else ([],), {parameter: []} if parameter else {})
    except TypeError as error:
        raise BindingError(f"the reducer {target.name}{target.text} cannot be called with a list: {error}") from error
    return parameter, target.inject


def describe_function(function: Callable[..., Any]) -> str:
    """A function's name for people."""
    try:
        name = getattr(function, "__qualname__", None)
    except Exception:  # noqa: BLE001 - of a user's object, which may answer anything
        name = None
    if name is None and isinstance(function, functools.partial):
        return describe_function(function.func)
    return name if isinstance(name, str) and name else type(function).__qualname__


def _materialise(iterdata: Iterable[Any]) -> list[Any]:
    if type(iterdata) in (list, range, tuple):  # at once, for what comes below takes longer than a short call should
        return list(iterdata)
    if isinstance(iterdata, str | bytes | bytearray | Mapping):
        raise BindingError(
            f"iterdata is of type {type(iterdata).__name__}, which would be one call or one for each part of it: "
            "for one call put it in a list, [data]"
        )
    try:
        elements = iter(iterdata)
    except TypeError as error:  # also of an array of numpy without dimensions, which has an __iter__
        raise BindingError(
            f"iterdata is of type {type(iterdata).__name__}, which is not iterable: for one call put it in a list"
        ) from error
    return list(elements)


def _split_extra(extra: Extra) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if extra is None:
        return (), {}
    if isinstance(extra, Mapping):
        return (), dict(extra)
    if isinstance(extra, list | tuple):
        return tuple(extra), {}
    raise BindingError(f"extra_params is of type {type(extra).__name__}: give a list, a tuple or a dict")


class _Target(NamedTuple):
    """What binding needs to know of a function."""

    name: str
    signature: inspect.Signature | None  # without what is injected; None for builtins that have none
    original: inspect.Signature | None
    inject: tuple[str, ...]
    by_name: tuple[str, ...] = ()  # the positional parameters behind one that is injected, or that is parted
    parted: str | None = None  # `obj` or `url`

    @property
    def text(self) -> str:
        """The signature, for people; a default may be many megabytes."""
        if self.original is None:
            return ""
        parameters = self.original.parameters.values()
        shown = [p if p.default is p.empty else p.replace(default=_Shown(p.default)) for p in parameters]
        return str(self.original.replace(parameters=shown))

    def arguments(self, element: Any, extra: Sequence[Any], keywords: Mapping[str, Any], index: int) -> Arguments:
        """An element's place in the table, and what goes to all calls."""
        args: tuple[Any, ...] = (element,)
        kwargs: dict[str, Any] = {}
        if isinstance(element, tuple) or (
            isinstance(element, list) and self._takes_several() and self._binds((*element, *extra), keywords)
        ):
            args = tuple(element)
        elif isinstance(element, dict) and self._takes_names(element, extra, keywords, index):
            args, kwargs = (), dict(element)
        try:
            return self.spread((*args, *extra), {**keywords, **kwargs})
        except TypeError as error:
            raise BindingError(self._misfit(element, index, str(error))) from error

    def spread(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """The arguments as the worker must pass them; TypeError when they do not bind.

        The worker fills in what is injected by name, so what stands behind that goes by name, too.
        """
        if self.signature is None:
            return args, kwargs
        bound = self.signature.bind(*args, **self._not_injected(kwargs))
        if not self.by_name:
            return args, kwargs
        named = {name: bound.arguments.pop(name) for name in self.by_name if name in bound.arguments}
        if any(self.signature.parameters[name].kind is _VARIADIC for name in named):
            name = self.parted or self.inject[0]
            raise TypeError(f"{name}, which wren fills in, stands before *args: put it behind")
        return bound.args, {**bound.kwargs, **named, **{key: kwargs[key] for key in self.inject if key in kwargs}}

    def _misfit(self, element: Any, index: int, reason: str) -> str:
        """Which element does not fit, why, and what to do about it."""
        cure = ""
        if isinstance(element, tuple) and "too many" in reason:
            cure = "; a tuple is spread over the parameters: wrap it, (element,), to pass it as one"
        elif not isinstance(element, tuple | list | dict) and self._takes_several():
            cure = "; give a tuple for each call, or extra_params for what all calls get"
        shown = reprlib.repr(element)
        return f"element {index} of iterdata, {shown}, does not fit {self.name}{self.text}: {reason}{cure}"

    def _takes_several(self) -> bool:
        if self.signature is None:
            return False
        parameters = self.signature.parameters.values()
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        return sum(p.kind in _POSITIONAL for p in parameters) + variadic >= 2

    def _takes_names(
        self, element: dict[Any, Any], extra: Sequence[Any], keywords: Mapping[str, Any], index: int
    ) -> bool:
        """Whether a dict is the arguments by name; if not it must be the one argument."""
        if self.signature is None:
            return False
        if self._binds(extra, {**keywords, **element}):
            return True
        if len(self.signature.parameters) == 1:
            return False
        raise BindingError(self._misfit(element, index, self._mismatch({**keywords, **element}, len(extra))))

    def _binds(self, args: Iterable[Any], kwargs: Mapping[Any, Any]) -> bool:
        assert self.signature is not None
        try:
            self.signature.bind(*args, **self._not_injected(kwargs))
        except TypeError:  # also where a key is no string
            return False
        return True

    def _not_injected(self, kwargs: Mapping[Any, Any]) -> Mapping[Any, Any]:
        return {name: value for name, value in kwargs.items() if name not in self.inject} if self.inject else kwargs

    def _mismatch(self, names: Mapping[Any, Any], positional: int) -> str:
        """Which names are missing and which are too many."""
        assert self.signature is not None
        parameters = self.signature.parameters
        open_positions = [p for p in parameters.values() if p.kind in _POSITIONAL][positional:]
        needed = open_positions + [p for p in parameters.values() if p.kind is _KEYWORD_ONLY]
        given = [p.name for p in needed if p.name in names and p.kind in _BY_NAME]
        parts = []
        if missing := [p.name for p in needed if p.default is p.empty and p.name not in given]:
            parts.append(f"missing {', '.join(name.removesuffix(_RENAMED) for name in missing)}")
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        known = {name.removesuffix(_RENAMED) for name in parameters}
        if unexpected := [name for name in names if name not in known and not takes_any]:
            parts.append(f"unexpected {', '.join(_with_guess(str(name), known) for name in unexpected)}")
        return "; ".join(parts) or "wrong keys"


class _Shown:
    """Something whose repr is that of another thing, cut short."""

    def __init__(self, value: object) -> None:
        self._text = reprlib.repr(value)

    def __repr__(self) -> str:
        return self._text


def _with_guess(name: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    return f"{name} (did you mean {near[0]}?)" if near else name


def _target(function: Callable[..., Any]) -> _Target:
    if not callable(function):
        kind = type(function).__name__  # type: ignore[unreachable]  # the type checker believes the annotation
        raise BindingError(
            f"the function is of type {kind}, which cannot be called: the function comes first, then data"
        )
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise BindingError(
            f"{describe_function(function)} is an async function, which a call would not run: "
            "map a function that runs it with asyncio.run"
        )
    name = describe_function(function)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # builtins without a signature: positional
        return _Target(name, None, None, ())
    parameters = list(signature.parameters.values())
    fixed = function.keywords if isinstance(function, functools.partial) else {}  # is the user's own
    parted = [p.name for p in parameters if p.name in PARTITIONED and p.kind in _BY_NAME and p.name not in fixed]
    if len(parted) > 1:
        raise BindingError(f"{name} has parameters obj and url, and a call gets a part of one of them: leave one out")
    inject = tuple(p.name for p in parameters if p.name in INJECTED and p.kind in _BY_NAME and p.name not in fixed)
    if len(parameters) == 1:  # then it is an ordinary parameter
        inject = ()
    kept = [_renamed(p) for p in parameters if p.name not in inject]
    bindable = signature.replace(parameters=kept)
    named = {*inject, *parted}
    if not named:
        return _Target(name, bindable, signature, ())
    first = min(at for at, p in enumerate(parameters) if p.name in named)
    behind = [p.name for p in parameters[first:] if p.kind in (_POSITIONAL[1], _VARIADIC) and p.name not in inject]
    return _Target(name, bindable, signature, inject, tuple(behind), next(iter(parted), None))


def _renamed(parameter: inspect.Parameter) -> inspect.Parameter:
    """A positional-only parameter under a name that no keyword has.

    Before Python 3.13 `Signature.bind` refuses a keyword of its name, which `**kwargs` would take.
    """
    if parameter.kind is not _POSITIONAL[0]:
        return parameter
    return parameter.replace(name=parameter.name + _RENAMED)


def _accepted(function: Callable[..., Any]) -> range:
    """How many positional arguments a plain function takes, which its code says at once; nothing for any other."""
    if type(function) is not FunctionType or function.__dict__:
        return _NOTHING
    code = function.__code__
    most = code.co_argcount
    if code.co_flags & _NOT_PLAIN or code.co_kwonlyargcount or not _SPECIAL.isdisjoint(code.co_varnames[:most]):
        return _NOTHING
    return range(most - len(function.__defaults__ or ()), most + 1)


def _bind_plainly(accepted: range, elements: list[Any]) -> Bound | None:
    """All elements at once, when they are tuples that fit, or no containers; None when they are not."""
    kinds = set(map(type, elements))
    if kinds == {tuple}:
        lengths = set(map(len, elements))
        return Bound(elements, None) if min(lengths) in accepted and max(lengths) in accepted else None
    if 1 not in accepted or (not kinds <= SCALARS and any(issubclass(kind, tuple | list | dict) for kind in kinds)):
        return None
    return Bound(list(zip(elements, strict=True)), None)


def _bind_together(target: _Target, elements: list[Any]) -> Bound | None:
    """All elements at once, when they are all scalars, or tuples of the same length; None when they are not."""
    kinds = set(map(type, elements))
    if kinds == {tuple}:
        if len(set(map(len, elements))) != 1:
            return None
        target.arguments(elements[0], (), {}, 0)
        return Bound(elements, None)
    if any(issubclass(kind, tuple | list | dict) for kind in kinds):
        return None
    if elements:
        target.arguments(elements[0], (), {}, 0)
    return Bound(list(zip(elements, strict=True)), None)
