"""What matters: scores of features, operations, layers and candidates, as frames a person can read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from autobuild.explain.moments import node_norms, norm_moments, training_norms
from autobuild.explain.scorers import Scorer, UnitScores, find_scorer
from autobuild.explain.seen import candidates_seen
from autobuild.fit import FittedModel
from autobuild.graphs import pack_architectures
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from autobuild.construct import Built


@dataclass
class Scores:
    """Scores of one fitted model on one space.

    Attributes:
        model: The model.
        space: Whose candidates are scored: the model's space, or one narrowed or joined from it.
        scorer: Name of the scorer.
        units: For each unit, the scores of its candidates by index.
    """

    model: FittedModel
    space: SearchSpace
    scorer: str
    units: list[UnitScores]

    if TYPE_CHECKING:  # bound by autobuild.api

        def build(self, top: int = 10) -> Built:
            """See :func:`autobuild.api.build`."""

        def narrow(
            self, top: int | None = None, threshold: float | None = None, mass: float | None = None
        ) -> SearchSpace:
            """See :func:`autobuild.api.narrow`."""

    def __repr__(self) -> str:
        units = f"{self.n_candidates:,} candidates of {len(self.space.units)} units"
        return f"Scores({self.scorer!r}, {units}, target {self.model.target!r})"

    @property
    def n_candidates(self) -> int:
        """Number of candidates scored, over all units."""
        return sum(unit.size for unit in self.space.units)

    @property
    def unit_scores(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """Unit name -> score of every candidate by index, shape ``(unit.size,)``."""
        return {unit.name: scored.score for unit, scored in zip(self.space.units, self.units, strict=True)}

    @cached_property
    def features(self) -> pd.DataFrame:
        """``feature, value, score, effect, n_seen``: every value of every feature.

        ``score`` is the FE-MLP's scalar; ``effect`` the same in units of the target, as the difference from the mean
        over the training nodes: ``(score - mean) / sigma_0 * sd_y``. ``n_seen`` counts training nodes.
        """
        model = self.model
        with torch.inference_mode():
            scalars = model.network.encoder.features.scalars().double().numpy()
        graphs, _ = training_norms(model)
        sigma = float(norm_moments(model).sd[0])
        rows, start = [], 0
        for column, feature in enumerate(model.space.node_features):
            count = len(feature.values)
            own = scalars[start : start + count]
            seen = np.bincount(graphs.x[:, column].numpy(), minlength=count)
            centre = float((own * seen).sum() / max(seen.sum(), 1))
            for value, score, n in zip(feature.values, own, seen, strict=True):
                effect = (float(score) - centre) / sigma * model.sd
                rows.append((feature.name, value, float(score), effect, int(n)))
            start += count
        return pd.DataFrame(rows, columns=["feature", "value", "score", "effect", "n_seen"])

    @cached_property
    def operations(self) -> pd.DataFrame:
        """``unit, layer, <features>, score, hop0, ..., n_seen``: every operation at every place that the labels show.

        ``hopM`` is the calibrated norm at hop M, averaged over the training nodes with this operation in this place
        (units of the target); ``score`` is their mean over hops. Best first within a unit and layer.
        """
        graphs, norms = training_norms(self.model)
        z = self.calibrate(norms)
        frame = pd.DataFrame(graphs.x.numpy(), columns=[f.name for f in self.model.space.node_features])
        hops = [f"hop{hop}" for hop in range(len(z))]
        for name, values in zip(hops, z, strict=True):
            frame[name] = values
        keys = ["unit", "layer", *(f.name for f in self.model.space.features)]
        grouped = frame.groupby(keys, sort=True)
        table = grouped[hops].mean()
        table.insert(0, "score", table.mean(axis=1))
        table["n_seen"] = grouped.size()
        table = table.reset_index()
        for feature in self.model.space.node_features:
            table[feature.name] = pd.Series([feature.values[i] for i in table[feature.name]], dtype=object)
        table["_unit"] = table["unit"].map({stage.name: i for i, stage in enumerate(self.model.space.stages)})
        table = table.sort_values(["_unit", "layer", "score"], ascending=[True, True, False], kind="stable")
        return table.drop(columns="_unit").reset_index(drop=True)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """``unit, layer, score, spread, best, n_seen``: how much the choice at each place matters.

        ``score`` is the mean over the operations seen there, ``spread`` the best less the worst (units of the target),
        ``best`` the best operation's text.
        """
        rows = []
        names = [f.name for f in self.model.space.features]
        for (unit, layer), group in self.operations.groupby(["unit", "layer"], sort=False):
            weights = group["n_seen"].to_numpy(dtype=float)
            score = group["score"].to_numpy(dtype=float)
            best = group.iloc[int(score.argmax())]
            rows.append(
                (
                    unit,
                    layer,
                    float((score * weights).sum() / weights.sum()),
                    float(score.max() - score.min()),
                    " ".join(f"{name}={best[name]}" for name in names if best[name] is not None),
                    int(weights.sum()),
                )
            )
        return pd.DataFrame(rows, columns=["unit", "layer", "score", "spread", "best", "n_seen"])

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """``unit, candidate, hops, score, n_seen, n_seen_rarest, unseen_depth``: best first within each unit.

        ``n_seen`` counts the training labels that hold the candidate, ``n_seen_rarest`` those that hold its rarest
        feature value in that unit; ``unseen_depth`` marks calibrations borrowed from other depths.
        """
        frames = []
        for unit, scored, (exact, rarest) in zip(
            self.space.units, self.units, candidates_seen(self.model, self.space), strict=True
        ):
            order = np.argsort(-scored.score, kind="stable")
            frames.append(
                pd.DataFrame(
                    {
                        "unit": unit.name,
                        "candidate": unit.texts(order),
                        "hops": scored.hops[order],
                        "score": scored.score[order],
                        "n_seen": exact[order],
                        "n_seen_rarest": rarest[order],
                        "unseen_depth": scored.unseen_depth[order],
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def calibrate(self, norms: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """L1 norms of nodes as scores in units of the target. Shapes: ``(hops + 1, N) -> (hops + 1, N)``."""
        return self.model.mean + self.model.sd * norm_moments(self.model).standardise(norms)

    def node_scores(self, arch: Architecture | str) -> pd.DataFrame:
        """Calibrated score of every node of one architecture at every hop: ``unit, layer, op, hop0, ...``."""
        parsed = self.space.parse(arch) if isinstance(arch, str) else arch
        graphs = pack_architectures(self.model.space, [parsed])
        z = self.calibrate(node_norms(self.model, graphs))
        rows = [
            (stage.name, position, stage.tokens[digit])
            for stage, run in zip(self.model.space.stages, parsed.runs, strict=True)
            for position, digit in enumerate(run, start=1)
        ]
        frame = pd.DataFrame(rows, columns=["unit", "layer", "op"])
        return frame.assign(**{f"hop{hop}": values for hop, values in enumerate(z)})


def explain(model: FittedModel, space: SearchSpace | None = None, scorer: str | Scorer = "hopnorm") -> Scores:
    """Score what a fitted model has learned.

    Args:
        model: The model.
        space: Whose candidates to score; the model's space by default, or one narrowed or joined from it.
        scorer: Name of a scorer (``hopnorm``), or a callable of that protocol.

    Raises:
        ConfigError: For an unknown scorer, or a space of another family.
    """
    from autobuild.errors import ConfigError

    chosen = space or model.space
    if chosen.family != model.space.family or chosen.node_features != model.space.node_features:
        raise ConfigError(f"the model was fitted on {model.space.family!r}; {chosen.name!r} is of {chosen.family!r}")
    name = scorer if isinstance(scorer, str) else getattr(scorer, "__name__", type(scorer).__name__)
    return Scores(model, chosen, name, find_scorer(scorer)(model, chosen))
