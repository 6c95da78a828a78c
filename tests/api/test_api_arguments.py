"""docs/api.md, "How an element of iterdata becomes arguments" and "Injected parameters", on workers.

`packages/core/tests/unit/test_binding*.py` hold binding itself to the table, for any signature.
"""

import copy
import fractions
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wren
from wren.errors import BindingError


def one(x: Any) -> Any:
    return x


def two(x: Any, y: Any) -> Any:
    return x, y


def default(x: Any, y: Any = "default") -> Any:
    return x, y


def variadic(*args: Any) -> Any:
    return args


def leading(x: Any, *args: Any) -> Any:
    return x, args


def nothing() -> str:
    return "called"


def keywords(**kwargs: Any) -> Any:
    return sorted(kwargs.items())


def keyword_only(x: Any, *, y: Any) -> Any:
    return x, y


@functools.cache
def remembered(x: int) -> int:
    return x


class Scaled:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor

    def plus(self, x: int) -> int:
        return x + self.factor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaled) and other.factor == self.factor

    __hash__ = None  # type: ignore[assignment]  # it is compared only

    @classmethod
    def made(cls, factor: int) -> "Scaled":
        return cls(factor)

    @staticmethod
    def negated(x: int) -> int:
        return -x


def results(
    executor: wren.FunctionExecutor, function: Callable[..., Any], data: Iterable[Any], extra: Any = None
) -> Any:
    executor.map(function, data, extra)
    return executor.get_result(timeout=20)


def numbers() -> Iterator[int]:
    yield from range(3)


# ---- iterdata


@pytest.mark.api("is a sequence of calls, materialised before anything is invoked.")
@pytest.mark.parametrize(
    "iterdata",
    [
        [0, 1, 2],
        (0, 1, 2),
        range(3),
        {0, 1, 2},
        frozenset({0, 1, 2}),
        {0: "a", 1: "b", 2: "c"}.keys(),
        {"a": 0, "b": 1, "c": 2}.values(),
        map(int, "012"),
        np.arange(3),
    ],
    ids=lambda iterdata: type(iterdata).__name__,
)
def test_any_iterable_is_a_sequence_of_calls(executor: wren.FunctionExecutor, iterdata: Iterable[int]) -> None:
    assert results(executor, one, iterdata) == [0, 1, 2]


@pytest.mark.api("iterdata: any iterable (list, tuple, range, set, generator, dict view, numpy array ...)")
def test_a_generator_and_the_items_of_a_dict_are_sequences_of_calls(executor: wren.FunctionExecutor) -> None:
    assert results(executor, one, numbers()) == [0, 1, 2]
    assert results(executor, two, {"a": 1, "b": 2}.items()) == [("a", 1), ("b", 2)]


