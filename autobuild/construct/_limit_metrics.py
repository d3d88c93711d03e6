"""The metrics that limits on scored networks name: exact costs, and label columns predicted by a Gaussian process."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autobuild._typing import FloatArray
from autobuild.construct.limits import Limited, Metric
from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT, read_hardware
from autobuild.cost.space_costs import CountOf, MetricOf, RatioOf, SpaceCosts
from autobuild.errors import ConfigError
from autobuild.expressions import Names
from autobuild.importance import AdditiveScores, Scores, project
from autobuild.labels import LabelledSet
from autobuild.labels.labelled_set import check_labels
from autobuild.models import CostedModel, fit_again, unwarned
from autobuild.spaces import Architecture
from autobuild.spaces.additive import Additive
from autobuild.spaces.fitted import fitted_sum

_CHECKED_AT_ONCE = 32  # labelled architectures whose limited metrics are computed together
_KEPT = 16  # fitted label columns that are kept
_FITTED: dict[tuple[str | int, ...], Metric] = {}
CALIBRATED = 48  # architectures whose exact costs the approximate sum is fitted to


def limits_on(
    scores: AdditiveScores,
    where: str,
    labels: LabelledSet | None,
    hardware: str | Path | Hardware | None,
    time_limit_s: float = 60.0,
) -> Limited:
    """Limits on networks of the scores' space, ready to search under.

    Args:
        scores: Their sums are what is maximised.
        where: The limits, such as ``"latency_gpu <= 8 and params < 6e6"``.
        labels: Where limited label columns come from; those that the model was fitted on where None.
        hardware: What limited costs are computed for; what the target's are where None, else ``edge_npu``.
        time_limit_s: Seconds for each search under the limits.

    Raises:
        ConfigError: For a limit that cannot be read, an unknown or ambiguous name, or labels of another space.
    """
    exact = _costs_for(scores, hardware)
    known = labels if labels is not None else scores.model.labels
    if known is not None and check_labels(known).space.family != scores.space.family:
        raise ConfigError(f"limits over labels of {known.space.family!r}; the scores are of {scores.space.family!r}")
    names = Names(costs=exact) if known is None else known.names(exact)
    limits = names.limits(where)  # all names are looked up before the first of them is fitted
    metrics: dict[str, Metric] = {}
    for limit in limits:
        for name in limit.expression.names:
            kind, bare = names.find(name, limit.text, "limit")
            if f"{kind}.{bare}" not in metrics:
                metric = _predicted(scores, known, bare) if kind == "label" else _exact(scores, exact[bare])
                metrics[f"{kind}.{bare}"] = metric
    score = Additive(scores.base, tuple(scores.unit_scores.values()))
    return Limited(scores.space, score, limits, metrics, time_limit_s)


def _costs_for(scores: Scores, hardware: str | Path | Hardware | None) -> SpaceCosts:
    """Costs of the space that is built in; those of the model's own target where no other hardware is asked for."""
    model = scores.model
    costs = model.exact.on(scores.space).costs if isinstance(model, CostedModel) else None
    if isinstance(costs, SpaceCosts) and (hardware is None or read_hardware(hardware) == costs.hardware):
        return costs
    return SpaceCosts(scores.space, DEFAULT if hardware is None else hardware)


def _exact(scores: AdditiveScores, cost: MetricOf | CountOf | RatioOf) -> Metric:
    """A cost with its sum over units, or where it is no sum, with one that is fitted to some networks."""

    def evaluate(archs: Sequence[Architecture]) -> FloatArray:
        return cost(archs).astype(np.float64)

    bounds, slow = cost.bounds(), not cost.cheap
    if bounds is not None and bounds.exact:
        return Metric(evaluate, bounds.lower, slow=slow)
    known = list(itertools.islice((arch for arch in scores.model.training_archs if arch in scores.space), CALIBRATED))
    known = known or scores.space.sample(CALIBRATED, seed=0, design="depth")
    indices, values = np.array([scores.space.indices(arch) for arch in known]), evaluate(known)
    if not np.isfinite(values).any():
        return Metric(evaluate, None, slow=slow)
    fit = functools.partial(fitted_sum, scores.space)
    table, off = (fit if bounds is None else bounds.likely)(indices, values)
    return Metric(
        evaluate, table, margin=off, bounds=bounds, fit=None if bounds else fit, known=(indices, values), slow=slow
    )


def _predicted(scores: AdditiveScores, labels: LabelledSet | None, name: str) -> Metric:
    """A label column as a Gaussian process predicts it; kept, so that another limit is solved without fitting again."""
    assert labels is not None
    seed, spaces = scores.model.seed, (labels.space.to_json(), scores.space.to_json())
    key = (name, labels.content_hash, seed, *spaces)
    if key not in _FITTED:
        with unwarned():
            model = fit_again(labels, f"label.{name}", "gp", seed)
        projection = project(model, scores.space)
        table = Additive(projection.base, tuple(unit.score for unit in projection.units))
        _FITTED[key] = Metric(model.predict_mean, table, margin=projection.remainder_sd)
        if len(_FITTED) > _KEPT:
            del _FITTED[next(iter(_FITTED))]
    return _FITTED[key]


def best_labelled(scores: Scores, limited: Limited | None, labels: LabelledSet | None) -> tuple[str, float] | None:
    """The best architecture that the model was fitted on among those that satisfy the limits, and its label.

    Limited label columns are taken as measured where the label has them. Costs may take long, so architectures are
    checked from the best one downward until one satisfies the limits.

    Args:
        scores: Scores of the model.
        limited: The limits; None where there are none.
        labels: Where limited label columns come from, as in :func:`limits_on`.

    Returns:
        The architecture's text and its label; None where no labelled architecture satisfies the limits.
    """
    ranked = scores.model.training.sort_values("target", ascending=False, kind="stable")
    known = labels if labels is not None else scores.model.labels
    frame = known.frame.drop_duplicates("arch").set_index("arch") if known is not None else None
    for start in range(0, len(ranked), _CHECKED_AT_ONCE):
        part = ranked.iloc[start : start + _CHECKED_AT_ONCE]
        if limited is None:
            return str(part["arch"].iloc[0]), float(part["target"].iloc[0])
        values = limited.values([scores.model.space.parse(text) for text in part["arch"]])
        for name, predicted in values.items():
            kind, _, column = name.partition(".")
            if kind == "label" and frame is not None and column in frame:
                measured = frame[column].reindex(part["arch"]).to_numpy(dtype=np.float64)
                values[name] = np.where(np.isfinite(measured), measured, predicted)
        within = limited.satisfied(values)
        if within.any():
            row = part.iloc[int(np.argmax(within))]
            return str(row["arch"]), float(row["target"])
    return None
