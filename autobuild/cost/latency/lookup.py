"""Latency of a network as a calibrated sum of kernel times from a table.

Three ways to count a kernel, from coarse to fine:

- ``operators``: the time of every operator alone, without the overhead of a call;
- ``kernels``: operators are grouped by fusion rules; the time of every group alone, without the overhead of a call;
- ``context``: the time that the kernel *adds* to the few kernels before it, T(before + kernel) - T(before). Copies
  between memory layouts, transfers of inputs and outputs, and the overhead of a call are in both terms, so the sum over
  a network telescopes to the time of the network. Work that a runtime shares (two equal poolings of one tensor) is
  counted once.

The sum is calibrated on networks that were timed as a whole: see :class:`Calibration`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from autobuild._typing import FloatArray
from autobuild.cost.latency.fusion_rules import empty_call
from autobuild.cost.latency.kernel_grouping import group
from autobuild.cost.latency.latency_table import ROUNDS, LatencyTable
from autobuild.cost.latency.onnx_fragments import Fragment, Operators
from autobuild.errors import ConfigError, CostError, nearest

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("context", "kernels", "operators")
FORMAT = 1
HOPS = 1  # number of kernels before the counted one, for count="context"


@dataclass(frozen=True)
class Entry:
    """Table entry of one kernel: its time is ``T(own) - T(before)``."""

    pattern: str
    own: Fragment
    before: Fragment


@dataclass(frozen=True)
class Calibration:
    """Calibration of sums: latency is ``intercept_ms + factor * sum + ms_per_mb * weights``.

    Attributes:
        intercept_ms: Time of a network besides its kernels.
        factor: Factor of the sum.
        ms_per_mb: Time to load a MiB of weights. A timed fragment has its weights in the caches of the core; a network
            with more weights does not.
        networks: Number of networks that it was fitted on; 0 if it was not fitted.
        error: Median relative error on these networks.
    """

    intercept_ms: float = 0.0
    factor: float = 1.0
    ms_per_mb: float = 0.0
    networks: int = 0
    error: float = float("nan")

    def apply(self, sums: ArrayLike, weights_mb: ArrayLike) -> FloatArray:
        """Shapes: sums in milliseconds ``(n,)`` and weights in MiB ``(n,)`` -> ``(n,)``."""
        x, w = (np.asarray(values, dtype=np.float64) for values in (sums, weights_mb))
        return self.intercept_ms + self.factor * x + self.ms_per_mb * w

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return asdict(self)


def calibrate(sums: ArrayLike, weights_mb: ArrayLike, latency_ms: ArrayLike) -> Calibration:
    """Fit a calibration by non-negative least squares of relative errors.

    Args:
        sums: Sums over the kernels of some networks in milliseconds, shape ``(n,)``.
        weights_mb: Their weights in MiB, shape ``(n,)``.
        latency_ms: Their measured latencies, shape ``(n,)``.

    Raises:
        CostError: There are fewer than three networks, or a number is not positive.
    """
    from scipy.optimize import nnls

    x, w, y = (np.asarray(values, dtype=np.float64) for values in (sums, weights_mb, latency_ms))
    if len(y) < 3 or len(x) != len(y) or len(w) != len(y) or not ((y > 0) & (x > 0) & (w >= 0)).all():
        raise CostError(f"calibration: {len(x)} sums and {len(y)} latencies given; accepted: 3 or more, all positive")
    (intercept, factor, per_mb), _ = nnls(np.column_stack([np.ones(len(x)), x, w]) / y[:, None], np.ones(len(y)))
    fitted = Calibration(float(intercept), float(factor), float(per_mb), len(y))
    return replace(fitted, error=float(np.median(np.abs(fitted.apply(x, w) / y - 1))))


@dataclass(frozen=True)
class Lookup:
    """Latency from a table.

    Attributes:
        table: Times of fragments.
        rules: Fusion rules (:func:`~autobuild.cost.latency.find_rules`).
        calibration: Calibration of the sums.
        count: How kernels are counted: ``context``, ``kernels`` or ``operators``.
        hops: Number of kernels before a kernel in its context.
        measure: Whether to measure a fragment that the table lacks; otherwise it is an error.
        rounds: Number of timing rounds for each fragment.

    Raises:
        ConfigError: ``count`` is unknown.
    """

    table: LatencyTable
    rules: frozenset[str] = frozenset()
    calibration: Calibration = Calibration()
    count: str = "context"
    hops: int = HOPS
    measure: bool = False
    rounds: int = ROUNDS

    def __post_init__(self) -> None:
        if self.count not in COUNTS:
            raise ConfigError(f"count={self.count!r}: {nearest(self.count, COUNTS)}")

    def entries(self, network: Operators) -> list[Entry]:
        """Table entries of the kernels of a network, in order."""
        # With count="context" the timing itself shows whether a sum is fused with its producers. Its own kernel for
        # every sum keeps the differences small, which is more accurate for networks with many branches.
        kernels = group(network, self.rules if self.count != "operators" else (), chains=self.count == "context")
        call, found = empty_call(), []
        for number, members in enumerate(kernels.groups):
            around = kernels.surroundings(number, self.hops) if self.count == "context" else ()
            before = network.fragment(around) if around else call
            found.append(Entry(kernels.pattern(number), network.fragment((*around, *members)), before))
        return found

    def fragments(self, networks: Iterable[Operators]) -> list[Fragment]:
        """All distinct fragments of some networks."""
        found: dict[str, Fragment] = {}
        for network in networks:
            for entry in self.entries(network):
                found.setdefault(entry.own.key, entry.own)
                found.setdefault(entry.before.key, entry.before)
        return list(found.values())

    def fill(self, networks: Iterable[Operators], on_progress: Callable[[int, int], None] | None = None) -> None:
        """Measure the fragments that the table lacks, all in the same rounds, so disturbances spread evenly."""
        self.table.measure(self.fragments(networks), self.rounds, on_progress)

    def sums(self, networks: Sequence[Operators]) -> FloatArray:
        """Sums of kernel times in milliseconds, not calibrated, shape ``(n,)``.

        Raises:
            CostError: The table lacks a fragment and ``measure`` is False. The message names its operators.
        """
        if self.measure:
            self.fill(networks)
        return np.array([sum(map(self._time, self.entries(network))) for network in networks], dtype=np.float64)

    def latency_ms(self, networks: Sequence[Operators]) -> FloatArray:
        """Latencies in milliseconds, shape ``(n,)``. Errors as :meth:`sums`."""
        return self.calibration.apply(self.sums(networks), [network.weights_mb for network in networks])

    def explain(self, network: Operators) -> pd.DataFrame:
        """A frame with one row per kernel: pattern, measured operators, time and share of the latency, in ms."""
        import pandas as pd

        rows = [
            {"kernel": entry.pattern, "measured": entry.own.text, "time_ms": self._time(entry)}
            for entry in self.entries(network)
        ]
        return pd.DataFrame(rows).assign(latency_ms=lambda frame: self.calibration.factor * frame["time_ms"])

    def _time(self, entry: Entry) -> float:
        for fragment in (entry.own, entry.before):
            if fragment.key not in self.table:
                raise CostError(
                    f"the latency table lacks {fragment.text!r}: measure it (measure=True, on the table's "
                    "machine), or leave the network out; it is not counted as zero"
                )
        return self.table.time_ms(entry.own.key) - self.table.time_ms(entry.before.key)

    def write(self, path: str | Path) -> None:
        """Write rules, calibration and settings as JSON, without the table."""
        data = {"format": FORMAT, "rules": sorted(self.rules), "calibration": self.calibration.to_dict(),
                "count": self.count, "hops": self.hops, "rounds": self.rounds}  # fmt: skip
        beside = Path(path).with_name(f".{Path(path).name}.{os.getpid()}")
        beside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)

    @classmethod
    def read(cls, path: str | Path, table: LatencyTable, measure: bool = False) -> Lookup:
        """Read what :meth:`write` wrote.

        Raises:
            CostError: The file is damaged or has another format.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise CostError(f"{path}: format {data['format']!r}, accepted: {FORMAT}")
            return cls(table, frozenset(map(str, data["rules"])), Calibration(**data["calibration"]), data["count"],
                       int(data["hops"]), measure, int(data["rounds"]))  # fmt: skip
        except CostError:
            raise
        except Exception as error:  # what is no lookup may raise anything
            raise CostError(f"{path}: not a latency lookup, or damaged ({error!r})") from error
