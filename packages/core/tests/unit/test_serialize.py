"""Functions and arguments as bytes, failures as exceptions."""

import copyreg
import pickle
import re
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from wren.binding import Bound
from wren.errors import RemoteError, RemoteTraceback, SerializationError, StorageError, WorkerLost
from wren.serialize import (
    GatheredArguments,
    PickledArguments,
    PlainArguments,
    argument_sizes,
    load_failure,
    pickle_arguments,
    pickle_function,
)
from wren.spi import Arguments
from wren.wire import Buffer, Failure, Gather
from wren.worker.run import failure


def loaded(chunks: Sequence[Buffer]) -> Any:
    return pickle.loads(b"".join(chunks))  # noqa: S301 - made by the line before


def arrived(arguments: Arguments) -> list[Any]:
    """(args, kwargs) of each call, as a worker that gets them one by one has them."""
    return [loaded(arguments.pickled(call)) for call in range(len(arguments))]


def test_types_of_modules_that_are_imported_later_are_pickled_as_those_say() -> None:
    # Given a type that cannot be pickled, and a pickler that was used
    lock = threading.Lock()
    kind = type(lock)
    with pytest.raises(SerializationError):
        pickle_function(lambda: lock)
    # When a module that is imported now says how, as numpy does of its ufuncs, Then
    copyreg.pickle(kind, lambda lock: (threading.Lock, ()))
    try:
        assert type(loaded(pickle_function(lambda: lock))()) is kind
    finally:
        del copyreg.dispatch_table[kind]


@pytest.fixture
def in_main() -> Callable[[str, Callable[[Any], Any]], Any]:
    """Defines a name in `__main__`, gives it to a pickler by `use`, and takes it away as in another process."""
    main = vars(sys.modules["__main__"])

    def define(source: str, use: Callable[[Any], Any]) -> Any:
        before = set(main)
        exec(source, main)
        (name,) = set(main) - before
        try:
            return use(main[name])
        finally:
            del main[name]

    return define


# ---------------------------------------------------------------- scalars


SCALARS = [1, -(2**70), 1.5, 2j, True, None, "text", b"bytes"]


def test_scalars_travel_in_one_pickle_for_a_whole_batch() -> None:
    # Given calls whose arguments are scalars throughout
    arguments = pickle_arguments(Bound([(scalar,) for scalar in SCALARS], None))
    # Then any part of them is had as it is, to be pickled as one
    assert isinstance(arguments, PlainArguments)
    assert arguments.plain(range(8)) == ([(scalar,) for scalar in SCALARS], None)
    assert arguments.plain(range(2, 4)) == ([(1.5,), (2j,)], None)
    assert arguments.plain([7, 0]) == ([(b"bytes",), (1,)], None)
    # And each of them can be had alone, too
    assert arrived(arguments) == [((scalar,), {}) for scalar in SCALARS]


def test_a_large_scalar_is_pickled_without_a_copy() -> None:
    data = bytes(1 << 20)
    arguments = pickle_arguments(Bound([(data,), (1,)], [{}, {"x": "y" * 5_000}]))
    assert isinstance(arguments, PickledArguments)
    assert any(chunk is data for chunk in arguments.pickled(0))
    assert list(argument_sizes(arguments)) == [sum(map(len, arguments.pickled(call))) for call in range(2)]


def test_sizes_of_small_scalars_are_their_mean() -> None:
    arguments = pickle_arguments(Bound([(1,), ("four",)], None))
    assert list(argument_sizes(arguments)) == [arguments.mean_size] * 2


def test_scalars_by_keyword_travel_in_one_pickle() -> None:
    arguments = pickle_arguments(Bound([(), (1,)], [{"x": 1, "y": "b"}, {}]))
    assert arguments.plain(range(2)) == ([(), (1,)], [{"x": 1, "y": "b"}, {}])
    assert arrived(arguments) == [((), {"x": 1, "y": "b"}), ((1,), {})]


class Whole(int):
    """A number that may have a state, and so is no scalar."""


@pytest.mark.parametrize("value", [[], {}, (1,), Whole(3), ValueError, bytearray()], ids=repr)
def test_one_argument_that_is_no_scalar_has_all_pickled_one_by_one(value: Any) -> None:
    positional: Arguments = pickle_arguments(Bound([(1,), (2, value)], None))
    named: Arguments = pickle_arguments(Bound([(1,), (2,)], [{}, {"x": value}]))
    assert {type(positional), type(named)} == {PickledArguments}
    assert (positional.plain(range(2)), named.plain(range(2))) == (None, None)
    assert arrived(positional) == [((1,), {}), ((2, value), {})]
    assert arrived(named) == [((1,), {}), ((2,), {"x": value})]


def test_a_job_without_calls_has_no_arguments() -> None:
    arguments = pickle_arguments(Bound([], None))
    assert (len(arguments), arguments.plain(range(0))) == (0, ([], None))


# ---------------------------------------------------------------- one by one


