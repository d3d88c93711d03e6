"""Whether equal networks share a metric: it is of the function that they compute, or of what is executed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.spaces import Architecture, SearchSpace

KINDS = ("auto", "function", "execution")  # what a user may say

_EXECUTED = re.compile(
    r"(?i)(^|[^a-z])(lat(ency)?|time|runtime|seconds|sec|ms|us|params?|macs?|flops|throughput|fps|ips|qps|energy|power|"
    r"joules?|mj|watts?|memory|mem|peak|dram|bytes|cycles|edp)([^a-z]|$)"
)
_COMPUTED = re.compile(
    r"(?i)(^|[^a-z])(acc(uracy)?|top.?[15]|error|loss|fid|m?iou|m?ap|ssim|psnr|auc|f1|bleu|perplexity|ppl|val(id)?|"
    r"test|reward|score)([^a-z]|$)"
)
SURE, SURER = 1e-3, 1e-6  # largest p-values at which twins say that dead operations count: alone; against the name
LEAST_PAIRS = 10  # degrees of freedom within twins from which they may say that dead operations do not count
SHARE = 0.1  # of the variance: twins that differ less than this may differ by noise


@dataclass(frozen=True)
class Equality:
    """What equal networks share.

    Attributes:
        of: ``"function"``: they have the same value. ``"execution"``: they need not. ``"either"``: not known.
        why: The reason, for reports.
    """

    of: str
    why: str


def executed_names(names: Iterable[str]) -> list[str]:
    """The metrics that are of the execution by what they are called, such as ``latency_ms``."""
    return [name for name in names if _EXECUTED.search(name)]


def equality(
    names: Sequence[str],
    costs: Sequence[str],
    values: FloatArray,
    space: SearchSpace,
    archs: Sequence[Architecture],
    keys: Sequence[str],
    given: str = "auto",
) -> Equality:
    """Whether a target is of the function that a network computes, or of its execution.

    Twins decide, which are labelled architectures of one function that are executed differently; then the names of the
    metrics.

    Args:
        names: The metrics in the target.
        costs: The costs in the target, which are all of the execution.
        values: The target. Shape ``(n,)``.
        space: The search space.
        archs: The architectures. Length ``(n,)``.
        keys: Keys of their functions. Length ``(n,)``.
        given: What the user says, of :data:`KINDS`.

    Returns:
        The decision.
    """
    if given != "auto":
        return Equality(given, "as given")
    executed = executed_names(names) + list(costs)
    computed = [name for name in names if name not in executed and _COMPUTED.search(name)]
    named = "execution" if executed else "function" if len(computed) == len(names) else "either"
    called = f"called {', '.join(executed or computed)}"
    if space.executed().equal == "function":
        return Equality("function" if named == "either" else named, called if executed or computed else "by default")
    p, freedom, share = _twins(values, keys, _layer_counts(space, archs))
    told = f"{freedom:,} comparisons of equal networks"
    if p < SURE if named != "function" else (p < SURER and share > SHARE):
        return Equality("execution", f"{told} differ by what is executed (p = {p:.1g})")
    if named == "either" and freedom >= LEAST_PAIRS and share < SHARE:
        return Equality("function", f"{told} agree (p = {p:.2g})")
    return Equality(named, called if named != "either" else "neither names nor labels tell")


def _layer_counts(space: SearchSpace, archs: Sequence[Architecture]) -> FloatArray:
    """How often every kind of layer occurs, dead ones included. Shape ``(n, kinds)``."""
    texts = [["_".join(map(str, layer)) for layer in stage.layers] for stage in space.stages]
    kinds = {text: place for place, text in enumerate(sorted({text for one in texts for text in one}))}
    places = [np.array([kinds[text] for text in one]) for one in texts]
    digits: IntArray = np.array([[run[0] for run in arch.runs] for arch in archs]).reshape(len(archs), -1)
    counts = np.zeros((len(archs), len(kinds)))
    for number, own in enumerate(places):
        np.add.at(counts, (np.arange(len(archs)), own[digits[:, number]]), 1.0)
    return counts


def _twins(values: FloatArray, keys: Sequence[str], counts: FloatArray) -> tuple[float, int, float]:
    """Whether counts of layers explain differences between equal networks, by an F-test on ranks.

    Returns:
        The p-value (1 if there are too few), degrees of freedom within twins, and their share of the variance.
    """
    from scipy.stats import f, rankdata

    _, group, size = np.unique(np.asarray(keys), return_inverse=True, return_counts=True)
    rows = np.flatnonzero(size[group] > 1)
    ranks = rankdata(values)
    if not len(rows) or not ranks.std():
        return 1.0, 0, 0.0
    _, group = np.unique(group[rows], return_inverse=True)
    freedom = len(rows) - int(group.max()) - 1
    columns = _within(np.column_stack([ranks[rows], counts[rows]]), group)
    y, x = columns[:, 0], columns[:, 1:]
    total, share = float(y @ y), float(y @ y / max(1, freedom) / ranks.var())
    rank = int(np.linalg.matrix_rank(x))
    left = freedom - rank
    if not rank or left < 3 or total <= 0:
        return 1.0, freedom, share
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    error = max(float(residual @ residual), 1e-9 * total)
    return float(f.sf((total - error) / rank / (error / left), rank, left)), freedom, share


def _within(columns: FloatArray, group: IntArray) -> FloatArray:
    """Columns less their means over each group."""
    sums = np.zeros((int(group.max()) + 1, columns.shape[1]))
    np.add.at(sums, group, columns)
    out: FloatArray = columns - (sums / np.bincount(group)[:, None])[group]
    return out
