"""Labelling architectures into a CSV file that survives kills: no finished row is lost, none is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import EvaluationError
from autobuild.evaluate.labelfile import LabelFile, locked
from autobuild.evaluate.latency import LatencyMeter
from autobuild.evaluate.parallel import Place, Result, evaluate_many, renamed, run_tasks, seeds_of
from autobuild.evaluate.protocol import Evaluator, NetworkEvaluator

if TYPE_CHECKING:
    from autobuild.spaces import Architecture, SearchSpace

LATENCY = "latency_ms"
REWRITE_EVERY = 20  # latencies between two rewritings of the file


@dataclass(frozen=True)
class Progress:
    """How far the labelling is.

    Attributes:
        phase: ``"train"`` or ``"latency"``.
        done: Finished evaluations of this phase, those of earlier runs included.
        total: All evaluations of this phase.
        failed: Failures in this run.
        eta_seconds: Estimated time to the end of this phase, from this run's pace; nan before its first result.
        result: What has just ended; None at the start of a phase.
    """

    phase: str
    done: int
    total: int
    failed: int
    eta_seconds: float
    result: Result | None = None


def label_architectures(
    space: SearchSpace,
    evaluator: Evaluator,
    archs: Iterable[Architecture | str],
    out_csv: str | Path,
    seeds: int | Sequence[int] = 1,
    n_jobs: int = 1,
    latency: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    place: Place | None = None,
    **former: Any,
) -> Path:
    """Evaluate every architecture with every seed into ``out_csv``, then measure latencies; continues where it stopped.

    Columns: ``arch``, ``seed``, the evaluator's metrics, and with ``latency`` the column ``latency_ms`` (the median of
    :func:`autobuild.evaluate.latency.measure_latency`; blank until its phase). A row is appended, flushed and synced as
    soon as its evaluation ends. The latency phase begins when all evaluations have ended: one child process, nothing
    beside it; it fills the column by writing a new file beside the old one and renaming it.

    A restart with the same file drops a torn last line, keeps every finished row and evaluates the rest; rows of other
    architectures are left alone. After KeyboardInterrupt the children are gone and the file is usable.

    Args:
        space: Where the architectures belong.
        evaluator: What evaluates them.
        archs: Architectures or their texts.
        out_csv: The file; its folder is made. A ``.lock`` beside it keeps a second labeller out, a ``.recipe.json``
            holds what its labels come from, so that labels of two recipes never mix.
        seeds: For each architecture so many seeds, 0, 1, ..., or those listed.
        n_jobs: Evaluations at the same time: processes of this machine, one thread each.
        latency: Whether to measure latencies; needs a :class:`~autobuild.evaluate.protocol.NetworkEvaluator`.
        on_progress: Called at the start of a phase and after each evaluation.
        place: Where the evaluations run, instead of ``n_jobs`` processes here. Latencies are measured here.
        former: ``workers``, the former name of ``n_jobs``.

    Returns:
        The path of the file.

    Raises:
        RunError: If the file cannot be written, or another process is writing it.
        LabelError: If the file holds something else, or labels of another recipe.
        EvaluationError: At the end, if some evaluations failed; all others are in the file by then.
    """
    n_jobs = renamed("workers", former, "n_jobs", n_jobs, 1)
    path = Path(out_csv)
    texts = list(dict.fromkeys(str(space.parse(str(arch))) for arch in archs))
    if latency and not isinstance(evaluator, NetworkEvaluator):
        raise EvaluationError(
            f"{type(evaluator).__name__} has no networks, so their latency cannot be measured; use latency=False"
        )
    with locked(path):
        file = LabelFile.open(path, space.family, evaluator)
        where = place or Place(n_jobs=n_jobs)
        failures = _train(
            file, space, evaluator, texts, seeds_of(seeds), where, LATENCY if latency else None, on_progress
        )
        if latency and isinstance(evaluator, NetworkEvaluator):
            failures += _measure(file, space, evaluator, texts, on_progress)
    if failures:
        listed = "\n".join(f"  {f.arch}, seed {f.seed}: {f.reason}" for f in failures[:20])
        more = f"\n  ... and {len(failures) - 20} more" if len(failures) > 20 else ""
        raise EvaluationError(f"{len(failures)} evaluations failed; all others are in {path}:\n{listed}{more}")
    return path


class _Clock:
    """Turns results into progress reports."""

    def __init__(self, phase: str, done: int, total: int, report: Callable[[Progress], None] | None) -> None:
        self.phase, self.before, self.total, self.report = phase, done, total, report
        self.ended, self.failed, self.start = 0, 0, time.monotonic()
        self.tell(None)

    def tell(self, result: Result | None) -> None:
        if result is not None:
            self.ended += 1
            self.failed += result.metrics is None
        if self.report is None:
            return
        left = self.total - self.before - self.ended
        eta = (time.monotonic() - self.start) / self.ended * left if self.ended else float("nan")
        done = self.before + self.ended - self.failed
        self.report(Progress(self.phase, done, self.total, self.failed, eta, result))


def _train(
    file: LabelFile,
    space: SearchSpace,
    evaluator: Evaluator,
    texts: list[str],
    seeds: Sequence[int],
    place: Place,
    blank: str | None,
    report: Callable[[Progress], None] | None,
) -> list[Result]:
    wanted = [(text, int(seed)) for seed in dict.fromkeys(seeds) for text in texts]
    missing = [task for task in wanted if task not in file.rows]
    clock = _Clock("train", len(wanted) - len(missing), len(wanted), report)
    failures: list[Result] = []

    def finished(result: Result) -> None:
        reason = (
            result.reason if result.metrics is None else file.append(result.arch, result.seed, result.metrics, blank)
        )
        if reason:
            result = Result(result.arch, result.seed, None, reason)
            failures.append(result)
        clock.tell(result)

    run_tasks(space, evaluator, missing, place, finished)
    return failures


def _measure(
    file: LabelFile,
    space: SearchSpace,
    evaluator: NetworkEvaluator,
    texts: list[str],
    report: Callable[[Progress], None] | None,
) -> list[Result]:
    wanted = set(texts)
    labelled = dict.fromkeys(arch for arch, _ in file.rows if arch in wanted)
    blank = dict.fromkeys(arch for (arch, _), row in file.rows.items() if arch in wanted and not row.get(LATENCY))
    clock = _Clock("latency", len(labelled) - len(blank), len(labelled), report)
    failures: list[Result] = []
    unsaved = 0

    def finished(result: Result) -> None:
        nonlocal unsaved
        if result.metrics is None:
            failures.append(result)
        else:
            file.fill(result.arch, LATENCY, result.metrics[LATENCY])
            unsaved += 1
            if unsaved >= REWRITE_EVERY:
                file.rewrite()
                unsaved = 0
        clock.tell(result)

    try:
        run_tasks(space, LatencyMeter(evaluator), [(arch, 0) for arch in blank], Place(n_jobs=1), finished)
    finally:
        if unsaved:
            file.rewrite()
    return failures


__all__ = ["Place", "Progress", "Result", "evaluate_many", "label_architectures"]
