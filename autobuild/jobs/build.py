"""Build the best networks of a space without a search: fit, explain, combine the best candidates exactly.

Examples:
    autobuild build
    autobuild build labels=my.csv space=ofa_mbv3 target='acc - 0.01*latency_gpu' n=300 build.top=20
    autobuild build labels=my.csv space=ofa_mbv3 where='latency_gpu <= 8 and params < 6e6'
    autobuild build labels=my.csv space=ofa_mbv3 build.pareto='-latency_gpu'
    autobuild build build.narrow=5 && autobuild sample space=runs/build/20250131-120000/narrowed.json

Writes:
    report.html  all results on one page
    built.csv  rank, arch, score, predicted, lower, upper (90 %), and limited metrics
    prices.csv  with where: increase of the target if each limit is loosened by 5 %
    pareto.csv, pareto.png  with build.pareto: the predicted Pareto front
    candidates.csv  unit, candidate, hops, score, lower, upper, n_seen, ...: every candidate of every unit, best first
    features.csv, operations.csv, layers.csv  what feature values, operations, layers add, in units of the target
    places.csv  the effect of every choice, by unit and layer
    choices.csv  best and second-best value of every choice, and whether their difference is significant
    interactions.csv  pairs of choices whose effects do not add up
    narrowed.json  with build.narrow: the space of the best candidates only; space= takes it
    members.csv  members of the ensemble: weight, rank correlation alone, and of the ensemble without it
    heldout.csv  arch, measured, predicted, ...: cross-validated (model=graph: the held-out rows)
    model/  the fitted model (unless model= was given)
    metrics.json  test_srcc, hop_srcc, rest_srcc (with test=), fit_seconds, explain_seconds, build_seconds, n_train, ...
    *.png  effects by unit and layer, interactions, the best network, predicted against measured, features, candidates, ...
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.jobs._families import saved_model
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import ExplainKeys, FitKeys, LabelKeys, RunKeys
from autobuild.settings.names import BOUNDS
from autobuild.settings.option import nested, option

if TYPE_CHECKING:
    from autobuild.jobs.run import Run


@dataclass
class BuildKeys:
    """Keys ``build.*``."""

    top: int = option(10, "how many networks", ">=1 <=100000")
    by: str = option(
        "predicted",
        "what ranks them: the prediction, or a bound of its 80 % interval (lower: cautious, upper: exploring)",
        choices=BOUNDS,
    )
    apart: int = option(0, "any two networks differ in at least this many layers", ">=0 <=1000")
    time_limit_s: float = option(
        60.0,
        "seconds at most for each exact search under limits; work ends most of them before",
        ">0 <=3600",
        former=("build.time_limit",),
    )
    narrow: int | None = option(
        None, "also write the space that keeps only this many best candidates of each unit", ">=1"
    )
    pareto: str | list[str] | None = option(
        None,
        "one or two more targets, separated by ';' or as a list, e.g. '-latency_gpu': also the predicted Pareto front",
        kind="texts",
    )


@dataclass
class Keys(RunKeys, ExplainKeys, FitKeys, LabelKeys):
    """Its keys."""

    where: str | None = option(
        None,
        "limits that every network satisfies, e.g. 'latency_gpu <= 8 and params < 6e6': label columns are"
        " predicted, costs are exact",
        former=("build.where",),
    )
    build: BuildKeys = nested(BuildKeys)
    plots: bool = option(True, "draw the pictures")


def run(config: Mapping[str, Any]) -> int:
    """Fit (or load) a model, score everything, assemble the best networks."""
    from autobuild.jobs import _summaries as summaries
    from autobuild.jobs._page import write_page
    from autobuild.jobs.run import Run

    with Run.open("build", config, input_files(config)) as folder:
        if not folder.finished:
            compute(folder, config)
            write_page(folder)
        show(folder)
        summaries.show_place(folder)
    return 0


def compute(folder: Run, config: Mapping[str, Any]) -> None:
    """The steps, also those of the demo: fit, explain, build, pictures."""
    from autobuild.jobs import _pictures as pictures
    from autobuild.jobs import _pipeline as pipeline
    from autobuild.jobs.run import use_threads

    use_threads(config["threads"])
    labels = pipeline.labels_of(config)
    model = pipeline.fit_step(folder, config, None if saved_model(config) else labels)
    pipeline.score_test(folder, config, model, None if saved_model(config) else labels)
    scores = pipeline.explain_step(folder, config, model)
    pipeline.build_step(folder, config, scores, labels)
    if config["plots"]:
        pictures.draw_fit(folder)
        pictures.draw_scores(folder, scores)
        pictures.draw_best(folder, scores)
        if folder.has("pareto.csv"):
            pictures.draw_pareto(folder, labels)


def show(folder: Run) -> None:
    """What was found."""
    from autobuild.jobs import _summaries as summaries

    summaries.show_fit(folder)
    summaries.show_where(folder)
    summaries.show_features(folder)
    summaries.show_candidates(folder)
    summaries.show_built(folder)
