"""Scores computed from the norms of a graph encoder's embeddings (AutoBuild, CVPR 2024, sec. 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from autobuild.graphs import pack_architectures
from autobuild.importance._calibration import norm_moments
from autobuild.importance.scores import Scores, table
from autobuild.models import GraphModel
from autobuild.spaces import Architecture


def hop_weights(report: Mapping[str, Any], hops: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Weights of the hops, from how well the norms of each hop rank held-out rows.

    The weight of a hop is proportional to its held-out SRCC times its NDCG@10, and 0 if its SRCC is not positive. All
    hops get equal weights if no rows were held out or if no hop has a positive SRCC.

    Args:
        report: ``FittedModel.report`` of a graph encoder, with ``hop_srcc`` and ``hop_ndcg``.
        hops: Number of hops, hop 0 included.

    Returns:
        Weights that add up to 1. Shape ``(hops,)``.
    """
    metrics = [report.get(name) or [] for name in ("hop_srcc", "hop_ndcg")]
    if any(len(values) != hops for values in metrics):
        return np.full(hops, 1 / hops)
    srcc, ndcg = (np.array([np.nan if value is None else value for value in values], dtype=float) for values in metrics)
    weight = np.nan_to_num(np.maximum(srcc, 0) * ndcg)
    return weight / weight.sum() if weight.sum() > 0 else np.full(hops, 1 / hops)


@dataclass(repr=False)
class NormScores(Scores):
    """Scores whose tables of features, operations and layers are computed from calibrated hop norms.

    Attributes:
        model: A graph encoder.
    """

    model: GraphModel

    @cached_property
    def features(self) -> pd.DataFrame:
        """Every value of every feature. Columns ``feature, value, score, effect, n_seen``.

        ``score`` is the scalar of the FE-MLP. ``effect`` is its difference from the mean over the training nodes, in
        units of the target: ``(score - mean) / sigma_0 * sd_y``. ``n_seen`` counts training nodes.
        """
        model = self.model
        with torch.inference_mode():
            scalars = model.network.encoder.features.scalars().double().numpy()
        sigma = float(norm_moments(model).sd[0])
        rows, start = [], 0
        for column, feature in enumerate(model.space.node_features):
            count = len(feature.values)
            values = scalars[start : start + count]
            seen = np.bincount(model.training_graphs.x[:, column].numpy(), minlength=count)
            centre = float((values * seen).sum() / max(seen.sum(), 1))
            for value, score, n in zip(feature.values, values, seen, strict=True):
                effect = (float(score) - centre) / sigma * model.sd
                rows.append((feature.name, value, float(score), effect, int(n)))
            start += count
        return table(rows, ["feature", "value", "score", "effect", "n_seen"], ["value"])

    @cached_property
    def operations(self) -> pd.DataFrame:
        """Every operation at every place where the labels show it, best first within a unit and layer.

        Columns ``unit, layer, <features>, score, hop0, ..., n_seen``. ``hopM`` is the calibrated norm at hop M,
        averaged over the training nodes with this operation at this place, in units of the target. ``score`` is the
        mean over hops, weighted by :func:`hop_weights`.
        """
        z = self.calibrate(self.model.training_norms)
        features = self.model.space.node_features
        frame = pd.DataFrame(self.model.training_graphs.x.numpy(), columns=[feature.name for feature in features])
        hops = [f"hop{hop}" for hop in range(len(z))]
        for name, values in zip(hops, z, strict=True):
            frame[name] = values
        keys = ["unit", "layer", *(f.name for f in self.model.space.features)]
        grouped = frame.groupby(keys, sort=True)
        table = grouped[hops].mean()
        table.insert(0, "score", table.to_numpy() @ hop_weights(self.model.report, len(hops)))
        table["n_seen"] = grouped.size()
        table = table.reset_index()
        for feature in features:
            table[feature.name] = pd.Series([feature.values[i] for i in table[feature.name]], dtype=object)
        table["_unit"] = table["unit"].map({stage.name: i for i, stage in enumerate(self.model.space.stages)})
        table = table.sort_values(["_unit", "layer", "score"], ascending=[True, True, False], kind="stable")
        return table.drop(columns="_unit").reset_index(drop=True)

    def calibrate(self, norms: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Convert norms of nodes to scores in units of the target. Shapes: ``(hops + 1, N) -> (hops + 1, N)``."""
        return self.model.mean + self.model.sd * norm_moments(self.model).standardise(norms)

    def node_scores(self, arch: Architecture | str) -> pd.DataFrame:
        """Calibrated norm of every node of one architecture at every hop.

        Args:
            arch: An architecture of the space, or its text.

        Returns:
            One row per layer. Columns ``unit, layer, op, hop0, hop1, ...``, in units of the target.

        Raises:
            SpaceError: The text is not an architecture of the space.
        """
        parsed = self.space.parse(arch) if isinstance(arch, str) else arch
        graphs = pack_architectures(self.model.space, [parsed])
        z = self.calibrate(self.model.node_norms(graphs))
        rows = [
            (stage.name, position, stage.tokens[digit])
            for stage, run in zip(self.model.space.stages, parsed.runs, strict=True)
            for position, digit in enumerate(run, start=1)
        ]
        frame = pd.DataFrame(rows, columns=["unit", "layer", "op"])
        return frame.assign(**{f"hop{hop}": values for hop, values in enumerate(z)})
