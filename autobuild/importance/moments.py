"""Moments of labels by depth and of the model's norms, from which norms are calibrated to units of the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autobuild._typing import FloatArray
from autobuild.graphs import PackedGraphs, pack_architectures
from autobuild.models import FittedModel, GraphModel
from autobuild.spaces import SearchSpace

CHUNK = 4096


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
    means, sds, seens = [], [], []
    runs = [arch.runs for arch in model.training_archs]
    start = 0
    for unit in space.units:
        part = slice(start, start + len(unit.stages))
        start = part.stop
        depth = np.array([sum(len(run) for run in own[part]) for own in runs])
        mean, sd, seen = {}, {}, {}
        for d in unit.depths:
            rows = depth == d
            seen[d] = int(rows.sum())
            known = target[rows] if seen[d] >= 2 else target
            mean[d], sd[d] = float(known.mean()), float(known.std())
        means.append(mean)
        sds.append(sd)
        seens.append(seen)
    return DepthMoments(tuple(means), tuple(sds), tuple(seens))


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


def training_norms(model: GraphModel) -> tuple[PackedGraphs, FloatArray]:
    """The packed training graphs and the norms of their nodes, shape ``(hops + 1, N)``; cached."""
    if "norms" not in model._cache:
        graphs = pack_architectures(model.space, model.training_archs)
        model._cache["norms"] = (graphs, node_norms(model, graphs))
    cached: tuple[PackedGraphs, FloatArray] = model._cache["norms"]
    return cached


def node_norms(model: GraphModel, graphs: PackedGraphs) -> FloatArray:
    """Norms of all node embeddings, computed in chunks of graphs. Shape ``(hops + 1, N)``."""
    parts = []
    for first in range(0, len(graphs), CHUNK):
        part = graphs.slice(first, first + CHUNK)
        parts.append(model.encode(part).node_norms().double().numpy())
    return np.concatenate(parts, axis=1)


def norm_moments(model: GraphModel) -> NormMoments:
    """Moments of the norms of a fitted model on its training graphs (AutoBuild, CVPR 2024, sec. 3.3)."""
    norms = training_norms(model)[1]
    sd = norms.std(axis=1)
    return NormMoments(norms.mean(axis=1), np.where(sd > 0, sd, 1.0))
