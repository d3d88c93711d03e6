"""Training architectures for real, with progress: shared by ``label``, ``verify`` and the demo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autobuild.jobs.console import Phases

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.evaluate.labelling import Progress
    from autobuild.jobs.run import Run
    from autobuild.spaces import Architecture, SearchSpace

TRAINED = "trained.csv"


def train(
    folder: Run,
    space: SearchSpace,
    archs: Sequence[Architecture],
    seeds: Sequence[int],
    workers: int,
    *,
    latency: bool,
) -> pd.DataFrame:
    """Train every architecture with every seed; those that an earlier process has finished are not repeated.

    Returns:
        ``arch, seed`` and the metrics, a row a training, in the order of ``archs`` and ``seeds``. The same rows are in
        ``trained.csv`` of the run folder as soon as each training ends.

    Raises:
        EvaluationError: The space has no evaluator, or some trainings failed; all others are kept.
    """
    import pandas as pd

    from autobuild.evaluate.labelling import label_architectures
    from autobuild.evaluate.protocol import evaluator_for

    path = folder.path(TRAINED)
    for beside in (f"{TRAINED}.lock", "trained.recipe.json"):
        folder.path(beside)
    evaluator = evaluator_for(space)
    with Phases() as phases:

        def show(progress: Progress) -> None:
            metrics = progress.result.metrics if progress.result is not None else None
            note = f"acc {metrics['acc']:.2f}" if metrics and "acc" in metrics else ""
            failed = f" {progress.failed} failed" if progress.failed else ""
            phases.show(progress.phase, progress.done, progress.total, note + failed)

        label_architectures(space, evaluator, archs, path, seeds, workers, latency, show)
    frame = pd.read_csv(path).set_index(["arch", "seed"])
    wanted = [(str(arch), int(seed)) for arch in archs for seed in seeds]
    return frame.loc[list(dict.fromkeys(wanted))].reset_index()
