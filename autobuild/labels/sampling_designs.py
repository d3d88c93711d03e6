"""Sampling designs: choose distinct networks to label, so that the labels show every choice of the space."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from itertools import accumulate, cycle

import numpy as np
import numpy.typing as npt

from autobuild._typing import FloatArray, IntArray
from autobuild.errors import ConfigError, nearest
from autobuild.spaces import Architecture, SearchSpace, Stage, Unit, check_space
from autobuild.spaces.additive import Additive
from autobuild.spaces.sampling import DEFAULT, generator

DESIGNS = ("depth", "uniform", "cover", "stratified", "guided")

_ENUMERABLE = 200_000  # up to this many candidates or architectures are enumerated instead of drawn
_POOL = 2_000  # candidates drawn from a unit that is too large to enumerate
_DIRECTED = 8  # further candidates made for each depth and feature value of such a unit
_TRIES = 4
_REPAIRS = 500
_NEAREST = 16  # draws for each stratum, of which the nearest to its middle is chosen
# Guided designs. Standard deviations of the logarithms of the factors that estimates are multiplied by. They are about
# those by which the estimates of a quantisation space differ from each other (python -m benchmarks.quant --noise).
_UNIT_NOISE, _CANDIDATE_NOISE = 0.7, 0.4
_STRATIFIED_EVERY = 5  # one in so many is stratified, so that the labels also show what the estimates advise against
_REDRAWS = 50


def sample_design(
    space: SearchSpace,
    n: int,
    design: str = DEFAULT,
    seed: int | np.random.Generator = 0,
    cover: int = 3,
    by: Additive | None = None,
    estimates: Sequence[Additive] | None = None,
    between: tuple[float, float] | None = None,
) -> list[Architecture]:
    """Choose ``n`` networks to label; no two are the same network (by ``space.key``).

    Args:
        space: The space from which networks are chosen.
        n: Number of networks.
        design: ``"depth"`` and ``"uniform"``: drawn as by :func:`autobuild.spaces.sampling.sample`. ``"cover"``: every
            depth of every unit, and every feature value that occurs in a unit, is in at least ``cover`` of the
            networks. The networks that achieve this come first; the rest are drawn as for ``"depth"``.
            ``"stratified"``: the range of ``by`` is divided into ``n`` equal parts, and each gives one network, drawn
            with the greatest entropy among those whose expected sum is the middle of the part. ``"guided"``: four of
            five networks are optima of randomly perturbed estimates under evenly spread limits on ``by`` (perturb and
            MAP: Papandreou and Yuille, ICCV 2011), so they lie near the best trade-offs that the estimates know; every
            fifth is drawn as for ``"stratified"``. ``by`` and ``estimates`` are both better the lower they are.
        seed: Seed or generator; the same seed gives the same networks.
        cover: Number of networks that must show each value (only for ``"cover"``).
        by: A sum over units, such as the average bits of a quantisation, ``ab.costs(space).additive("avg_bits")``
            (only for ``"stratified"`` and ``"guided"``).
        estimates: Sums over units that take turns as what is minimised, with no negative values, such as ``fisher`` of
            a quantisation. The first network of each is the optimum of the estimate itself. For the others its values
            are multiplied by log-normal factors, of every unit and of every candidate (only for ``"guided"``).
        between: Range of the limits on ``by``; None: its whole range (only for ``"guided"``).

    Returns:
        The architectures. Length ``(n,)``.

    Raises:
        ConfigError: The design is unknown, ``n`` or ``cover`` is no positive integer, ``by`` or ``estimates`` are
            missing, of other units or the same for all networks, an estimate has negative values, ``between`` is no
            range of ``by``, the space holds fewer than ``n`` distinct networks, or ``n`` is too small to cover (the
            message says which ``n`` is enough).
    """
    check_space(space)
    if design not in DESIGNS:
        raise ConfigError(f"unknown design {design!r}: {nearest(design, DESIGNS)}")
    for name, value in (("n", n), ("cover", cover)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise ConfigError(f"{name}={value!r}: accepted is an integer of at least 1")
    for name, is_given, users in (
        ("by", by is not None, ("stratified", "guided")),
        ("estimates", estimates is not None, ("guided",)),
        ("between", between is not None, ("guided",)),
    ):
        if is_given and design not in users:
            raise ConfigError(f"{name}: given with design={design}, accepted with {' and '.join(users)}")
    if n > space.size:
        raise ConfigError(f"n={n:,}: the space {space.name} has {space.size:,} architectures, no more can be drawn")
    rng = generator(seed)
    chosen: dict[str, Architecture] = {}
    if design == "cover":
        chosen = _cover(space, n, cover, rng)
    elif design == "stratified":
        chosen = _stratified(space, n, _checked(space, "by", by, design), rng)
    elif design == "guided":
        checked = [_checked(space, "estimates", estimate, design) for estimate in estimates or (None,)]
        chosen = _guided(space, n, _checked(space, "by", by, design), checked, between, rng)
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


def _checked(space: SearchSpace, name: str, given: Additive | None, design: str) -> Additive:
    """A sum over the units of a space that differs between networks. Raises ConfigError."""
    if given is None:
        what = "the sum over units whose range is covered" if name == "by" else "sums over units that are minimised"
        raise ConfigError(f"design {design!r} needs {name}, {what}")
    sizes = tuple(unit.size for unit in space.units)
    if given.sizes != sizes:
        raise ConfigError(f"{name} has units of {given.sizes} candidates; accepted: those of {space.name}, {sizes}")
    if given.least == given.greatest:
        raise ConfigError(
            f"{name} is {given.least:g} for all architectures of {space.name}; accepted: a sum that differs"
        )
    return given


def _guided(
    space: SearchSpace,
    n: int,
    by: Additive,
    estimates: Sequence[Additive],
    between: tuple[float, float] | None,
    rng: np.random.Generator,
) -> dict[str, Architecture]:
    """Choose up to ``n`` networks: optima of perturbed estimates, and stratified ones."""
    for estimate in estimates:
        if min(table.min() for table in estimate.tables) < 0:
            raise ConfigError("estimates: a value is negative; accepted: sums without negative values, lower is better")
    low, high = between if between is not None else (by.least, by.greatest)
    if not (np.isfinite([low, high]).all() and by.least <= low <= high):
        raise ConfigError(f"between={between!r}: accepted are two ascending numbers from {by.least:g} on, limits of by")
    apart = n // _STRATIFIED_EVERY
    chosen = _stratified(space, apart, by, rng) if apart else {}
    count = n - len(chosen)
    limits = low + (high - low) * (rng.permutation(count) + 0.5) / count
    for place, (limit, estimate) in enumerate(zip(limits, cycle(estimates), strict=False)):
        for redraw in range(_REDRAWS):
            noise = [_UNIT_NOISE * rng.normal() + _CANDIDATE_NOISE * rng.normal(size=size) for size in estimate.sizes]
            plain = place < len(estimates) and not redraw
            tables = [
                table if plain else table * np.exp(own) for table, own in zip(estimate.tables, noise, strict=True)
            ]
            arch = space.assemble(_least(tables, by, limit))
            if chosen.setdefault(space.key(arch), arch) is arch:
                break
    order = rng.permutation(len(chosen))
    archs = list(chosen.items())
    return dict(archs[place] for place in order)


def _least(tables: Sequence[FloatArray], by: Additive, limit: float) -> list[int]:
    """Candidates of the least sum of ``tables`` with ``by <= limit``, by a Lagrange multiplier of ``by``.

    They are optimal for their own sum of ``by``, which may be below the limit by a part of what one unit adds.
    """
    width = max(map(len, tables))
    padded = [[np.pad(t, (0, width - len(t)), constant_values=np.inf) for t in own] for own in (tables, by.tables)]
    value, used = map(np.array, padded)
    value /= value[np.isfinite(value)].mean() or 1.0
    used = np.where(np.isfinite(used), used, 0.0)
    rows = np.arange(len(tables))

    def chosen(price: float) -> list[int]:
        return [int(place) for place in (value + price * used).argmin(axis=1)]

    def over(price: float) -> bool:
        return bool(by.constant + used[rows, chosen(price)].sum() > limit + 1e-9 * abs(limit))

    low, high = 0.0, 1.0
    if not over(low):
        return chosen(low)
    while over(high) and high < 1e30:
        low, high = high, high * 16
    for _ in range(80):
        middle = (low * high) ** 0.5 if low else high / 16
        low, high = (middle, high) if over(middle) else (low, middle)
    return chosen(high)


def _stratified(space: SearchSpace, n: int, by: Additive, rng: np.random.Generator) -> dict[str, Architecture]:
    """Choose up to ``n`` networks whose sums are evenly spread over the range."""
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
