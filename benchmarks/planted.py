"""Labels of any number of architectures from a planted law, for measurements at sizes that no published table has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from autobuild.spaces import SearchSpace

NOISE = 0.1  # standard deviation of the noise, relative to that of the law


def planted_labels(space: SearchSpace, rows: int, seed: int = 0) -> pd.DataFrame:
    """Architectures drawn by depth, with labels: sums over layers, products of neighbouring units, saturation, noise.

    Args:
        space: A space whose stages form a chain.
        rows: Number of rows.
        seed: Seed of the architectures and the noise; the law is always the same.

    Returns:
        Columns ``arch, acc, truth``; ``truth`` is ``acc`` without noise.
    """
    law, rng = np.random.default_rng(7), np.random.default_rng(seed)
    value, before, texts = np.zeros(rows), np.zeros(rows), []
    for stage in space.stages:
        depth = rng.choice(stage.depths, rows)
        digits = rng.integers(len(stage.layers), size=(rows, stage.depths[-1]))
        digits[np.arange(stage.depths[-1]) >= depth[:, None]] = -1
        texts.append(stage.texts(digits))
        shape = (stage.depths[-1], len(stage.layers) + 1)  # the last choice is no layer, which is worth nothing
        worth, hidden = (law.normal(size=shape) * (np.arange(shape[1]) < shape[1] - 1) for _ in range(2))
        layers = np.arange(stage.depths[-1])
        value += worth[layers, digits].sum(axis=1)
        own = hidden[layers, digits].sum(axis=1)
        value += 0.3 * own * before
        before = own
    truth = 76 + 2 * np.tanh((value - value.mean()) / 12)
    noisy = truth + NOISE * truth.std() * rng.standard_normal(rows)
    text = texts[0]
    for part in texts[1:]:
        text = text + space.separator + part
    return pd.DataFrame({"arch": text, "acc": noisy, "truth": truth})


def write_planted(space: SearchSpace, rows: int, path: Path, seed: int = 0) -> None:
    """Write ``arch`` and ``acc`` of :func:`planted_labels` as CSV."""
    planted_labels(space, rows, seed)[["arch", "acc"]].to_csv(path, index=False)
