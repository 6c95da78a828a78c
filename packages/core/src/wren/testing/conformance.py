"""What every conformance class of the kit shares: the guard of its tests, and the checks of what all plugins have.

Storages, monitors and compute backends add the checks of their contracts in rooms of their own.
"""

import dataclasses
import inspect
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

import pytest

from wren import plugins
from wren.errors import ConfigError
from wren.spi import Check, Compute, Feature, Monitor, Storage
from wren.testing import configs
from wren.testing.interpreters import fresh
from wren.testing.threads import at_once

__all__ = ["Conformance"]

NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")
SHOWN: Final = "wren-conformance-marker"  # what stands for a secret and must be seen nowhere
CONTRACTS: Final[Mapping[plugins.Kind, type[Any]]] = {"compute": Compute, "storage": Storage, "monitor": Monitor}
# What a plugin's module may import besides the standard library and its own package.
LIGHT: Final = frozenset({"wren", "pluggy"})


class Conformance:
    """The base of the conformance classes.

    An author's class, whose name pytest collects, has:

    - `plugin`, the plugin's class;
    - a fixture `options`: what its section of the configuration would have, so that the plugin works;
    - a fixture `unreachable`, where a service can be away: the options with which it is;
    - what the contract's own conformance class asks for.

    The tests are the kit's: a class that overrides or removes one is an error.  Where a plugin cannot do what a test
    asks for, `xfails` says so with the reason, and that test must fail then:

        xfails = {"test_a_large_object_is_streamed": "the service takes an object in one request only"}
    """

    plugin: ClassVar[type[Any]]
    xfails: ClassVar[Mapping[str, str]] = MappingProxyType({})
    # Top-level packages that the plugin's module imports although they are not its own, each with the reason.
    light: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if _of_the_kit(cls):
            return
        for name, test in _kit_tests(cls).items():
            if inspect.getattr_static(cls, name, None) is not test:
                raise TypeError(
                    f"{cls.__qualname__} has a {name} of its own in place of the kit's: rename or remove it, or give "
                    f"the reason why the kit's must fail in xfails"
                )
        for name, reason in cls.xfails.items():
            if not inspect.isfunction(inspect.getattr_static(cls, name, None)) or not name.startswith("test"):
                raise TypeError(f"xfails of {cls.__qualname__} names {name!r}, which is no test: correct the name")
            if not reason.strip():
                raise TypeError(f"xfails of {cls.__qualname__} has no reason for {name}: say why it must fail")

    @pytest.fixture(autouse=True)
    def _expected_failure(self, request: pytest.FixtureRequest) -> None:
        """Apply `xfails`: strictly, for a reason that holds no longer has to go."""
        if reason := self.xfails.get(request.function.__name__):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    # ---- what the author may override

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        """Keys and values as they are in the plugin's section of the configuration; none by default."""
        return {}

    @pytest.fixture
    def unreachable(self) -> Mapping[str, Any] | None:
        """Options with which the plugin's service cannot be reached; None where it has none that could be away."""
        return None

    # ---- for the conformance classes

    def make(self, options: Mapping[str, Any]) -> Any:
        """The plugin as core makes it, from these options and nothing else."""
        return self.plugin(configs.parsed(self.plugin, options))

    @property
    def kind(self) -> plugins.Kind:
        """Of which kind the plugin is, by its base class."""
        for kind, contract in CONTRACTS.items():
            if issubclass(self.plugin, contract):
                return kind
        raise AssertionError(f"{self.plugin.__qualname__} is no subclass of wren.spi's Compute, Storage or Monitor")

    @pytest.fixture
    def config_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The only file that configuration is read from, empty; nor is there any in the environment."""
        configs.forget_environment(monkeypatch)
        file = tmp_path / "wren-conformance.toml"
        file.touch()
        monkeypatch.setenv("WREN_CONFIG_FILE", str(file))
        return file

    # ---- what it is

    def test_its_entry_point_gives_this_class(self) -> None:
        load = {"compute": plugins.load_compute, "storage": plugins.load_storage, "monitor": plugins.load_monitor}
        assert load[self.kind](self.plugin.name) is self.plugin

    def test_importing_it_imports_no_sdk(self) -> None:
        """All commands look at what is installed; and an SDK takes seconds, and may be missing."""
        targets = [info.target for info in plugins.installed(self.kind) if info.name == self.plugin.name]
        assert targets, f"there is no entry point {self.plugin.name!r} in the group wren.{self.kind}"
        module = targets[0].partition(":")[0]
        program = f"import sys; before = {{*sys.modules}}; import {module}; print(*{{*sys.modules}} - before)"
        imported = {name.partition(".")[0] for name in fresh(program).split()}
        allowed = sys.stdlib_module_names | LIGHT | {module.partition(".")[0]} | self.light.keys()
        assert imported <= allowed, f"import {imported - allowed} where it is used, or give the reason in `light`"

    def test_it_says_what_it_is(self) -> None:
        assert NAME.match(self.plugin.name), "a name is a section of the configuration: lower case, digits and single _"
        assert dataclasses.is_dataclass(self.plugin.options_type)
        assert vars(self.plugin.options_type)["__dataclass_params__"].frozen, "options are a frozen dataclass"
        if self.kind == "storage":
            assert self.plugin.features in Feature.WORKER
        elif self.kind == "compute":
            assert self.plugin.features in ~Feature.WORKER

    # ---- its options

    def test_options_are_the_same_from_a_mapping_a_file_and_the_environment(
        self, options: Mapping[str, Any], config_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = configs.loaded(self.plugin, options)
        config_file.write_text(configs.toml(self.plugin.name, options), encoding="utf-8")
        from_file = configs.loaded(self.plugin)
        config_file.write_text("", encoding="utf-8")
        from_environment = configs.loaded(self.plugin, configs.put_environment(self.plugin.name, options, monkeypatch))
        assert from_file == given
        assert from_environment == given

    @pytest.mark.usefixtures("config_file")
    def test_a_misspelt_key_is_answered_with_the_nearest(self, options: Mapping[str, Any]) -> None:
        for field in dataclasses.fields(self.plugin.options_type):
            with pytest.raises(ConfigError) as caught:
                configs.loaded(self.plugin, {**options, f"{field.name}x": 1})
            for part in (f"'{field.name}x'", f"[{self.plugin.name}]", f"'{field.name}'"):
                assert part in str(caught.value)

    @pytest.mark.usefixtures("config_file")
    def test_a_value_of_the_wrong_type_is_refused_unseen(self, options: Mapping[str, Any]) -> None:
        """Unseen, for it may be a secret, and the error may be in a log."""
        for field, wrong in configs.wrong_values(self.plugin, SHOWN):
            with pytest.raises(ConfigError) as caught:
                configs.loaded(self.plugin, {**options, field: wrong})
            assert SHOWN not in str(caught.value)
            for part in (field, f"[{self.plugin.name}]"):
                assert part in str(caught.value)

    def test_nothing_shows_a_secret(self, options: Mapping[str, Any]) -> None:
        """A field is secret when its name has secret, password, token or key in it: `field(repr=False)`."""
        for field, shows in configs.with_secrets(self.plugin, options, SHOWN):
            made = configs.parsed(self.plugin, shows)
            plugin = self.plugin(made)
            shown = f"{made} {made!r} {plugin} {plugin!r}"
            plugin.close()
            assert SHOWN not in shown, f"the value of {field} is seen in {shown}"

    # ---- check and close

    def test_check_finds_nothing_wrong_with_what_works(self, options: Mapping[str, Any]) -> None:
        checks = self.checked(options)
        for check in checks:
            assert isinstance(check, Check)
            assert check.name
            assert "\n" not in f"{check.name}{check.detail}{check.cure}", "a check is a line, and so is its cure"
        assert checks, "check() gives no Check: it says nothing of what it tried"
        assert [check for check in checks if not (check.ok or check.warning)] == []

    def test_check_leaves_nothing_behind(self, options: Mapping[str, Any]) -> None:
        plugin = self.make(options)
        before = set(self._belongings(plugin))
        list(plugin.check())
        left = set(self._belongings(plugin)) - before
        plugin.close()
        assert left == set()

    def test_check_that_is_stopped_leaves_nothing_behind(self, options: Mapping[str, Any]) -> None:
        """`wren doctor` waits so long for each check, and then no longer."""
        plugin = self.make(options)
        before = set(self._belongings(plugin))
        checks = plugin.check()
        next(checks, None)
        del checks
        left = set(self._belongings(plugin)) - before
        plugin.close()
        assert left == set()

    def test_checks_at_the_same_time_do_not_disturb_each_other(self, options: Mapping[str, Any]) -> None:
        for checks in at_once("check()", *[lambda: self.checked(options)] * 3):
            assert [check for check in checks if not (check.ok or check.warning)] == []

    def test_check_names_the_cure_when_the_service_is_away(self, unreachable: Mapping[str, Any] | None) -> None:
        if unreachable is None:
            pytest.skip("no options in the fixture `unreachable`: nothing of this plugin can be away")
        failed = [check for check in self.checked(unreachable) if not (check.ok or check.warning)]
        assert failed, "check() finds nothing wrong although the service is away"
        for check in failed:
            assert check.cure, f"{check.name} failed, and what to do?"

    def test_check_shows_no_secret(self, options: Mapping[str, Any]) -> None:
        """Nor of one that the service refuses."""
        for field, shows in configs.with_secrets(self.plugin, options, SHOWN):
            checks = self.checked(shows)
            assert SHOWN not in repr(checks), f"the value of {field} is seen in {checks}"

    def checked(self, options: Mapping[str, Any]) -> list[Check]:
        """What the plugin's check says."""
        plugin = self.make(options)
        try:
            return list(plugin.check())
        finally:
            plugin.close()

    def test_close_may_come_twice_and_ends_its_threads(self, options: Mapping[str, Any]) -> None:
        threads = set(threading.enumerate())
        plugin = self.make(options)
        plugin.close()
        plugin.close()
        kept = [thread for thread in set(threading.enumerate()) - threads if not thread.daemon]
        assert kept == [], "threads that are no daemons keep the process alive"

    def _belongings(self, plugin: Any) -> Iterator[str]:
        if isinstance(plugin, Storage):
            yield from (info.key for info in plugin.list(plugin.bucket))
        elif isinstance(plugin, Compute) and Feature.LIST in plugin.features:
            yield from (deployment.name for deployment in plugin.deployments())
        yield from (thread.name for thread in threading.enumerate() if not thread.daemon)


def _of_the_kit(cls: type[Any]) -> bool:
    return cls.__module__.startswith("wren.testing.")


def _kit_tests(cls: type[Any]) -> dict[str, Any]:
    """The tests that a class has from the kit, by name."""
    kit = [vars(base) for base in cls.__mro__ if _of_the_kit(base)]
    return {name: test for names in reversed(kit) for name, test in names.items() if name.startswith("test")}
