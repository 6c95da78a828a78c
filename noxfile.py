"""Every check of the repository: `nox` runs them all, `nox -l` lists them, CONTRIBUTING.md explains them.

Packages are the folders of `packages/` that have a pyproject.toml; Pythons are those found on PATH and under pyenv.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Concatenate, ParamSpec

import nox

P = ParamSpec("P")

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"
# Quick answers first; the tests' summaries last, where a log is read first.
nox.options.sessions = ["lint", "types", "build", "template", "tests", "workspace", "coverage"]

ROOT = Path(__file__).parent
CORE = ROOT / "packages" / "core"
PACKAGES = {path.parent.name: path.parent for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}
COVERAGE = ROOT / ".nox" / ".coverage"
CHECKED = ("noxfile.py", "bench", "examples", "src", "tests")  # whose types are checked, in each folder

# Pre-releases and virtual environments are left out; Debian's python3 without python3-venv has no ensurepip.
USABLE = "import ensurepip, sys, venv; sys.exit(sys.prefix != sys.base_prefix or sys.version_info[3] != 'final')"


def interpreters(oldest: tuple[int, int] = (3, 11)) -> dict[str, Path]:
    """Return each minor version from `oldest` on that runs here, with its executable, in ascending order."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    # pyenv's own folders come before PATH, whose shims fail for every version that is not activated.
    folders = [Path(sys.base_prefix, "bin"), *sorted(pyenv.glob("versions/*/bin"))]
    folders += [Path(folder) for folder in os.get_exec_path()]
    found: dict[tuple[int, int], Path] = {}
    for candidate in (path for folder in folders for path in sorted(folder.glob("python3.*"))):
        named = re.fullmatch(r"python(\d+)\.(\d+)", candidate.name)
        version = (int(named[1]), int(named[2])) if named else (0, 0)
        if version < oldest or version in found:
            continue
        probe = subprocess.run([candidate, "-I", "-c", USABLE], capture_output=True, check=False)
        if probe.returncode == 0:
            found[version] = candidate
    return {f"{major}.{minor}": found[major, minor] for major, minor in sorted(found)}


INTERPRETERS = interpreters()
PYTHONS = list(INTERPRETERS)
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]
# nox looks a version up on PATH.
os.environ["PATH"] = os.pathsep.join([*(str(path.parent) for path in INTERPRETERS.values()), os.environ["PATH"]])


def timed(session: Callable[Concatenate[nox.Session, P], None]) -> Callable[Concatenate[nox.Session, P], None]:
    """Make a session print its wall time at its end, failed or not."""

    @functools.wraps(session)
    def run(nox_session: nox.Session, /, *args: P.args, **kwargs: P.kwargs) -> None:
        start = time.monotonic()
        try:
            session(nox_session, *args, **kwargs)
        finally:
            nox_session.log(f"took {time.monotonic() - start:.1f} s")

    return run


def install(session: nox.Session, *groups: str, packages: Iterable[Path] = ()) -> None:
    """Install the root's dependency groups and `packages`, editable, with their own groups of the same names."""
    requirements: list[str] = []
    for folder in (ROOT, *packages):
        project = nox.project.load_toml(folder / "pyproject.toml")
        own = [group for group in groups if group in project.get("dependency-groups", {})]
        if own:
            requirements += nox.project.dependency_groups(project, *own)
    # One call, so that a package's dependency on wren-core is met by the one of this checkout.
    session.install(*requirements, *(f"--editable={package}" for package in packages))


@nox.session(python=PYTHONS)
@nox.parametrize("package", [nox.param(name, id=name) for name in PACKAGES])
@timed
def tests(session: nox.Session, package: str) -> None:
    """Test one package: all of its tests on the oldest and newest Python, the unit tests on those between."""
    folder = PACKAGES[package]
    install(session, "test", packages=dict.fromkeys([CORE, folder]))
    suite = folder / "tests" if session.python in {OLDEST, NEWEST} else folder / "tests" / "unit"
    if not suite.is_dir():
        session.log(f"{package} has no unit tests, which are all that Python {session.python} runs")
        return
    pytest = ["pytest", str(suite), *session.posargs]
    if session.python != NEWEST:
        session.run(*pytest)
        return
    env = {"COVERAGE_FILE": str(COVERAGE / f"data.{package}")}
    modules = ",".join(sorted(path.parent.name for path in folder.glob("src/*/__init__.py")))
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", f"--source={modules}", "-m", *pytest, env=env)


@nox.session(python=sorted({OLDEST, NEWEST}, key=PYTHONS.index))
@timed
def workspace(session: nox.Session) -> None:
    """Test what crosses packages, with all of them installed, and unmeasured: it holds import and time budgets."""
    install(session, "test", "workspace", packages=PACKAGES.values())
    session.run("pytest", "tests", *session.posargs)


