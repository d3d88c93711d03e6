"""The pictures of each job, drawn from the tables in its run folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autobuild.importance import Scores
    from autobuild.jobs.run import Run
    from autobuild.labels import LabelledSet
    from autobuild.spaces import SearchSpace
    from autobuild.studies.result import Search


def draw_fit(folder: Run) -> None:
    """Predicted against measured, rank correlation by hop, the losses, and the learning curve if there is one."""
    from autobuild import plot

    heldout, numbers = folder.read_frame("heldout.csv"), folder.metrics
    if len(heldout):
        save_picture(folder, "predicted.png", plot.predicted_vs_measured(heldout, numbers["target"]))
    if numbers.get("hop_srcc"):
        save_picture(folder, "hops.png", plot.hop_correlation(numbers))
    if folder.has("history.csv"):
        save_picture(folder, "history.png", plot.history(folder.read_frame("history.csv")))
    if folder.has("curve.csv"):
        save_picture(folder, "learning_curve.png", plot.learning_curve(folder.read_frame("curve.csv")))


def draw_scores(folder: Run, scores: Scores) -> None:
    """Where each choice matters, what interacts, the scores of feature values, the best candidates of every unit."""
    from autobuild import plot
    from autobuild.importance import AdditiveScores

    if isinstance(scores, AdditiveScores):
        save_picture(folder, "where.png", plot.effect_map(scores))
    save_picture(folder, "interactions.png", plot.interactions(scores))
    save_picture(folder, "features.png", plot.feature_scores(scores))
    save_picture(folder, "candidates.png", plot.top_candidates(scores))


def draw_best(folder: Run, scores: Scores) -> None:
    """The best built network, its nodes coloured by score at every hop; the built networks beside the labels."""
    from autobuild import plot
    from autobuild.importance import AdditiveScores

    built = folder.read_frame("built.csv")
    save_picture(folder, "best.png", plot.architecture(scores, built["arch"][0]))
    if isinstance(scores, AdditiveScores):
        save_picture(folder, "why.png", plot.waterfall(scores, built["arch"][0]))
    metrics = folder.metrics
    reference: Any = {"where": metrics.get("build_where"), "best_labelled": metrics.get("best_labelled")}
    save_picture(folder, "built.png", plot.built(built, scores, **reference))


def draw_pareto(folder: Run, labels: LabelledSet | None) -> None:
    """The predicted front, and the labelled networks behind it."""
    from autobuild import plot

    save_picture(folder, "pareto.png", plot.pareto_front(folder.read_frame("pareto.csv"), labels))


def draw_verified(folder: Run, labels: Any) -> None:
    """The built networks as measured, beside the labels and the best labelled network measured again.

    Args:
        folder: The run, with ``verified.csv``.
        labels: Target of the labelled rows, shape ``(n,)``.
    """
    from autobuild import plot

    frame = folder.read_frame("verified.csv")
    built = frame[frame["set"] == "built"].assign(rank=range(1, int((frame["set"] == "built").sum()) + 1))
    drawn = plot.built(
        built,
        labels,
        measured=built["measured"].to_numpy(),
        target=folder.metrics["target"],
        retrained=folder.metrics["labelled_best_retrained"],
    )
    save_picture(folder, "built.png", drawn)


def draw_space(folder: Run, space: SearchSpace) -> None:
    """The units of a space and their choices."""
    from autobuild import plot

    save_picture(folder, "space.png", plot.space(space))


def save_picture(folder: Run, name: str, drawn: Axes | Iterable[Axes]) -> None:
    """Save a plot in the run folder."""
    from autobuild import plot

    with folder.writing(name) as path:
        plot.save(drawn, path)


def draw_search(folder: Run, search: Search) -> None:
    """Save the figures of a search."""
    for name, _, axes in search_figures(search):
        save_picture(folder, name, axes)


def search_figures(search: Search) -> list[tuple[str, str, Axes]]:
    """File name, caption and axes of each figure of a search."""
    from autobuild import plot

    curve, drawn = search.history, []
    if len(search.targets) in (2, 3):
        front = plot.search_front(search.trials, search.front, search.targets)
        drawn.append(("front.png", "The networks measured, and their front", front))
        drawn.append(("hypervolume.png", "What the front covers so far", plot.search_hypervolume(curve)))
    history = plot.search_history(curve, search.targets[0])
    chain = plot.search_chain(search.chain)
    drawn.append(("history.png", "The first target over the evaluations", history))
    drawn.append(("chain.png", "The spaces searched one after another", chain))
    return drawn
