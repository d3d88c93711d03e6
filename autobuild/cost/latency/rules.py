"""Which adjacent operators run faster together: fusion rules found by testing, for any runtime that can be timed.

Asked of elementwise operators (activations, sums, products, batch norms) behind any others. Three fragments are timed:
what lies before (A, with what feeds it), the same with the operator (A+B), and the operator alone (B). Where a runtime
runs B as part of A, T(A+B) - T(A) is next to nothing beside T(B); where it does not, it is about T(B). An operator of
several inputs takes in results that would otherwise be handed out, in the runtime's own memory layout or not; what that
costs is timed as well (A+B with those results handed out too) and counted back. The test is made on the largest
distinct places where the pattern occurs, since small operators drown in the cost of a call. Patterns grow: once
``Conv+Add`` is a rule, ``Conv+Add+Relu`` is tested. (Testing pairs follows nn-Meter, Zhang et al., MobiSys 2021; there
A is timed alone, here within what feeds it, so that changes of memory layout are not taken for fusion.)
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autobuild.cost.latency.kernels import Kernels, group
from autobuild.cost.latency.operators import ELEMENTWISE, Fragment, Operators
from autobuild.cost.latency.table import ROUNDS, LatencyTable

if TYPE_CHECKING:
    import pandas as pd

PLACES = 4  # that a pattern is tested on
SHARE = 0.7  # of B's own time: a rule where less is added
LENGTH = 5  # operators of the longest pattern


@dataclass(frozen=True)
class Place:
    """One test: fragments without B, with B, with B and its other inputs handed out (or None), and B alone."""

    pattern: str
    without: Fragment
    joined: Fragment
    shown: Fragment | None
    alone: Fragment
    size: int

    @property
    def fragments(self) -> list[Fragment]:
        """What has to be timed."""
        return [f for f in (self.without, self.joined, self.shown, self.alone) if f is not None]


@dataclass(frozen=True)
class Evidence:
    """What the tests of a pattern say.

    Attributes:
        pattern: Types joined by ``+``; the last one is B.
        places: How many distinct places were tested.
        alone_us: Median over places of T(B) less the cost of a call.
        added_us: Median of T(A+B) - T(A).
        share: Median of ``added / alone``.
        is_rule: Whether they run as one: ``share`` is under :data:`SHARE`.
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
    """Test every pattern that occurs in some networks.

    Args:
        networks: Where patterns are looked for; a few of each space.
        table: Where times are kept; what it lacks is measured.
        rounds: Rounds of each fragment.
        on_progress: Passed on to :meth:`LatencyTable.measure`.

    Returns:
        The evidence of every pattern tested; ``rules_of`` takes the rules out.

    Raises:
        CostError: See :meth:`LatencyTable.measure`.
    """
    found: list[Evidence] = []
    tested: set[str] = set()
    call = empty_call()
    table.measure([call], rounds)
    for _ in range(LENGTH - 1):
        places = _places(networks, rules_of(found), tested)
        if not places:
            break
        fragments = [fragment for own in places.values() for place in own for fragment in place.fragments]
        table.measure(fragments, rounds, on_progress)
        found += [_judge(pattern, own, table, table.time_ms(call.key)) for pattern, own in places.items()]
        tested |= set(places)
    return found


def rules_of(evidence: Iterable[Evidence]) -> frozenset[str]:
    """The patterns that are rules."""
    return frozenset(one.pattern for one in evidence if one.is_rule)


def rules_frame(evidence: Iterable[Evidence]) -> pd.DataFrame:
    """The evidence as a table, rules first."""
    import pandas as pd

    frame = pd.DataFrame([vars(one) for one in evidence], columns=list(Evidence.__dataclass_fields__))
    return frame.sort_values(["is_rule", "pattern"], ascending=[False, True], ignore_index=True)


def empty_call() -> Fragment:
    """A fragment that does next to nothing: its time is the cost of a call."""
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "call", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Fragment("call", "the cost of a call", {"x": (1, 1)}, model.SerializeToString)


def _places(networks: Sequence[Operators], rules: frozenset[str], tested: set[str]) -> dict[str, list[Place]]:
    """The largest distinct places of every pattern that was not tested yet."""
    found: dict[str, dict[str, Place]] = {}
    for network in networks:
        kernels = group(network, rules)
        for k in range(len(kernels)):
            for place in _extensions(kernels, k):
                if place.pattern not in tested:
                    found.setdefault(place.pattern, {})[place.joined.key] = place
    return {
        pattern: sorted(own.values(), key=lambda place: -place.size)[:PLACES] for pattern, own in sorted(found.items())
    }


def _extensions(kernels: Kernels, kernel: int) -> list[Place]:
    """A kernel and the operator that alone reads it, in what lies before both."""
    operators, members = kernels.operators, kernels.groups[kernel]
    readers = operators.readers[members[-1]]
    if len(readers) != 1 or operators.is_output(members[-1]) or len(members) >= LENGTH:
        return []
    behind = readers[0]
    reader = kernels.of[behind]
    if operators.type(behind) not in ELEMENTWISE or kernels.groups[reader][0] != behind:  # or it is in another kernel
        return []
    feeding = {number for k in kernels.sources[reader] for number in kernels.groups[k]}
    before = {*kernels.surroundings(kernel), *members, *feeding} - {behind}
    pattern = "+".join(operators.type(number) for number in (*members, behind))
    alone = operators.fragment([behind])
    size = operators.written_bytes(behind) + operators.read_bytes(behind)
    others = [
        source for source in operators.sources[behind]
        if source != members[-1] and operators.written_bytes(source) == operators.written_bytes(behind)
        and not set(operators.readers[source]) & before
    ]  # fmt: skip
    shown = operators.fragment([*before, behind], expose=others) if others else None
    without, joined = operators.fragment(before), operators.fragment([*before, behind])
    return [Place(pattern, without, joined, shown, alone, size)]


def _judge(pattern: str, places: Sequence[Place], table: LatencyTable, call_ms: float) -> Evidence:
    alone = [max(table.time_ms(place.alone.key) - call_ms, 1e-4) for place in places]
    added = [table.time_ms((place.shown or place.joined).key) - table.time_ms(place.without.key) for place in places]
    share = statistics.median(a / b for a, b in zip(added, alone, strict=True))
    return Evidence(
        pattern, len(places), round(1000 * statistics.median(alone), 3), round(1000 * statistics.median(added), 3),
        round(share, 3), share < SHARE,
    )  # fmt: skip
