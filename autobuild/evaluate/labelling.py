"""Label architectures into a CSV file. After a kill no finished row is lost, and none is computed again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autobuild._moved import renamed_arguments
from autobuild._words import counted
from autobuild.errors import EvaluationError
from autobuild.evaluate._label_file import LabelFile, locked
from autobuild.evaluate.evaluator import Evaluator, NetworkEvaluator
from autobuild.evaluate.parallel import ExecutorSettings, Result, evaluate_many, run_tasks, seeds_of

if TYPE_CHECKING:
    from autobuild.spaces import Architecture, SearchSpace

LATENCY = "latency_ms"
REWRITE_EVERY = 20  # latencies after which the file is written again


@dataclass(frozen=True)
class Progress:
    """Progress of a labelling.

    Attributes:
        phase: ``"train"`` or ``"latency"``.
        done: Finished evaluations of this phase, those of earlier runs included.
        total: All evaluations of this phase.
        failed: Failed evaluations of this run.
        eta_seconds: Estimated seconds to the end of this phase; NaN before the first result of this run.
        result: The evaluation that has just ended; None at the start of a phase.
    """

    phase: str
    done: int
    total: int
    failed: int
    eta_seconds: float
    result: Result | None = None


@renamed_arguments({"workers": "n_jobs", "place": "settings"})
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
    settings: ExecutorSettings | None = None,
) -> Path:
    """Evaluate every architecture with every seed, write the results to ``out_csv``, then measure latencies.

    Columns: ``arch``, ``seed``, the metrics of the evaluator, and with ``latency`` the column ``latency_ms``: the
    median of :func:`autobuild.evaluate.latency.measure_latency`, empty until it is measured. A row is written to the
    disk as soon as its evaluation ends. Latencies are measured after all evaluations, in one process.

    The same call resumes an interrupted one: it removes an incomplete last line, keeps every finished row and evaluates
    the rest. Rows of other architectures are kept.

    Args:
        space: The space of the architectures.
        evaluator: Evaluates them.
        archs: Architectures or their texts.
        out_csv: The file; its folder is created. A file ``.lock`` beside it excludes a second process. A file
            ``.recipe.json`` beside it stores the origin of the labels, so that labels of different origins never mix.
        seeds: Number of seeds (0, 1, ...) for each architecture, or a list of them.
        n_jobs: Number of evaluations at the same time, each in a process of this machine with one thread.
        latency: Whether to measure latencies, which needs a :class:`~autobuild.evaluate.evaluator.NetworkEvaluator`.
        on_progress: Called at the start of a phase and after each evaluation.
        settings: Settings of another executor than ``n_jobs`` processes. Latencies are measured on this machine.

    Returns:
        The path of the file.

    Raises:
        RunError: The file cannot be written, or another process is writing it.
        LabelError: The file has other content, or labels of another origin.
        EvaluationError: Some evaluations failed; it is raised at the end, when all others are in the file.
    """
    path = Path(out_csv)
    texts = list(dict.fromkeys(str(space.parse(str(arch))) for arch in archs))
    if latency and not isinstance(evaluator, NetworkEvaluator):
        raise EvaluationError(
            f"{type(evaluator).__name__} has no networks, so their latency cannot be measured; use latency=False"
        )
    with locked(path):
        file = LabelFile.open(path, space.family, evaluator)
        where = settings or ExecutorSettings(n_jobs=n_jobs)
        failures = _train(
            file, space, evaluator, texts, seeds_of(seeds), where, LATENCY if latency else None, on_progress
        )
        if latency and isinstance(evaluator, NetworkEvaluator):
            failures += _measure(file, space, evaluator, texts, on_progress)
    if failures:
        listed = "\n".join(f"  {f.arch}, seed {f.seed}: {f.reason}" for f in failures[:20])
        more = f"\n  ... and {len(failures) - 20} more" if len(failures) > 20 else ""
        raise EvaluationError(
            f"{counted(len(failures), 'evaluation')} failed; all others are in {path}:\n{listed}{more}"
        )
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
    settings: ExecutorSettings,
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

    run_tasks(space, evaluator, missing, settings, finished)
    return failures


def _measure(
    file: LabelFile,
    space: SearchSpace,
    evaluator: NetworkEvaluator,
    texts: list[str],
    report: Callable[[Progress], None] | None,
) -> list[Result]:
    from autobuild.evaluate.latency import LatencyMeter  # imports all costs

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
        run_tasks(space, LatencyMeter(evaluator), [(arch, 0) for arch in blank], ExecutorSettings(n_jobs=1), finished)
    finally:
        if unsaved:
            file.rewrite()
    return failures


__all__ = ["ExecutorSettings", "Progress", "Result", "evaluate_many", "label_architectures"]
