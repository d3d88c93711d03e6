"""From scores to networks: the best ones, the Pareto front of several targets, and narrowed spaces."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autobuild._moved import renamed_arguments
from autobuild._typing import FloatArray
from autobuild.construct._evaluators import evaluator_of
from autobuild.construct._limit_metrics import best_labelled, limits_on
from autobuild.construct._posterior import front_scores, probable_front, probable_networks
from autobuild.construct.building import Built, build_by_sum, build_refined
from autobuild.construct.extrapolation import followed
from autobuild.construct.local_search import climb_front
from autobuild.construct.narrowing import narrow_probable, narrow_units, narrowing_note
from autobuild.construct.pareto import additive_front
from autobuild.cost import Hardware
from autobuild.errors import ConfigError, nearest
from autobuild.importance import AdditiveScores, Scores
from autobuild.models import FittedModel
from autobuild.settings.names import INTERVAL_LEVEL
from autobuild.settings.option import positive
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Additive

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.labels import LabelledSet

SLOW_FRONT = 3_000  # networks evaluated for a front where each needs a graph
FRONT_ENDS = 20  # networks built for each target alone that a front begins with


@renamed_arguments({"time_limit": "time_limit_s"})
def build(
    scores: Scores,
    top: int = 10,
    *,
    where: str | None = None,
    labels: LabelledSet | None = None,
    by: str = "predicted",
    apart: int = 0,
    time_limit_s: float = 60.0,
    hardware: str | Path | Hardware | None = None,
) -> Built:
    """Build the ``top`` best networks.

    The ten thousand networks with the best sums of scores are found exactly; the full predictor ranks them, and a local
    search improves the best. For a model without joint draws, such as ``"trees"``, networks are ranked by a mixture of
    sums and predictions (:func:`autobuild.construct.extrapolation.followed`).
    For the paper's scorer ``hopnorm`` the result is the exact k best sums, without a predictor.

    Args:
        scores: Candidate scores.
        top: How many.
        where: Limits such as ``"latency_gpu <= 8 and params < 6e6"`` over label columns (predicted by a Gaussian
            process) and costs (exact, see :func:`costs`); ``label.params`` and ``cost.params`` say which, where both
            exist. For a cost that is not a sum over units, such as ``dram_bytes``, two sums are bounds: networks that
            certainly satisfy the limit are proposed, and some that probably do; the cost of the latter is computed
            if they are among the best.
        labels: Where limited label columns come from; those that the model was fitted on by default.
        by: ``"predicted"``; ``"lower"`` or ``"upper"``: that bound of the 80 % interval, for cautious building or for
            exploring.
        apart: Least number of layers in which any two built networks differ.
        time_limit_s: Most seconds of each search under limits. Most searches end earlier by a limit on their work, so
            the result does not depend on the load of the machine.
        hardware: What limited costs are computed for (default: what the target's are, else ``edge_npu``).

    Returns:
        A sequence of architectures; ``.frame`` has ``rank, arch, score, predicted, lower, upper`` and the limited
        metrics, ``.prices`` the gain if each limit is loosened.

    Raises:
        ConfigError: For an unusable argument, a limit that cannot be read, or a name in it that is unknown.
        NoNetworkError: If no network satisfies the limits: which one, by how much, and the nearest network.
    """
    if not isinstance(scores, Scores):
        raise ConfigError(f"scores={scores!r}: scores are accepted, as model.explain() returns them")
    positive("build.time_limit_s", time_limit_s)
    model, space = scores.model, scores.space
    if not isinstance(scores, AdditiveScores):
        if where is not None or by != "predicted" or apart:
            raise ConfigError(
                f"where, by and apart need additive scores, not those of scorer={scores.scorer}; ab.budget_front takes "
                "these, too, and limits costs"
            )
        built = build_by_sum(space, scores.unit_scores, top, model.predict_mean)
        # a candidate score is on the target's scale, so a network's is the mean over its units: the order is the sum's
        return Built(
            built.archs,
            built.scores / len(space.units),
            built.predicted,
            target=model.target,
            best_labelled=best_labelled(scores, None, labels),
        )
    if by not in ("predicted", "lower", "upper"):
        raise ConfigError(f"by={by!r}: {nearest(by, ('predicted', 'lower', 'upper'))}")
    limited = None
    if where is not None:
        limited = limits_on(scores, where, labels, hardware, time_limit_s)
    evaluator = evaluator_of(model, space, lambda part: _predictor(part, by, scores))
    archs = build_refined(space, scores.unit_scores, evaluator, top, limited=limited, apart=apart)
    predicted, lower, upper = model.reported_intervals(archs, INTERVAL_LEVEL)
    values = limited.values(archs) if limited else {}
    prices = limited.prices() if limited else None
    return Built(
        tuple(archs),
        scores.projection.sums(archs),
        predicted,
        lower,
        upper,
        values,
        prices,
        target=model.target,
        where=" and ".join(limit.text for limit in limited.limits) if limited else "",
        best_labelled=best_labelled(scores, limited, labels),
    )


def _predictor(model: FittedModel, by: str, scores: AdditiveScores) -> Callable[[Sequence[Architecture]], FloatArray]:
    """What networks are ranked by."""
    if by == "predicted":
        share = followed(scores)
        if share == 1:
            return model.predict_mean
        sums = scores.projection.sums
        return lambda archs: share * model.predict_mean(archs) + (1 - share) * sums(archs)
    side = {"lower": 1, "upper": 2}[by]
    return lambda archs: model.intervals(archs, 0.8)[side]


def pareto(scores: Sequence[Scores], max_front: int = 20_000) -> pd.DataFrame:
    """The predicted Pareto front of two or three targets.

    The exact front of additive scores and the networks built for each target alone are proposed; the full predictors
    judge them, and the front climbs to its neighbours until nothing is gained
    (:func:`~autobuild.construct.local_search.climb_front`).

    Args:
        scores: Additive scores of two or three models on one space; every target is maximised.
        max_front: Partial sums kept after each unit (:func:`autobuild.construct.additive_front`).

    Returns:
        ``arch`` and, for every target, a column of predictions named as the target; networks that no other one found
        beats in all of them, the best in the first target first. The attribute ``attrs["additive_epsilon"]`` says by
        how much the front of sums may be too low: 0 if it is exact.

    Raises:
        ConfigError: For other than two or three targets, a target given twice, different spaces, or scores that are
            not additive.
    """
    import pandas as pd

    tables = []
    for each in scores if isinstance(scores, Sequence) else (None,):
        if not isinstance(each, AdditiveScores) or each.space.units != scores[0].space.units:
            raise ConfigError("pareto takes a list of additive scores of two or three models on the same space")
        tables.append(Additive(each.base, tuple(each.unit_scores.values())))
    front = additive_front(tables, max_front)
    models = [each.model for each in scores]
    if len({model.target for model in models}) < len(models):
        raise ConfigError(f"pareto: targets {[model.target for model in models]}: accepted are different ones")
    space = next((each.space for each in scores if each.space.equal == "execution"), scores[0].space)
    evaluators = [evaluator_of(model, space, lambda part: part.predict_mean) for model in models]
    ends = [
        build_refined(space, each.unit_scores, evaluator, FRONT_ENDS)
        for each, evaluator in zip(scores, evaluators, strict=True)
    ]
    archs, values = climb_front(
        space,
        itertools.chain(*ends, (space.assemble(tuple(row)) for row in front.indices.tolist())),
        lambda archs: np.column_stack([np.nan_to_num(model.predict_mean(archs), nan=-np.inf) for model in models]),
        **({"most": SLOW_FRONT} if not all(evaluator.cheap for evaluator in evaluators) else {}),
    )
    columns = {model.target: values[:, place] for place, model in enumerate(models)}
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], **columns})
    frame.attrs["additive_epsilon"] = front.epsilon.tolist()
    return frame


def narrow(
    scores: Scores | Sequence[Scores],
    top: int | None = None,
    threshold: float | None = None,
    mass: float | None = None,
    share: float | None = None,
    *,
    where: str | None = None,
    labels: LabelledSet | None = None,
    hardware: str | Path | Hardware | None = None,
) -> SearchSpace:
    """Keep only the best candidates of every unit; the result is a search space, and its ``note`` tells both sizes.

    ``mass`` and ``share`` use joint random draws of the values of all networks from the model. Candidates are dropped
    such that the best network of as few draws as possible is lost, see :func:`autobuild.construct.narrow_probable`.

    Scores of several targets narrow for their Pareto front: ``ab.narrow([scores_a, scores_b], mass=0.9)``. Every target
    is drawn by its own model, and the share of each draw's front that stays in the space counts, see
    :func:`autobuild.construct.probable_front`.

    Args:
        scores: Candidate scores; of several targets, all maximised, on one space: a list.
        top: Keep this many of each unit; for several targets, this many for each of them.
        threshold: Keep candidates scored at least this much (at least one a unit stays), for any of the targets.
        mass: The smallest space found that holds the best network with this probability, e.g. 0.9; for several targets,
            this share of the front, in expectation.
        share: At most this share of the space, e.g. 0.02, as probable to hold the best network (to hold as much of the
            front) as can be found.
        where: Limits such as ``"latency_gpu <= 8"``, as in :func:`build`. Candidates that no network within the limits
            can have are dropped. Other networks of the space may exceed them, so a search needs the limits, too.
        labels: Where limited label columns come from, as in :func:`build`.
        hardware: What limited costs are computed for, as in :func:`build`.

    Returns:
        The narrowed space; its attribute ``note`` says how large both spaces are.

    Raises:
        ConfigError: Unless exactly one of ``top``, ``threshold``, ``mass`` and ``share`` is given (none, with
            ``where``); for an unusable one, or scores of different spaces.
        NoNetworkError: If no network satisfies the limits.
    """
    given = {"top": top, "threshold": threshold, "mass": mass, "share": share}
    count = sum(value is not None for value in given.values())
    if count > 1 or (count == 0 and where is None):
        raise ConfigError(f"narrow takes exactly one of top, threshold, mass and share; given: {given}")
    targets = _scores_of(scores)
    first, limited, note = targets[0], None, ""
    space, tables = first.space, [each.unit_scores for each in targets]
    if where is not None:
        if not isinstance(first, AdditiveScores):
            raise ConfigError(f"where needs additive scores, not those of scorer={first.scorer}")
        limited = limits_on(first, where, labels, hardware)
        possible = limited.possible()
        space = space.restrict({unit.name: rows for unit, rows in zip(space.units, possible, strict=True)})
        tables = [{name: table[name][rows] for name, rows in zip(table, possible, strict=True)} for table in tables]
        note = f"; networks that break {' and '.join(limit.text for limit in limited.limits)} may be left"
    if mass is not None or share is not None:
        if len(targets) == 1:
            ranked, likely = tables[0], "holds the best network with a probability of {:.2f}, as the model draws it"
            probable = probable_networks(first.model, space, ranked, seed=first.model.seed, limited=limited)
        else:
            ranked, likely = front_scores(tables), "holds {:.0%} of the front in expectation, as the models draw it"
            models, whole = [each.model for each in targets], [each.unit_scores for each in targets]
            probable = probable_front(models, space, whole, seed=first.model.seed, limited=limited)
        space, held = narrow_probable(space, ranked, probable, mass=mass, share=share, of=first.space.size)
        note += f"; {likely.format(held)}"
    elif count:
        space = narrow_units(space, tables, top=top, threshold=threshold)
    space.note = narrowing_note(first.space, space) + note
    return space


def _scores_of(scores: Scores | Sequence[Scores]) -> list[Scores]:
    """One or several scores, on one space."""
    given = [scores] if isinstance(scores, Scores) else list(scores) if isinstance(scores, Sequence) else []
    if not given or any(not isinstance(each, Scores) or each.space.units != given[0].space.units for each in given):
        raise ConfigError("narrow takes scores, or a list of scores of several models on the same space")
    return given