@pytest.mark.api("materialised before anything is invoked.")
def test_an_iterable_that_fails_invokes_nothing(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def breaking() -> Iterator[Path]:
        yield tmp_path / "touched"
        raise LookupError("the generator's own")

    with pytest.raises(LookupError, match="the generator's own"):
        executor.map(Path.touch, breaking())
    assert executor.get_result() == []
    assert not list(tmp_path.iterdir())


@pytest.mark.api("A `str`, `bytes` or `dict` is an error that says to put it in a list", "[they: silently one call].")
@pytest.mark.parametrize("data", ["text", b"bytes", bytearray(b"bytes"), {"x": 1}])
def test_a_single_thing_is_no_iterdata(executor: wren.FunctionExecutor, data: Any) -> None:
    for start in (executor.map, functools.partial(executor.map_reduce, reduce_function=len)):
        with pytest.raises(BindingError, match=r"put it in a list, \[data\]"):
            start(one, data)
    assert executor.get_result() == []
    assert results(executor, keywords if isinstance(data, dict) else one, [data]) == [
        sorted(data.items()) if isinstance(data, dict) else data
    ]


@pytest.mark.api("Empty: no calls, `[]`.")
@pytest.mark.parametrize("iterdata", [[], (), iter(()), np.zeros((0, 3))])
def test_no_elements_are_no_calls(executor: wren.FunctionExecutor, iterdata: Iterable[Any]) -> None:
    assert executor.map(one, iterdata) == []
    assert executor.get_result() == []


def test_an_array_without_dimensions_is_no_iterdata(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match="iterdata is of type ndarray, which is not iterable: for one call put it"):
        executor.map(one, np.array(3))
    assert executor.get_result() == []


# ---- the table


@pytest.mark.api("| scalar, None, object | `f(x)` |")
def test_scalars_none_and_objects_are_the_argument(executor: wren.FunctionExecutor) -> None:
    elements = [1, 2.5, "text", b"bytes", None, True, {1, 2}, frozenset({3}), range(3), Path("x"), Scaled(3), ...]
    assert results(executor, one, elements) == elements


@pytest.mark.api("| tuple | `f(*t)`; `()` calls `f()` |")
def test_tuples_are_spread(executor: wren.FunctionExecutor) -> None:
    assert results(executor, two, [(1, 2), ("a", None)]) == [(1, 2), ("a", None)]
    assert results(executor, nothing, [()]) == ["called"]
    assert results(executor, one, [((1, 2),), ([3],)]) == [(1, 2), [3]]


def test_a_tuple_that_does_not_fit_is_not_told_to_be_one(executor: wren.FunctionExecutor) -> None:
    for element, extra in ((1,), None), ((1, 2), {"y": 2}):
        with pytest.raises(BindingError) as caught:
            executor.map(two, [element], extra)
        assert "give a tuple" not in str(caught.value)


@pytest.mark.api("| list | `f(*l)` when f takes two or more positional parameters and the list binds; else `f(l)` |")
def test_lists_are_spread_where_they_bind_to_two_or_more(executor: wren.FunctionExecutor) -> None:
    assert results(executor, two, [[1, 2]]) == [(1, 2)]
    assert results(executor, one, [[1, 2], [1], []]) == [[1, 2], [1], []]
    assert results(executor, default, [[1, 2], [1], [1, 2, 3], []]) == [
        (1, 2),
        (1, "default"),
        ([1, 2, 3], "default"),
        ([], "default"),
    ]


@pytest.mark.api(
    "| dict | `f(**d)` when its keys bind to f's parameters; when f has one parameter and the keys do not, `f(d)`;"
)
def test_dicts_are_keywords_where_they_bind(executor: wren.FunctionExecutor) -> None:
    assert results(executor, two, [{"y": 2, "x": 1}]) == [(1, 2)]
    assert results(executor, one, [{"x": 1}, {"z": 1}, {"x": 1, "z": 2}, {}]) == [1, {"z": 1}, {"x": 1, "z": 2}, {}]
    assert results(executor, keywords, [{"b": 1, "a": 2}]) == [[("a", 2), ("b", 1)]]


@pytest.mark.api("else an error before anything is invoked, naming missing and unexpected names |")
def test_a_dict_that_does_not_bind_is_an_error_with_the_names(executor: wren.FunctionExecutor, tmp_path: Path) -> None:
    def touch(path: Path, name: str) -> None:
        (path / name).touch()

    with pytest.raises(
        BindingError, match=r"element 1 of iterdata.*missing name; unexpected nam \(did you mean name\?\)"
    ):
        executor.map(touch, [{"path": tmp_path, "name": "a"}, {"path": tmp_path, "nam": "b"}])
    assert executor.get_result() == []
    assert not list(tmp_path.iterdir())


@pytest.mark.api("`*args` counts as one parameter: a list is passed to `f(*args)` as one argument,")
def test_variadic_parameters_count_as_one(executor: wren.FunctionExecutor) -> None:
    assert results(executor, variadic, [[1, 2], (1, 2), 1]) == [([1, 2],), (1, 2), (1,)]
    assert results(executor, leading, [[1, 2, 3], [1]]) == [(1, (2, 3)), (1, ())]


@pytest.mark.api("`{}` binds where f needs no argument: the call is `f()`.")
def test_an_empty_dict_is_no_argument_where_none_is_needed(executor: wren.FunctionExecutor) -> None:
    assert results(executor, nothing, [{}]) == ["called"]
    assert results(executor, variadic, [{}]) == [()]
    assert results(executor, keywords, [{}]) == [[]]
    assert results(executor, lambda x="unset": x, [{}]) == ["unset"]


@pytest.mark.api("An array of numpy is iterated as any other iterable; a row of it is one argument, as it is no list.")
def test_rows_of_an_array_are_one_argument(executor: wren.FunctionExecutor) -> None:
    array = np.arange(6).reshape(3, 2)
    found = results(executor, default, array)
    assert [(row.tolist(), rest) for row, rest in found] == [
        ([0, 1], "default"),
        ([2, 3], "default"),
        ([4, 5], "default"),
    ]
    assert all(isinstance(row, np.ndarray) for row, _ in found)


class Awaited:
    async def __call__(self, x: int) -> int:
        return x


@pytest.mark.api(
    "An async function, or an object whose `__call__` is one, is an error that names the cure, `asyncio.run`."
)
def test_an_async_function_is_an_error(executor: wren.FunctionExecutor) -> None:
    async def coroutine(x: int) -> int:
        return x

    with pytest.raises(BindingError, match=r"asyncio\.run"):
        executor.map(coroutine, [1])
    with pytest.raises(BindingError, match=r"asyncio\.run"):
        executor.call_async(coroutine, 1)
    with pytest.raises(BindingError, match=r"asyncio\.run"):
        executor.map(Awaited(), [1])
    assert executor.get_result() == []


@pytest.mark.api("objects, classes, and builtins without a signature (then positional) all work [they: fail].")
def test_functions_of_the_program_with_a_cache_work(run_python: Callable[[str], str]) -> None:
    """pickle knows them by name only, and no worker has the program's `__main__`."""
    program = """
import functools
import wren
@functools.lru_cache(maxsize=7)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
class Adder:
    @functools.cache
    def add(self, x):
        return 1 + x
if __name__ == "__main__":
    with wren.local_executor(workers=1) as executor:
        parameters = executor.call_async(lambda: fibonacci.cache_parameters(), ())
        partial = functools.cache(functools.partial(max, 4))
        functions = [fibonacci, Adder().add, functools.cache(lambda x: -x), partial]
        print([executor.call_async(function, 30).result() for function in functions], parameters.result())
"""
    assert run_python(program) == "[832040, 31, -30, 30] {'maxsize': 7, 'typed': False}\n"


@pytest.mark.api("Binding uses `inspect.signature`: defaults, `*args`, `**kwargs`, keyword-only,", "[they: fail].")
@pytest.mark.parametrize(
    ("function", "element", "returned"),
    [
        (default, 1, (1, "default")),
        (variadic, (1, 2), (1, 2)),
        (keywords, {"a": 1}, [("a", 1)]),
        (keyword_only, {"x": 1, "y": 2}, (1, 2)),
        (Scaled(3).plus, 1, 4),
        (Scaled.made, 2, Scaled(2)),
        (Scaled.negated, 1, -1),
        (lambda x: x + 1, 1, 2),
        (functools.partial(two, 1), 2, (1, 2)),
        (functools.partial(two, y=1), 2, (2, 1)),
        (Scaled(3), 2, 6),
        (Scaled, 3, Scaled(3)),
        (str.upper, "a", "A"),
        (complex, (1, 2), 1 + 2j),
        (max, (1, 2), 2),
        (range, 3, range(3)),
        (dict, {"a": 1}, {"a": 1}),
        (int, "3", 3),
    ],
    ids=str,
)
def test_every_kind_of_callable_works(
    executor: wren.FunctionExecutor, function: Callable[..., Any], element: Any, returned: Any
) -> None:
    assert results(executor, function, [element]) == [returned]


@pytest.mark.api(
    "What `functools.cache` or `lru_cache` has decorated works, too, wherever it is defined;",
    "its cache begins empty in each worker.",
)
def test_functions_of_the_program_may_have_a_cache(run_python: Callable[[str], str]) -> None:
    program = """
import functools
import wren
@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
@functools.lru_cache(maxsize=3, typed=True)
def add_one(x):
    return x + 1
def uses(x):
    return add_one(x), add_one.cache_parameters(), add_one.cache_info().hits
class Counted:
    reads = 0
    @functools.cached_property
    def value(self):
        self.reads += 1
        return 5
    def __call__(self, x):
        return x, self.value, self.value, self.reads
replaced = functools.wraps(fibonacci)(functools.cache(lambda n: -n))
add_one(1)
with wren.local_executor(workers=1) as executor:
    for function, element in (fibonacci, 30), (uses, 1), (functools.partial(fibonacci, 20), ()), (Counted(), 1):
        print(executor.call_async(function, element).result(20))
    try:
        executor.call_async(replaced, 1)
    except wren.errors.SerializationError as error:
        print(error)
"""
    *returned, error = run_python(program).splitlines()
    assert returned == ["832040", "(2, {'maxsize': 3, 'typed': True}, 0)", "6765", "(1, 5, 5, 1)"]
    assert error.endswith("what the cache of fibonacci is for cannot be told: its __wrapped__ was replaced")


def test_a_function_with_a_cache_that_can_be_imported_is_no_copy(executor: wren.FunctionExecutor) -> None:
    assert executor.call_async(one, remembered).result(20) is remembered
    executor.get_result()


# ---- what goes to all calls


@pytest.mark.api("a list or tuple is appended to the positional arguments, a dict adds keywords.")
def test_extra_params_go_to_every_call(executor: wren.FunctionExecutor) -> None:
    assert results(executor, two, [1, 2], [10]) == [(1, 10), (2, 10)]
    assert results(executor, two, [1, (2,)], (10,)) == [(1, 10), (2, 10)]
    assert results(executor, two, [1, {"x": 2}], {"y": 10}) == [(1, 10), (2, 10)]
    executor.map_reduce(two, [1, 2], one, {"y": 10})
    assert executor.get_result() == [(1, 10), (2, 10)]


@pytest.mark.api("`extra_params` (alias `extra_args`):")
def test_extra_args_is_extra_params(executor: wren.FunctionExecutor) -> None:
    of_old: Any = {"extra_args": [10]}
    executor.map(two, [1], **of_old)
    executor.map_reduce(two, [2], one, **of_old)
    assert executor.get_result() == [(1, 10), [(2, 10)]]
    with pytest.raises(TypeError, match="extra_args and extra_params"):
        executor.map(two, [1], extra_params=[10], **of_old)


@pytest.mark.api("Neither it nor the caller's data is ever changed", "[they: mutate it].")
@pytest.mark.parametrize("extra", [[[0]], ([0],), {"y": [0]}])
def test_nothing_of_the_callers_is_changed(executor: wren.FunctionExecutor, extra: Any) -> None:
    def change(x: list[int], y: list[int]) -> int:
        x.append(1)
        y.append(1)
        return len(x) + len(y)

    data: list[Any] = [([1],), ([1],)]
    before = copy.deepcopy((data, extra))
    assert results(executor, change, data, extra) == [4, 4]
    assert (data, extra) == before


@pytest.mark.api("`call_async(f, data)` is `map` with one element, returning its one future.")
@pytest.mark.parametrize("data", [1, (1, 2), [1, 2], {"x": 1, "y": 2}, None])
def test_call_async_binds_as_map_does(executor: wren.FunctionExecutor, data: Any) -> None:
    (mapped,) = executor.map(default, [data])
    called = executor.call_async(default, data)
    assert isinstance(called, wren.Future)
    assert called.result(20) == mapped.result(20)


@pytest.mark.api("`extra_env`: values are `str()`ed; `None` unsets", "[they: an int hangs the client for ever].")
def test_extra_env_is_set_for_the_calls(executor: wren.FunctionExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*names: str) -> list[str | None]:
        return [os.environ.get(name) for name in names]

    monkeypatch.setenv("MINE", "1")
    env = {"NUMBER": 3, "FLAG": True, "PATH_OF_IT": Path("/x"), "MINE": None}
    names = ("NUMBER", "FLAG", "PATH_OF_IT", "MINE")
    expected = ["3", "True", "/x", None]
    futures = [
        executor.call_async(look, names, extra_env=env),
        executor.map(look, [names], extra_env=env)[0],
        executor.map_reduce(look, [names], lambda values: [*values, look(*names)], extra_env=env)[-1],
    ]
    assert [future.result(20) for future in futures] == [expected, expected, [expected, expected]]
    assert env == {"NUMBER": 3, "FLAG": True, "PATH_OF_IT": Path("/x"), "MINE": None}


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_a_number_of_calls_that_is_none_is_an_error(executor: wren.FunctionExecutor, number: Any) -> None:
    with pytest.raises(BindingError, match="calls_per_activation is"):
        executor.map(one, [1], calls_per_activation=number)


# ---- injected parameters


@pytest.mark.api("| `id` | the call's number, an int |")
def test_id_is_the_number_of_the_call(executor: wren.FunctionExecutor) -> None:
    def numbered(x: str, id: int) -> tuple[str, int, str]:
        return x, id, type(id).__name__

    assert results(executor, numbered, ["a", "b", "c"]) == [("a", 0, "int"), ("b", 1, "int"), ("c", 2, "int")]
    assert executor.call_async(numbered, "d").result(20) == ("d", 0, "int")


@pytest.mark.api("| `storage`, alias `internal_storage` | the executor's [storage](#storage), a `wren.Storage` |")
@pytest.mark.parametrize("name", ["storage", "internal_storage"])
def test_storage_puts_and_gets_where_the_executor_stores(name: str, tmp_path: Path) -> None:
    # Given a function that asks for the storage by one of its names
    variables: dict[str, Any] = {}
    exec(
        f"def keep(x, {name}):\n"
        f"    {name}.put_object('mine', 'key', b'data of ' + x)\n"
        f"    return {name}.get_object('mine', 'key'), type({name}).__name__",
        variables,
    )
    # Then it can put and get
    with wren.local_executor({"localhost": {"path": str(tmp_path)}}, workers=1) as executor:
        got, kind = executor.call_async(variables["keep"], b"x").result(20)
    assert (got, kind) == (b"data of x", "Storage")
    assert [path.name for path in tmp_path.rglob("key*")] == ["key"]


@pytest.mark.api("They are taken out of the signature before binding; a dict element's key overrides one.")
def test_injected_parameters_are_no_arguments_but_for_a_dicts_key(executor: wren.FunctionExecutor) -> None:
    def numbered(id: int, x: Any) -> tuple[int, Any]:
        return id, x

    assert results(executor, numbered, ["a", [1, 2], {"x": 3}, {"x": 4, "id": 99}, ("b",)]) == [
        (0, "a"),
        (1, [1, 2]),
        (2, 3),
        (99, 4),
        (4, "b"),
    ]
    with pytest.raises(BindingError):
        executor.map(numbered, [(1, 2)])


@pytest.mark.api(
    "When such a name is the function's only parameter and is not `obj` or `url`, it is an ordinary parameter:"
)
@pytest.mark.parametrize("name", ["id", "storage", "internal_storage", "ibm_cos", "rabbitmq"])
def test_an_only_parameter_is_an_ordinary_one(executor: wren.FunctionExecutor, name: str) -> None:
    assert results(executor, eval(f"lambda {name}: {name}"), ["a", 7]) == ["a", 7]


@pytest.mark.api("One that stands before `*args` is an error where these get something.")
def test_an_injected_parameter_before_args_is_an_error_where_these_get_something(
    executor: wren.FunctionExecutor,
) -> None:
    def before(x: int, id: int, *args: int) -> tuple[int, ...]:
        return x, id, *args

    assert results(executor, before, [7, (8,)]) == [(7, 0), (8, 1)]
    with pytest.raises(BindingError, match=r"id, which wren fills in, stands before \*args: put it behind$"):
        executor.map(before, [(1, 2)])
    assert executor.get_result() == []


@pytest.mark.api("Asking for one that is not configured is an error before anything is invoked.")
@pytest.mark.parametrize("name", ["ibm_cos", "rabbitmq"])
def test_what_is_not_configured_is_an_error_before_anything_is_invoked(
    executor: wren.FunctionExecutor, name: str
) -> None:
    function = eval(f"lambda x, {name}: x")
    with pytest.raises(BindingError, match=rf"parameter '{name}', and the configuration has no section \[{name}\]"):
        executor.map(function, [1])
    with pytest.raises(BindingError, match=rf"no section \[{name}\]"):
        executor.map_reduce(one, [1], function)
    assert executor.get_result() == []


@pytest.mark.api("In reducers all of them work too.")
def test_reducers_have_injected_parameters(executor: wren.FunctionExecutor) -> None:
    def reduce(id: int, found: list[int]) -> tuple[int, list[int]]:
        return id, found

    executor.map_reduce(one, [3, 4], reduce)
    assert executor.get_result() == (0, [3, 4])


@pytest.mark.api("A `chunk_size` under 1 MiB is an error that says so.")
def test_a_chunk_size_under_1_mib_is_an_error(executor: wren.FunctionExecutor) -> None:
    for start in (executor.map, functools.partial(executor.map_reduce, reduce_function=len)):
        with pytest.raises(BindingError, match=r"chunk_size is 1048575 bytes: give 1 MiB \(1048576\) or more"):
            start(one, [1], chunk_size=(1 << 20) - 1)


def test_arguments_may_come_from_any_thread(executor: wren.FunctionExecutor) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(results(executor, two, [(1, 2)])))
    thread.start()
    thread.join()
    assert found == [[(1, 2)]]


