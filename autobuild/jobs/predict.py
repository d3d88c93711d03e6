"""Predict the target of architectures with a saved model, with intervals.

Examples:
    autobuild predict model=runs/fit/20250131-120000/model archs=candidates.csv
    autobuild predict model=my_fit/model archs='e3k3s0-e6k5s1|e3k3s0|e3k3s0' level=0.8

Writes:
    predictions.csv  arch, predicted, lower, upper (and the columns of archs=, if it is a table)
    metrics.json  how many, the level of the interval, versions, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autobuild.jobs._console import heading, say, table
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import RunKeys
from autobuild.settings.names import INTERVAL_LEVEL
from autobuild.settings.option import option


@dataclass
class Keys(RunKeys):
    """Its keys."""

    model: str | None = option(None, "the folder model/ of a run of fit, explain or build", kind="path", required=True)
    archs: str | None = option(
        None,
        "architectures: a table with a column arch, a text file with one a line, or one architecture",
        required=True,
    )
    features: str | list[str] | None = option(
        None,
        "functions that the model was fitted with, package.module:function: they run, so name those you trust",
        kind="texts",
    )
    level: float = option(INTERVAL_LEVEL, "the share of true values that an interval should hold", ">0 <1")


def run(config: Mapping[str, Any]) -> int:
    """Load the model, read the architectures, predict."""
    from autobuild.jobs.run import Run, use_threads

    with Run.open("predict", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            _predict(folder, config)
        frame = folder.read_frame("predictions.csv")
        heading(f"Predictions of {folder.metrics['target']}, intervals of level {config['level']:g}")
        table(frame, rows=20)
        if frame["lower"].isna().all():
            say("  too few rows were held out when the model was fitted for intervals of this level")
        say(f"\n{folder.dir / 'predictions.csv'}")
    return 0


def _predict(folder: Any, config: Mapping[str, Any]) -> None:
    import autobuild as ab
    from autobuild.jobs._archs import read_archs

    features = config["features"] or ()
    model = ab.FittedModel.load(config["model"], features=features)
    given, archs = read_archs(config["archs"], model.space)
    predicted = model.predict(archs, level=config["level"])
    kept = given.drop(columns=[name for name in given.columns if name in predicted.columns])
    folder.write_frame("predictions.csv", predicted.join(kept))
    folder.record(n=len(predicted), level=config["level"], target=model.target, space=model.space.name)
