"""Fit a model on labelled architectures, and measure its accuracy on held-out ones.

Examples:
    autobuild fit
    autobuild fit labels=my.csv space=ofa_mbv3 target='100*acc - 2*log(latency_ms)' n=300 test=rest
    autobuild fit -m model=auto,gp,graph out=families
    autobuild fit -m model=graph encoder=gatv2,gcn ranking=srcc,none out=sweep

Writes:
    model/  the fitted model: what model= takes
    heldout.csv  arch, measured, predicted, ...: cross-validated; with model=graph the held-out rows and their norms by hop
    members.csv  members of the ensemble: weight, rank correlation alone, and of the ensemble without it (not with model=graph)
    history.csv  with model=graph: the losses of every epoch
    metrics.json  test_srcc, picked, fit_seconds, n_train, rest_srcc (with test=), versions, ...
    predicted.png  predicted against measured; hops.png, history.png: with model=graph
    curve.csv, learning_curve.png  would more labels help? (with curve=true)
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autobuild.jobs._families import saved_model
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import FitKeys, LabelKeys, RunKeys
from autobuild.settings.option import option


@dataclass
class Keys(RunKeys, FitKeys, LabelKeys):
    """Its keys."""

    plots: bool = option(True, "draw the pictures")
    curve: bool = option(False, "also fit on parts of the labels, to see whether more would help")


def run(config: Mapping[str, Any]) -> int:
    """Fit, judge, save."""
    from autobuild.jobs import _pictures as pictures
    from autobuild.jobs import _pipeline as pipeline
    from autobuild.jobs import _summaries as summaries
    from autobuild.jobs.run import Run, use_threads

    with Run.open("fit", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            labels = pipeline.read_labels(config) if saved_model(config) is None else None
            model = pipeline.fit_step(folder, config, labels)
            pipeline.score_test(folder, config, model, labels)
            if labels is not None and config["curve"] and config["fit"]["holdout"] > 0:
                pipeline.curve_step(folder, config, labels)
            if config["plots"]:
                pictures.draw_fit(folder)
        summaries.show_fit(folder)
        summaries.show_place(folder)
    return 0
