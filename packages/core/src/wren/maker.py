"""Makes jobs: what of them is stored before anything runs, what their workers are told, and their table of calls."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from wren.binding import Bound, describe_function
from wren.blobs import pickle_blob
from wren.clients import Clients
from wren.config import WrenOptions
from wren.job import CallOptions, Job, Work, make_header
from wren.leftovers import Leftovers
from wren.references import Client, Reference, shown
from wren.serialize import pickle_arguments
from wren.spi import Compute, Feature, Runtime, RuntimeInfo, Shell, Storage
from wren.stored import Packer
from wren.table import CallTable, Owner
from wren.wire import NOTHING, Header
from wren.worker.injected import STORAGES

if TYPE_CHECKING:
    from wren.modules.luggage import Luggage

__all__ = ["Maker"]


class Maker:
    """The one of one engine, which owns the tables.  `runtime`: where calls run that ask for no other memory."""

    def __init__(
        self,
        owner: Owner,
        executor_id: str,
        compute: Compute[Any],
        storage: Storage[Any],
        options: WrenOptions,
        runtime: Runtime,
        leftovers: Leftovers,
        clients: Clients,
    ) -> None:
        self._clients = clients
        self._owner, self._executor_id, self._compute, self._storage = owner, executor_id, compute, storage
        self._options, self._leftovers = options, leftovers
        self._packer = Packer(storage, compute.limits, options.retention)
        self._runtimes, self._runtime = {runtime.memory: runtime}, runtime  # by memory
        self._queues = Feature.QUEUE in compute.features
        self._reported = options.monitor is not None or Feature.DIRECT not in compute.features
        self._heartbeat = options.heartbeat if Feature.HEARTBEAT in compute.features else None
        self._uuid = os.urandom(16).hex()
        # Local workers import the files of this machine.
        self._luggage = None if compute.shell is Shell.PIPE else _luggage(compute)

    def work(self, function: Callable[..., Any], bound: Bound, options: CallOptions) -> Work:
        """Everything pickled.  Raises SerializationError."""
        blob, code = pickle_blob(function, hashed=not self._queues)
        parted = bound.parted is not None
        return Work(
            blob, code, pickle_arguments(bound), bound.inject, options, describe_function(function), opens=parted
        )

    def make(
        self,
        job_id: str,
        work: Work,
        *,
        gathered: bool = False,
        reads_storage: bool = False,
        beside: Work | None = None,
        outer: Job | None = None,
    ) -> Job:
        """A job of which nothing runs yet.

        Raises SerializationError, StorageError, ModuleError, BackendError, and BindingError for a client that nobody is
        configured to make.

        `gathered`: its workers store the results, for a reducer.  `reads_storage`: it is such a reducer.  `beside`:
        what its arguments come from, whose modules it may need.  `outer`: a call of that job has returned futures of
        this one, and whatever this one needs was there.
        """
        blob, chunks, arguments, inject, options, name, opens = work
        clients = self._clients.handles(inject) if inject else NOTHING
        runtime = self._runtime_of(options)
        modules, archive = (None, ()) if outer is None else (outer.header.modules, outer.modules)
        if self._luggage is not None and outer is None:
            modules, archive = self._luggage.pack([work] if beside is None else [work, beside], runtime)
        keeps = self._options.persist if options.persist is None else options.persist
        persist = keeps or self._reported  # by statuses in the storage, or that say no more than where the result is
        in_storage = gathered or reads_storage or persist
        if not self._queues:
            packed = self._packer.pack(self._uuid, job_id, blob, chunks, arguments, modules, archive)
            blob, modules, arguments = packed.function, packed.modules, packed.arguments
            in_storage = in_storage or packed.in_storage
        reachable = (  # large results go there, and functions may ask for it
            in_storage
            or opens
            or not STORAGES.isdisjoint(inject)
            or (not self._queues and Feature.WORKER in self._storage.features)
        )
        header = make_header(
            self._uuid,
            job_id,
            blob,
            options,
            inject=inject,
            storage=self._storage.worker() if reachable else None,
            bucket=self._storage.bucket if reachable else "",
            persist=persist,
            gathered=gathered,
            inline=self._packer.result_inline(gathered or persist) if in_storage or not self._queues else None,
            heartbeat=self._heartbeat,
            modules=modules,
            backend=self._storage.name if reachable else "",
            clients=clients,
        )
        table = CallTable(self._executor_id, job_id, len(arguments), self._owner, header)
        job = Job(header, chunks, arguments, table, options, runtime)
        job.stores, job.keeps, job.name = in_storage, keeps, name
        job.modules = () if modules is None or modules.key else archive
        table.retried = job.current
        if self._options.data_cleaner and outer is None:
            table.on_read = partial(self._leftovers.read, [job_id])
        if keeps:
            table.reference = partial(self._reference, header, table.submitted, len(table), options.retries)
        if outer is not None:
            job.follows, job.depth = True, outer.depth + 1
            job.name = f"called in {outer.name}"
        return job

    def runtime_info(self) -> RuntimeInfo | None:
        """What the runtime has; None where workers have what this machine has."""
        return None if self._luggage is None else self._luggage.describe(self._runtime)

    def _reference(self, header: Header, submitted: float, calls: int, retries: int) -> Reference:
        """What another process needs to read a job's results."""
        return Reference(
            self._executor_id,
            header.job,
            calls,
            retries,
            submitted,
            header.executor,
            header.mac_key,
            header.bucket,
            self._storage.name,
            shown(self._storage.options),
            Client.this() if Feature.DIRECT in self._compute.features else None,
        )

    def _runtime_of(self, options: CallOptions) -> Runtime:
        memory = self._runtime.memory if options.memory is None else options.memory
        known = self._runtimes.get(memory)
        return known or self._runtimes.setdefault(memory, self._runtime._replace(memory=memory))


def _luggage(compute: Compute[Any]) -> "Luggage":
    from wren.modules.luggage import Luggage

    return Luggage(compute)
