"""Random splits and folds that keep rows with equal keys (the same network) together."""

from __future__ import annotations

import heapq
import numbers
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from autobuild._typing import IntArray
from autobuild.errors import ConfigError, LabelError


def split(keys: Sequence[Hashable], holdout: float | int, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Divide rows at random into training and held-out rows; rows with equal keys stay together.

    Args:
        keys: One key per row. Length ``(n,)``.
        holdout: The held-out part: a fraction strictly between 0 and 1, or a number of rows from 1 to ``n - 1``.
        seed: The same seed gives the same rows.

    Returns:
        ``(train_rows, test_rows)``: ascending row indices; every row is in one of them. ``test_rows`` has the number of
        rows asked for (a fraction of ``n`` is rounded), or the nearest number that groups of equal keys allow.

    Raises:
        ConfigError: ``holdout`` is out of range.
        LabelError: There are fewer than two distinct keys.
    """
    groups = _groups(keys, seed)
    n = len(keys)
    if len(groups) < 2:
        raise LabelError(f"{n:,} rows cannot be split: at least 2 distinct networks are needed, here: {len(groups)}")
    wanted = holdout_rows(holdout, n)
    test: list[IntArray] = []
    free = wanted
    for group in groups:
        if len(group) <= free:
            test.append(group)
            free -= len(group)
    if free:  # only large groups are left: find the groups whose sizes sum to the nearest number
        test = _nearest_sum(groups, wanted, n)
    test_rows = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(n, dtype=np.int64), test_rows), test_rows


def folds(keys: Sequence[Hashable], k: int, seed: int = 0) -> list[tuple[IntArray, IntArray]]:
    """Divide rows at random into ``k`` folds of nearly equal size; rows with equal keys stay together.

    Returns:
        ``k`` pairs ``(train_rows, test_rows)`` of ascending row indices; every row is in exactly one ``test_rows``. The
        sizes of two folds differ at most by the size of the largest group, so by at most one row if all keys differ.

    Raises:
        ConfigError: ``k`` is not an integer from 2 to the number of distinct keys.
    """
    groups = _groups(keys, seed)
    if isinstance(k, bool) or not isinstance(k, numbers.Integral) or not 2 <= k <= len(groups):
        raise ConfigError(f"folds={k!r}: accepted is an integer from 2 to {len(groups):,} (distinct networks)")
    n = len(keys)
    # Placing the largest groups first gives the least imbalance; the sort is stable, so equal sizes stay shuffled.
    groups.sort(key=len, reverse=True)
    heap = [(0, fold) for fold in range(int(k))]
    member = np.empty(n, dtype=np.int64)
    for group in groups:
        size, fold = heapq.heappop(heap)
        member[group] = fold
        heapq.heappush(heap, (size + len(group), fold))
    return [(np.flatnonzero(member != fold), np.flatnonzero(member == fold)) for fold in range(int(k))]


def holdout_rows(holdout: float | int, n: int) -> int:
    """Turn a fraction or a number of rows into a number of rows from 1 to ``n - 1``.

    Raises:
        ConfigError: The fraction is not in (0, 1), or the number of rows is not from 1 to ``n - 1``.
    """
    accepted = f"accepted is a fraction between 0 and 1, or a number of rows from 1 to {max(n - 1, 0):,}"
    if isinstance(holdout, bool) or not isinstance(holdout, numbers.Real):
        raise ConfigError(f"holdout={holdout!r} is not a number: {accepted}")
    if isinstance(holdout, numbers.Integral):
        if not 1 <= holdout < n:
            raise ConfigError(f"holdout={holdout} rows of {n:,}: {accepted}")
        return int(holdout)
    if not 0 < holdout < 1:
        raise ConfigError(f"holdout={holdout}: {accepted}")
    return min(max(round(float(holdout) * n), 1), n - 1)


def _groups(keys: Sequence[Hashable], seed: int) -> list[IntArray]:
    """Groups of rows with equal keys, in an order that depends only on the seed and the rows."""
    rows: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    groups = [np.array(group, dtype=np.int64) for group in rows.values()]
    return [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]


def _nearest_sum(groups: list[IntArray], wanted: int, n: int) -> list[IntArray]:
    """Choose groups whose sizes sum to the number nearest to ``wanted`` among 1 to n - 1 (the smaller on a tie).

    This is a subset-sum problem over the distinct sizes, with their counts split into powers of two. Bit ``s`` of an
    integer says whether the sum ``s`` can be reached, so that adding groups is one shift.
    """
    by_size: defaultdict[int, list[IntArray]] = defaultdict(list)
    for group in groups:
        by_size[len(group)].append(group)
    steps: list[tuple[int, int]] = []  # (size, how many groups of it)
    for size, members in sorted(by_size.items()):
        left, chunk = len(members), 1
        while left:
            take = min(chunk, left)
            steps.append((size, take))
            left, chunk = left - take, chunk * 2
    reached = [1]
    for size, count in steps:
        reached.append(reached[-1] | reached[-1] << (size * count))
    total = min((s for s in range(1, n) if reached[-1] >> s & 1), key=lambda s: (abs(s - wanted), s))
    chosen: list[IntArray] = []
    for (size, count), before in zip(reversed(steps), reversed(reached[:-1]), strict=True):
        if not before >> total & 1:
            chosen += [by_size[size].pop() for _ in range(count)]
            total -= size * count
    return chosen
