"""Evaluations in processes of this machine."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any

from autobuild.errors import Pruned
from autobuild.evaluate.executors.events import Event, Failed, Reported
from autobuild.evaluate.executors.packing import packed, unpacked
from autobuild.evaluate.executors.perform import perform
from autobuild.evaluate.executors.queued import QueuedExecutor, Task, too_long
from autobuild.evaluate.executors.sessions import kill_session
from autobuild.evaluate.executors.unguarded import EXIT_CODE, NAME, refuse_unguarded, unguarded
from autobuild.evaluate.metrics import checked_metrics
from autobuild.registry import EXECUTORS

if TYPE_CHECKING:
    from autobuild.evaluate.evaluator import Evaluator, Report
    from autobuild.spaces import SearchSpace

BEGUN = "begun"
STARTING_S = 300.0  # how long a process may take to start and load what it evaluates with


@EXECUTORS.register("local")
class LocalExecutor(QueuedExecutor):
    """Runs evaluations in spawned processes with one thread each; they stay for the next evaluation.

    Each process leads a session of its own, so that programs which an evaluator starts end with it; a process whose
    parent dies ends itself. Processes are started when they are first needed.

    Args:
        space: Where the architectures belong.
        evaluator: Each process receives a copy.
        workers: How many processes.
        time_limit_s: A process whose evaluation takes longer is killed. None: no limit.
        reports: Whether intermediate values are asked for.

    Raises:
        ConfigError: If space or evaluator cannot be sent to another process; later, from ``wait``, if the script that
            was run starts processes as it is imported.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        *,
        workers: int = 2,
        time_limit_s: float | None = None,
        reports: bool = True,
    ) -> None:
        refuse_unguarded()
        super().__init__(workers, time_limit_s)
        self._packed = packed((space, evaluator, reports))
        self._workers: list[_Worker] = []
        # Its processes may have children of their own, so they are no daemons, and the interpreter waits for them as it
        # ends: they must be gone by then, whatever became of this object.
        atexit.register(self.close)

    def wait(self, timeout_s: float) -> list[Event]:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        end = time.monotonic() + timeout_s
        while True:
            self._feed()
            events, self._pending = self._pending, []
            busy = [worker for worker in self._workers if worker.task is not None]
            if events or not busy:
                return events
            now = time.monotonic()
            until = min([end, *(worker.deadline for worker in busy)])
            ready = connection.wait([worker.pipe for worker in busy], max(0.0, until - now))
            for worker in busy:
                if worker.pipe in ready:
                    events += worker.hear()
                if worker.task is not None and worker.alive and time.monotonic() >= worker.deadline:
                    events.append(worker.overdue())
            self._bury()
            if events or time.monotonic() >= end:
                self._feed()
                return events

    def _feed(self) -> None:
        """Give waiting tasks to idle processes, and start processes up to the capacity."""
        for worker in self._workers:
            if worker.task is None and not worker.process.is_alive():
                worker.kill()
        self._bury()
        idle = [worker for worker in self._workers if worker.task is None]
        while self._waiting and (idle or len(self._workers) < self.capacity):
            if not idle:
                idle.append(_Worker(self._packed, self._limit))
                self._workers.append(idle[0])
            idle.pop().give(self._waiting.popleft())

    def _bury(self) -> None:
        self._workers = [worker for worker in self._workers if worker.alive]

    def _stop(self, task_id: int) -> None:
        for worker in self._at(task_id):
            worker.send(("prune", task_id))

    def cancel(self, task_id: int) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        self._drop(task_id)
        for worker in self._at(task_id):
            worker.kill()
        self._bury()

    def _at(self, task_id: int) -> list[_Worker]:
        return [worker for worker in self._workers if worker.task is not None and worker.task[0] == task_id]

    def close(self) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        atexit.unregister(self.close)
        self._waiting.clear()
        while self._workers:
            self._workers.pop().kill()


class _Worker:
    """One child process and the task it is at."""

    def __init__(self, content: bytes, limit_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, content), name=NAME)
        self.task: Task | None = None
        self.alive = True
        self.begun, self.deadline = False, float("inf")
        self._limit = limit_s
        resource_tracker.ensure_running()  # by itself it would do so in between, and let Ctrl-C through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child has it until it can ignore it
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, task: Task) -> None:
        self.task, self.begun = task, False
        self.deadline = time.monotonic() + STARTING_S
        self.send(("task", *task))

    def send(self, message: tuple[Any, ...]) -> None:
        with contextlib.suppress(OSError):  # it has just died; hear() tells of it
            self.pipe.send(message)

    def hear(self) -> list[Event]:
        """All that it has said by now."""
        events: list[Event] = []
        try:
            while self.pipe.poll():
                said = self.pipe.recv()
                if said == BEGUN:
                    self.begun = True
                    self.deadline = time.monotonic() + self._limit
                    continue
                events.append(said)
                if not isinstance(said, Reported):
                    self.task, self.deadline = None, float("inf")
        except (EOFError, OSError):
            self.kill()
            if self.process.exitcode == EXIT_CODE:
                raise unguarded() from None
            if self.task is not None:
                reason = f"its process ended with exit code {self.process.exitcode}"
                events.append(Failed(self.task[0], reason, retry=True))
        return events

    def overdue(self) -> Failed:
        """End it, since its deadline has passed."""
        assert self.task is not None
        self.kill()
        if self.begun:
            return too_long(self.task[0], self._limit)
        return Failed(self.task[0], f"its process was not ready within {STARTING_S:g} s", retry=True)

    def kill(self) -> None:
        """End it, and whatever it has started."""
        self.alive = False
        self.process.kill()
        if self.process.pid is not None:
            kill_session(self.process.pid)
        self.process.join()
        self.pipe.close()


def _serve(pipe: connection.Connection, content: bytes) -> None:
    """Life of a worker: evaluate what comes through the pipe until it closes."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, and the parent ends its workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        (space, evaluator, reports), reason = unpacked(content), ""
    except Exception as error:  # e.g. a module that this process does not find
        reason = f"the evaluator cannot be loaded in another process ({type(error).__name__}: {error})"
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = pipe.recv()
            if message[0] == "prune":  # it came after the evaluation had ended
                continue
            _, task_id, arch, seed = message
            pipe.send(BEGUN)
            if reason:
                pipe.send(Failed(task_id, reason))
            else:
                report = _reporter(pipe, task_id) if reports else None
                pipe.send(perform(task_id, space, evaluator, arch, seed, report))


def _reporter(pipe: connection.Connection, task_id: int) -> Report:
    def report(step: int, metrics: Mapping[str, float]) -> None:
        pipe.send(Reported(task_id, int(step), checked_metrics(metrics)))
        while pipe.poll():
            if pipe.recv() == ("prune", task_id):
                raise Pruned

    return report


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, so each watches the parent and goes with it and what it has started."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        kill_session(os.getpid())
