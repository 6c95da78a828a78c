"""A Python that has nothing but wren, the template and numpy, and an executor whose workers run on it."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

import wren

INSTALLED: Final = ("wren", "wren_template", "cloudpickle", "h11", "numpy")


@pytest.fixture(scope="session")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment of its own, whose packages are links to this one's: no network is needed."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    (site,) = folder.glob("lib/python3*/site-packages")
    for name in INSTALLED:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).parent
        for path in (source, source.with_name(f"{name}.libs")):
            if path.exists():
                (site / path.name).symlink_to(path)
    return str(folder / "bin" / "python")


@pytest.fixture(scope="session")
def template_config(clean_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    path = tmp_path_factory.mktemp("objects") / "objects.db"
    return {"template": {"python": clean_python, "path": str(path), "idle_exit": 20.0}}


@pytest.fixture(scope="session")
def remote(
    template_config: dict[str, dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[wren.FunctionExecutor]:
    """Its workers see nothing of this environment but what travels, and leave nothing elsewhere."""
    with (
        pytest.MonkeyPatch.context() as patch,
        wren.FunctionExecutor(template_config, backend="template", storage_backend="template", workers=2) as executor,
    ):
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("unpacked")))
        patch.delenv("PYTHONPATH", raising=False)
        yield executor


@pytest.fixture
def write() -> Callable[[Path, Mapping[str, str]], None]:
    """Write files, by their paths in a folder."""

    def write_all(folder: Path, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    return write_all


@pytest.fixture
def run(remote: wren.FunctionExecutor) -> Callable[..., Any]:
    """The result of a call, given as source: what is imported, then the function and its arguments."""

    def evaluate(imports: str, call: str, **keywords: Any) -> Any:
        namespace: dict[str, Any] = {}
        exec(imports, namespace)
        function, data = eval(f"({call})", namespace)
        return remote.call_async(function, data if isinstance(data, tuple) else (data,), **keywords).result(30)

    return evaluate