@pytest.mark.api("Locally nothing is packed: workers import the same files.")
def test_workers_import_the_clients_files(tmp_path: Path, run_python: Callable[[str], str]) -> None:
    (tmp_path / "mine.py").write_text("import other\ndef use(x): return x, other.VALUE, __file__\n")
    (tmp_path / "other.py").write_text("VALUE = 1\n")
    program = """
import os, sys, wren
sys.path.insert(0, os.getcwd())
import mine
with wren.local_executor(workers=1) as executor:
    print(executor.call_async(mine.use, 0).result(20) == (0, 1, os.path.abspath("mine.py")))
"""
    assert run_python(program) == "True\n"


@pytest.mark.parametrize("timeout", [np.float32(20), np.int64(20), fractions.Fraction(39, 2)])
def test_numbers_of_other_types_are_numbers(executor: wren.FunctionExecutor, timeout: Any) -> None:
    executor.map(one, [1], timeout=timeout, retries=np.int64(1), calls_per_activation=np.int32(2))  # type: ignore[call-overload]  # numpy's integers are no int
    assert executor.get_result() == [1]


def test_an_extra_env_that_is_no_mapping_is_named(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match=r"^extra_env is of type list: give a dict of names and values$"):
        executor.map(one, [1], extra_env=[("A", 1)])  # type: ignore[call-overload]  # that is the point


def test_an_array_of_no_dimension_is_no_iterable(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match=r"^iterdata is of type ndarray, which is not iterable: for one call put it"):
        executor.map(one, np.array(3))