@nox.session(python=OLDEST)
@timed
def faults(session: nox.Session) -> None:
    """Provoke every fault 50 times with short intervals, then once with wren's own; half an hour, so not by default."""
    install(session, "test", packages=PACKAGES.values())
    quiet = ["pytest", "tests/faults", "-q", *session.posargs]
    session.run(*quiet, env={"WREN_FAULT_RUNS": "50"})
    session.run(*quiet, env={"WREN_FAULT_DEFAULTS": "1"})


@nox.session(python=OLDEST)
@timed
def bench(session: nox.Session) -> None:
    """Time wren beside its peers and bare clients, on a machine that does nothing else; an hour, so not by default."""
    install(session, "bench", packages=PACKAGES.values())
    session.run("python", "-m", "bench", *session.posargs)
    if not session.posargs:
        session.run("python", "-m", "bench.storage")


@nox.session(python=OLDEST)
@timed
def template(session: nox.Session) -> None:
    """Do what docs/write-a-backend.md tells an author: copy the template away, rename it, install it, run the kit."""
    install(session, "build")
    with tempfile.TemporaryDirectory(prefix="wren-template-") as temporary:
        built, clean, copy = (Path(temporary, name) for name in ("built", "clean", "wren-backend-mine"))
        shutil.copytree(ROOT / "packages" / "_template", copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        rename(copy, "template", "mine")
        for package in (CORE, copy):
            session.run("python", "-m", "build", "--installer=uv", f"--outdir={built}", str(package), silent=True)
        session.run("python", "-m", "venv", str(clean))
        pip = [str(clean / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        # Ours can only come from the folder just built; then the index adds what they depend on.
        session.run(*pip, "--no-index", "--no-deps", f"--find-links={built}", "wren-mine", "wren-core", external=True)
        session.run(*pip, "wren-mine", "wren-core[testing]", external=True)
        with session.chdir(copy):
            session.run(str(clean / "bin" / "pytest"), "-q", "tests", external=True)


def rename(folder: Path, old: str, new: str) -> None:
    """Replace a name in all texts and paths below a folder, in every case."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(old, new).replace(old.title(), new.title()), encoding="utf-8")
        path.rename(path.with_name(path.name.replace(old, new)))


@nox.session(python=NEWEST)
@timed
def coverage(session: nox.Session) -> None:
    """Report the lines and branches that the last test run of each package on the newest Python left out."""
    install(session, "test")
    # Apart from what is combined: a report removes the files beside its own, and the next one would find none.
    env = {"COVERAGE_FILE": str(Path(session.create_tmp(), "data"))}
    session.run("coverage", "combine", "--quiet", "--keep", str(COVERAGE), env=env)
    session.run("coverage", "report", env=env)


@nox.session(python=NEWEST)
@timed
def lint(session: nox.Session) -> None:
    """Check style and format of every file."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=OLDEST)
@timed
def types(session: nox.Session) -> None:
    """Check the types of every package, its tests and this file; one run each, as test modules may share a name."""
    install(session, "test", "types", packages=PACKAGES.values())
    sources = [package / "src" for package in PACKAGES.values()]
    for folder in (ROOT, *PACKAGES.values()):
        targets = [str(path) for path in (folder / name for name in CHECKED) if path.exists()]
        # The root's tests are named as pytest names them, by their path from here: packages' tests use its services.
        bases = os.pathsep.join(map(str, [*sources, ROOT if folder == ROOT else folder / "tests"]))
        session.run("mypy", *targets, env={"MYPYPATH": bases})


@nox.session(python=OLDEST)
@timed
def build(session: nox.Session) -> None:
    """Build every package, install the wheels by name in a clean environment, and use them far from the checkout."""
    install(session, "build")
    with tempfile.TemporaryDirectory(prefix="wren-build-") as temporary:
        built, clean, empty = (Path(temporary, name) for name in ("built", "clean", "empty"))
        empty.mkdir()
        for package in PACKAGES.values():
            session.run("python", "-m", "build", "--installer=uv", f"--outdir={built}", str(package), silent=True)
        names = ["==".join(wheel.name.split("-")[:2]) for wheel in sorted(built.glob("*.whl"))]
        session.run("python", "-m", "venv", str(clean))
        pip = [str(clean / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        # Ours can only come from the folder just built; then the index adds what they depend on.
        session.run(*pip, "--no-index", "--no-deps", f"--find-links={built}", *names, external=True)
        session.run(*pip, *names, external=True)
        session.run(str(clean / "bin" / "pip"), "check", external=True)
        with session.chdir(empty):
            for command in ("demo", "hello", "plugins", "doctor"):
                session.run(str(clean / "bin" / "wren"), command, external=True)
