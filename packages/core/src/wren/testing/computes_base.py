"""What the checks of `ComputeConformance` share: the author's fixtures, and executors and traces made of them."""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

import wren
from wren import plugins
from wren.config import Config
from wren.spi import Compute, Deployment, Runtime, Storage
from wren.testing.computes_spi import Recorder, make_invocation
from wren.testing.conformance import Conformance
from wren.testing.functions import Place, add
from wren.testing.threads import wait_for

__all__ = ["ComputeChecks", "Traces"]


class _Over(Exception):
    """A check is over: an executor that is left with it ends what still runs."""


class Traces:
    """What functions have left at a place, read by the client's half of the storage."""

    def __init__(self, storage: Storage[Any], patience: float) -> None:
        self._storage, self._patience = storage, patience
        self.place = Place(storage.worker(), storage.bucket, f"conformance/{uuid.uuid4().hex}/")

    def keys(self, name: str) -> list[str]:
        """The keys of the traces of that name."""
        prefix = f"{self.place.prefix}{name}."
        return [info.key for info in self._storage.list(self.place.bucket, prefix)]

    def count(self, name: str) -> int:
        """How many there are: how often a function ran."""
        return len(self.keys(name))

    def wait(self, name: str) -> bytes:
        """The content of the first one, once there is one."""
        wait_for(lambda: bool(self.keys(name)), f"the call {name} has begun", self._patience)
        return bytes(self._storage.get(self.place.bucket, self.keys(name)[0]))

    def clean(self) -> None:
        """Remove everything."""
        self._storage.delete(
            self.place.bucket, [i.key for i in self._storage.list(self.place.bucket, self.place.prefix)]
        )


class ComputeChecks(Conformance):
    """The fixtures; see `ComputeConformance` for those that an author writes."""

    plugin: ClassVar[type[Compute[Any]]]
    storage_name: ClassVar[str] = "localhost"  # a storage that the workers can open
    slow: ClassVar[float] = 1.0  # by how much all that is waited for may take longer than on a machine of one's own
    many: ClassVar[int] = 1_000  # calls of the largest map

    @property
    def patience(self) -> float:
        """Seconds after which what should have come is missing."""
        return 30.0 * self.slow

    # ---- what an author may replace

    @pytest.fixture
    def storage_options(self, tmp_path: Any) -> Mapping[str, Any]:
        """The configuration of the storage."""
        return {"path": str(tmp_path / "storage")}

    # ---- what the checks use

    @pytest.fixture
    def config(self, options: Mapping[str, Any], storage_options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The whole configuration."""
        sections = {"storage": {"interval": 0.05}, self.storage_name: dict(storage_options)}
        sections[self.plugin.name] = {**sections.get(self.plugin.name, {}), **options}
        return sections

    @pytest.fixture
    def compute(self, config: Mapping[str, Any]) -> Iterator[Compute[Any]]:
        """The backend, without an executor."""
        made: Compute[Any] = self.make(config[self.plugin.name])
        yield made
        made.close()

    @pytest.fixture
    def storage(self, config: Mapping[str, Any]) -> Iterator[Storage[Any]]:
        """The client's half of the storage."""
        kind = plugins.load_storage(self.storage_name)
        made = kind(Config.load(config).options(self.storage_name, kind.options_type))
        yield made
        made.close()

    @pytest.fixture
    def deployment(self, compute: Compute[Any], storage: Storage[Any]) -> Deployment:
        """A deployment that workers can open the storage in; it stays for the next check."""
        return compute.deploy(Runtime(workers=4), storage.secrets())

    @pytest.fixture
    def traces(self, storage: Storage[Any]) -> Iterator[Traces]:
        """Where functions leave traces."""
        traces = Traces(storage, self.patience)
        yield traces
        traces.clean()

    @pytest.fixture
    def executor(self, config: Mapping[str, Any]) -> Iterator[wren.FunctionExecutor]:
        """An executor on the backend."""
        with self.executing(config) as made:
            yield made

    @contextlib.contextmanager
    def executing(
        self, config: Mapping[str, Any], *, workers: int | None = None, storage: str | None = None
    ) -> Iterator[wren.FunctionExecutor]:
        """An executor that, when it is left, ends what still runs."""
        with (
            contextlib.suppress(_Over),
            wren.FunctionExecutor(
                config, backend=self.plugin.name, storage_backend=storage or self.storage_name, workers=workers
            ) as made,
        ):
            yield made
            raise _Over

    def submit(
        self,
        compute: Compute[Any],
        deployment: Deployment,
        storage: Storage[Any],
        function: Callable[..., Any],
        *args: tuple[Any, ...],
        timeout: float | None = None,
        heartbeat: float | None = None,
    ) -> Recorder:
        """Hand over one call for each tuple of arguments in one invocation, without an executor."""
        invocation = make_invocation(compute.features, storage, function, args, timeout=timeout, heartbeat=heartbeat)
        recorder = Recorder(invocation, storage, self.patience)
        compute.submit(deployment, [invocation], recorder)
        return recorder

    def still_works(self, executor: wren.FunctionExecutor) -> None:
        """After whatever a check did the next calls have their results."""
        futures = executor.map(add, range(3))
        assert [future.result(self.patience) for future in futures] == [1, 2, 3]
