"""Approximate a number of architectures by a sum over units, fitted to architectures whose number is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from autobuild._typing import FloatArray, IntArray
from autobuild.spaces.additive import Additive
from autobuild.spaces.space import SearchSpace
from autobuild.spaces.unit import Unit

PENALTIES = np.logspace(-6, 3, 19)  # ridge penalties, relative to the mean squared singular value per column


def fitted_sum(space: SearchSpace, indices: ArrayLike, values: ArrayLike) -> tuple[Additive, float]:
    """Fit a constant and one effect per value of each feature of each layer, by ridge regression.

    Args:
        space: The search space.
        indices: Candidate indices of the known architectures. Shape ``(n, units)``.
        values: Their numbers; NaN is left out. Shape ``(n,)``.

    Returns:
        The sum, and its root mean square error by leave-one-out cross-validation. The ridge penalty minimises this
        error.
    """
    known = np.asarray(values, dtype=np.float64)
    there = np.isfinite(known)
    rows, known = np.asarray(indices, dtype=np.int64).reshape(len(known), -1)[there], known[there]
    columns = [codes for place, unit in enumerate(space.units) for codes in _codes(unit, rows[:, place])]
    effects, constant, off = _ridge(np.concatenate([_indicators(*column) for column in columns], axis=1), known)
    shares = iter(np.split(effects, np.cumsum([size for _, size in columns])[:-1]))
    tables = []
    for unit in space.units:
        table = np.zeros(unit.size)
        for codes, _ in _codes(unit, np.arange(unit.size)):
            table += np.append(next(shares), 0.0)[codes]  # code -1 (no such layer) takes the appended 0
        tables.append(table)
    return Additive(constant, tuple(tables)), off


def _codes(unit: Unit, rows: IntArray) -> list[tuple[IntArray, int]]:
    """For each feature of each layer: value index of every candidate (-1: no such layer), and number of values."""
    found = []
    for stage, runs in zip(unit.stages, unit.runs(rows), strict=True):
        sizes = [len(feature.values) for feature in stage.features]
        for layer in runs.T:
            digits = np.unravel_index(np.maximum(layer, 0), sizes) if sizes else ()
            for digit, size in zip(digits, sizes, strict=True):
                found.append((np.where(layer < 0, -1, digit), size))
    return found


def _indicators(codes: IntArray, size: int) -> FloatArray:
    return np.equal(codes[:, None], np.arange(size)).astype(np.float64)


def _ridge(table: FloatArray, values: FloatArray) -> tuple[FloatArray, float, float]:
    """Effects, constant, and root mean square leave-one-out error. Shapes: ``(n, columns), (n,)``."""
    if len(values) < 2:
        return np.zeros(table.shape[1]), float(values.sum()), 0.0
    means, mean = table.mean(axis=0), float(values.mean())
    left, spread, right = np.linalg.svd(table - means, full_matrices=False)
    scale = float((spread**2).sum()) / max(table.shape[1], 1) or 1.0
    projected = left.T @ (values - mean)
    best: tuple[float, FloatArray] | None = None
    for penalty in PENALTIES * scale:
        kept = spread**2 / (spread**2 + penalty)
        residual = values - mean - left @ (kept * projected)
        leverage = 1 / len(values) + left**2 @ kept
        off = float(np.sqrt(np.mean((residual / np.maximum(1 - leverage, 1e-9)) ** 2)))
        if best is None or off < best[0]:
            best = off, right.T @ (spread / (spread**2 + penalty) * projected)
    assert best is not None
    return best[1], mean - float(means @ best[1]), best[0]
