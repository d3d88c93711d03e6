"""Evaluations on a Ray cluster; Ray is imported here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, Pruned, RunError
from autobuild.evaluate.executors.events import Event, Failed, Reported
from autobuild.evaluate.executors.packing import packed, unpacked
from autobuild.evaluate.executors.perform import perform
from autobuild.evaluate.executors.queued import QueuedExecutor, too_long
from autobuild.evaluate.metrics import checked_metrics
from autobuild.registry import EXECUTORS
from autobuild.settings.executors import Ray

if TYPE_CHECKING:
    from autobuild.evaluate.evaluator import Evaluator
    from autobuild.spaces import SearchSpace

CONNECT_S = 10.0
TOKEN = Path("~/.ray/auth_token")
STORE_BYTES = 200_000_000  # of a cluster that is started here; what is sent is an evaluator and small messages


@EXECUTORS.register("ray")
class RayExecutor(QueuedExecutor):
    """Runs each evaluation as a Ray task; a task whose worker dies has failed, and may be tried again.

    Args:
        space: Where the architectures belong.
        evaluator: Workers receive a copy, once each.
        workers: How many evaluations are asked for at the same time; Ray runs as many as there is room for.
        time_limit_s: The worker of an evaluation that takes longer, from its own start, is killed. None: no limit.
        reports: Whether intermediate values are asked for.
        address: ``auto`` joins the cluster that runs on this machine or that ``RAY_ADDRESS`` names; ``host:port`` or
            ``ray://host:port`` another one; None starts one here, which ends with this object.
        cpus, gpus: What one evaluation occupies.

    Raises:
        ConfigError: Ray is not installed, or the evaluator cannot be sent.
        RunError: The cluster cannot be reached.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        *,
        workers: int = 2,
        time_limit_s: float | None = None,
        reports: bool = True,
        address: str | None = None,
        cpus: float = Ray.cpus,
        gpus: float = Ray.gpus,
    ) -> None:
        super().__init__(workers, time_limit_s)
        content = packed((space, evaluator, reports))
        self._running: dict[int, _Running] = {}
        self._own = self._connect(address, workers, cpus, gpus)
        import ray

        self._content = ray.put(content)
        self._evaluate = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_evaluate)
        self._open_box()

    @staticmethod
    def _connect(address: str | None, workers: int, cpus: float, gpus: float) -> bool:
        """Join or start a cluster; gives whether the connection is this object's own."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody unasked
        if address not in (None, "auto") and TOKEN.expanduser().is_file():
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # read as Ray is imported; by itself it asks for the others
        try:
            import ray
        except ImportError as error:
            raise ConfigError("executor=ray needs Ray: pip install 'autobuild-nas[ray]'") from error
        if ray.is_initialized():
            return False
        how: dict[str, Any] = {"address": address}
        if address is None:
            how = {
                "address": "local",
                "num_cpus": math.ceil(workers * cpus),
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
            }
        _check_reachable(address)
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **how)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise RunError(f"executor.address={address}: no Ray cluster can be reached: {error}") from error
        found = ray.cluster_resources().get("GPU", 0)
        if address is None and gpus > found:  # elsewhere machines may join later; here it would be waited for in vain
            ray.shutdown()
            raise ConfigError(f"executor.gpus={gpus}: this machine has {found:g} GPUs that Ray can use")
        return True

    def _open_box(self) -> None:
        """Where workers put what they report; it lives on this machine and takes no room of the cluster."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._box = ray.remote(num_cpus=0, scheduling_strategy=here)(_Box).remote()
        self._news = self._box.news.remote()

    def _feed(self) -> None:
        while self._waiting and len(self._running) < self.capacity:
            task = self._waiting.popleft()
            self._box.expect.remote(task[0])
            ref = self._evaluate.remote([self._content], self._box, *task)
            self._running[task[0]] = _Running(ref)

    def wait(self, timeout_s: float) -> list[Event]:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        end = time.monotonic() + timeout_s
        while True:
            events, self._pending = self._pending, []
            if events or not self._running:
                return events
            until = min([end, *(running.deadline for running in self._running.values())])
            events = self._heard(max(0.0, until - time.monotonic()))
            events += self._overdue()
            self._feed()
            if events or time.monotonic() >= end:
                return events

    def _heard(self, timeout_s: float) -> list[Event]:
        """What workers have reported, then what has ended; every report of a task comes before its end."""
        import ray

        refs = {running.ref: task_id for task_id, running in self._running.items()}
        ready, _ = ray.wait([self._news, *refs], num_returns=1, timeout=timeout_s)
        ended, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0)
        events = self._reports() if ready else []
        if self._news in ready:
            self._news = self._box.news.remote()
        return events + [self._end(refs[ref]) for ref in ended]

    def _reports(self) -> list[Event]:
        import ray

        events: list[Event] = []
        try:
            said = ray.get(self._box.take.remote())
        except ray.exceptions.RayActorError as error:  # its process was killed, and with it what workers have said
            self._open_box()
            return [self._lost(task_id, error) for task_id in list(self._running)]
        for task_id, report in said:
            if task_id not in self._running:  # cancelled meanwhile
                continue
            if report is not None:
                events.append(Reported(task_id, *report))
            else:
                self._running[task_id].deadline = time.monotonic() + self._limit
        return events

    def _lost(self, task_id: int, error: Exception) -> Failed:
        self._kill(task_id)
        told = " ".join(str(error).split())[:300]
        return Failed(task_id, f"the process that its reports go through died ({told})", retry=True)

    def _end(self, task_id: int) -> Event:
        import ray

        ref = self._running.pop(task_id).ref
        try:
            event: Event = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            return Failed(task_id, f"the evaluator cannot be loaded on the cluster: {str(error).splitlines()[-1]}")
        except ray.exceptions.RayError as error:
            told = str(error).splitlines()
            return Failed(task_id, f"its worker died ({type(error).__name__}: {told[0] if told else ''})", retry=True)
        return event

    def _overdue(self) -> list[Event]:
        now = time.monotonic()
        late = [task_id for task_id, running in self._running.items() if now >= running.deadline]
        for task_id in late:
            self._kill(task_id)
        return [too_long(task_id, self._limit) for task_id in late]

    def _kill(self, task_id: int) -> None:
        import ray

        ray.cancel(self._running.pop(task_id).ref, force=True)

    def _stop(self, task_id: int) -> None:
        if task_id in self._running:
            self._box.prune.remote(task_id)

    def cancel(self, task_id: int) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        self._drop(task_id)
        if task_id in self._running:
            self._kill(task_id)
            self._feed()

    def close(self) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        import ray

        self._waiting.clear()
        if not ray.is_initialized():
            return
        for task_id in list(self._running):
            self._kill(task_id)
        if self._own:
            ray.shutdown()
            self._own = False


