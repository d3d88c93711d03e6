"""``autobuild fit``: fit a model on labelled architectures and judge it on held-out ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobuild.jobs.families import saved_model
from autobuild.jobs.files import input_files


def run(config: Mapping[str, Any]) -> int:
    """Fit, judge, save."""
    from autobuild.jobs import pictures, shows, steps
    from autobuild.jobs.run import Run, use_threads

    with Run.open("fit", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            labels = steps.read_labels(config) if saved_model(config) is None else None
            model = steps.fit_step(folder, config, labels)
            steps.score_test(folder, config, model, labels)
            if labels is not None and config["curve"] and config["fit"]["holdout"] > 0:
                steps.curve_step(folder, config, labels)
            if config["plots"]:
                pictures.draw_fit(folder)
        shows.show_fit(folder)
        shows.show_place(folder)
    return 0
