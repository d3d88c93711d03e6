"""The scorer ``hopweighted``: norms of all hops in labelled architectures, weighted by what each hop has shown."""

from __future__ import annotations

import numpy as np

from autobuild._typing import FloatArray
from autobuild.errors import ConfigError
from autobuild.graphs import pack_in_context
from autobuild.importance._calibration import norm_moments
from autobuild.importance.norm_scores import hop_weights
from autobuild.importance.scorers import UnitScores
from autobuild.models import FittedModel, GraphModel
from autobuild.registry import SCORERS
from autobuild.spaces import SearchSpace

CHUNK = 8192
CONTEXTS = 16  # training architectures in which every candidate is embedded


@SCORERS.register("hopweighted")
def hopweighted(model: FittedModel, space: SearchSpace) -> list[UnitScores]:
    r"""Score candidates by the norms of all hops in context, weighted by each hop's held-out SRCC times NDCG@10.

    After Qua2SeDiMo (Mills et al., AAAI 2025), whose units are single layers, so that hop 0 alone would see no other
    layer. Every candidate is put into 16 training architectures, evenly spaced in the order of their labels, and

    .. math::
        \mathrm{score} = \mathrm{mean}_y
            + \mathrm{sd}_y \sum_m w_m (\overline{\|h_{\mathrm{root}}^m\|_1} - \mu_m) / \sigma_m

    with the norm of its last layer averaged over these, and :math:`w_m` proportional to hop m's SRCC times NDCG@10 on
    held-out rows; ``fit(folds=5)`` gives these on all rows.

    Args:
        model: A graph encoder, ``ab.fit(..., model="graph")``.
        space: The space whose candidates are scored.

    Returns:
        One :class:`UnitScores` per unit, in order; ``hops`` is the hop of the largest weight.

    Raises:
        ConfigError: The model is not a graph encoder.
    """
    if not isinstance(model, GraphModel):
        raise ConfigError(
            f"scorer=hopweighted reads a graph encoder, and this model is {model.family!r}: fit model=graph"
        )
    weights, norms = hop_weights(model.report, model.hops + 1), norm_moments(model)
    order = np.argsort(model.training["target"].to_numpy(dtype=float), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, CONTEXTS).round().astype(int))]
    contexts = [model.training_archs[row] for row in chosen]
    out = []
    for number, unit in enumerate(space.units):
        norm: FloatArray = np.zeros((model.hops + 1, unit.size))
        for first in range(0, unit.size, CHUNK):
            indices = np.arange(first, min(first + CHUNK, unit.size))
            for context in contexts:
                graphs = pack_in_context(space, number, indices, context)
                norm[:, indices] += model.encode(graphs).node_norms()[:, graphs.roots].double().numpy()
        score = model.mean + model.sd * (weights @ norms.standardise(norm / len(contexts)))
        hops = np.full(unit.size, int(weights.argmax()))
        out.append(UnitScores(score, hops, np.zeros(unit.size, dtype=bool)))
    return out
