"""Marginal means: what candidates score on average among those that make one choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autobuild.spaces import Unit
from autobuild.spaces.stage import Stage

FloatArray = NDArray[np.float64]


def design_weights(unit: Unit) -> FloatArray:
    """How probable each candidate is where every depth of every stage is equally likely, then every run of that depth.

    The design ``"depth"`` of :func:`autobuild.spaces.sampling.sample`. Shape ``(unit.size,)``, in all 1.
    """
    depths = np.stack([(run >= 0).sum(axis=1) for run in unit.runs(np.arange(unit.size))], axis=1)
    _, group, counts = np.unique(depths, axis=0, return_inverse=True, return_counts=True)
    out: FloatArray = 1 / (len(counts) * counts[group.ravel()])
    return out


@dataclass(frozen=True)
class StageMeans:
    """Mean scores of the candidates of a unit by what they choose in one stage, from which every effect is read.

    A row of zero probability has the mean NaN: no candidate makes the choice.

    Attributes:
        stage: The stage.
        depths: Mean by number of layers, as in ``stage.depths``. Shape ``(depths, columns)``.
        shares: How probable it is that a candidate has layer k, and choice c in it. Shape ``(layers, choices)``.
        layers: Mean of those candidates. Shape ``(layers, choices, columns)``. A tied stage has one layer for all.
    """

    stage: Stage
    depths: FloatArray
    shares: FloatArray
    layers: FloatArray

    @property
    def there(self) -> FloatArray:
        """Mean of the candidates that have layer k at all. Shape ``(layers, columns)``."""
        return self.by_choice(np.ones((self.shares.shape[1], 1)))[:, 0]

    def by_choice(self, members: FloatArray) -> FloatArray:
        """Mean of the candidates whose choice in layer k belongs to a group.

        Shapes: ``members (choices, groups)``, 1 where it belongs -> ``(layers, groups, columns)``.
        """
        sums = np.einsum("cg,lcm->lgm", members, np.nan_to_num(self.layers) * self.shares[..., None])
        return _divided(sums, self.shares @ members)

    def plus(self, other: StageMeans) -> StageMeans:
        """Means of a sum of scores; ``other`` has one column, added to all."""
        return StageMeans(self.stage, self.depths + other.depths, other.shares, self.layers + other.layers)


def stage_means(unit: Unit, weights: FloatArray, table: FloatArray) -> list[StageMeans]:
    """Means of scores, for every stage of a unit.

    Args:
        unit: The unit.
        weights: How probable each candidate is, shape ``(unit.size,)``.
        table: Scores of its candidates, shape ``(unit.size, columns)``.
    """
    out, weighted = [], table * weights[:, None]
    for stage, digits in zip(unit.stages, unit.runs(np.arange(unit.size)), strict=True):
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
