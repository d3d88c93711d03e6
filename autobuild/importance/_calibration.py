"""Means and standard deviations of labels and norms, by which norms are converted to units of the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autobuild._typing import FloatArray
from autobuild.models import FittedModel, GraphModel
from autobuild.spaces import SearchSpace


@dataclass(frozen=True)
class DepthMoments:
    """Mean and standard deviation of the target over the training labels with depth l in unit u.

    Attributes:
        mean: Means ``mean[u][l]`` in units of the target.
        sd: Standard deviations ``sd[u][l]`` in units of the target.
        seen: Numbers of labels ``seen[u][l]``. With fewer than two, the moments are those of all labels.
    """

    mean: tuple[dict[int, float], ...]
    sd: tuple[dict[int, float], ...]
    seen: tuple[dict[int, int], ...]


def depth_moments(model: FittedModel, space: SearchSpace) -> DepthMoments:
    """Moments of the training labels for every unit of ``space`` and every depth of its candidates."""
    target = model.training["target"].to_numpy(dtype=float)
    means, sds, counts, start = [], [], [], 0
    for unit in space.units:
        stages = slice(start, start + len(unit.stages))
        start = stages.stop
        depth = np.array([sum(len(run) for run in arch.runs[stages]) for arch in model.training_archs])
        count = {d: int((depth == d).sum()) for d in unit.depths}
        values = {d: target[depth == d] if count[d] >= 2 else target for d in unit.depths}
        means.append({d: float(labels.mean()) for d, labels in values.items()})
        sds.append({d: float(labels.std()) for d, labels in values.items()})
        counts.append(count)
    return DepthMoments(tuple(means), tuple(sds), tuple(counts))


@dataclass(frozen=True)
class NormMoments:
    """Mean and standard deviation of the norms over all nodes of all training graphs, per hop.

    Attributes:
        mean: Shape ``(hops + 1,)``.
        sd: Shape ``(hops + 1,)``, never 0.
    """

    mean: FloatArray
    sd: FloatArray

    def standardise(self, norms: FloatArray) -> FloatArray:
        """Standardise norms per hop. Shapes: ``(hops + 1, N) -> (hops + 1, N)``."""
        out: FloatArray = (norms - self.mean[:, None]) / self.sd[:, None]
        return out


def norm_moments(model: GraphModel) -> NormMoments:
    """Moments of the norms of a fitted model on its training graphs (AutoBuild, CVPR 2024, sec. 3.3)."""
    sd = model.training_norms.std(axis=1)
    return NormMoments(model.training_norms.mean(axis=1), np.where(sd > 0, sd, 1.0))
