"""``autobuild verify``: really evaluate built networks, beside the best labelled ones with the same fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, LabelError
from autobuild.jobs.files import input_files

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.jobs.run import Run
    from autobuild.labels import LabelledSet, TargetExpression
    from autobuild.spaces import Architecture, SearchSpace

# Labels are made with small seeds; a fresh seed must not repeat one of theirs.
_FIRST_FRESH_SEED = 10_000
_LABELLED = 1


def run(config: Mapping[str, Any]) -> int:
    """Read the built networks and the labels, train, compare."""
    if config["built"] is None:
        raise ConfigError(
            "verify needs built=, the folder of a build run or its built.csv; see autobuild verify --help"
        )
    from autobuild.jobs import shows, steps
    from autobuild.jobs.run import Run, use_threads

    with Run.open("verify", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            labels = steps.read_labels(config)
            verify_step(folder, config, labels, read_built(Path(config["built"])), config)
        shows.show_verified(folder)
        shows.show_place(folder)
    return 0


def read_built(path: Path) -> pd.DataFrame:
    """Read ``built.csv``, given as such or by the run folder that holds it.

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


def verify_step(
    folder: Run, config: Mapping[str, Any], labels: LabelledSet, built: pd.DataFrame, how: Mapping[str, Any]
) -> None:
    """Train the built networks and the best labelled one with fresh seeds, and compare.

    Args:
        folder: Where the tables go; finished trainings found there are not repeated.
        config: The job's settings: ``target``, ``seed`` and ``plots`` are read.
        labels: The labelled set that the model was fitted on.
        built: The built networks, best first: ``arch``, and ``predicted`` if known.
        how: ``top``, ``seeds`` and ``workers``.
    """
    with folder.step("verify") as todo:
        if not todo:
            return
        from autobuild.evaluate import Place
        from autobuild.jobs import measuring, pictures, steps

        space = labels.space
        usable = labels.target(config["target"], steps.costs(config, space))
        expression = usable.expression
        best = [usable.labels.archs[row] for row in usable.values.argsort(kind="stable")[::-1][:_LABELLED]]
        top = built.head(how["top"])
        archs = [space.parse(text) for text in top["arch"]]
        first = _FIRST_FRESH_SEED + 1_000 * int(config["seed"])
        seeds = list(range(first, first + how["seeds"]))
        latency = any(name.endswith("latency_ms") for name in expression.names)
        trained = measuring.train(folder, space, [*archs, *best], seeds, Place(workers=how["workers"]), latency=latency)
        label_of = dict(zip(usable.labels.keys, usable.values, strict=True))
        predicted = dict(zip(map(str, archs), top["predicted"], strict=True)) if "predicted" in top else {}
        frame = _table(space, expression, trained, archs, best, label_of, predicted)
        folder.write_frame("verified.csv", frame)
        folder.record(**_numbers(frame, usable.values), target=config["target"], verify_trainings=len(trained))
        if config["plots"]:
            pictures.draw_verified(folder, usable.values)


def _table(
    space: SearchSpace,
    expression: TargetExpression,
    trained: pd.DataFrame,
    built: Sequence[Architecture],
    best: Sequence[Architecture],
    label_of: Mapping[str, float],
    predicted: Mapping[str, float],
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    rows = []
    for which, archs in (("built", built), ("labelled", best)):
        for arch in archs:
            values = _target(expression, trained[trained["arch"] == str(arch)])
            rows.append(
                {
                    "set": which,
                    "arch": str(arch),
                    "predicted": predicted.get(str(arch), np.nan) if which == "built" else np.nan,
                    "label": label_of.get(space.key(arch), np.nan),
                    "measured": values.mean(),
                    "deviation": values.std(ddof=1) if len(values) > 1 else np.nan,
                    "seeds": len(values),
                }
            )
    return pd.DataFrame(rows)


def _target(expression: TargetExpression, trained: pd.DataFrame) -> Any:
    """The target of every training of one architecture.

    Raises:
        ConfigError: The target names a metric that the evaluator does not measure.
    """

    def column(name: str) -> Any:
        bare = name.removeprefix("label.").removeprefix("cost.")
        if bare not in trained:
            known = ", ".join(map(str, trained.columns[2:]))
            raise ConfigError(f"target={expression}: the evaluator measures {known}; {bare!r} is not among them")
        return trained[bare].to_numpy(dtype=float)

    return expression.evaluate(column)


def _numbers(frame: pd.DataFrame, labels: Any) -> dict[str, float]:
    built = frame[frame["set"] == "built"]["measured"]
    labelled = frame[frame["set"] == "labelled"]
    return {
        "built_first": built.iloc[0],
        "built_best": built.max(),
        "built_mean": built.mean(),
        "labelled_best": labels.max(),
        "labelled_best_retrained": labelled["measured"].max(),
        "labelled_mean": labels.mean(),
    }