def test_calls_do_not_share_the_state_of_a_mutable_argument() -> None:
    # Given one list that is the argument of two calls
    shared: list[int] = []
    first, second = arrived(pickle_arguments(Bound([(shared,), (shared,)], None)))
    # When one call changes its own
    first[0][0].append(1)
    # Then neither the other's nor the caller's is changed
    assert second == (([],), {})
    assert shared == []


def test_within_a_call_an_argument_stays_the_same_object() -> None:
    shared: list[int] = []
    ((args, kwargs),) = arrived(pickle_arguments(Bound([(shared, shared)], [{"x": shared}])))
    assert args[0] is args[1] is kwargs["x"]


def test_later_changes_to_the_callers_data_are_not_seen() -> None:
    data = [1]
    arguments = pickle_arguments(Bound([(data,)], None))
    data.append(2)
    assert arrived(arguments) == [(([1],), {})]


def test_a_large_buffer_is_not_copied_into_the_pickle() -> None:
    # Given an argument of a megabyte
    large = bytes(1 << 20)
    arguments = pickle_arguments(Bound([(large, [])], None))
    # Then one of its pickle's chunks is the very same object
    assert any(chunk is large for chunk in arguments.pickled(0))
    assert arrived(arguments) == [((large, []), {})]


@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_the_mean_size_is_about_what_a_call_takes(size: int) -> None:
    values = [b"%08d" % call + bytes(size) for call in range(200)]
    for args in ([(value,) for value in values], [([value],) for value in values]):
        arguments = pickle_arguments(Bound(args, None))
        assert size <= arguments.mean_size <= size + 100


# ---------------------------------------------------------------- by value and by reference


def test_what_can_be_imported_goes_by_reference() -> None:
    assert loaded(pickle_function(threading.Thread)) is threading.Thread
    assert len(b"".join(pickle_function(threading.Thread))) < 200


def test_lambdas_and_closures_go_by_value() -> None:
    step = 2
    function = loaded(pickle_function(lambda x: x + step))
    assert function(40) == 42


def test_a_function_of_main_goes_by_value(in_main: Callable[..., Any]) -> None:
    chunks = in_main("def wren_double(x): return 2 * x", pickle_function)
    assert loaded(chunks)(21) == 42


def test_a_class_of_main_goes_by_value_as_an_argument_too(in_main: Callable[..., Any]) -> None:
    source = "class WrenPoint:\n    x = 42"
    chunks = in_main(source, lambda kind: pickle_arguments(Bound([(kind,), ([kind()],)], None)))
    (by_class,), (in_list,) = (args for args, _ in arrived(chunks))
    assert by_class.x == in_list[0].x == 42


def test_a_class_of_main_reaches_a_process_that_never_heard_of_it(
    run_python: Callable[..., str], in_main: Callable[..., Any]
) -> None:
    source = "class WrenFar:\n    def __init__(self, x): self.x = x\n    def twice(self): return 2 * self.x"
    arguments = in_main(source, lambda kind: pickle_arguments(Bound([([kind(21)],)], None)))
    program = f"import pickle; args, _ = pickle.loads({b''.join(arguments.pickled(0))!r}); print(args[0][0].twice())"
    assert run_python(program) == "42\n"


# ---------------------------------------------------------------- what cannot be pickled


class Broken:
    """Cannot be pickled, by any pickler."""

    def __reduce__(self) -> Any:
        raise OSError("no way")


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (Bound([(1,), (2, Broken())], None), "argument 1 (Broken) of call 1 cannot be pickled: no way"),
        (Bound([(1,)], [{"x": 1, "y": Broken()}]), "argument 'y' (Broken) of call 0 cannot be pickled: no way"),
        (Bound([([Broken()],)], None), "argument 0 (list) of call 0 cannot be pickled: no way"),
        (Bound([({}, 1), (3, Broken()), (Broken(), 4)], None), "argument 1 (Broken) of call 1 cannot be pickled"),
    ],
)
def test_an_argument_that_cannot_be_pickled_is_named_with_its_call(bound: Bound, said: str) -> None:
    with pytest.raises(SerializationError) as caught:
        pickle_arguments(bound)
    assert str(caught.value).startswith(said)
    assert str(caught.value).endswith("nothing was invoked")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_lock_as_an_argument_is_an_error_that_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^argument 0 \(lock\) of call 0 cannot be pickled: .*lock"):
        pickle_arguments(Bound([(threading.Lock(),)], None))


def test_a_function_that_cannot_be_pickled_is_named() -> None:
    lock = threading.Lock()

    def locked() -> bool:
        return lock.locked()

    with pytest.raises(SerializationError, match=r"^the function .*locked cannot be pickled: .*lock"):
        pickle_function(locked)


def test_the_arguments_of_a_reducer_are_not_pickled_by_the_client() -> None:
    inputs = Gather("e", "M000", b"k", "wren", 0, 2)
    arguments: Arguments = GatheredArguments([inputs])
    assert (len(arguments), arguments.stored(0), arguments.plain([0])) == (1, inputs, None)
    with pytest.raises(SerializationError, match="reducer 0"):
        arguments.pickled(0)


