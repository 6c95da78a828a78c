"""The client of the http shell: the base of every backend whose workers answer over HTTP (`wren.worker.frames`).

A backend derives from `HttpCompute` and writes `deploy`, `undeploy` and `describe`; its deployments say where their
shell answers (`url`, `headers`, `tag`, `reply_delay`).  A request is held open until its calls have ended, thousands at
once, by one thread for all backends of the process (`thread`); what goes over it is in `exchange`, and in `refusals`
what is meant by an answer that is not the shell's.  It needs aiohttp, which is imported with the first request.
"""

import importlib.util
from collections.abc import Sequence
from typing import ClassVar, Generic

from wren.errors import BackendError, CallCancelled, Unavailable, Unsupported
from wren.http import thread
from wren.http.request import Request
from wren.http.settings import HttpSettings, checked
from wren.spi import Compute, Deployment, Feature, Invocation, Options, Report, Shell, escaped

__all__ = ["HttpCompute", "HttpSettings"]


class HttpCompute(Compute[Options], Generic[Options]):
    """A platform whose workers run the http shell.

    Raises Unsupported where aiohttp is not installed, and ConfigError for settings that cannot be used.
    """

    shell: ClassVar[Shell] = Shell.HTTP
    features: ClassVar[Feature] = Feature.DIRECT | Feature.HEARTBEAT | Feature.KILL

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        if importlib.util.find_spec("aiohttp") is None:
            raise Unsupported(
                f"the {self.name} backend needs aiohttp, which is not installed: pip install 'wren-core[http]'"
            )
        self.__settings = checked(self.name, self.http)
        self.__client: thread.Client | None = None
        self.__requests: dict[Invocation, Request] = {}  # of this client; those that are not over

    @property
    def http(self) -> HttpSettings:
        """How its shells are reached: a backend overrides it to give what its options say.

        Read once, by the constructor, when nothing but `options` is there yet.
        """
        return HttpSettings()

    def unavailable(self, deployment: Deployment, error: Unavailable) -> BackendError:
        """What it means that the deployment could not be reached: `error`, for all that is known here.

        A backend that can see that its container is gone overrides it and returns NotDeployed.  It may block; it is
        called in threads of its own, a few at once.  What it raises counts as returned.
        """
        return error

    def submit(self, deployment: Deployment, invocations: Sequence[Invocation], report: Report) -> None:
        requests = [Request(deployment, invocation, report) for invocation in invocations]
        try:
            client = thread.running()
        except RuntimeError as error:  # no thread can be started when the interpreter is about to end
            failure = BackendError(f"the {self.name} backend cannot take calls any more: {error}")
            failure.__cause__ = error
            for request in requests:
                request.fail(failure)
            return
        if self.__client is not client:  # in a forked child, to which its parent's requests mean nothing
            self.__client, self.__requests = client, {}
        # Here and not in the thread: from now on a call can be killed.
        self.__requests.update((request.invocation, request) for request in requests)
        client.do(lambda: self.__start(client, requests))

    def kill(self, deployment: Deployment, invocation: Invocation, calls: Sequence[int]) -> Sequence[int]:
        """Close the request: the shell kills what runs when its connection closes.

        All calls of an invocation share a request: nothing is killed, and nothing returned, when one that has not ended
        is not among those asked for.  A request that the shell has not accepted yet is closed, too.
        """
        request, client = self.__requests.get(invocation), self.__client
        if request is None or client is None or client is not thread.started():
            return []
        if not request.unfinished() <= set(calls):
            return []
        killed = [call for call in calls if request.take(call)]
        if killed:
            client.do(request.cancel)
            error = CallCancelled(f"the call was killed by its owner: its request to {deployment.name!r} was closed")
            request.report.failed(invocation, killed, error)
        return killed

    def close(self) -> None:
        """Close the connections when the last request is over.  Idempotent; a later `submit` opens new ones."""
        client = thread.started()
        if client is not None:
            client.do(lambda: client.close(self))

    def __start(self, client: thread.Client, requests: Sequence[Request]) -> None:
        """Begin the requests; in the client's thread."""
        try:
            from wren.http.exchange import Exchanges

            exchanges = client.opened(self, lambda: Exchanges(self.name, self.__settings, self.__hook(), client))
        except Exception as error:  # noqa: BLE001 - whatever aiohttp raises on import: these calls must hear of it
            for request in requests:
                self.__over(request)
                request.fail(escaped(self.name, error))
            return
        for request in requests:
            if request.over:  # killed before it began
                self.__over(request)
            else:
                exchanges.start(request, self.__over)

    def __over(self, request: Request) -> None:
        if self.__requests.get(request.invocation) is request:  # and not another one, which the report has led to
            del self.__requests[request.invocation]

    def __hook(self) -> thread.Hook | None:
        """`unavailable`, where it is the backend's own: a thread for nothing but its argument would be one too many."""
        return None if type(self).unavailable is HttpCompute.unavailable else self.unavailable
