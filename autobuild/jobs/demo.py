"""All steps on the embedded data: fit, explain, build, then train the built networks.

Takes about 90 seconds on two idle cores.

Examples:
    autobuild
    autobuild demo seed=1 out=my_demo
    autobuild demo n=100 build.top=3

Writes:
    report.html  all results on one page
    built.csv  rank, arch, score, predicted
    verified.csv  set (built or labelled), arch, predicted or label, measured (mean over seeds), measured_sd, seeds
    trained.csv  every single training; finished ones are not repeated after a kill
    candidates.csv, features.csv, operations.csv, layers.csv  effects of candidates, feature values, operations, layers
    heldout.csv  arch, measured, predicted, ...: cross-validated
    model/  the fitted model: what model= takes
    metrics.json  every number, the versions, and the hash of the labels
    *.png  the pictures
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autobuild.jobs._files import input_files
from autobuild.jobs.keys import ExecutorKeys, ExplainKeys, FitKeys, FreshSeedKeys, LabelKeys, RunKeys
from autobuild.settings.option import nested, option


@dataclass
class BuildKeys:
    """Keys ``build.*``."""

    top: int = option(5, "how many networks are built and verified", ">=1 <=1000")


@dataclass
class Keys(RunKeys, FreshSeedKeys, ExecutorKeys, ExplainKeys, FitKeys, LabelKeys):
    """Its keys."""

    build: BuildKeys = nested(BuildKeys)
    plots: bool = option(True, "draw the pictures")


def run(config: Mapping[str, Any]) -> int:
    """Fit, explain, build, verify; then tell everything once more in order."""
    from autobuild.jobs import _pipeline as pipeline
    from autobuild.jobs import _summaries as summaries
    from autobuild.jobs import build
    from autobuild.jobs._page import write_page
    from autobuild.jobs.run import Run
    from autobuild.jobs.verify import verify_step

    with Run.open("demo", config, input_files(config)) as folder:
        if not folder.finished:
            build.compute(folder, config)
            labels = pipeline.read_labels(config, quiet=True)
            config = {**config, "target": folder.metrics["target"]}  # a saved model has its own target
            verify_step(folder, config, labels, folder.read_frame("built.csv"), config["build"]["top"])
            write_page(folder)
        summaries.show_answer(folder)
        build.show(folder)
        summaries.show_verified(folder)
        summaries.show_place(folder)
    return 0
