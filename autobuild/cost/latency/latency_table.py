"""The lookup table: times of fragments, measured once and stored on disk.

Each round times all fragments in a random order. So a temporary disturbance of the machine affects one round of many
fragments, not all rounds of one. Each round loads a fragment anew, at another memory address. Whole networks are
fragments as well: they are timed in the same rounds as their parts, under the same conditions.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autobuild.cost.latency.machine import describe_machine
from autobuild.cost.latency.onnx_fragments import Fragment
from autobuild.cost.latency.runtimes import session_call
from autobuild.cost.latency.timing import Timing, pinned, time_call
from autobuild.errors import AutobuildError, CostError

FORMAT = 1
ROUNDS = 5
PASS_BUDGET_MS, PASSES = 8.0, (12, 60)  # time for the passes of a round; least and largest number of passes
SAVE_EVERY = 500  # timings
KEPT = ("q10", "median")  # of every round, in milliseconds
QUARTILE = 0.25  # quantile over rounds: contention only adds time


class LatencyTable:
    """Times of fragments on one machine, a JSON file.

    Args:
        path: The file; read if it exists. None: in memory only.
        device: ``cpu`` or ``cuda``.
        threads: Threads within an operator.

    Raises:
        CostError: The file is damaged or has another format.
    """

    def __init__(self, path: str | Path | None = None, device: str = "cpu", threads: int = 1) -> None:
        self.path = None if path is None else Path(path)
        self.device, self.threads = device, threads
        self.here = describe_machine("onnxruntime", device, threads)
        self.machine: Mapping[str, Any] = self.here
        self._times: dict[str, dict[str, list[float]]] = {}
        self.texts: dict[str, str] = {}
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, key: str) -> bool:
        return key in self._times

    @property
    def is_of_this_machine(self) -> bool:
        """Whether the table was measured on this machine, so that more can be added here."""
        return dict(self.machine) == self.here

    def rounds(self, key: str) -> int:
        """Number of rounds in which a fragment was timed."""
        return len(self._times[key]["q10"]) if key in self._times else 0

    def time_ms(self, key: str) -> float:
        """Time of a fragment in milliseconds: the lower quartile over rounds of the 10 % quantile of a round.

        Raises:
            CostError: The fragment was not measured.
        """
        return float(np.quantile(self._of(key)["q10"], QUARTILE))

    def median_ms(self, key: str) -> float:
        """Median over rounds of the median of a round, milliseconds: the time under the load of the machine.

        Raises:
            CostError: The fragment was not measured.
        """
        return float(np.median(self._of(key)["median"]))

    def spread(self, key: str) -> float:
        """Spread of the rounds' 10 % quantiles: interquartile range divided by the median.

        Raises:
            CostError: The fragment was not measured.
        """
        low, median, high = np.quantile(self._of(key)["q10"], (0.25, 0.5, 0.75))
        return float((high - low) / median)

    def drift(self) -> list[float]:
        """Relative time of each round: the median over fragments of its time divided by the fragment's median.

        Returns:
            One ratio per round, in order of time; only fragments with all rounds count. Empty for an empty table.
        """
        rounds = max(map(self.rounds, self._times), default=0)
        full = [own["q10"] for own in self._times.values() if len(own["q10"]) == rounds]
        values = np.array(full).reshape(len(full), rounds)
        return [float(ratio) for ratio in np.median(values / np.median(values, axis=1, keepdims=True), axis=0)]

    def _of(self, key: str) -> dict[str, list[float]]:
        if key not in self._times:
            raise CostError(f"the latency table has no fragment {key!r}")
        return self._times[key]

    def measure(
        self,
        fragments: Iterable[Fragment],
        rounds: int = ROUNDS,
        on_progress: Callable[[int, int], None] | None = None,
        seed: int = 0,
    ) -> None:
        """Time fragments until each has ``rounds`` rounds. The file is saved from time to time.

        Args:
            fragments: The fragments; those with enough rounds are skipped.
            rounds: Number of rounds for each fragment.
            on_progress: Called with the number of timings done and in total.
            seed: Seed of the order of fragments.

        Raises:
            CostError: The table was measured on another machine, or the runtime does not support a fragment, which the
                message names.
        """
        known = {fragment.key: fragment for fragment in fragments}
        missing = {key: rounds - self.rounds(key) for key in known if self.rounds(key) < rounds}
        if not missing:
            return
        if not self.is_of_this_machine:
            raise CostError(
                f"{len(missing)} fragments are not in the table, and it was measured elsewhere ({self.machine}): "
                f"{known[next(iter(missing))].text}"
            )
        draw, done, total = np.random.default_rng(seed), 0, sum(missing.values())
        with pinned() if self.device == "cpu" and self.threads == 1 else contextlib.nullcontext():
            for number in range(max(missing.values())):
                for key in draw.permutation([key for key, count in missing.items() if count > number]):
                    fragment = known[str(key)]
                    self._add(fragment, self.time(fragment))
                    done += 1
                    if on_progress is not None:
                        on_progress(done, total)
                    if done % SAVE_EVERY == 0:
                        self.save()
                self.save()

    def time(self, fragment: Fragment) -> Timing:
        """Time a fragment in one round, without storing the result.

        Raises:
            CostError: The runtime does not support it. The message names its operators.
        """
        try:
            call = session_call(fragment.model, fragment.inputs, self.device, self.threads)
        except AutobuildError:
            raise
        except Exception as error:  # exceptions of the runtime: it does not support the operator or its types
            message = " ".join(str(error).split())[:300]
            raise CostError(f"the runtime refuses the operators {fragment.text!r}: {message}") from error
        single_thread = self.device == "cpu" and self.threads == 1
        rough = time_call(call, 5, 3, single_thread=single_thread).median
        passes = int(np.clip(PASS_BUDGET_MS / max(rough, 1e-3), *PASSES))
        return time_call(call, passes, 2, single_thread=single_thread)

    def _add(self, fragment: Fragment, timing: Timing) -> None:
        times = self._times.setdefault(fragment.key, {name: [] for name in KEPT})
        self.texts[fragment.key] = fragment.text
        for name in KEPT:
            times[name].append(round(getattr(timing, name), 6))

    def save(self) -> None:
        """Write the file: to a temporary file, which is then renamed."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = {key: {"text": self.texts[key], **self._times[key]} for key in sorted(self._times)}
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in rows.items())
        head = json.dumps({"format": FORMAT, "machine": dict(self.machine)})[:-1]
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        beside.write_text(f'{head}, "fragments": {{\n{lines}\n}}}}\n', encoding="utf-8")
        beside.replace(self.path)

    def _read(self, path: Path) -> None:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise CostError(f"{path}: format {data['format']!r}, accepted: {FORMAT}")
            self.machine = data["machine"]
            for key, row in data["fragments"].items():
                self.texts[key] = str(row["text"])
                self._times[key] = {name: _positive(row[name]) for name in KEPT}
        except CostError:
            raise
        except Exception as error:  # what is no table may raise anything
            raise CostError(f"{path}: not a latency table, or damaged ({error!r})") from error


def _positive(values: Sequence[Any]) -> list[float]:
    numbers = [float(value) for value in values]
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise ValueError(f"times {values!r}: positive numbers are accepted")
    return numbers