def test_other_arguments_are_not_stored() -> None:
    for bound in (Bound([(1,)], None), Bound([([],)], None)):
        assert pickle_arguments(bound).stored(0) is None


# ---------------------------------------------------------------- failures


class Plain(Exception):
    """An exception of the user's."""


class Demanding(Exception):
    """Its constructor wants other arguments than the exception keeps: pickle cannot load it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


class Patient(Exception):
    """Like the one above, and says how it is made again."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason

    def __reduce__(self) -> Any:
        return type(self), (self.code, self.reason)


class Holding(Exception):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("held")
        self.lock = threading.Lock()


class Mute(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def came_back(error: BaseException, **how: Any) -> BaseException:
    """What a future raises for an exception that a call raised."""
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - as a worker does
        record = loaded(failure(raised, **how))
    assert isinstance(record, Failure)
    return load_failure(record)


def test_an_exception_arrives_as_itself() -> None:
    error = came_back(Plain("a", 1))
    assert type(error) is Plain
    assert error.args == ("a", 1)


def test_an_exceptions_attributes_and_notes_are_kept() -> None:
    sent = Plain("a")
    sent.add_note("seen at noon")
    sent.__dict__["code"] = 5
    error = came_back(sent)
    assert vars(error)["code"] == 5
    assert error.__notes__ == ["seen at noon"]


def test_an_exception_that_says_how_it_is_made_arrives_as_itself() -> None:
    error = came_back(Patient(5, "late"))
    assert isinstance(error, Patient)
    assert (error.code, error.reason) == (5, "late")


def test_groups_of_exceptions_arrive_as_themselves() -> None:
    error = came_back(ExceptionGroup("several", [Plain("a"), ValueError("b")]))
    assert isinstance(error, ExceptionGroup)
    assert list(map(type, error.exceptions)) == [Plain, ValueError]


def test_the_cause_is_the_remote_tracebacks_text() -> None:
    error = came_back(Plain("a"))
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in came_back" in str(error.__cause__)
    assert str(error.__cause__).endswith("Plain: a")


def test_the_text_tells_the_causes_that_the_exception_had_over_there() -> None:
    sent = Plain("outer")
    sent.__cause__ = ValueError("inner")
    assert "ValueError: inner" in str(came_back(sent).__cause__)


def test_an_exception_of_main_arrives_as_an_instance_of_the_same_class(
    run_python: Callable[..., str], in_main: Callable[..., Any]
) -> None:
    # Given a class of `__main__`, which its exception took to another process
    source = "class WrenMine(Exception): pass"
    kind, chunks = in_main(source, lambda kind: (kind, pickle_arguments(Bound([([kind("mine")],)], None)).pickled(0)))
    # When it is raised there
    program = f"""
import pickle
from wren.worker.run import run
(errors,), _ = pickle.loads({b"".join(chunks)!r})
def function():
    raise errors[0]
tag, failure = run(function, (), {{}})
print(b"".join(failure).hex())
"""
    error = load_failure(loaded([bytes.fromhex(run_python(program))]))
    # Then `except` with the class here catches it
    assert type(error) is kind
    assert error.args == ("mine",)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (Demanding(5, "late"), r"^Demanding: 5: late \(it cannot be unpickled here: TypeError: .*reason.*\)$"),
        (Holding(), r"^Holding: held \(it cannot be pickled\)$"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_that_cannot_be_brought_here_is_told_of(sent: Exception, said: str) -> None:
    error = came_back(sent)
    assert type(error) is RemoteError
    assert re.search(said, str(error))
    assert isinstance(error.__cause__, RemoteTraceback)


def test_a_broken_str_does_not_hide_a_failure() -> None:
    record = loaded(failure(Mute()))
    assert (record.name, record.message) == ("Mute", "<Mute whose str() raises RuntimeError>")


def test_a_pickle_that_is_no_exception_is_told_of() -> None:
    error = load_failure(Failure("exception", "Odd", "text", "", pickle.dumps([1])))
    with pytest.raises(RemoteError, match=r"^Odd: text \(its pickle is a list\)$"):
        raise error
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("sent", "name"), [(SystemExit(3), "SystemExit"), (KeyboardInterrupt("stop"), "KeyboardInterrupt")]
)
def test_a_function_that_ends_its_process_loses_its_worker(sent: BaseException, name: str) -> None:
    error = came_back(sent)
    assert type(error) is WorkerLost
    assert str(error) == f"the function ended by {name}: {sent}"


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("result", SerializationError),
        ("storage", StorageError),
        ("arguments", RemoteError),
        ("function", RemoteError),
    ],
)
def test_other_failures_say_what_went_wrong_and_how(kind: str, family: type[Exception]) -> None:
    error = came_back(Plain("a"), kind=kind, message="it went wrong")
    assert type(error) is family
    assert str(error) == "it went wrong: a (Plain)"
    assert isinstance(error.__cause__, RemoteTraceback)
