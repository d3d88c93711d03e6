"""Which layers need their bits: what more bits are worth to the target, layer by layer."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from autobuild.errors import ConfigError
from autobuild.importance.scores import Scores
from autobuild.settings.names import INTERVAL_SDS


def bit_sensitivity(scores: Scores) -> pd.DataFrame:
    """What the most bits are worth over the fewest, for every layer of a quantisation space.

    Args:
        scores: Scores of a space of :func:`autobuild.quant_space`; it may be narrowed, and its units may be joined.

    Returns:
        One row a layer, the most sensitive first. ``layer, kind, block, stage``; ``weight_share``: share of the
        model's weights, to a factor of the square root of 2; ``fewest, most``: bits; ``gain``: the best score with the
        most bits minus the best with the fewest, in units of the target; ``lower, upper``: its 90 % interval, from
        draws of the model (NaN where the scorer gives none); ``gain_per_bit``: divided by what the step adds to the
        average bits; ``best_method`` with the fewest bits. Means over ``kind``, ``block`` or ``stage`` can be taken.

    Raises:
        ConfigError: The space has no layers with methods and bits.
    """
    rows, projection = [], getattr(scores, "projection", None)
    drawn = {means.stage.name: means.layers[0] for means in projection.means} if projection is not None else {}
    for unit in scores.space.units:
        values = scores.unit_scores[unit.name]
        for stage, runs in zip(unit.stages, unit.runs(np.arange(unit.size)), strict=True):
            layers = [stage.layer_dict(digit) for digit in range(len(stage.layers))]
            if not {"method", "bits", "halvings"} <= layers[0].keys():
                raise ConfigError(f"space {scores.space.name!r} is no quantisation space: its layers have no bits")
            bits = np.array([layer["bits"] for layer in layers], dtype=np.int64)[runs[:, 0]]
            few, most = int(bits.min()), int(bits.max())
            best = {b: int(np.flatnonzero(bits == b)[values[bits == b].argmax()]) for b in (few, most)}
            draws = drawn[stage.name][[runs[best[b], 0] for b in (few, most)], 1:] if drawn else np.zeros((2, 0))
            half = INTERVAL_SDS * float((draws[1] - draws[0]).std()) if draws.size else math.nan
            gain, share = float(values[best[most]] - values[best[few]]), 0.5 ** float(str(layers[0]["halvings"]))
            rows.append(
                {
                    "layer": stage.name,
                    **{name: layers[0].get(name) for name in ("kind", "block", "stage")},
                    "weight_share": share,
                    "fewest": few,
                    "most": most,
                    "gain": gain,
                    "lower": gain - half,
                    "upper": gain + half,
                    "gain_per_bit": gain / (share * (most - few)) if most > few else 0.0,
                    "best_method": layers[runs[best[few], 0]]["method"],
                }
            )
    return pd.DataFrame(rows).sort_values("gain_per_bit", ascending=False, kind="stable", ignore_index=True)
