"""Train and measure built networks, and the best labelled ones with the same new seeds.

The maximum of many noisy labels is too high on average, so the best labelled architectures are trained again, too.

Examples:
    autobuild verify built=runs/build/20250131-120000
    autobuild verify built=my_build/built.csv labels=my.csv space=tiny_mbconv top=10 seeds=3
    autobuild verify built=my_build labels=my.csv space=ofa_mbv3 evaluator=python:my_package.training:evaluate n_jobs=4

Writes:
    verified.csv  set (built or labelled), arch, predicted or label, measured (mean over seeds), measured_sd, seeds
    trained.csv  every single training; finished ones are not repeated after a kill
    built.png  the built networks beside the labelled ones
    metrics.json  built_first, built_best, built_mean, labelled_best, labelled_best_retrained, labelled_mean, versions, ...
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import LabelError
from autobuild.jobs import _console as console
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import ExecutorKeys, FreshSeedKeys, LabelKeys, RunKeys
from autobuild.settings.option import option

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.construct.verification import Measure
    from autobuild.cost.space_costs import SpaceCosts
    from autobuild.jobs.run import Run
    from autobuild.labels import LabelledSet
    from autobuild.spaces import Architecture


@dataclass
class Keys(RunKeys, FreshSeedKeys, ExecutorKeys, LabelKeys):
    """Its keys."""

    built: str | None = option(None, "the folder of a build run, or its built.csv", kind="path", required=True)
    top: int = option(5, "how many of the built networks", ">=1 <=1000")
    plots: bool = option(True, "draw the picture")


def run(config: Mapping[str, Any]) -> int:
    """Read the built networks and the labels, evaluate, compare."""
    from autobuild.jobs import _pipeline as pipeline
    from autobuild.jobs import _summaries as summaries
    from autobuild.jobs.run import Run, use_threads

    with Run.open("verify", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            labels = pipeline.read_labels(config)
            verify_step(folder, config, labels, read_built(Path(config["built"])), config["top"])
        summaries.show_verified(folder)
        summaries.show_place(folder)
    return 0


def read_built(path: Path) -> pd.DataFrame:
    """Read ``built.csv``, given as a file or by its run folder.

    Raises:
        LabelError: There is no such file, or it has no column ``arch``.
    """
    import pandas as pd

    file = path / "built.csv" if path.is_dir() else path
    if not file.is_file():
        raise LabelError(f"built={path}: no such file: {file}; accepted is a run folder of build, or its built.csv")
    try:
        frame = pd.read_csv(file, dtype={"arch": str})
    except (ValueError, OSError) as error:
        raise LabelError(f"{file}: cannot be read as a table: {error}") from error
    if "arch" not in frame or frame.empty:
        raise LabelError(f"{file}: a column arch with at least one row is needed (columns: {', '.join(frame.columns)})")
    return frame


def verify_step(folder: Run, config: Mapping[str, Any], labels: LabelledSet, built: pd.DataFrame, top: int) -> None:
    """Evaluate the built networks and the best labelled one with fresh seeds, and compare.

    Args:
        folder: Where the tables go; finished evaluations found there are not repeated.
        config: The job's settings: ``target``, ``evaluator``, where it runs, ``seeds``, ``seed`` and ``plots``.
        labels: The labelled set that the model was fitted on.
        built: The built networks, best first: ``arch``, and ``predicted`` if known.
        top: How many of them.
    """
    with folder.step("verify") as todo:
        if not todo:
            return
        from autobuild.construct.verification import verify
        from autobuild.jobs import _evaluation as evaluation
        from autobuild.jobs import _pictures as pictures
        from autobuild.jobs import _pipeline as pipeline

        costs = pipeline.costs(config, labels.space)
        with console.noted():
            comparison = verify(
                built,
                config["evaluator"],
                labels,
                target=config["target"],
                top=top,
                seeds=evaluation.seeds_of(config),
                seed=config["seed"],
                costs=costs,
                measure=_measure(folder, config, labels, costs),
            )
        known = labels.target(config["target"], costs).values
        folder.write_frame("verified.csv", comparison.frame)
        folder.record(
            **_numbers(comparison.frame, known), target=config["target"], verify_trainings=len(comparison.trained)
        )
        if config["plots"]:
            pictures.draw_verified(folder, known)


def _measure(folder: Run, config: Mapping[str, Any], labels: LabelledSet, costs: SpaceCosts) -> Measure:
    """A function that evaluates with ``evaluator=`` and keeps results in the run folder."""
    from autobuild.jobs import _evaluation as evaluation
    from autobuild.jobs import _measuring as measuring

    names = labels.names(costs)
    needs = names.metrics(names.target(config["target"]))
    space_trains = config["evaluator"] == "train"  # with the space's own training, which also allows to measure latency
    evaluator = None if space_trains else evaluation.evaluator_of(config, labels.space, needs, labels)
    how: dict[str, Any] = {"evaluator": evaluator, "latency": space_trains and "latency_ms" in needs}

    def measure(archs: Sequence[Architecture], seeds: Sequence[int]) -> tuple[pd.DataFrame, Mapping[str, str]]:
        return measuring.train_some(folder, labels.space, archs, seeds, evaluation.executor_settings(config), **how)

    return measure


def _numbers(frame: pd.DataFrame, labels: Any) -> dict[str, float]:
    built = frame[frame["set"] == "built"]["measured"]  # NaN if all evaluations failed
    labelled = frame[frame["set"] == "labelled"]
    return {
        "built_first": built.iloc[0],
        "built_best": built.max(),
        "built_mean": built.mean(),
        "labelled_best": labels.max(),
        "labelled_best_retrained": labelled["measured"].max(),
        "labelled_mean": labels.mean(),
    }
