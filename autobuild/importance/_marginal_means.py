"""Marginal means: the mean score of all candidates that make a given choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.spaces import Unit
from autobuild.spaces.stage import Stage


def design_weights(unit: Unit) -> FloatArray:
    """Probability of each candidate if every depth of every stage is equally likely, then every run of that depth.

    This is the design ``"depth"`` of :func:`autobuild.spaces.sampling.sample`. Shape ``(unit.size,)``; the sum is 1.
    """
    depths = np.stack([(run >= 0).sum(axis=1) for run in unit.runs(np.arange(unit.size))], axis=1)
    _, group, counts = np.unique(depths, axis=0, return_inverse=True, return_counts=True)
    out: FloatArray = 1 / (len(counts) * counts[group.ravel()])
    return out


def drawn_by_design(unit: Unit, count: int, seed: int) -> IntArray:
    """Candidates drawn with the probabilities of :func:`design_weights`, without a table of all. Shape ``(count,)``."""
    rng = np.random.default_rng(seed)
    if unit.kept is not None:
        return rng.choice(unit.size, count, p=design_weights(unit))
    out = np.zeros(count, dtype=np.int64)
    for stage in unit.stages:
        starts = np.array([stage.first_of(depth) for depth in stage.depths] + [stage.size])
        block = rng.integers(len(stage.depths), size=count)
        out = out * stage.size + rng.integers(starts[block], starts[block + 1])
    return out


@dataclass(frozen=True)
class StageMeans:
    """Mean scores of the candidates of a unit, by their choices in one stage.

    A mean is NaN if no candidate makes the choice. Columns are the scores and, if available, draws of them.

    Attributes:
        stage: The stage.
        depths: Mean by number of layers, as in ``stage.depths``. Shape ``(depths, columns)``.
        shares: Probability that a candidate has layer k with choice c. Shape ``(layers, choices)``.
        layers: Mean over those candidates. Shape ``(layers, choices, columns)``. A tied stage has one layer for all.
    """

    stage: Stage
    depths: FloatArray
    shares: FloatArray
    layers: FloatArray

    @property
    def there(self) -> FloatArray:
        """Mean over the candidates that have layer k. Shape ``(layers, columns)``."""
        return self.by_choice(np.ones((self.shares.shape[1], 1)))[:, 0]

    def by_choice(self, members: FloatArray) -> FloatArray:
        """Mean over the candidates whose choice in layer k belongs to a group.

        Shapes: ``members (choices, groups)``, 1 if the choice is in the group -> ``(layers, groups, columns)``.
        """
        sums = np.einsum("cg,lcm->lgm", members, np.nan_to_num(self.layers) * self.shares[..., None])
        return _divided(sums, self.shares @ members)

    def plus(self, other: StageMeans) -> StageMeans:
        """Means of the sum of two scores; ``other`` has one column, which is added to all columns."""
        return StageMeans(self.stage, self.depths + other.depths, other.shares, self.layers + other.layers)


def stage_means(
    unit: Unit, weights: FloatArray, table: FloatArray, indices: IntArray | None = None
) -> list[StageMeans]:
    """Compute mean scores for every stage of a unit.

    Args:
        unit: The unit.
        weights: Probability of each of n candidates. Shape ``(n,)``.
        table: Scores of the candidates. Shape ``(n, columns)``.
        indices: The candidates; None if all. Shape ``(n,)``.

    Returns:
        One entry per stage, in order.
    """
    out, weighted = [], table * weights[:, None]
    indices = np.arange(unit.size) if indices is None else indices
    for stage, digits in zip(unit.stages, unit.runs(indices), strict=True):
        depth = np.searchsorted(stage.depths, (digits >= 0).sum(axis=1))
        layers = 1 if stage.tied else stage.depths[-1]
        shares = np.zeros((layers, len(stage.layers)))
        sums = np.zeros((*shares.shape, table.shape[1]))
        for layer in range(layers):
            there = digits[:, layer] >= 0
            np.add.at(shares[layer], digits[there, layer], weights[there])
            np.add.at(sums[layer], digits[there, layer], weighted[there])
        of_depth, depth_sums = np.zeros(len(stage.depths)), np.zeros((len(stage.depths), table.shape[1]))
        np.add.at(of_depth, depth, weights)
        np.add.at(depth_sums, depth, weighted)
        out.append(StageMeans(stage, _divided(depth_sums, of_depth), shares, _divided(sums, shares)))
    return out


def _divided(sums: FloatArray, shares: FloatArray) -> FloatArray:
    none = shares <= 0
    out: FloatArray = sums / np.where(none, np.nan, shares)[..., None]
    return out
