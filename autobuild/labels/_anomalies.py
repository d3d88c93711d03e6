"""Find suspicious label values: marks of failed measurements, mixed units, far outliers, copied rows.

Nothing is dropped: a finding names the rows, gives the reason, and says how to leave them out. The rules use sorted
values only, so the order of rows does not matter. They are designed for typical metrics of networks: positive numbers
that span decades (latency, parameters), accuracies with a long lower tail down to chance, and degenerate networks that
share one value. Rows that also stand out in a second metric, other than by a mark of failure, are not reported, because
then the networks themselves differ from the others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from autobuild._typing import FloatArray, IntArray
from autobuild.expressions.parse import written
from autobuild.labels._checks import Measured
from autobuild.labels._raw_table import name_rows

Key = Callable[[int], Hashable]

FEWEST = 8  # minimum number of values of a metric for the rules to apply
FEW, MANY, HALF = 0.1, 0.25, 0.5  # largest shares of outliers, of failures, and of failures with a usual mark
_SENTINELS = {sign * (10.0**digits - 1) for digits in range(2, 10) for sign in (1, -1)} | {-1.0}
_SENTINELS |= {sign * 10.0**digits for digits in range(5, 31) for sign in (1, -1)}
_SCALES = {100.0: 10, 1000.0: 8, 1e6: 250}  # ratio of two units -> largest ratio of values within one unit
_RATIO_ABOVE, _RATIO_BELOW = 8, 1e5  # ratios of neighbouring values from which the outer ones are outliers
_NEVER_NEGATIVE = re.compile(
    r"(?i)(^|[^a-z])(lat(ency)?|time|seconds|sec|ms|params?|macs?|flops|throughput|fps|energy|memory|bytes|acc(uracy)?|"
    r"top.?[15]|fid)([^a-z]|$)"
)
_NEVER_ZERO = re.compile(r"(?i)(^|[^a-z])(lat(ency)?|params?|macs?|flops|throughput|fps|fid)([^a-z]|$)")
_PERCENT = re.compile(r"(?i)(^|[^a-z])(acc(uracy)?|top.?[15])([^a-z]|$)")


@dataclass(frozen=True)
class Anomaly:
    """Values of one metric, or whole rows, that look wrong.

    Attributes:
        metric: The metric; empty if whole rows look wrong.
        rows: Numbers (or names) of the rows in the file.
        text: The values, the rows, the reason, and what can be done.
    """

    metric: str
    rows: tuple[int | str, ...]
    text: str


@dataclass
class _Selected:
    """Rows that one rule selected, the reason, and a filter expression that keeps the other rows."""

    positions: IntArray
    why: str
    keep: str = ""


def find_anomalies(measured: Measured, key: Key) -> list[Anomaly]:
    """Find suspicious values.

    Args:
        measured: The rows of the file.
        key: Function from a row of the labelled set to a key that is equal for equal networks.

    Returns:
        The findings: first those of single metrics, then copied rows.
    """
    selected = {name: _apply_rules(name, values) for name, values in measured.metrics.items()}
    anomalies: list[Anomaly] = []
    ends = _Ends(measured.metrics)
    for name, rules in selected.items():
        kept = (rule for rule in rules if not ends.degenerate(rule.positions, name, selected))
        anomalies += [_report(name, measured, rule) for rule in kept]
        anomalies += _all_equal(name, measured)
    anomalies += _unequal_twins(measured, selected)
    copies = _copies(measured, key)
    copied = {number for copy in copies for number in copy.rows}
    for name in selected:
        anomalies += [repeat for repeat in _repeated(name, measured, key) if not copied.issuperset(repeat.rows)]
    return anomalies + copies


def _report(name: str, measured: Measured, rule: _Selected) -> Anomaly:
    positions = sorted(rule.positions.tolist())
    numbers = tuple(measured.numbers[position] for position in positions)
    values = measured.metrics[name][positions]
    distinct = np.unique(values)
    shown = ", ".join(f"{value:.6g}" for value in distinct[:4]) + (", ..." if len(distinct) > 4 else "")
    count = f" ({len(positions):,} times)" if len(positions) > len(distinct) else ""
    end = "" if rule.why.endswith("?") else "."
    keep = f", or filter={rule.keep!r} on the command line" if rule.keep else ""
    few = ", ".join(map(repr, numbers[:3])) + (", ..." if len(numbers) > 3 else "")
    text = (
        f"{name}: {shown}{count} in {name_rows(measured.word, numbers)}: {rule.why}{end} "
        f"If that is no measurement, leave it out: labels.drop([{few}]){keep}"
    )
    return Anomaly(name, numbers, text)


def _apply_rules(name: str, values: FloatArray) -> list[_Selected]:
    """Infinite values, then the finite ones that the rules select; each row is reported once per metric."""
    rules = []
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        rules.append(_Selected(infinite, "not finite, so these rows have no target"))
    positions = np.flatnonzero(np.isfinite(values))
    while len(positions) >= FEWEST:
        rule = _next_rule(name, values[positions])
        if rule is None:
            break
        picked = positions[rule.positions]
        rules.append(_Selected(picked, rule.why, rule.keep))
        positions = np.setdiff1d(positions, picked)
    return rules


def _next_rule(name: str, values: FloatArray) -> _Selected | None:
    positive, negative = (values > 0).mean(), (values < 0).mean()
    marks = np.unique(values[values < 0])
    if 0 < len(marks) <= 2 and np.isin(marks, list(_SENTINELS)).all() and negative <= HALF < positive + negative:
        rule = _negative(name, values)
        if rule:
            return rule
    if positive >= 1 - MANY:
        if rule := _negative(name, values):
            return rule
        if (values < 0).any():  # both signs are plausible for this metric
            return _far_from_both_signs(values)
        return _zero(name, values) or _mixed_scales(name, values) or _far(name, values)
    if negative >= 1 - MANY:
        if (values > 0).any():
            return _lone_positive(values) or _far_from_both_signs(values)
        rule = _far("", -values)
        return rule and _Selected(rule.positions, rule.why)
    return _far_from_both_signs(values)


def _spread(values: FloatArray) -> float:
    low, high = np.quantile(values, [0.05, 0.95])
    return float(high - low)


def _negative(name: str, values: FloatArray) -> _Selected | None:
    """A few negative values in an otherwise positive metric."""
    picked = values < 0
    if not picked.any():
        return None
    rest = values[~picked]
    distinct = np.unique(values[picked])
    whole = len(distinct) <= 2 and bool(np.isin(distinct, list(_SENTINELS)).all())
    counted = bool((rest == np.round(rest)).all()) and rest.min() - distinct.max() <= 2  # -1, 0, 1, 2...: maybe a score
    isolated = rest.min() - distinct.max() > 3 * _spread(rest)
    if not (_NEVER_NEGATIVE.search(name) or isolated or (whole and not counted)):
        return None
    sentinel = "a usual mark of a failure, " if whole else ""
    return _Selected(
        np.flatnonzero(picked), f"{sentinel}negative, and the other {len(rest):,} are not", f"{written(name)} >= 0"
    )


def _zero(name: str, values: FloatArray) -> _Selected | None:
    picked = values == 0
    if not picked.any():
        return None
    rest = values[~picked]
    counted = bool((rest == np.round(rest)).all()) and rest.min() <= 10  # 0, 1, 2...: maybe a count or a flag
    if not _NEVER_ZERO.search(name) and (counted or rest.min() < np.median(rest) / 4):
        return None
    return _Selected(
        np.flatnonzero(picked),
        f"zero, and the other {len(rest):,} are {rest.min():.6g} or more",
        f"{written(name)} > 0",
    )


def _mixed_scales(name: str, values: FloatArray) -> _Selected | None:
    """Values in two units (fraction and percent, seconds and milliseconds): a gap, with scaled values beyond it."""
    logs = np.sort(np.log(values[values > 0]))
    if len(logs) < FEWEST or not len(gaps := np.diff(logs)):
        return None
    at = int(gaps.argmax())
    low, high = np.exp(logs[: at + 1]), np.exp(logs[at + 1 :])
    for scale, room in _SCALES.items():
        few, many, ratio = (low, high, scale) if len(low) <= len(high) else (high, low, 1 / scale)
        if gaps[at] < np.log(scale) / 2 or many.max() / many.min() > (room if len(many) >= 12 else 3):
            continue
        inside = (few * ratio >= many.min() * 0.8) & (few * ratio <= many.max() * 1.25)
        if not inside.all():
            continue
        is_low = few is low
        picked = (values > 0) & ((values <= low.max() * 1.0001) if is_low else (values >= high.min() * 0.9999))
        side = "smaller" if is_low else "larger"
        bound = f"{written(name)} > {_between(low.max(), high.min())}" if is_low else (
            f"{written(name)} < {_between(low.max(), high.min())}"
        )  # fmt: skip
        return _Selected(
            np.flatnonzero(picked), f"{scale:,.0f} times {side} than the other {len(many):,}: another unit?", bound
        )
    return None


def _between(low: float, high: float) -> str:
    return f"{float(f'{np.sqrt(low * high):.2g}'):g}"


def _far(name: str, values: FloatArray) -> _Selected | None:
    """A few values far above the others by ratio, or so far below them that no measurement is plausible."""
    above = values[values > 0]
    if len(above) < FEWEST:
        return None
    distinct = np.unique(above)
    if len(distinct) < 2:
        return None
    counts = np.searchsorted(np.sort(above), distinct, side="right")  # number of values up to each distinct one
    ratios = distinct[1:] / distinct[:-1]
    share = np.median(above) <= 1
    bound = 1 if share else 100 if np.median(above) <= 100 else np.inf
    bound = bound if name and _PERCENT.search(name) else np.inf
    gaps = np.flatnonzero((ratios >= 1.5) | ((distinct[:-1] <= bound) & (distinct[1:] > bound)))
    whole = bool((above[above < distinct[-1]] % 1 == 0).any())
    for at in gaps[::-1]:  # from the largest down
        beyond = len(above) - counts[at]
        if beyond > HALF * len(above):
            break
        rest, top, ratio = above[above <= distinct[at]], distinct[at + 1 :], ratios[at]
        wide = np.log(np.quantile(rest, 0.95) / np.quantile(rest, 0.05))
        far = ratio >= _RATIO_ABOVE and np.log(ratio) > 1.5 * wide and beyond <= FEW * len(above)
        mark = ratio >= 1.5 and bool(np.isin(top, list(_SENTINELS)).all()) and (beyond > 1 or ratio >= 3 or not whole)
        percent = distinct[at] <= bound < distinct[at + 1]
        if far or mark or (percent and beyond <= FEW * len(above)):
            what = "a usual mark of a failure, " if np.isin(top, list(_SENTINELS)).all() else ""
            why = f"{what}{ratio:.3g} times the next of the other {len(rest):,} ({distinct[at]:.6g})"
            keep = f"{written(name)} < {_between(distinct[at], distinct[at + 1])}"
            return _Selected(np.flatnonzero(values > distinct[at]), why, keep)
    for at in np.flatnonzero(ratios >= _RATIO_BELOW) + 1:  # from the smallest up
        if counts[at - 1] > FEW * len(above):
            break
        ratio = ratios[at - 1]
        rest = above[above >= distinct[at]]
        if np.log(ratio) > 3 * np.log(np.quantile(rest, 0.95) / np.quantile(rest, 0.05)):
            why = f"1/{ratio:.3g} of the next of the other {len(rest):,} ({distinct[at]:.6g})"
            picked = (values > 0) & (values < distinct[at])
            return _Selected(
                np.flatnonzero(picked), why, f"{written(name)} > {_between(distinct[at - 1], distinct[at])}"
            )
    return None


def _lone_positive(values: FloatArray) -> _Selected | None:
    """A few positive values, far from the others, in an otherwise negative metric."""
    picked = values > 0
    rest = values[~picked]
    if not picked.any() or values[picked].min() - rest.max() <= 3 * _spread(rest):
        return None
    return _Selected(np.flatnonzero(picked), f"positive, and the other {len(rest):,} are not")


def _far_from_both_signs(values: FloatArray) -> _Selected | None:
    """Far outliers in a metric that has both signs."""
    middle, wide = float(np.median(values)), _spread(values)
    far = np.abs(values - middle) > 20 * wide
    if wide == 0 or not far.any() or far.mean() > FEW:
        return None
    return _Selected(
        np.flatnonzero(far), f"over 20 times as far from the median ({middle:.6g}) as the other {(~far).sum():,}"
    )


class _Ends:
    """The metrics by the rows that have their lowest, or their highest, value."""

    def __init__(self, metrics: dict[str, FloatArray]) -> None:
        self.metrics = metrics
        self.of_rows: defaultdict[bytes, list[str]] = defaultdict(list)
        self._known: dict[tuple[str, bytes], bool] = {}
        for name, values in metrics.items():
            finite = values[np.isfinite(values)]
            for end in (finite.min(), finite.max()) if len(finite) else ():
                self.of_rows[np.flatnonzero(values == end).tobytes()].append(name)

    def degenerate(self, positions: IntArray, name: str, selected: dict[str, list[_Selected]]) -> bool:
        """Whether rows also stand out in another metric: all have its lowest or highest value, and no other row has it.

        Networks without a path from input to output are like this: chance accuracy, and a zero-cost proxy of -1e8.
        """
        positions = np.sort(positions)
        rows = positions.tobytes()
        for other in self.of_rows.get(rows, ()):
            if other == name or any(np.isin(positions, rule.positions).any() for rule in selected[other]):
                continue
            if (other, rows) not in self._known:
                self._known[other, rows] = _stand_out(positions, self.metrics[other])
            if self._known[other, rows]:
                return True
        return False


def _stand_out(positions: IntArray, values: FloatArray) -> bool:
    """Whether rows of equal values are well below or above the others."""
    rest, value = np.delete(values, positions), values[positions[0]]
    rest = rest[np.isfinite(rest)]
    if len(np.unique(rest)) < 10 or rest.min() <= value <= rest.max():
        return False
    beyond = rest.min() - value if value < rest.min() else value - rest.max()
    return len(positions) > 1 or bool(beyond > 0.5 * _spread(rest))


def _all_equal(name: str, measured: Measured) -> list[Anomaly]:
    """A metric that has one value in (nearly) every row."""
    values = measured.metrics[name]
    finite = np.isfinite(values)
    if finite.sum() < FEWEST:
        return []
    distinct, counts = np.unique(values[finite], return_counts=True)
    most, value = int(counts.max()), distinct[counts.argmax()]
    if most < 0.9 * finite.sum() or set(distinct) <= {0.0, 1.0}:
        return []
    if most == finite.sum():
        return [Anomaly(name, (), f"{name}: {value:.6g} in every row: nothing can be learned from it")]
    others = tuple(measured.numbers[position] for position in np.flatnonzero(finite & (values != value)))
    text = f"{name}: {value:.6g} in {most:,} of {finite.sum():,} rows; other values only in "
    return [Anomaly(name, others, text + name_rows(measured.word, others))]


def _repeated(name: str, measured: Measured, key: Key) -> list[Anomaly]:
    """A value that occurs in many rows although the other values of the metric hardly repeat."""
    values = measured.metrics[name]
    finite = values[np.isfinite(values)]
    if len(finite) < FEWEST:
        return []
    distinct, counts = np.unique(finite, return_counts=True)
    most, value = int(counts.max()), distinct[counts.argmax()]
    rest = len(finite) - most
    if most < max(5, 0.08 * len(finite)) or rest < FEWEST or len(distinct) - 1 < 0.95 * rest:
        return []
    positions = np.flatnonzero(values == value)
    if value in (distinct[0], distinct[-1]) or len({key(int(measured.row[position])) for position in positions}) < 5:
        return []  # the bound of a metric's range, or one network written in several ways
    numbers = tuple(measured.numbers[position] for position in positions)
    where = name_rows(measured.word, numbers)
    text = f"{name}: {value:.6g} ({most:,} times) in {where}, and the other values hardly repeat: copied?"
    return [Anomaly(name, numbers, text)]


def _unequal_twins(measured: Measured, selected: dict[str, list[_Selected]]) -> list[Anomaly]:
    """Rows of one architecture that differ by over half of the metric's range, in at least half of the metrics."""
    order = np.argsort(measured.row, kind="stable")
    groups = [g for g in np.split(order, np.flatnonzero(np.diff(measured.row[order])) + 1) if len(g) > 1]
    spans = {}
    for name, values in measured.metrics.items() if groups else ():
        finite = values[np.isfinite(values)]
        if len(finite) >= FEWEST and (wide := _spread(finite)) > 0:
            spans[name] = wide
    anomalies = []
    for group in groups:
        far = {}
        for name, wide in spans.items():
            values = measured.metrics[name]
            known = {int(position) for rule in selected[name] for position in rule.positions}
            rows = [int(position) for position in group if np.isfinite(values[position]) and int(position) not in known]
            if len(rows) > 1 and np.ptp(values[rows]) > 0.5 * wide:
                far[name] = rows
        if 2 * len(far) < len(spans):
            continue
        for name, rows in far.items():
            numbers = tuple(measured.numbers[position] for position in rows)
            shown = ", ".join(f"{value:.6g}" for value in measured.metrics[name][rows][:4])
            text = (
                f"{name}: {shown} in {name_rows(measured.word, numbers)}, which hold the same architecture and are "
                "averaged: is one of them another network's?"
            )
            anomalies.append(Anomaly(name, numbers, text))
    return anomalies[:20]


