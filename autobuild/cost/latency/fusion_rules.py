"""Fusion rules of a runtime, found by timing: which adjacent operators it executes as one kernel.

Tested are elementwise operators B (activations, sums, products, batch norms) after any operator A. Three fragments are
timed: A with its producers, the same with B (A+B), and B alone. If the runtime fuses B into A, T(A+B) - T(A) is small
compared with T(B); otherwise it is about T(B). If B has several inputs, some results that would be outputs of the
fragment stay inside, possibly in another memory layout. This is corrected by timing A+B with these results as outputs,
too. A pattern is tested on its largest distinct occurrences, because the time of small operators is dominated by the
overhead of a call. Patterns grow: once ``Conv+Add`` is a rule, ``Conv+Add+Relu`` is tested. Testing pairs follows
nn-Meter (Zhang et al., MobiSys 2021). There A is timed alone; here it is timed with its producers, so that changes of
the memory layout are not mistaken for fusion.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autobuild.cost.latency.kernel_grouping import Kernels, group
from autobuild.cost.latency.latency_table import ROUNDS, LatencyTable
from autobuild.cost.latency.onnx_fragments import ELEMENTWISE, Fragment, Operators

if TYPE_CHECKING:
    import pandas as pd

OCCURRENCES = 4  # a pattern is tested on up to this many occurrences
SHARE = 0.7  # a pattern is a rule if B adds less than this share of its own time
LENGTH = 5  # largest number of operators in a pattern


@dataclass(frozen=True)
class Occurrence:
    """Fragments of one test: without B, with B, with B and its other inputs as outputs (or None), and B alone."""

    pattern: str
    without: Fragment
    joined: Fragment
    shown: Fragment | None
    alone: Fragment
    size: int

    @property
    def fragments(self) -> list[Fragment]:
        """The fragments to time."""
        return [f for f in (self.without, self.joined, self.shown, self.alone) if f is not None]


@dataclass(frozen=True)
class Evidence:
    """Result of the tests of a pattern.

    Attributes:
        pattern: Types joined by ``+``; the last one is B.
        places: Number of distinct occurrences that were tested.
        alone_us: Median of T(B) without the overhead of a call, microseconds.
        added_us: Median of T(A+B) - T(A), microseconds.
        share: Median of ``added / alone``.
        is_rule: Whether the runtime fuses them: ``share`` is below :data:`SHARE`.
    """

    pattern: str
    places: int
    alone_us: float
    added_us: float
    share: float
    is_rule: bool


def find_rules(
    networks: Sequence[Operators],
    table: LatencyTable,
    rounds: int = ROUNDS,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Evidence]:
    """Test every pattern that occurs in the given networks.

    Args:
        networks: A few networks of each space.
        table: Latency table; fragments that it lacks are measured.
        rounds: Number of timing rounds for each fragment.
        on_progress: Passed on to :meth:`LatencyTable.measure`.

    Returns:
        The result for every pattern; :func:`rules_of` selects the rules.

    Raises:
        CostError: See :meth:`LatencyTable.measure`.
    """
    evidence: list[Evidence] = []
    tested: set[str] = set()
    call = empty_call()
    table.measure([call], rounds)
    for _ in range(LENGTH - 1):
        occurrences = _occurrences(networks, rules_of(evidence), tested)
        if not occurrences:
            break
        fragments = [fragment for tests in occurrences.values() for test in tests for fragment in test.fragments]
        table.measure(fragments, rounds, on_progress)
        call_ms = table.time_ms(call.key)
        evidence += [_judge(pattern, tests, table, call_ms) for pattern, tests in occurrences.items()]
        tested |= set(occurrences)
    return evidence


def rules_of(evidence: Iterable[Evidence]) -> frozenset[str]:
    """The patterns that are rules."""
    return frozenset(one.pattern for one in evidence if one.is_rule)


def rules_frame(evidence: Iterable[Evidence]) -> pd.DataFrame:
    """The results as a frame, rules first."""
    import pandas as pd

    frame = pd.DataFrame([vars(one) for one in evidence], columns=list(Evidence.__dataclass_fields__))
    return frame.sort_values(["is_rule", "pattern"], ascending=[False, True], ignore_index=True)


def empty_call() -> Fragment:
    """A fragment with almost no work: its time is the overhead of a call."""
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "call", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Fragment("call", "the cost of a call", {"x": (1, 1)}, model.SerializeToString)


def _occurrences(networks: Sequence[Operators], rules: frozenset[str], tested: set[str]) -> dict[str, list[Occurrence]]:
    """The largest distinct occurrences of every pattern that was not tested yet."""
    by_pattern: dict[str, dict[str, Occurrence]] = {}
    for network in networks:
        kernels = group(network, rules)
        for k in range(len(kernels)):
            for occurrence in _extensions(kernels, k):
                if occurrence.pattern not in tested:
                    by_pattern.setdefault(occurrence.pattern, {})[occurrence.joined.key] = occurrence
    return {
        pattern: sorted(distinct.values(), key=lambda occurrence: -occurrence.size)[:OCCURRENCES]
        for pattern, distinct in sorted(by_pattern.items())
    }


def _extensions(kernels: Kernels, kernel: int) -> list[Occurrence]:
    """The test of a kernel and its only reader, in the context of their producers; empty if there is no such reader."""
    operators, members = kernels.operators, kernels.groups[kernel]
    readers = operators.readers[members[-1]]
    if len(readers) != 1 or operators.is_output(members[-1]) or len(members) >= LENGTH:
        return []
    operator = readers[0]
    reader = kernels.of[operator]
    starts_kernel = kernels.groups[reader][0] == operator
    if operators.type(operator) not in ELEMENTWISE or not starts_kernel:
        return []
    producers = {number for k in kernels.sources[reader] for number in kernels.groups[k]}
    before = {*kernels.surroundings(kernel), *members, *producers} - {operator}
    pattern = "+".join(operators.type(number) for number in (*members, operator))
    alone = operators.fragment([operator])
    size = operators.written_bytes(operator) + operators.read_bytes(operator)
    others = [
        source for source in operators.sources[operator]
        if source != members[-1] and operators.written_bytes(source) == operators.written_bytes(operator)
        and not set(operators.readers[source]) & before
    ]  # fmt: skip
    shown = operators.fragment([*before, operator], expose=others) if others else None
    without, joined = operators.fragment(before), operators.fragment([*before, operator])
    return [Occurrence(pattern, without, joined, shown, alone, size)]


def _judge(pattern: str, tests: Sequence[Occurrence], table: LatencyTable, call_ms: float) -> Evidence:
    alone = [max(table.time_ms(test.alone.key) - call_ms, 1e-4) for test in tests]
    added = [table.time_ms((test.shown or test.joined).key) - table.time_ms(test.without.key) for test in tests]
    share = statistics.median(a / b for a, b in zip(added, alone, strict=True))
    return Evidence(
        pattern, len(tests), round(1000 * statistics.median(alone), 3), round(1000 * statistics.median(added), 3),
        round(share, 3), share < SHARE,
    )  # fmt: skip
