"""Evaluations in this process, one at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from autobuild.errors import Pruned
from autobuild.evaluate.executors.events import Event, Failed, Finished, Reported, Stopped
from autobuild.evaluate.executors.perform import perform
from autobuild.evaluate.executors.queued import QueuedExecutor, Task
from autobuild.evaluate.metrics import checked_metrics
from autobuild.registry import EXECUTORS

if TYPE_CHECKING:
    from autobuild.evaluate.evaluator import Evaluator
    from autobuild.spaces import SearchSpace


@EXECUTORS.register("inline")
class InlineExecutor(QueuedExecutor):
    """Runs one evaluation at a time in a thread of this process, so that closures serve as evaluators.

    An evaluation that reports waits there until :meth:`wait` is called again: what is pruned by then takes no further
    step. A thread cannot be ended from outside: an evaluation that hangs is waited for (``local`` ends it), and one
    that is cancelled goes on unheard until its next report.
    """

    def __init__(self, space: SearchSpace, evaluator: Evaluator, *, reports: bool = True) -> None:
        super().__init__(capacity=1)
        self._space, self._evaluator, self._reports = space, evaluator, reports
        self._running: _Running | None = None

    def wait(self, timeout_s: float) -> list[Event]:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        if self._pending:
            events, self._pending = self._pending, []
            return events
        if self._running is None and self._waiting:
            self._running = _Running(self._space, self._evaluator, self._reports, self._waiting.popleft())
        if self._running is None:
            return []
        event = self._running.next(timeout_s)
        if event is None:
            return []
        if not isinstance(event, Reported):
            self._running = None
        return [event]

    def _feed(self) -> None:
        """Evaluations begin in :meth:`wait`."""

    def _stop(self, task_id: int) -> None:
        if self._running is not None and self._running.task_id == task_id:
            self._running.stop = True

    def cancel(self, task_id: int) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        self._drop(task_id)
        if self._running is not None and self._running.task_id == task_id:
            self._running.abandon()
            self._running = None

    def close(self) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        self._waiting.clear()
        if self._running is not None:
            self.cancel(self._running.task_id)


class _Running:
    """An evaluation in its thread; a report hands over and waits, so that only one of the two threads runs."""

    def __init__(self, space: SearchSpace, evaluator: Evaluator, reports: bool, task: Task) -> None:
        self.task_id = task[0]
        self.stop = False
        self._told: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._go_on = threading.Semaphore(0)
        self._reported = False
        threading.Thread(target=self._run, args=(space, evaluator, reports, *task[1:]), daemon=True).start()

    def _run(self, space: SearchSpace, evaluator: Evaluator, reports: bool, arch: str, seed: int) -> None:
        try:
            report = self._report if reports else None
            event: Finished | Failed | Stopped = perform(self.task_id, space, evaluator, arch, seed, report)
        except BaseException as error:  # a thread that ends without a word would be waited for without end
            event = Failed(self.task_id, f"{type(error).__name__}: {error}")
        self._told.put(event)

    def _report(self, step: int, metrics: Mapping[str, float]) -> None:
        self._told.put(Reported(self.task_id, int(step), checked_metrics(metrics)))
        self._go_on.acquire()
        if self.stop:
            raise Pruned

    def next(self, timeout_s: float) -> Event | None:
        """Let it go on, and give its next event; None if none comes in time."""
        if self._reported:
            self._go_on.release()
            self._reported = False
        try:
            event = self._told.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        self._reported = isinstance(event, Reported)
        return event

    def abandon(self) -> None:
        """Let it end at its next report; nobody listens any more."""
        self.stop = True
        self._go_on.release()
