"""Import budgets: what `import wren` and a local worker's start may cost, counted in modules."""

import subprocess
import sys
from typing import Final

import h11
import pytest

import wren
from wren import plugins

HEAVY: Final = {
    "asyncio", "click", "cloudpickle", "concurrent.futures", "matplotlib", "msgspec", "pluggy", "rich"
}  # fmt: skip
SDKS: Final = {"aiohttp", "boto3", "botocore", "docker", "h11", "ibm_boto3", "kubernetes", "numpy", "pika", "requests"}
SHELL_BUDGET: Final = 63  # modules more than an interpreter that imports nothing
HTTP_SHELL_BUDGET: Final = 118  # likewise; it decides the cold start of a container
COS_BUDGET: Final = 16  # modules more than the http shell that the workers' half of ibm_cos takes


def modules_after(program: str, *flags: str) -> set[str]:
    """The names in sys.modules of a fresh interpreter that ran the program."""
    code = f"{program}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-I", *flags, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def imported_by(program: str) -> set[str]:
    """The modules that a program imports, beside those that this environment's `site` does."""
    return modules_after(program) - modules_after("pass")


def plugin_modules() -> set[str]:
    """The modules of everything that is installed as a plugin."""
    return {info.target.partition(":")[0] for kind in plugins.KINDS for info in plugins.installed(kind)}


def test_importing_wren_imports_no_backend_no_sdk_and_nothing_heavy() -> None:
    assert imported_by("import wren") & (HEAVY | SDKS | plugin_modules()) == set()


def test_importing_wren_imports_nothing_but_itself_of_what_is_installed() -> None:
    modules = imported_by("import wren")
    assert {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names} == {"wren"}


@pytest.mark.parametrize("name", ["local_executor", "function_executor", "FunctionExecutor", "Executor", "Future"])
def test_the_executors_need_no_terminal_no_command_line_and_no_plots(name: str) -> None:
    modules = imported_by(f"import wren; wren.{name}")
    assert modules & ({"asyncio", "click", "matplotlib", "rich"} | SDKS | plugin_modules()) == set()


def test_a_local_executor_imports_nothing_that_its_first_result_does_not_need() -> None:
    modules = imported_by("import wren; wren.local_executor(workers=1).call_async(abs, -1).result()")
    # Job records are written by then, or not: they need json and nothing else.
    rare = {
        "difflib",
        "email",
        "importlib.metadata",
        "msgspec",
        "wren.history",
        "random",
        "socket",
        "tempfile",
        "tomllib",
    }
    rare |= {"wren.modules"}  # nothing travels to local workers
    assert modules & rare == set()


# ---------------------------------------------------------------- the pipe shell

# As a local worker is started: no `site`, and of the folder of installed packages only wren.
SHELL: Final = "import sys; sys.path.insert(0, {folder!r}); import wren; del sys.path[0]; import wren.worker.pipe"


def shell_modules() -> set[str]:
    assert wren.__file__ is not None
    folder = wren.__file__.removesuffix("/wren/__init__.py")
    return modules_after(SHELL.format(folder=folder), "-S") - modules_after("pass", "-S")


def test_the_pipe_shell_keeps_its_budget_of_modules() -> None:
    modules = shell_modules()
    assert len(modules) <= SHELL_BUDGET, sorted(modules)


def test_the_pipe_shell_imports_the_standard_library_and_the_workers_half_of_wren_only() -> None:
    foreign = {name for name in shell_modules() if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith("wren.worker.")} == {"wren", "wren.wire", "wren.worker"}


def test_the_pipe_shell_imports_nothing_heavy() -> None:
    assert shell_modules() & (HEAVY | {"dataclasses", "hashlib", "inspect", "json", "pathlib"}) == set()


# ---------------------------------------------------------------- the http shell

# As in a container, but for `site`: h11 is installed there, and is all that is wanted of what is.
HTTP_SHELL: Final = (
    "import sys; sys.path[:0] = {folders!r}; import wren, h11; del sys.path[:2]; import wren.worker.http"
)


def http_shell_modules() -> set[str]:
    folders = [str(module.__file__).removesuffix(f"/{module.__name__}/__init__.py") for module in (wren, h11)]
    return modules_after(HTTP_SHELL.format(folders=folders), "-S") - modules_after("pass", "-S")


def test_the_http_shell_keeps_its_budget_of_modules() -> None:
    modules = http_shell_modules()
    assert len(modules) <= HTTP_SHELL_BUDGET, sorted(modules)


def test_the_http_shell_imports_the_standard_library_h11_and_the_workers_half_of_wren_only() -> None:
    foreign = {name for name in http_shell_modules() if name.split(".")[0] not in sys.stdlib_module_names}
    wrens = {name for name in foreign if name.split(".")[0] != "h11"}
    assert {name for name in wrens if not name.startswith("wren.worker.")} == {"wren", "wren.wire", "wren.worker"}


def test_the_http_shell_imports_at_once_what_each_of_its_forks_would() -> None:
    assert http_shell_modules() >= {"hashlib", "hmac", "json"}


def test_the_http_shell_imports_nothing_heavy() -> None:
    assert http_shell_modules() & (HEAVY | {"argparse", "logging", "pathlib", "http"}) == set()


# ---------------------------------------------------------------- the workers' half of ibm_cos

# What a worker imports beside its shell, until it has read and written small objects.
COS: Final = """
import sys
import wren.worker.http
shell = set(sys.modules)
from wren_storage_cos.objects import Objects
Objects("http://127.0.0.1:9")
sys.stdout.write(" ".join(set(sys.modules) - shell))
"""


def cos_modules() -> set[str]:
    run = subprocess.run([sys.executable, "-I", "-c", COS], capture_output=True, text=True, timeout=60, check=True)
    return set(run.stdout.split())


def test_the_workers_half_of_ibm_cos_keeps_its_budget_of_modules() -> None:
    modules = cos_modules()
    assert len(modules) <= COS_BUDGET, sorted(modules)


def test_the_workers_half_of_ibm_cos_imports_obstore_and_the_standard_library_only() -> None:
    modules = cos_modules()
    foreign = {name.split(".")[0] for name in modules if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"obstore", "wren_storage_cos"}
    assert modules & (HEAVY | SDKS | {"http", "ssl", "urllib"}) == set()