def _copies(measured: Measured, key: Key) -> list[Anomaly]:
    """Rows of different networks with equal metrics, including two or more whose values hardly repeat elsewhere."""
    fine = []
    for name, values in measured.metrics.items():
        finite = values[np.isfinite(values)]
        if len(finite) >= FEWEST and len(np.unique(finite)) > 0.6 * len(finite):
            fine.append(name)
    if len(fine) < 2:
        return []
    rows = np.column_stack([measured.metrics[name] for name in measured.metrics])
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for position in np.flatnonzero(np.isfinite(rows).any(axis=1)):
        groups[(rows[position] + 0.0).tobytes()].append(int(position))
    anomalies = []
    distinguishing = np.column_stack([measured.metrics[name] for name in fine])
    lowest = np.nanmin(distinguishing, axis=0)
    for positions in groups.values():
        if (
            len(positions) < 2
            or np.isfinite(distinguishing[positions[0]]).sum() < 2
            or len({key(int(measured.row[p])) for p in positions}) < 2
        ):
            continue
        at = distinguishing[positions[0]]
        if (at == lowest).any():  # networks without any path share the lowest values
            continue
        numbers = tuple(measured.numbers[position] for position in positions)
        text = f"{name_rows(measured.word, numbers)}: different networks, and equal in every metric: copied?"
        anomalies.append(Anomaly("", numbers, text))
    return anomalies[:20]
