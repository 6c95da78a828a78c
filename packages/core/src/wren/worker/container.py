"""The processes of an http shell: a template for each function, and through them a process for each call.

`activation` starts calls here and is told what became of them.  Everything happens in the shell's one thread; nothing
here unpickles, opens a storage or waits.
"""

import os
import signal
import socket
import time
from collections import deque
from functools import partial
from typing import Final

from wren import wire
from wren.wire import Failure, Payload
from wren.worker import output, template
from wren.worker.children import Children
from wren.worker.deaths import ending, lost, out_of_memory, timed_out
from wren.worker.loop import READ, Loop
from wren.worker.memory import MemoryGroup
from wren.worker.running import RunningCall

TEMPLATES: Final = 8  # that are kept; while more are busy, there are more
GRACE: Final = 1.0  # seconds for a process to be gone after its channel has closed, its work has ended or it was killed
_MESSAGES: Final = 128  # of a template that are read before others have a turn


class _Template:
    """A template as the shell sees it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.pid = 0
        self.ready = False
        self.waiting: deque[RunningCall] = deque()
        self.running: dict[int, RunningCall] = {}  # by serial
        self.used = 0.0  # when it was last busy
        self.control: socket.socket
        self.output = self.lifeline = -1

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def printed(self) -> str:
        return output.printed(self.output).decode("utf-8", "replace")

    def close(self) -> None:
        self.control.close()
        os.close(self.lifeline)
        os.close(self.output)


def _key(payload: Payload) -> str:
    """Which template a call needs."""
    function, modules = payload.header.function, payload.header.modules
    return function.id if modules is None else f"{function.id} {modules.id}"


class Container:
    """All templates and running calls.  `forking`: calls run in forks of their templates, else in these themselves."""

    def __init__(self, loop: Loop, children: Children, worker: str, forking: bool) -> None:
        self._loop, self._children = loop, children
        self._worker, self._forking = worker, forking
        self._memory = MemoryGroup()
        self._templates: dict[str, _Template] = {}  # those that take calls, by their functions and modules
        self._alive: set[_Template] = set()
        self._calls: dict[RunningCall, _Template] = {}
        self._serial = 0

    # ---- what an activation asks for

    def start(self, call: RunningCall) -> None:
        """Run a call; `call.settle` is called when it is over, never before this returns."""
        call.kills = self._memory.kills()
        self._assign(call)

    def cancel(self, call: RunningCall, why: str) -> None:
        """End a call at once."""
        self._end(call, lost(why))

    def stopped(self, call: RunningCall) -> bool:
        """Whether its process has been stopped by a signal."""
        found = self._calls.get(call)
        pid = call.pid or (found.pid if found else 0)
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
        except OSError:  # it has just ended
            return False

    @property
    def busy(self) -> bool:
        """Whether there are calls, those included that are being killed."""
        return bool(self._calls)

    def close(self) -> None:
        """In a forked process: close the sockets of all templates."""
        for found in self._alive:
            found.control.close()

    # ---- templates

    def _assign(self, call: RunningCall) -> None:
        try:
            found = self._templates.get(_key(call.payload)) or self._fork_template(call.payload)
        except OSError as error:
            no_room = lost(f"the worker has no room for another process: {error}")
            self._loop.later(0, partial(call.settle, no_room))
            return
        self._calls[call] = found
        found.waiting.append(call)
        if found.ready:
            self._loop.later(0, partial(self._feed, found))
        else:
            self._begin(call)

    def _fork_template(self, payload: Payload) -> _Template:
        found = _Template(_key(payload))
        lean = payload._replace(calls=())
        opened: list[int] = []
        try:
            opened += os.pipe()
            opened.append(template.memory_file("wren-template"))
            opened += (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            lifeline, found.lifeline, found.output, ours, control = opened
            work = partial(template.main, lean, self._worker, self._forking, control, lifeline, found.output)
            found.pid = self._children.fork(work, partial(self._template_ended, found))
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        os.close(lifeline)
        os.close(control)
        found.control = socket.socket(fileno=ours)
        found.control.setblocking(False)
        self._loop.watch(ours, READ, lambda _: self._listen(found))
        self._templates[found.key] = found
        self._alive.add(found)
        self._retire()
        return found

    def _retire(self) -> None:
        """End the idle templates that are too many, the one that was busy last as the last."""
        idle = sorted((found.used, key) for key, found in self._templates.items() if found.ready and found.idle)
        for _, key in idle[: max(0, len(self._templates) - TEMPLATES)]:
            self._discard(self._templates[key])

    def _discard(self, found: _Template) -> None:
        """It takes no more calls and is killed; its end is seen as any other."""
        self._withdraw(found)
        if found in self._alive:
            self._children.kill(found.pid)

    def _withdraw(self, found: _Template) -> None:
        if self._templates.get(found.key) is found:
            del self._templates[found.key]

    def _feed(self, found: _Template) -> None:
        """Hand waiting calls to a template, as many as it can take now."""
        while found in self._alive and found.ready and found.waiting and (self._forking or not found.running):
            call = found.waiting[0]
            try:
                theirs = call.open()
            except OSError as error:
                found.waiting.popleft()
                self._over(call, found, lost(f"the worker has no room for another call: {error}"))
                continue
            self._begin(call)
            self._serial += 1
            try:
                template.send(found.control, template.CALL, self._serial, descriptors=theirs)
            except OSError:  # it is slow, and this is tried again when it answers; or gone, which is seen soon
                call.unshare(theirs)
                call.close()
                return
            call.unshare(theirs)
            call.serial = self._serial
            found.running[call.serial] = found.waiting.popleft()
            self._loop.watch(call.result, READ, lambda _, call=call: self._receive(call))  # type: ignore[misc]

    def _listen(self, found: _Template) -> None:
        """What a template says."""
        for _ in range(_MESSAGES):
            try:
                message = template.receive(found.control)
            except BlockingIOError:
                break
            if message is None:  # it ends, or its function has closed the socket
                self._loop.forget(found.control.fileno())
                self._withdraw(found)
                self._loop.later(GRACE, partial(self._discard, found))
                break
            self._hear(found, message)
        self._feed(found)

    def _hear(self, found: _Template, message: template.Message) -> None:
        call = found.running.get(message.serial)
        if message.kind == template.LOADED:
            found.ready = True
            if not self._forking:
                for waiting in list(found.waiting)[1:]:
                    waiting.rewind()
        elif message.kind == template.UNLOADABLE:
            self._withdraw(found)
            status = wire.decode_status(template.read_file(message.descriptors[0]))
            self._give_up(found, status.failure or lost("the function cannot be loaded by the worker"))
        elif call is None:
            for fd in message.descriptors:
                os.close(fd)
        elif message.kind == template.STARTED:
            call.started(message.number, message.descriptors[0] if message.descriptors else -1)
        elif message.kind == template.UNBORN:
            self._over(call, found, lost(f"the worker has no room for a process: {os.strerror(message.number)}"))
        else:
            self._bury(call, found, self._death(call, message.number, call.printed()))

    def _template_ended(self, found: _Template, code: int) -> None:
        self._listen(found)  # what it said before
        self._withdraw(found)
        self._alive.discard(found)
        self._loop.forget(found.control.fileno())
        printed = found.printed()
        found.close()  # before anything else is forked, which would inherit it
        for call in list(found.running.values()):
            call.kill()  # the fork that it has left
            self._bury(call, found, self._death(call, code, printed if self._forking else call.printed()))
        if found.ready:
            for call in found.waiting:
                self._assign(call)  # it has not begun: another template takes it
        elif found.waiting:
            self._give_up(found, self._death(found.waiting[0], code, printed))

    def _give_up(self, found: _Template, failure: Failure) -> None:
        while found.waiting:
            self._over(found.waiting.popleft(), found, failure)

    # ---- calls

    def _receive(self, call: RunningCall) -> None:
        """Something of a call's status, or the end of its channel."""
        at_end = call.read()
        if call.status is not None:
            call.settle(call.status)
        elif not at_end:
            return
        found = self._calls[call]
        self._loop.forget(call.result)
        if call.settled and not self._forking:
            self._over(call, found)
            return
        went_on = lost(f"the process {call.pid} that ran the call has closed its channel and went on, and was killed")
        call.grace = self._loop.later(GRACE, partial(self._end, call, went_on))

    def _begin(self, call: RunningCall) -> None:
        """Its time begins: the loading of its function counts, waiting until others have run does not."""
        if call.began:
            return
        call.began = time.time()
        timeout = call.payload.header.timeout
        if timeout is not None:
            call.timer = self._loop.later(timeout, partial(self._late, call, timeout))

    def _late(self, call: RunningCall, timeout: float) -> None:
        waits = call not in self._calls or not self._calls[call].ready
        self._end(call, timed_out(call.payload.header.job, call.call.id, timeout, waits))

    def _end(self, call: RunningCall, cause: Failure) -> None:
        """End a call, wherever it is."""
        found = self._calls.get(call)
        if found is None:
            call.settle(cause)
        elif call in found.waiting:
            found.waiting.remove(call)
            self._over(call, found, cause)
            if not found.ready and not found.waiting:
                self._discard(found)  # it may load for ever
        else:
            call.cause = call.cause or cause
            if self._forking:
                call.kill()
                call.grace = self._loop.later(GRACE, partial(self._discard, found))
            else:
                self._discard(found)

    def _bury(self, call: RunningCall, found: _Template, death: Failure) -> None:
        """Its process is gone: what it said before counts."""
        call.read()
        self._over(call, found, call.status or death)

    def _death(self, call: RunningCall, code: int, printed: str) -> Failure:
        if call.cause is not None:
            return call.cause
        if code == -signal.SIGKILL and self._memory.explains(call.kills):
            return out_of_memory(self._memory.limit(), printed)
        pid = call.pid or self._calls[call].pid
        return lost(f"the process {pid} that ran the call is gone: {ending(code, printed)}")

    def _over(self, call: RunningCall, found: _Template, outcome: bytes | Failure | None = None) -> None:
        """Nothing of it is left; the outcome is new where there is one."""
        if call.result >= 0:
            self._loop.forget(call.result)
        found.running.pop(call.serial, None)
        self._calls.pop(call, None)
        if outcome is not None:
            call.settle(outcome)
        call.close()
        found.used = time.monotonic()
        self._loop.later(0, partial(self._feed, found))
        if found.idle:
            self._retire()
