"""docs/api.md, "Signatures": what is written there is what `inspect.signature` says."""

import ast
import inspect
import os
from pathlib import Path
from typing import Any

import pytest

import wren
from wren.errors import BindingError

SIGNATURES = {
    "call_async": (
        "call_async(func, data, extra_env=None, runtime_memory=256, timeout=600, "
        "include_modules=[], exclude_modules=[])"
    ),
    "map": (
        "map(map_function, map_iterdata, extra_params=None, extra_env=None, runtime_memory=256, timeout=600, "
        "include_modules=[], exclude_modules=[], chunk_size=None, chunk_n=None, invoke_pool_threads=500)"
    ),
    "map_reduce": (
        "map_reduce(map_function, map_iterdata, reduce_function, extra_params=None, reducer_wait_local=False, "
        "extra_env=None, map_runtime_memory=256, reduce_runtime_memory=256, timeout=600, include_modules=[], "
        "exclude_modules=[], chunk_size=None, chunk_n=None, reducer_one_per_object=False, invoke_pool_threads=500)"
    ),
    "wait": (
        'wait(fs=None, throw_except=True, return_when="ALL_COMPLETED", download_results=False, timeout=None, '
        "THREADPOOL_SIZE=128, WAIT_DUR_SEC=1)"
    ),
    "get_result": "get_result(fs=None, throw_except=True, timeout=None, THREADPOOL_SIZE=128, WAIT_DUR_SEC=1)",
    "create_execution_plots": "create_execution_plots(dst_dir, dst_name, fs=None)",
    "clean": "clean(fs=None, local_execution=True)",
    "explain": "explain(func, data=None, include_modules=[], exclude_modules=[])",
}


def add_one(x: int) -> int:
    return x + 1


@pytest.mark.api(
    "call_async(func, data, extra_env=None,",
    "map(map_function, map_iterdata, extra_params=None, extra_env=None,",
    "map_reduce(map_function, map_iterdata, reduce_function, extra_params=None,",
    'wait(fs=None, throw_except=True, return_when="ALL_COMPLETED",',
    "get_result(fs=None, throw_except=True, timeout=None,",
    "create_execution_plots(dst_dir, dst_name, fs=None)",
    "clean(fs=None, local_execution=True)",
    "explain(func, data=None, include_modules=[], exclude_modules=[])",
)
@pytest.mark.parametrize("name", list(SIGNATURES))
def test_methods_have_the_documented_names_order_and_defaults(name: str) -> None:
    # Given a signature as text
    call = ast.parse(SIGNATURES[name], mode="eval").body
    assert isinstance(call, ast.Call)
    expected: list[tuple[str, Any]] = [(ast.unparse(each), inspect.Parameter.empty) for each in call.args]
    expected += [(str(each.arg), ast.literal_eval(each.value)) for each in call.keywords]
    # Then that is what can be given by position
    _, *found = inspect.signature(getattr(wren.FunctionExecutor, name)).parameters.values()
    positional = [each for each in found if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert [(each.name, each.default) for each in positional] == expected


@pytest.mark.api("`timeout` is in seconds, memory in MiB, `chunk_size` in bytes.")
def test_units_are_said_where_a_value_is_refused(executor: wren.FunctionExecutor) -> None:
    with pytest.raises(BindingError, match="number of seconds above 0"):
        executor.map(add_one, [1], timeout=-1)
    with pytest.raises(BindingError, match="number of MiB"):
        executor.map(add_one, [1], runtime_memory=0)
    with pytest.raises(BindingError, match=r"chunk_size is 1000 bytes: give 1 MiB"):
        executor.map(add_one, [1], chunk_size=1000)


@pytest.mark.api("`call_async`, `map` and `map_reduce` also take `retries`, `retry_on` and `persist`,")
@pytest.mark.parametrize("name", ["call_async", "map", "map_reduce"])
def test_retries_are_the_calls_else_the_executors(name: str, tmp_path: Path) -> None:
    def die_at_first(path: str) -> str:
        if Path(path).exists():
            return "again"
        Path(path).touch()
        os._exit(7)

    def start(executor: wren.FunctionExecutor, path: str, **given: Any) -> wren.Future[str]:
        if name == "call_async":
            return executor.call_async(die_at_first, path, **given)
        if name == "map":
            return executor.map(die_at_first, [path], **given)[0]
        first: wren.Future[str] = executor.map_reduce(die_at_first, [path], len, **given)[0]
        return first

    with wren.local_executor(workers=1, retries=1) as executor:
        assert start(executor, str(tmp_path / "a")).result(20) == "again"
        assert isinstance(start(executor, str(tmp_path / "b"), retries=0).exception(20), wren.errors.WorkerLost)
