"""The integer program that chooses one candidate of each unit, solved by HiGHS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autobuild._typing import FloatArray, IntArray

OPTIMAL, INFEASIBLE = 0, 2  # status of ``scipy.optimize.milp``


@dataclass(frozen=True, eq=False)
class Choice:
    """What HiGHS found: the place chosen in each unit ``(units,)`` or None, its status, and a lower bound on costs."""

    places: IntArray | None
    status: int
    bound: float


def choose(
    costs: Sequence[FloatArray],
    usages: Sequence[FloatArray],
    room: FloatArray,
    time_limit_s: float,
    *,
    soft: bool = False,
) -> Choice:
    """Choose one candidate of each unit so that summed costs are least and usages stay within the room.

    Args:
        costs: For each unit, costs of its candidates, ``(candidates,)``.
        usages: For each unit, what they use, ``(limits, candidates)``.
        room: What may be used in all, ``(limits,)``.
        time_limit_s: Seconds.
        soft: Whether usages may exceed the room, each unit of excess at a cost of 1.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    sizes = [cost.size for cost in costs]
    count, extra = sum(sizes), room.size if soft else 0
    owner = np.repeat(np.arange(len(sizes)), sizes)
    one_each = csr_matrix((np.ones(count), (owner, np.arange(count))), shape=(len(sizes), count + extra))
    constraints = [LinearConstraint(one_each, 1, 1)]
    if room.size:
        constraints.append(LinearConstraint(np.hstack([*usages, -np.eye(room.size)[:, :extra]]), -np.inf, room))
    result = milp(
        np.concatenate([*costs, np.ones(extra)]),
        integrality=np.concatenate([np.ones(count), np.zeros(extra)]),
        bounds=Bounds(0, np.concatenate([np.ones(count), np.full(extra, np.inf)])),
        constraints=constraints,
        options={"mip_rel_gap": 0, "time_limit": time_limit_s},
    )
    places = None
    if result.x is not None:
        parts = np.split(np.asarray(result.x)[:count], np.cumsum(sizes)[:-1])
        places = np.array([part.argmax() for part in parts], dtype=np.int64)
    bound = -math.inf if result.mip_dual_bound is None else float(result.mip_dual_bound)
    return Choice(places, int(result.status), bound if math.isfinite(bound) else -math.inf)
