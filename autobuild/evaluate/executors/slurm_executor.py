"""Evaluations as jobs of a Slurm cluster, through submitit, which is imported here and nowhere else.

Each evaluation is one job. Driver and jobs speak through files of a folder that both see: a job appends lines of JSON
to a file of its own (that it has begun, what it reports, how it ended), and the driver makes a file to prune it. The
driver writes a sign of life every few seconds: jobs whose driver was killed end themselves.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, RunError
from autobuild.evaluate.executors.events import Event, Failed, Finished, Reported, Stopped
from autobuild.evaluate.executors.packing import packed
from autobuild.evaluate.executors.queued import QueuedExecutor, too_long
from autobuild.evaluate.executors.slurm_job import ALIVE, Lines, evaluate
from autobuild.registry import EXECUTORS
from autobuild.settings.executors import Slurm

if TYPE_CHECKING:
    from autobuild.evaluate.evaluator import Evaluator
    from autobuild.spaces import SearchSpace

SIGN_S = 10.0  # between two signs of life
LOOK_S = {"local": 0.1, "slurm": 1.0}  # between two looks at the jobs' files
QUEUE_S = {"local": 0.0, "slurm": 15.0}  # between two looks at the queue, which costs the cluster's controller work
LATE_S = {"local": 1.0, "slurm": 30.0}  # how long a job's last line may take through a shared file system
ENDED_BY_SLURM = ("TIMEOUT", "OUT_OF_MEMORY", "DEADLINE")  # what another try would meet again
_TAIL = 300  # characters of a job's log that a message quotes


@EXECUTORS.register("slurm")
class SlurmExecutor(QueuedExecutor):
    """Runs each evaluation as a job; a job that ends without an outcome has failed, and may be tried again.

    Args:
        space: Where the architectures belong.
        evaluator: Each job receives a copy.
        workers: How many jobs are in the queue or running at the same time.
        time_limit_s: A job whose evaluation takes longer, from its own start, is cancelled. None: no limit.
        reports: Whether intermediate values are asked for.
        cluster: ``slurm``, or ``local``: submitit's processes of this machine, to try things out.
        folder: Where the jobs' files lie; jobs must see it under the same path. Each executor makes a folder in it.
        minutes: Slurm's own limit for a job.
        cpus, gpus: What one job occupies; whole numbers.
        memory_gb: Memory of a job; None: the partition's default.
        partition, account, qos, constraint: As of ``sbatch``.
        extra: Further options of ``sbatch``, ``key=value`` separated by commas.
        setup: A shell line that jobs run first, e.g. ``module load cuda``.

    Raises:
        ConfigError: submitit or Slurm is missing, the evaluator cannot be sent, or ``extra`` does not read.
        RunError: The folder cannot be made.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        *,
        workers: int = 2,
        time_limit_s: float | None = None,
        reports: bool = True,
        cluster: str = Slurm.cluster,
        folder: str = Slurm.folder,
        minutes: int = Slurm.minutes,
        cpus: float = Slurm.cpus,
        gpus: float = Slurm.gpus,
        memory_gb: float | None = None,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        extra: str | None = None,
        setup: str | None = None,
    ) -> None:
        if cluster not in LOOK_S:
            raise ConfigError(f"executor.cluster={cluster}: accepted: {', '.join(LOOK_S)}")
        super().__init__(workers, time_limit_s)
        self._content, self._cluster = packed((space, evaluator, reports)), cluster
        self._folder = Path(folder).absolute() / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        asked = {"partition": partition, "account": account, "qos": qos, "constraint": constraint}
        named: dict[str, Any] = {f"slurm_{name}": value for name, value in asked.items() if value is not None}
        if extra:
            named["slurm_additional_parameters"] = _pairs(extra)
        if setup:
            named["slurm_setup"] = [setup]
        self._submitit = _submitit(self._folder, cluster)
        self._submitit.update_parameters(
            timeout_min=minutes,
            cpus_per_task=_whole("cpus", cpus),
            gpus_per_node=_whole("gpus", gpus),
            mem_gb=memory_gb,
            name="autobuild",
            **named,
        )
        self._running: dict[int, _Job] = {}
        self._ended: list[_Job] = []
        self._numbers = itertools.count()
        self._queue: set[str] = set()
        self._queue_seen = 0.0
        self._closed = threading.Event()
        self._sign(0)
        threading.Thread(target=self._give_signs, daemon=True).start()

    def _sign(self, number: int) -> None:
        beside = self._folder / f".{ALIVE}.new"
        beside.write_text(str(number))
        beside.replace(self._folder / ALIVE)

    def _give_signs(self) -> None:
        for number in itertools.count(1):
            if self._closed.wait(SIGN_S):
                return
            with contextlib.suppress(OSError):  # a full disk or a hiccup of the file system: the next one may do
                self._sign(number)

    def _feed(self) -> None:
        while self._waiting and len(self._running) < self.capacity:
            task_id, arch, seed = self._waiting.popleft()
            lines = self._folder / f"{task_id}-{next(self._numbers)}.jsonl"
            try:
                job = self._submitit.submit(evaluate, self._content, str(lines), arch, seed)
            except Exception as error:  # submitit's own errors, and those of the commands that it runs
                raise RunError(f"executor=slurm: the job cannot be submitted: {error}") from error
            self._running[task_id] = _Job(task_id, job, Lines(lines))

    def wait(self, timeout_s: float) -> list[Event]:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        end = time.monotonic() + timeout_s
        while True:
            events, self._pending = self._pending, []
            for job in list(self._running.values()):
                events += self._look_at(job)
            self._feed()
            now = time.monotonic()
            if events or not self._running or now >= end:
                return events
            time.sleep(min(LOOK_S[self._cluster], end - now))

    def _look_at(self, job: _Job) -> list[Event]:
        """What a job has written since the last time, or that it is gone, or too late."""
        gone = self._is_gone(job)  # asked before its file is read: its last line is then there
        events: list[Event] = []
        for said in job.lines.new():
            if "begun" in said:
                job.deadline = time.monotonic() + self._limit
                continue
            events.append(_event(job.task_id, said))
            if not isinstance(events[-1], Reported):
                self._leave(job)
                return events
        if gone:
            job.gone_since = job.gone_since or time.monotonic()
            if time.monotonic() - job.gone_since >= LATE_S[self._cluster]:
                self._leave(job)
                events.append(_death(job))
        elif time.monotonic() >= job.deadline:
            self._kill(job)
            events.append(too_long(job.task_id, self._limit))
        return events

    def _is_gone(self, job: _Job) -> bool:
        if self._cluster == "local":
            return bool(job.job.done())
        now = time.monotonic()
        if now - self._queue_seen >= QUEUE_S[self._cluster]:
            listed = _queue()
            if listed is None:  # the controller does not answer: nothing is known
                return False
            self._queue, self._queue_seen = listed, now
        return job.submitted < self._queue_seen and str(job.job.job_id) not in self._queue

    def _leave(self, job: _Job) -> None:
        del self._running[job.task_id]
        self._ended.append(job)

    def _kill(self, job: _Job) -> None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            job.job.cancel(check=False)
        self._leave(job)

    def _stop(self, task_id: int) -> None:
        if task_id in self._running:
            self._running[task_id].lines.stop.touch()

    def cancel(self, task_id: int) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`."""
        self._drop(task_id)
        if task_id in self._running:
            self._kill(self._running[task_id])
            self._feed()

    def close(self) -> None:
        """See :class:`~autobuild.evaluate.executors.executor.Executor`.

        Logs of jobs that did not end well stay in the folder; everything else in it is removed.
        """
        self._closed.set()
        self._waiting.clear()
        for job in list(self._running.values()):
            self._kill(job)
        with contextlib.suppress(OSError):
            (self._folder / ALIVE).unlink(missing_ok=True)  # what a cancellation did not reach ends by this
        if self._cluster == "local":
            _wait_for([job.job for job in self._ended])
        for job in self._ended:
            job.clear()
        self._ended.clear()
        with contextlib.suppress(OSError):  # not empty, or gone
            for link in self._folder.glob(".submission_file_*"):  # submitit leaves links to what is removed by now
                if not link.exists():
                    link.unlink()
            self._folder.rmdir()
            self._folder.parent.rmdir()


@dataclass
class _Job:
    """A job, what it writes, and when its time is over (known once it has begun)."""

    task_id: int
    job: Any
    lines: Lines
    deadline: float = float("inf")
    gone_since: float = 0.0
    failed: bool = False
    submitted: float = field(default_factory=time.monotonic)

    def log(self) -> str:
        """The end of what it has printed to its standard error."""
        try:
            text: str = self.job.paths.stderr.read_text(errors="replace").strip()
        except OSError:
            return ""
        return f"; its log ends: ...{text[-_TAIL:]}" if text else ""

    def clear(self) -> None:
        """Remove its files, but for the logs of one that failed."""
        paths = self.job.paths
        files = [paths.submission_file, paths.submitted_pickle, paths.result_pickle, self.lines.path, self.lines.stop]
        files += [] if self.failed else [paths.stdout, paths.stderr]
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def _event(task_id: int, said: Mapping[str, Any]) -> Event:
    if "step" in said:
        return Reported(task_id, said["step"], said["metrics"])
    if "reason" in said:
        return Failed(task_id, said["reason"], said["retry"], said.get("metrics", {}))
    if "metrics" in said:
        return Finished(task_id, said["metrics"], tuple(said.get("ignored", ())))
    return Stopped(task_id)


def _death(job: _Job) -> Failed:
    """What is told of a job that is gone without an outcome."""
    job.failed = True
    state = "UNKNOWN"
    with contextlib.suppress(Exception):  # no accounting on this cluster: the state is not known, nothing else is lost
        state = str(job.job.state)
    ours = state.split()[0].rstrip("+") in ENDED_BY_SLURM
    return Failed(
        job.task_id, f"its job {job.job.job_id} ended ({state}) without an outcome{job.log()}", retry=not ours
    )


def _submitit(folder: Path, cluster: str) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ConfigError("executor=slurm needs submitit: pip install 'autobuild-nas[slurm]'") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return submitit.AutoExecutor(folder=folder, cluster=cluster)
    except OSError as error:
        raise RunError(f"executor.folder: {folder} cannot be made: {error.strerror or error}") from error
    except RuntimeError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise ConfigError(
            f"executor=slurm: there is no Slurm on this machine ({error}); executor.cluster=local tries it here"
        ) from error


def _queue() -> set[str] | None:
    """Ids of this user's jobs that wait or run; None where the cluster does not answer."""
    line = ["squeue", "--noheader", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())


def _whole(name: str, number: float) -> int:
    if number != int(number):
        raise ConfigError(f"executor.{name}={number:g}: a Slurm job takes whole ones")
    return int(number)


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if any(not name or not equals for name, equals, _ in pairs):
        raise ConfigError(f"executor.extra={text}: write options of sbatch as key=value,key=value")
    return {name: value for name, _, value in pairs}


def _wait_for(jobs: list[Any], seconds: float = 5.0) -> None:
    """Let submitit's local processes end and be reaped."""
    end = time.monotonic() + seconds
    while any(not job.done() for job in jobs) and time.monotonic() < end:
        time.sleep(0.05)
