"""Why one network is predicted to be better than another: what each unit contributes to the difference."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from autobuild._typing import FloatArray
from autobuild.models import FittedModel
from autobuild.settings.names import INTERVAL_SDS
from autobuild.spaces import Architecture, SearchSpace

EXACT = 9  # units that differ, up to which all networks between the two are predicted
ORDERS = 40  # orders of changes that are averaged if more units differ
DRAWS = 100  # draws of the model, for intervals
COLUMNS = ["unit", "before", "after", "contribution", "lower", "upper"]


def change_between(model: FittedModel, space: SearchSpace, before: Architecture, after: Architecture) -> pd.DataFrame:
    """What each unit contributes to the difference between the predictions of two networks.

    The contribution of a unit is the mean effect of changing it, over all orders in which the units may be changed: its
    Shapley value (Shapley, 1953). Contributions therefore add up to the difference, with interactions of units shared
    between them. If more than :data:`EXACT` units differ, orders are sampled.

    Args:
        model: The model whose predictions are compared.
        space: The space that both networks are in.
        before: The one network.
        after: The other network.

    Returns:
        One row for each unit that differs, the largest change first, and the ``total``. Columns ``unit, before, after,
        change, lower, upper``, in units of the target; the bounds (90 %) are NaN if the model gives no draws.

    Raises:
        SpaceError: A network is not in the space.
    """
    old, new = space.indices(before), space.indices(after)
    differ = [place for place, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    steps = _steps(len(differ))
    subsets = sorted({subset for step, _ in steps for subset in step[1:]})
    number = {subset: row for row, subset in enumerate(subsets)}
    weights = np.zeros((len(differ) + 1, len(subsets)))
    for (place, without, joined), weight in steps:
        weights[place, number[joined]] += weight
        weights[place, number[without]] -= weight
    weights[-1] = weights[:-1].sum(axis=0)
    between = [
        space.assemble([new[place] if place in changed else old[place] for place in range(len(old))])
        for changed in ({differ[i] for i in range(len(differ)) if subset >> i & 1} for subset in subsets)
    ]
    change = weights @ model.predict_mean(between)
    drawn = model.draw(between, DRAWS, seed=0) if between else None
    half: FloatArray = np.full(len(change), np.nan) if drawn is None else INTERVAL_SDS * (weights @ drawn.T).std(axis=1)
    units = [space.units[place] for place in differ]
    texts = [
        (u.name, *(str(u.texts(np.array([i[p]]))[0]) for i in (old, new))) for u, p in zip(units, differ, strict=True)
    ]
    rows = [
        (*text, value, value - bound, value + bound)
        for text, value, bound in zip([*texts, ("total", "", "")], change, half, strict=True)
    ]
    order = [*np.argsort(-np.abs(change[:-1]), kind="stable").tolist(), len(differ)]
    return pd.DataFrame([rows[row] for row in order], columns=COLUMNS)


def _steps(count: int) -> list[tuple[tuple[int, int, int], float]]:
    """Steps ``(unit, subset changed before, subset changed after)`` with weights. Subsets are bit masks."""
    if count <= EXACT:
        out = []
        for unit in range(count):
            others = [other for other in range(count) if other != unit]
            for size in range(count):
                for chosen in itertools.combinations(others, size):
                    mask = sum(1 << other for other in chosen)
                    weight = 1 / (count * np.prod([(count - 1 - i) / (i + 1) for i in range(size)]))
                    out.append(((unit, mask, mask | 1 << unit), float(weight)))
        return out
    rng, out = np.random.default_rng(0), []
    orders = [rng.permutation(count) for _ in range(ORDERS // 2)]
    for order in [*orders, *(order[::-1] for order in orders)]:  # an order and its reverse vary less than two orders
        mask = 0
        for unit in order.tolist():
            out.append(((unit, mask, mask | 1 << unit), 1 / ORDERS))
            mask |= 1 << unit
    return out
