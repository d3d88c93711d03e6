"""``autobuild build``: build the best networks directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autobuild.jobs.families import saved_model
from autobuild.jobs.files import input_files

if TYPE_CHECKING:
    from autobuild.jobs.run import Run


def run(config: Mapping[str, Any]) -> int:
    """Fit (or load) a model, score everything, assemble the best networks."""
    from autobuild.jobs import shows
    from autobuild.jobs.run import Run

    with Run.open("build", config, input_files(config)) as folder:
        if not folder.finished:
            compute(folder, config)
        show(folder)
        shows.show_place(folder)
    return 0


def compute(folder: Run, config: Mapping[str, Any]) -> None:
    """The steps, also those of the demo: fit, explain, build, pictures."""
    from autobuild.jobs import pictures, steps
    from autobuild.jobs.run import use_threads

    use_threads(config["threads"])
    labels = steps.labels_of(config)
    model = steps.fit_step(folder, config, None if saved_model(config) else labels)
    steps.score_test(folder, config, model, None if saved_model(config) else labels)
    scores = steps.explain_step(folder, config, model)
    steps.build_step(folder, config, scores, labels)
    if config["plots"]:
        pictures.draw_fit(folder)
        pictures.draw_scores(folder, scores)
        pictures.draw_best(folder, scores)
        if folder.has("pareto.csv"):
            pictures.draw_pareto(folder, labels)


def show(folder: Run) -> None:
    """What was found."""
    from autobuild.jobs import shows

    shows.show_fit(folder)
    shows.show_features(folder)
    shows.show_candidates(folder)
    shows.show_built(folder)
