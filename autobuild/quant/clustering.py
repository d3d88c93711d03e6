"""One-dimensional k-means of many rows at once: rows are sorted once, and clusters are ranges of the sorted row.

The fast one is Lloyd's algorithm (1982) on prefix sums, started where an optimal scalar quantiser has its levels
(Panter & Dite, 1951: the density of levels is the cube root of the density of values); centres that gain little move
to where they gain more (as Patane & Russo, Neural Networks, 2001). ``exact`` is the dynamic programme of Wang & Song
(R Journal, 2011) with divide and conquer, because the best splits are monotone (Gronlund et al., 2017).
"""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autobuild._typing import FloatArray, IntArray
from autobuild.errors import QuantisationError

Rows = NDArray[np.float32]
CHUNK = 1 << 20  # values that are clustered at once: their prefix sums fit into a processor's cache
MOVES = 20  # of a centre to another place, for every row
ENOUGH = 3e-4  # of the error: a smaller improvement ends the search
SAMPLE = 256  # values of a row from which the first centres are computed
MAX_SPLITS = 1 << 27  # 512 MiB of splits
_log = logging.getLogger(__name__)


def kmeans(values: Rows, k: int, *, exact: bool = False) -> FloatArray:
    """Cluster every row on its own.

    Args:
        values: Finite numbers. Shape ``(rows, n)``.
        k: Number of clusters of a row; at most ``n``.
        exact: Whether the sum of squared errors is the least possible; otherwise a local optimum that is near it.

    Returns:
        Centres of every row, ascending. Shape ``(rows, k)``.

    Raises:
        QuantisationError: A row has fewer values than clusters, or too many for ``exact``.
    """
    n = values.shape[1]
    if not 1 <= k <= n:
        raise QuantisationError(f"k-means: {k} clusters of {n} values; accepted: 1 to {n} clusters")
    if exact and k * (n + 1) > MAX_SPLITS:
        raise QuantisationError(
            f"k-means: {n:,} values and {k} clusters are too many for exact=True; accepted: a product of up to "
            f"{MAX_SPLITS:,}, or exact=False"
        )
    solve = _exact if exact else _lloyd
    return np.concatenate(over_rows(values.shape, lambda part: solve(*sorted_sums(values[part]), k)))


