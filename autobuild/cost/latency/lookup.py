"""Latency of a network as the calibrated sum of what its kernels take, looked up in a table.

Three ways to count a kernel, from coarse to fine:

- ``operators``: every operator alone, less the cost of a call;
- ``kernels``: operators that run as one are grouped by rules, and every group is timed alone, less the cost of a call;
- ``context``: what the kernel *adds* to the few kernels before it, T(before + kernel) - T(before). Copies between memory
  layouts, the hand-over of inputs and outputs and the cost of a call are on both sides or belong to the place, so the
  sum over a network telescopes to the network's own time; work that a runtime shares (two equal poolings of one tensor)
  is counted once.

A sum is calibrated on networks that were timed as wholes: ``latency = intercept + hot * sum(hot) + cold * sum(cold)``,
all three at least zero. ``hot`` and ``cold`` are the two states that the table knows: how far weights have to come
depends on the whole network's size, which a fragment cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autobuild.cost.latency.kernels import group
from autobuild.cost.latency.operators import Fragment, Operators
from autobuild.cost.latency.rules import empty_call
from autobuild.cost.latency.table import ROUNDS, STATES, LatencyTable
from autobuild.errors import ConfigError, CostError, nearest

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("context", "kernels", "operators")
HOPS = 2  # kernels before the one that is counted, with count="context"


@dataclass(frozen=True)
class Entry:
    """What one kernel of a network is looked up as: ``T(own) - T(before)``."""

    pattern: str
    own: Fragment
    before: Fragment


@dataclass(frozen=True)
class Calibration:
    """How sums become latencies: ``intercept_ms + hot * sum(hot) + cold * sum(cold)``.

    Attributes:
        intercept_ms: What a network takes besides its kernels.
        hot: Factor of the sum of hot times.
        cold: Factor of the sum of cold times.
        networks: How many networks it was fitted on; 0 for one that was not fitted.
        error: Median relative error on them.
    """

    intercept_ms: float = 0.0
    hot: float = 1.0
    cold: float = 0.0
    networks: int = 0
    error: float = float("nan")

    def apply(self, sums: ArrayLike) -> NDArray[np.float64]:
        """Shapes: ``(n, 2)``, hot and cold sums in milliseconds -> ``(n,)``."""
        values = np.asarray(sums, dtype=np.float64).reshape(-1, 2)
        return self.intercept_ms + values @ np.array([self.hot, self.cold])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return asdict(self)


def calibrate(sums: ArrayLike, latency_ms: ArrayLike) -> Calibration:
    """Fit a calibration by least squares of relative errors, under factors of at least zero.

    Args:
        sums: Hot and cold sums of some networks, shape ``(n, 2)``.
        latency_ms: Their measured latencies, shape ``(n,)``.

    Raises:
        CostError: Fewer than three networks, or a latency that is not positive.
    """
    from scipy.optimize import nnls

    x = np.asarray(sums, dtype=np.float64).reshape(-1, 2)
    y = np.asarray(latency_ms, dtype=np.float64)
    if len(y) < 3 or len(x) != len(y) or not (y > 0).all():
        raise CostError(f"calibration: {len(x)} sums and {len(y)} latencies given; accepted: 3 or more, all positive")
    design = np.column_stack([np.ones(len(x)), np.maximum(x, 0)]) / y[:, None]
    (intercept, hot, cold), _ = nnls(design, np.ones(len(y)))
    fitted = Calibration(float(intercept), float(hot), float(cold), len(y))
    error = float(np.median(np.abs(fitted.apply(x) / y - 1)))
    return Calibration(fitted.intercept_ms, fitted.hot, fitted.cold, len(y), error)


@dataclass(frozen=True)
class Lookup:
    """Latency from a table.

    Attributes:
        table: Times of fragments.
        rules: Patterns that run as one (:func:`~autobuild.cost.latency.find_rules`).
        calibration: How sums become latencies.
        count: How kernels are counted: ``context``, ``kernels`` or ``operators``.
        hops: Kernels before one that ``context`` looks at.
        measure: Whether a fragment that the table lacks is measured on the spot; otherwise it is refused.
        rounds: Rounds of what is measured.
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
        """What the kernels of a network are looked up as, in order."""
        kernels = group(network, self.rules if self.count != "operators" else ())
        call, found = empty_call(), []
        for number, members in enumerate(kernels.groups):
            around = kernels.surroundings(number, self.hops) if self.count == "context" else ()
            before = network.fragment(around) if around else call
            found.append(Entry(kernels.pattern(number), network.fragment((*around, *members)), before))
        return found

    def fragments(self, networks: Iterable[Operators]) -> list[Fragment]:
        """All distinct fragments that some networks need."""
        found: dict[str, Fragment] = {}
        for network in networks:
            for entry in self.entries(network):
                found.setdefault(entry.own.key, entry.own)
                found.setdefault(entry.before.key, entry.before)
        return list(found.values())

    def fill(self, networks: Iterable[Operators], on_progress: Callable[[int, int], None] | None = None) -> None:
        """Measure what the table lacks for some networks, all together: rounds far apart disturb results least."""
        self.table.measure(self.fragments(networks), self.rounds, on_progress)

    def sums(self, networks: Sequence[Operators]) -> NDArray[np.float64]:
        """Hot and cold sums over the kernels in milliseconds, shape ``(n, 2)``.

        Raises:
            CostError: A fragment is not in the table and is not to be measured; the message names its operators.
        """
        if self.measure:
            self.fill(networks)
        return np.array([[sum(self._times(entry, state) for entry in self.entries(network)) for state in STATES]
                         for network in networks]).reshape(-1, 2)  # fmt: skip

    def latency_ms(self, networks: Sequence[Operators]) -> NDArray[np.float64]:
        """Latencies in milliseconds, shape ``(n,)``. Errors as :meth:`sums`."""
        return self.calibration.apply(self.sums(networks))

    def explain(self, network: Operators) -> pd.DataFrame:
        """One row a kernel: pattern, what it was looked up as, hot and cold times, its share of the latency in ms."""
        import pandas as pd

        rows = []
        for entry in self.entries(network):
            hot, cold = (self._times(entry, state) for state in STATES)
            share = self.calibration.hot * hot + self.calibration.cold * cold
            rows.append({"kernel": entry.pattern, "measured": entry.own.text, "hot_ms": hot, "cold_ms": cold,
                         "latency_ms": share})  # fmt: skip
        return pd.DataFrame(rows)

    def _times(self, entry: Entry, state: str) -> float:
        for fragment in (entry.own, entry.before):
            if fragment.key not in self.table:
                raise CostError(
                    f"the latency table does not know {fragment.text!r}: measure it (measure=True, on the table's "
                    "machine), or leave the network out; it is not counted as zero"
                )
        return self.table.time_ms(entry.own.key, state) - self.table.time_ms(entry.before.key, state)
