"""The scorer ``hopnorm``: calibrated norms of hop embeddings, as in the AutoBuild paper."""

from __future__ import annotations

import numpy as np

from autobuild._typing import FloatArray
from autobuild.errors import ConfigError
from autobuild.graphs import pack_candidates
from autobuild.importance._calibration import depth_moments, norm_moments
from autobuild.importance.scorers import UnitScores
from autobuild.models import FittedModel, GraphModel
from autobuild.registry import SCORERS
from autobuild.spaces import SearchSpace, Unit

CHUNK = 8192


@SCORERS.register("hopnorm")
def hopnorm(model: FittedModel, space: SearchSpace) -> list[UnitScores]:
    r"""Score candidates by calibrated hop norms, as in the paper (AutoBuild, CVPR 2024, sec. 3.3).

    A candidate of depth l in unit u is embedded alone, with its unit index. With m = l - 1, the m-hop subgraph rooted
    in its last layer is the whole candidate, and

    .. math::
        \mathrm{score} = \mathrm{mean}_y(u, l)
            + \mathrm{sd}_y(u, l) \, (\|h_{\mathrm{root}}^m\|_1 - \mu_m) / \sigma_m

    where :math:`\mu_m` and :math:`\sigma_m` are the mean and standard deviation of the norms at hop m over all nodes of
    all training graphs, and :math:`\mathrm{mean}_y` and :math:`\mathrm{sd}_y` those of the training labels of
    architectures with depth l in unit u. If fewer than two labels have that depth, all labels are used and
    ``unseen_depth`` is set.

    Args:
        model: A graph encoder, ``ab.fit(..., model="graph")``.
        space: The space whose candidates are scored.

    Returns:
        One :class:`UnitScores` per unit, in order.

    Raises:
        ConfigError: The model is not a graph encoder, or a candidate has more layers than the encoder can see (one more
            than its hops).
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
