"""Scorers: from a fitted model to a score for every candidate of every unit. Pluggable by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autobuild.errors import ConfigError, nearest
from autobuild.graphs import pack_candidates
from autobuild.importance.moments import depth_moments, norm_moments
from autobuild.models import FittedModel, GraphModel
from autobuild.spaces import SearchSpace, Unit

FloatArray = NDArray[np.float64]
CHUNK = 8192


@dataclass(frozen=True)
class UnitScores:
    """Scores of all candidates of one unit.

    Attributes:
        score: In units of the target, higher is better. Shape ``(unit.size,)``.
        hops: Hop whose embedding the score was read from. Shape ``(unit.size,)``.
        unseen_depth: True where no calibration exists for the candidate's depth. Shape ``(unit.size,)``.
        lower, upper: Bounds of a 90 % interval; None or NaN where the scorer has none. Shapes ``(unit.size,)``.
    """

    score: FloatArray
    hops: NDArray[np.int64]
    unseen_depth: NDArray[np.bool_]
    lower: FloatArray | None = None
    upper: FloatArray | None = None


class Scorer(Protocol):
    """Scores every candidate of every unit of a space by what a model has learned."""

    def __call__(self, model: FittedModel, space: SearchSpace) -> list[UnitScores]:
        """One :class:`UnitScores` a unit, in order."""
        ...


def hopnorm(model: FittedModel, space: SearchSpace) -> list[UnitScores]:
    r"""Calibrated hop norms (AutoBuild, CVPR 2024, sec. 3.3): the faithful baseline.

    A candidate of depth l in unit u is embedded alone, with its unit index. With m = l - 1, so that the m-hop subgraph
    rooted in its last layer is the whole candidate,

    .. math:: score = mean_y(u, l) + sd_y(u, l) \\, (\\|h_{root}^m\\|_1 - \\mu_m) / \\sigma_m

    mu_m and sigma_m are over all nodes of all training graphs at hop m; mean_y and sd_y over the training labels of
    architectures with depth l in unit u (all labels where that depth was seen fewer than twice; flagged).

    Raises:
        ConfigError: If the model is no graph encoder, or a candidate is deeper than it has hops.
    """
    if not isinstance(model, GraphModel):
        raise ConfigError(f"scorer=hopnorm reads a graph encoder, and this model is {model.family!r}: fit model=graph")
    norms, labels = norm_moments(model), depth_moments(model, space)
    out = []
    for number, unit in enumerate(space.units):
        if unit.depths[-1] - 1 > model.hops:
            raise ConfigError(
                f"unit {unit.name!r} has candidates of {unit.depths[-1]} layers, which takes "
                f"{unit.depths[-1] - 1} hops; the model has {model.hops}: fit with encoder.hops={unit.depths[-1] - 1}"
            )
        out.append(
            _unit_scores(
                model,
                space,
                number,
                unit,
                norms.mean,
                norms.sd,
                labels.mean[number],
                labels.sd[number],
                labels.seen[number],
            )
        )
    return out


def _unit_scores(
    model: GraphModel,
    space: SearchSpace,
    number: int,
    unit: Unit,
    mu: FloatArray,
    sigma: FloatArray,
    mean: dict[int, float],
    sd: dict[int, float],
    seen: dict[int, int],
) -> UnitScores:
    indices = np.arange(unit.size)
    depth = unit.depth_of(indices)
    hop = depth - 1
    norm = np.empty(unit.size)
    for first in range(0, unit.size, CHUNK):
        part = slice(first, first + CHUNK)
        graphs = pack_candidates(space, number, indices[part])
        roots = model.encode(graphs).node_norms()[:, graphs.roots].double().numpy()
        norm[part] = roots[hop[part], np.arange(roots.shape[1])]
    largest = unit.depths[-1] + 1
    mean_of, sd_of, seen_of = np.zeros(largest), np.zeros(largest), np.zeros(largest, dtype=int)
    for d in unit.depths:
        mean_of[d], sd_of[d], seen_of[d] = mean[d], sd[d], seen[d]
    score = mean_of[depth] + sd_of[depth] * (norm - mu[hop]) / sigma[hop]
    return UnitScores(score, hop, seen_of[depth] < 2)


def _additive(model: FittedModel, space: SearchSpace) -> list[UnitScores]:
    from autobuild.importance.projection import additive

    return additive(model, space)


SCORERS: dict[str, Scorer] = {"additive": _additive, "hopnorm": hopnorm}


def register_scorer(name: str) -> Callable[[Scorer], Scorer]:
    """Decorator that makes a scorer available by name, e.g. for ``scorer=...`` on the command line."""

    def register(scorer: Scorer) -> Scorer:
        SCORERS[name] = scorer
        return scorer

    return register


def find_scorer(scorer: str | Scorer) -> Scorer:
    """A scorer by name, or a callable as it is."""
    if callable(scorer):
        return scorer
    if scorer not in SCORERS:
        raise ConfigError(f"scorer={scorer!r} is unknown: {nearest(scorer, SCORERS)}")
    return SCORERS[scorer]