def _check_reachable(address: str | None) -> None:
    """Ask the named machine whether anything listens there: Ray itself would try for many minutes.

    Raises:
        RunError: Nothing does.
    """
    named = os.environ.get("RAY_ADDRESS") if address == "auto" else address
    found = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", named or "")
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise RunError(f"executor.address={address}: no Ray cluster can be reached at {named}: {error}") from error


@dataclass
class _Running:
    """A task of the cluster, and when its time is over (known once it has begun)."""

    ref: Any
    deadline: float = float("inf")


class _Box:
    """Where workers put what they report, and learn what is to stop; an actor."""

    def __init__(self) -> None:
        self._said: list[tuple[int, tuple[int, dict[str, float]] | None]] = []
        self._pruned: set[int] = set()
        self._something = asyncio.Event()

    async def expect(self, task_id: int) -> None:
        """An evaluation is submitted, perhaps not for the first time: what was said of an earlier one has passed."""
        self._pruned.discard(task_id)

    async def begin(self, task_id: int) -> None:
        """An evaluation begins."""
        self._said.append((task_id, None))
        self._something.set()

    async def report(self, task_id: int, step: int, metrics: dict[str, float]) -> bool:
        """Take a report; gives whether the evaluation is to stop."""
        self._said.append((task_id, (step, metrics)))
        self._something.set()
        return task_id in self._pruned

    async def prune(self, task_id: int) -> None:
        """Have an evaluation stop at its next report."""
        self._pruned.add(task_id)

    async def news(self) -> None:
        """Returns when there is something to take."""
        await self._something.wait()

    async def take(self) -> list[tuple[int, tuple[int, dict[str, float]] | None]]:
        """All that was said since the last time, in order."""
        said, self._said = self._said, []
        self._something.clear()
        return said


def _evaluate(content: list[Any], box: Any, task_id: int, arch: str, seed: int) -> Event:
    """What a worker does; ``content`` is a reference in a list, so that it is fetched once by a worker."""
    import ray

    space, evaluator, reports = _loaded(content[0])
    ray.get(box.begin.remote(task_id))

    def report(step: int, metrics: Mapping[str, float]) -> None:
        if ray.get(box.report.remote(task_id, int(step), checked_metrics(metrics))):
            raise Pruned

    return perform(task_id, space, evaluator, arch, seed, report if reports else None)


@lru_cache(maxsize=4)
def _loaded(content: Any) -> Any:
    import ray

    return unpacked(ray.get(content))
