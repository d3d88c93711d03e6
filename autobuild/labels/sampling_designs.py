"""Sampling designs: choose distinct networks to label, so that the labels show every choice of the space."""

from __future__ import annotations

import numbers
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from autobuild._typing import FloatArray, IntArray
from autobuild.errors import ConfigError, nearest
from autobuild.spaces import Architecture, SearchSpace, Stage, Unit
from autobuild.spaces.additive import Additive
from autobuild.spaces.sampling import DEFAULT

DESIGNS = ("depth", "uniform", "cover", "stratified")

_ENUMERABLE = 200_000  # up to this many candidates or architectures are enumerated instead of drawn
_POOL = 2_000  # candidates drawn from a unit that is too large to enumerate
_DIRECTED = 8  # further candidates made for each depth and feature value of such a unit
_TRIES = 4
_REPAIRS = 500
_NEAREST = 16  # draws for each stratum, of which the nearest to its middle is chosen


def sample_design(
    space: SearchSpace,
    n: int,
    design: str = DEFAULT,
    seed: int | np.random.Generator = 0,
    cover: int = 3,
    by: Additive | None = None,
) -> list[Architecture]:
    """Choose ``n`` networks to label; no two are the same network (by ``space.key``).

    Args:
        space: The space from which networks are chosen.
        n: Number of networks.
        design: ``"depth"`` and ``"uniform"``: drawn as by :func:`autobuild.spaces.sampling.sample`. ``"cover"``: every
            depth of every unit, and every feature value that occurs in a unit, is in at least ``cover`` of the
            networks. The networks that achieve this come first; the rest are drawn as for ``"depth"``.
            ``"stratified"``: the range of ``by`` is divided into ``n`` equal parts, and each gives one network, drawn
            with the greatest entropy among those whose expected sum is the middle of the part.
        seed: Seed or generator; the same seed gives the same networks.
        cover: Number of networks that must show each value (only for ``"cover"``).
        by: A sum over units, such as the average bits of a quantisation, ``ab.costs(space)["avg_bits"].bounds().lower``
            (only for ``"stratified"``).

    Returns:
        The architectures. Length ``(n,)``.

    Raises:
        ConfigError: The design is unknown, ``n`` or ``cover`` is no positive integer, ``by`` is missing, or of other
            units, or the same for all networks, the space holds fewer than ``n`` distinct networks, or ``n`` is too
            small to cover (the message says which ``n`` is enough).
    """
    if design not in DESIGNS:
        raise ConfigError(f"unknown design {design!r}: {nearest(design, DESIGNS)}")
    for name, value in (("n", n), ("cover", cover)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise ConfigError(f"{name}={value!r}: accepted is an integer of at least 1")
    if n > space.size:
        raise ConfigError(f"n={n:,}: the space {space.name} has {space.size:,} architectures, no more can be drawn")
    rng = np.random.default_rng(seed)
    chosen: dict[str, Architecture] = {}
    if design == "cover":
        chosen = _cover(space, n, cover, rng)
    elif design == "stratified":
        chosen = _stratified(space, n, by, rng)
    _fill(space, n, "uniform" if design == "uniform" else "depth", rng, chosen)
    return list(chosen.values())


def _fill(space: SearchSpace, n: int, design: str, rng: np.random.Generator, chosen: dict[str, Architecture]) -> None:
    """Add drawn architectures to ``chosen`` (by key) until there are ``n``; equal networks are added once."""
    draws = 0
    while len(chosen) < n and draws < 20 * n + 1_000:
        batch = max(n - len(chosen), 64)
        _add(space, space.sample(batch, rng, design), n, chosen)
        draws += batch
    if len(chosen) < n and space.size <= _ENUMERABLE:  # the remaining networks are rare, so enumerate the whole space
        sizes = [unit.size for unit in space.units]
        for number in rng.permutation(space.size):
            _add(space, [space.assemble([int(i) for i in np.unravel_index(number, sizes)])], n, chosen)
            if len(chosen) == n:
                break
        else:
            raise ConfigError(
                f"n={n:,}: the space {space.name} has {len(chosen):,} distinct networks, no more can be drawn"
            )
    if len(chosen) < n:
        raise ConfigError(f"n={n:,}: {draws:,} draws from {space.name} gave {len(chosen):,} distinct networks only")


def _add(space: SearchSpace, archs: list[Architecture], n: int, chosen: dict[str, Architecture]) -> None:
    for arch in archs:
        if len(chosen) < n:
            chosen.setdefault(space.key(arch), arch)


def _stratified(space: SearchSpace, n: int, by: Additive | None, rng: np.random.Generator) -> dict[str, Architecture]:
    """Choose up to ``n`` networks whose sums are evenly spread over the range."""
    if by is None:
        raise ConfigError("design 'stratified' needs by, the sum over units whose range is covered evenly")
    sizes = tuple(unit.size for unit in space.units)
    if by.sizes != sizes:
        raise ConfigError(f"by has units of {by.sizes} candidates; accepted: those of {space.name}, {sizes}")
    if by.least == by.greatest:
        raise ConfigError(f"by is {by.least:g} for all architectures of {space.name}; accepted: a sum that differs")
    scaled = [(table - table.min()) / (by.greatest - by.least) for table in by.tables]
    chosen: dict[str, Architecture] = {}
    for part in rng.permutation(n):
        middle = (part + 0.5) / n
        chances = _tilted(scaled, middle)
        rows = np.stack([rng.choice(len(chance), _NEAREST, p=chance) for chance in chances], axis=1)
        sums = sum(table[rows[:, unit]] for unit, table in enumerate(scaled))
        for row in np.argsort(np.abs(sums - middle), kind="stable"):
            arch = space.assemble(rows[row].tolist())
            if chosen.setdefault(space.key(arch), arch) is arch:
                break
    return chosen


def _tilted(tables: list[FloatArray], mean: float) -> list[FloatArray]:
    """For each unit probabilities proportional to ``exp(t * value)``, with ``t`` so that the sum's mean is given."""
    from scipy.optimize import brentq

    def chances(t: float) -> list[FloatArray]:
        powers = [np.exp(t * table - (t * table).max()) for table in tables]
        return [power / power.sum() for power in powers]

    def off(t: float) -> float:
        return sum(float(chance @ table) for chance, table in zip(chances(t), tables, strict=True)) - mean

    most = 1.0
    while off(-most) > 0 or off(most) < 0:
        most *= 2
    return chances(brentq(off, -most, most))


def _cover(space: SearchSpace, n: int, k: int, rng: np.random.Generator) -> dict[str, Architecture]:
    """Choose few networks that show every value ``k`` times: cover each unit alone, then combine the candidates."""
    covers = [_cover_unit(unit, k, rng) for unit in space.units]
    enough = max(map(len, covers))
    if n < enough:
        widest = space.units[max(range(len(covers)), key=lambda u: len(covers[u]))]
        raise ConfigError(
            f"n={n:,}: to see every depth and feature value of every unit of {space.name} {k} times, "
            f"{enough:,} networks are enough (unit {widest.name!r} needs most); give n={enough} or more, or a "
            "smaller cover"
        )
    spare = [space.indices(arch) for arch in space.sample(enough, rng, "depth")]
    columns = []
    for u, cover in enumerate(covers):
        column = cover + [indices[u] for indices in spare[: enough - len(cover)]]
        columns.append([column[i] for i in rng.permutation(enough)])
    rows = [list(row) for row in zip(*columns, strict=True)]
    chosen = _distinct(space, rows, rng)
    if len(chosen) < enough:
        raise ConfigError(
            f"design 'cover' with cover={k}: {space.name} is too small to show every value in {k} distinct networks; "
            f"give a smaller cover, or n={space.size:,} for all architectures with design=uniform"
        )
    return chosen


def _distinct(space: SearchSpace, rows: list[list[int]], rng: np.random.Generator) -> dict[str, Architecture]:
    """Make rows distinct by swapping candidates of a unit between rows; each unit still shows the same candidates."""
    chosen: dict[str, Architecture] = {}
    for _ in range(_REPAIRS):
        chosen = {}
        twins = []
        for r, row in enumerate(rows):
            arch = space.assemble(row)
            if chosen.setdefault(space.key(arch), arch) is not arch:
                twins.append(r)
        if not twins:
            break
        for r in twins:
            other, u = int(rng.integers(len(rows))), int(rng.integers(len(rows[r])))
            rows[r][u], rows[other][u] = rows[other][u], rows[r][u]
    return chosen


def _cover_unit(unit: Unit, k: int, rng: np.random.Generator) -> list[int]:
    """Indices of candidates that together show every depth and feature value of the unit at least ``k`` times."""
    if unit.kept is not None or unit.size <= _ENUMERABLE:
        pool = unit.runs(np.arange(unit.size, dtype=np.int64))
        return _greedy(_shown(unit, pool), k, rng)
    pool = _draw_pool(unit, rng)
    picks = _greedy(_shown(unit, pool), k, rng)
    return [unit.index_of_runs([tuple(int(d) for d in run[p] if d >= 0) for run in pool]) for p in picks]


def _shown(unit: Unit, pool: list[IntArray]) -> npt.NDArray[np.float32]:
    """Indicators of the depths and values of each candidate. Shapes: per stage ``(n, layers)`` -> ``(n, items)``."""
    columns = []
    total = np.zeros(len(pool[0]), dtype=np.int64)
    for stage, run in zip(unit.stages, pool, strict=True):
        there = run >= 0
        depth = there.sum(axis=1)
        total += depth
        columns += [depth == d for d in stage.depths]
        for f, feature in enumerate(stage.features):
            values = np.array([feature.values.index(layer[f]) for layer in stage.layers])[run]
            columns += [((values == v) & there).any(axis=1) for v in range(len(feature.values))]
    if len(unit.stages) > 1:
        columns += [total == d for d in unit.depths]
    shown = np.stack(columns, axis=1)
    return shown[:, shown.any(axis=0)].astype(np.float32)  # leave out values that a narrowed unit no longer has


def _greedy(shown: npt.NDArray[np.float32], k: int, rng: np.random.Generator) -> list[int]:
    """Choose rows that cover every column at least ``k`` times; the shortest list of a few greedy tries is returned.

    Each step takes the row that covers most of what is still needed. A row is repeated only if no other row helps.
    """
    best: list[int] = []
    for _ in range(_TRIES):
        need = np.full(shown.shape[1], k, dtype=np.float32)
        fresh = np.ones(len(shown), dtype=bool)
        picks: list[int] = []
        while (need > 0).any():
            gain = shown @ np.maximum(need, 0)
            if (gain[fresh] > 0).any():
                gain[~fresh] = 0
            ties = np.flatnonzero(gain == gain.max())
            pick = int(ties[rng.integers(len(ties))])
            picks.append(pick)
            fresh[pick] = False
            need -= shown[pick]
        if not best or len(picks) < len(best):
            best = picks
    return best


def _draw_pool(unit: Unit, rng: np.random.Generator) -> list[IntArray]:
    """Draw candidates of a unit too large to enumerate, and make further ones for each depth and feature value.

    Returns, for each stage, digits of shape ``(n, max depth)``, padded with -1.
    """
    reach = list(accumulate(reversed(unit.stages), _sums, initial={0}))[
        ::-1
    ]  # depths that stages s, s+1, ... can sum to
    rows = [_draw(unit, [int(rng.choice(stage.depths)) for stage in unit.stages], rng) for _ in range(_POOL)]
    for _ in range(_DIRECTED):
        for total in unit.depths:
            depths, left = [], total
            for s, stage in enumerate(unit.stages):
                depths.append(int(rng.choice([d for d in stage.depths if left - d in reach[s + 1]])))
                left -= depths[-1]
            rows.append(_draw(unit, depths, rng))
        for s, stage in enumerate(unit.stages):
            for depth in stage.depths:
                depths = [int(rng.choice(other.depths)) for other in unit.stages]
                depths[s] = depth
                rows.append(_draw(unit, depths, rng))
            for f, feature in enumerate(stage.features):
                for value in feature.values:
                    row = _draw(unit, [int(rng.choice(other.depths)) for other in unit.stages], rng)
                    chosen = int(rng.choice([d for d, layer in enumerate(stage.layers) if layer[f] == value]))
                    there = row[s] >= 0
                    row[s][there] = stage.sharing(row[s][there], chosen)
                    row[s][0] = chosen
                    rows.append(row)
    return [np.stack([row[s] for row in rows]) for s in range(len(unit.stages))]


def _sums(totals: set[int], stage: Stage) -> set[int]:
    return {total + depth for total in totals for depth in stage.depths}


def _draw(unit: Unit, depths: list[int], rng: np.random.Generator) -> list[IntArray]:
    """Digits of one candidate with these depths, for each stage padded with -1 to its largest depth."""
    stages = zip(unit.stages, depths, strict=True)
    return [stage.padded([stage.draw(depth, rng)])[0] for stage, depth in stages]