def over_rows(shape: tuple[int, ...], function: Callable[[slice], Any]) -> list[Any]:
    """Call a function with parts of the rows of a matrix, on as many threads as torch uses; the results in order.

    Every part but the last has a multiple of 8 rows.
    """
    rows, width = shape
    step = max(8, CHUNK // width // 8 * 8)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, (slice(start, start + step) for start in range(0, rows, step))))


def sorted_sums(values: Rows) -> tuple[Rows, FloatArray]:
    """Rows in ascending order, and their prefix sums. Shapes: ``(rows, n) -> (rows, n), (rows, n + 1)``."""
    ordered = np.sort(values, axis=1)
    library, (rows, n) = _compiled(), ordered.shape
    if library is None:
        sums = np.zeros((rows, n + 1))
        np.cumsum(ordered, axis=1, dtype=np.float64, out=sums[:, 1:])
    else:
        sums = np.empty((rows, n + 1))
        library.prefix_sums(ordered.ctypes.data, rows, n, sums.ctypes.data)
    return ordered, sums


def ranges(ordered: Rows, sums: FloatArray, thresholds: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Parts of sorted rows between thresholds.

    Args:
        ordered: Ascending. Shape ``(rows, n)``.
        sums: Prefix sums. Shape ``(rows, n + 1)``.
        thresholds: Ascending. Shape ``(rows, k - 1)``.

    Returns:
        Positions where the k parts begin and end, shape ``(rows, k + 1)``; numbers of values in the parts and their
        sums, shapes ``(rows, k)``.
    """
    library = _compiled()
    if library is not None:
        (rows, n), k = ordered.shape, thresholds.shape[1]
        thresholds = np.ascontiguousarray(thresholds, dtype=np.float64)
        bounds, totals = np.empty((rows, k + 2), dtype=np.int64), np.empty((rows, k + 1))
        pointers = [array.ctypes.data for array in (ordered, sums, thresholds, bounds, totals)]
        library.part_sums(*pointers[:3], rows, n, k, *pointers[3:])
        return bounds, np.diff(bounds, axis=1), totals
    given = torch.from_numpy(thresholds.astype(np.float32))
    inner = torch.searchsorted(torch.from_numpy(ordered), given).numpy()
    ends = np.full((len(ordered), 1), ordered.shape[1], dtype=np.int64)
    bounds = np.concatenate([np.zeros_like(ends), inner, ends], axis=1)
    return bounds, np.diff(bounds, axis=1), np.diff(np.take_along_axis(sums, bounds, axis=1), axis=1)


def _first_centres(ordered: Rows, k: int) -> FloatArray:
    """Levels whose density is the cube root of the values' density, which is estimated by gaps between quantiles."""
    places = np.unique(np.linspace(0, ordered.shape[1] - 1, max(SAMPLE, 4 * k)).astype(np.int64))
    points = np.ascontiguousarray(ordered[:, places], dtype=np.float64)
    share = np.zeros_like(points)
    np.cumsum(np.diff(points, axis=1) ** (2 / 3) + 1e-30, axis=1, out=share[:, 1:])
    share /= np.maximum(share[:, -1:], 1e-300)
    wanted = np.tile((np.arange(k) + 0.5) / k, (len(points), 1))
    right = torch.searchsorted(torch.from_numpy(share), torch.from_numpy(wanted)).numpy()
    right = np.clip(right, 1, max(1, points.shape[1] - 1)) if points.shape[1] > 1 else np.zeros_like(right)
    left = np.maximum(right - 1, 0)
    below, above = (np.take_along_axis(share, side, axis=1) for side in (left, right))
    part = np.clip((wanted - below) / np.maximum(above - below, 1e-300), 0, 1)
    low, high = (np.take_along_axis(points, side, axis=1) for side in (left, right))
    centres: FloatArray = low + part * (high - low)
    return centres


def _lloyd(ordered: Rows, sums: FloatArray, k: int) -> FloatArray:
    squares = float(np.einsum("rn,rn->", ordered, ordered, dtype=np.float64))
    centres, before = _moved(ordered, sums, _first_centres(ordered, k), 3), np.inf
    for _ in range(MOVES):
        centres = _moved(ordered, sums, _swapped(ordered, sums, centres), 2) if k > 2 else centres
        _, counts, totals = ranges(ordered, sums, (centres[:, 1:] + centres[:, :-1]) / 2)
        error = squares - float((totals**2 / np.maximum(counts, 1)).sum())
        if error > before * (1 - ENOUGH):
            break
        before = error
    return centres


def _moved(ordered: Rows, sums: FloatArray, centres: FloatArray, times: int) -> FloatArray:
    """Every centre at the mean of the values that are nearest to it; a centre without values stays."""
    for _ in range(times):
        _, counts, totals = ranges(ordered, sums, (centres[:, 1:] + centres[:, :-1]) / 2)
        centres = np.where(counts > 0, totals / np.maximum(counts, 1), centres)
    return centres


def _swapped(ordered: Rows, sums: FloatArray, centres: FloatArray) -> FloatArray:
    """In every row one cluster parted at its mean and two neighbours joined, where that makes the error less."""
    rows, k = centres.shape
    every = np.arange(rows)
    cuts = np.empty((rows, 2 * k - 1))
    cuts[:, ::2], cuts[:, 1::2] = centres, (centres[:, 1:] + centres[:, :-1]) / 2
    _, counts, totals = ranges(ordered, sums, cuts)
    energy = totals**2 / np.maximum(counts, 1)  # what a part takes from the sum of squares
    n, total = counts.reshape(rows, k, 2).sum(axis=2), totals.reshape(rows, k, 2).sum(axis=2)
    whole = total**2 / np.maximum(n, 1)
    gain = energy.reshape(rows, k, 2).sum(axis=2) - whole
    pair_n, pair_total = n[:, 1:] + n[:, :-1], total[:, 1:] + total[:, :-1]
    loss = whole[:, 1:] + whole[:, :-1] - pair_total**2 / np.maximum(pair_n, 1)
    at = gain.argmax(axis=1)
    loss[every, np.minimum(at, k - 2)] = np.inf
    loss[every, np.maximum(at - 1, 0)] = np.inf
    join = loss.argmin(axis=1)
    better = gain[every, at] > loss[every, join]
    row, cut, pair = every[better], at[better], join[better]
    means = totals / np.maximum(counts, 1)
    out = centres.copy()
    out[row, cut], out[row, pair + 1] = means[row, 2 * cut], means[row, 2 * cut + 1]
    out[row, pair] = pair_total[row, pair] / np.maximum(pair_n[row, pair], 1)
    out.sort(axis=1)
    return out


def _exact(ordered: Rows, sums: FloatArray, k: int) -> FloatArray:
    rows, n = ordered.shape
    mean = sums[:, -1:] / n  # centred, so that squares of sums lose no digits
    centred = sums - mean * np.arange(n + 1)
    inverse = 1 / np.maximum(np.arange(n + 1), 1.0)
    library = _compiled()
    if library is None:
        bounds = np.stack([_bounds(row, inverse, k) for row in centred])
    else:
        bounds = np.empty((rows, k + 1), dtype=np.int64)
        work, split = np.empty(2 * (n + 1)), np.empty((k, n + 1), dtype=np.int32)
        pointers = [array.ctypes.data for array in (centred, inverse, work, split, bounds)]
        library.exact_bounds(*pointers[:2], rows, n, k, *pointers[2:])
    totals = np.diff(np.take_along_axis(centred, bounds, axis=1), axis=1)
    centres: FloatArray = totals / np.diff(bounds, axis=1) + mean
    return centres


def _bounds(sums: FloatArray, inverse: FloatArray, k: int) -> IntArray:
    """What ``exact_bounds`` of ``_kmeans.c`` does for one row, without a compiler: one level of the halving at once."""
    n = len(sums) - 1
    error = -(sums**2) * inverse
    splits: list[IntArray] = []
    for cluster in range(1, k):
        after, split = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=np.int64)
        known = np.array([[cluster, cluster], [n + 1, n - 1]])  # (end, split) pairs; the unknown ends lie between
        while True:
            (low, first), (high, last) = known[:-1].T, known[1:].T
            open_ = np.flatnonzero(high - low > 1)
            if not len(open_):
                break
            ends = (low[open_] + high[open_]) // 2
            firsts, lasts = first[open_], np.minimum(last[open_], ends - 1)
            widths = lasts - firsts + 1
            starts = np.cumsum(widths) - widths
            places = np.arange(widths.sum()) - np.repeat(starts - firsts, widths)
            end = np.repeat(ends, widths)
            values = error[places] - (sums[end] - sums[places]) ** 2 * inverse[end - places]
            after[ends] = np.minimum.reduceat(values, starts)
            hit = np.flatnonzero(values <= np.repeat(after[ends], widths))
            split[ends] = places[hit[np.searchsorted(hit, starts)]]
            known = np.concatenate([known, np.column_stack([ends, split[ends]])])
            known = known[np.argsort(known[:, 0])]
        error = after
        splits.append(split)
    bounds = [n]
    for split in reversed(splits):
        bounds.append(int(split[bounds[-1]]))
    return np.array([0, *reversed(bounds)])


@lru_cache(maxsize=1)
def _compiled() -> Any:
    """``_kmeans.c`` compiled by the machine's C compiler; None where there is none, and numpy does the same, slower."""
    source = Path(__file__).with_name("_kmeans.c")
    flags = ["-O3", "-march=native", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math"]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kmeans.so"
        command = [os.environ.get("CC", "cc"), *flags, "-shared", "-fPIC", str(source), "-o", str(made)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            library = ctypes.CDLL(str(made))
        except (OSError, subprocess.SubprocessError) as error:
            _log.info("k-means runs in numpy; exact codebooks take ten times longer: no C compiler (%s)", error)
            return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.exact_bounds.argtypes = [pointer, pointer, number, number, number, pointer, pointer, pointer]
    library.part_sums.argtypes = [pointer, pointer, pointer, number, number, number, pointer, pointer]
    library.prefix_sums.argtypes = [pointer, number, number, pointer]
    library.exact_bounds.restype = library.part_sums.restype = library.prefix_sums.restype = None
    return library
