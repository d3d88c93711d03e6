"""Train architectures and show progress; used by ``label``, ``rounds``, ``verify`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from autobuild.jobs._console import Phases, noted

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.evaluate import Evaluator, ExecutorSettings
    from autobuild.evaluate.labelling import Progress, Result
    from autobuild.jobs.run import Run
    from autobuild.spaces import Architecture, SearchSpace

TRAINED = "trained.csv"


def train(
    folder: Run,
    space: SearchSpace,
    archs: Sequence[Architecture],
    seeds: Sequence[int],
    settings: ExecutorSettings,
    *,
    latency: bool,
    evaluator: Evaluator | None = None,
) -> pd.DataFrame:
    """Train every architecture with every seed; finished trainings of an earlier process are not repeated.

    Args:
        folder: Where the rows go.
        space: The space of the architectures.
        archs: What is trained.
        seeds: Seeds for each architecture.
        settings: Where the evaluations run.
        latency: Whether to measure latencies afterwards, on this machine.
        evaluator: What trains them (None: the space's own).

    Returns:
        ``arch, seed`` and the metrics, a row a training, in the order of ``archs`` and ``seeds``. The same rows are in
        ``trained.csv`` of the run folder as soon as each training ends.

    Raises:
        EvaluationError: The space has no evaluator, or some trainings failed; all others are kept.
    """
    _train(folder, space, archs, seeds, settings, latency, evaluator, lambda result: None)
    frame = _read(folder)
    wanted = [(str(arch), int(seed)) for arch in archs for seed in seeds]
    return frame.loc[list(dict.fromkeys(wanted))].reset_index()


def train_some(
    folder: Run,
    space: SearchSpace,
    archs: Sequence[Architecture],
    seeds: Sequence[int],
    settings: ExecutorSettings,
    *,
    latency: bool,
    evaluator: Evaluator | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Like :func:`train`, but failed trainings are returned instead of raised.

    Returns:
        The rows of the trainings that ended well, and the text of every architecture with a failure -> why.

    Raises:
        EvaluationError: The space has no evaluator.
    """
    import pandas as pd

    from autobuild.errors import EvaluationError

    reasons: dict[str, str] = {}

    def failed(result: Result) -> None:
        reasons.setdefault(result.arch, result.reason)

    try:
        _train(folder, space, archs, seeds, settings, latency, evaluator, failed)
    except EvaluationError:
        if not reasons:
            raise
    file = folder.dir / TRAINED
    if not file.is_file() or not file.stat().st_size:
        return pd.DataFrame(columns=["arch", "seed"]), reasons
    frame = _read(folder)
    wanted = [(str(arch), int(seed)) for arch in archs for seed in seeds]
    return frame.loc[[row for row in dict.fromkeys(wanted) if row in frame.index]].reset_index(), reasons


def _train(
    folder: Run,
    space: SearchSpace,
    archs: Sequence[Architecture],
    seeds: Sequence[int],
    settings: ExecutorSettings,
    latency: bool,
    evaluator: Evaluator | None,
    on_failure: Callable[[Result], None],
) -> None:
    from autobuild.evaluate.labelling import label_architectures

    path = folder.path(TRAINED)
    for beside in (f"{TRAINED}.lock", "trained.recipe.json"):
        folder.path(beside)
    chosen = evaluator if evaluator is not None else _own(space)
    with noted(), Phases() as phases:

        def show(progress: Progress) -> None:
            if progress.result is not None and progress.result.metrics is None:
                on_failure(progress.result)
            metrics = progress.result.metrics if progress.result is not None else None
            note = f"acc {metrics['acc']:.2f}" if metrics and "acc" in metrics else ""
            failed = f" {progress.failed} failed" if progress.failed else ""
            phases.show(progress.phase, progress.done, progress.total, note + failed)

        label_architectures(space, chosen, archs, path, seeds, latency=latency, on_progress=show, settings=settings)


def _own(space: SearchSpace) -> Evaluator:
    """The evaluator that the space declares.

    Raises:
        EvaluationError: It has none.
    """
    from autobuild.errors import EvaluationError
    from autobuild.evaluate.evaluator import evaluator_for

    try:
        return evaluator_for(space)
    except EvaluationError as error:
        raise EvaluationError(f"{error}; or give evaluator=, such as table:FILE or python:module:function") from None


def _read(folder: Run) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(folder.dir / TRAINED, dtype={"arch": str}).set_index(["arch", "seed"])
