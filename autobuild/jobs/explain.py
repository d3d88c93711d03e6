"""Score how much feature values, operations, layers and candidates contribute to the target.

Scores are in units of the target. n_seen is the number of labelled architectures that contain what is scored.

Examples:
    autobuild explain
    autobuild explain labels=my.csv space=ofa_mbv3 target=acc
    autobuild explain model=runs/fit/20250131-120000/model

Writes:
    report.html  all results on one page
    features.csv  feature, value, score, effect (units of the target), lower, upper (90 %), n_seen
    operations.csv, layers.csv  the score of every operation and layer of every unit
    places.csv  the effect of every choice, by unit and layer
    choices.csv  best and second-best value of every choice, and whether their difference is significant
    interactions.csv  pairs of choices whose effects do not add up, with 90 % intervals
    candidates.csv  unit, candidate, hops, score, lower, upper, n_seen, ...: every candidate of every unit, best first
    model/  the fitted model (unless model= was given)
    metrics.json  test_srcc, hop_srcc, explain_seconds, n_candidates, versions, ...
    where.png, interactions.png  effects by unit and layer; interactions
    features.png, candidates.png  the scores of the feature values; the best candidates of every unit
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autobuild.jobs._families import saved_model
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import ExplainKeys, FitKeys, LabelKeys, RunKeys
from autobuild.settings.option import option


@dataclass
class Keys(RunKeys, ExplainKeys, FitKeys, LabelKeys):
    """Its keys."""

    plots: bool = option(True, "draw the pictures")


def run(config: Mapping[str, Any]) -> int:
    """Fit (or load) a model, score everything, show the best."""
    from autobuild.jobs import _pictures as pictures
    from autobuild.jobs import _pipeline as pipeline
    from autobuild.jobs import _summaries as summaries
    from autobuild.jobs._page import write_page
    from autobuild.jobs.run import Run, use_threads

    with Run.open("explain", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            labels = pipeline.read_labels(config) if saved_model(config) is None else None
            model = pipeline.fit_step(folder, config, labels)
            pipeline.score_test(folder, config, model, labels)
            scores = pipeline.explain_step(folder, config, model)
            if config["plots"]:
                pictures.draw_fit(folder)
                pictures.draw_scores(folder, scores)
            write_page(folder)
        summaries.show_fit(folder)
        summaries.show_where(folder)
        summaries.show_features(folder)
        summaries.show_candidates(folder)
        summaries.show_place(folder)
    return 0
