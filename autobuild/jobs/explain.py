"""``autobuild explain``: say what matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobuild.jobs.families import saved_model
from autobuild.jobs.files import input_files


def run(config: Mapping[str, Any]) -> int:
    """Fit (or load) a model, score everything, show the best."""
    from autobuild.jobs import pictures, shows, steps
    from autobuild.jobs.run import Run, use_threads

    with Run.open("explain", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            labels = steps.read_labels(config) if saved_model(config) is None else None
            model = steps.fit_step(folder, config, labels)
            steps.score_test(folder, config, model, labels)
            scores = steps.explain_step(folder, config, model)
            if config["plots"]:
                pictures.draw_fit(folder)
                pictures.draw_scores(folder, scores)
        shows.show_fit(folder)
        shows.show_features(folder)
        shows.show_candidates(folder)
        shows.show_place(folder)
    return 0
