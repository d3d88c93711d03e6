"""Partitions of a network into fusion groups: what one is, and what makes it sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeGuard

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.partition.topology import Order, Wiring
from autobuild.errors import GraphError

Status = Literal["optimal", "bounded", "heuristic"]


class GroupCost(Protocol):
    """What one group costs.

    Attributes:
        dram_bytes: Bytes between DRAM and chip, also where the group does not fit.
        valid: Whether the group can be executed in the buffer.
    """

    @property
    def dram_bytes(self) -> int:
        """Bytes moved between DRAM and chip."""

    @property
    def valid(self) -> bool:
        """Whether the group can be executed in the buffer."""


class GroupCosts(Wiring, Protocol):
    """The wiring of a network, and the cost of each set of its operations.

    A cost object may say ``hereditary = False``: then a valid group can have invalid parts, and nothing is concluded
    from one group about another.
    """

    def __call__(self, mask: int, /) -> GroupCost:
        """The cost of a group."""

    def dram(self, mask: int, /) -> int:
        """DRAM bytes of a valid group, -1 for an invalid one."""


class Tensor(Protocol):
    """What is written to DRAM, or read from it, as one."""

    @property
    def producer(self) -> int:
        """Number of the operation that writes it; -1 for inputs."""

    @property
    def consumers(self) -> int:
        """The set of operations that read it."""

    @property
    def dram_bytes(self) -> int:
        """Bytes of all of it."""

    @property
    def output(self) -> bool:
        """Whether it is an output of the network."""


class TrafficCosts(GroupCosts, Protocol):
    """Costs that follow the rule of fusion, so that they are known but for what does not fit.

    Every group moves at least its weights, each outside tensor that it reads, and each of its own that is needed
    outside, once. Costs that say what their tensors and weights are promise this.
    """

    @property
    def tensors(self) -> Sequence[Tensor]:
        """All tensors but weights."""

    @property
    def weights(self) -> Sequence[int]:
        """Bytes of each operation's weights."""


def follows_rule(costs: GroupCosts) -> TypeGuard[TrafficCosts]:
    """Whether costs say what their tensors and weights are."""
    return hasattr(costs, "tensors") and hasattr(costs, "weights")


class Minimum:
    """What a group must move: known from the tensors alone, wherever it fits."""

    def __init__(self, costs: TrafficCosts, order: Order) -> None:
        self.tensors = tensors = costs.tensors
        self.weights = costs.weights
        touched: list[list[int]] = [[] for _ in range(len(order))]
        for t, tensor in enumerate(tensors):
            for i in bits(tensor.consumers | (1 << tensor.producer if tensor.producer >= 0 else 0)):
                touched[i].append(t)
        self.touched = touched

    def of(self, group: int) -> int:
        """Its bytes; more are moved by operations that fit only in several passes."""
        moved = sum(self.weights[i] for i in bits(group))
        for t in {t for i in bits(group) for t in self.touched[i]}:
            tensor = self.tensors[t]
            if tensor.producer >= 0 and group >> tensor.producer & 1:
                moved += tensor.dram_bytes * bool(tensor.output or tensor.consumers & ~group)
            else:
                moved += tensor.dram_bytes
        return moved


def floor_bytes(costs: GroupCosts, order: Order) -> int:
    """DRAM bytes that no partition stays under.

    Those of the whole network as one group that fits; where costs say which operations never fuse (``fallback``), those
    of these alone, and of what lies between them.
    """
    if not follows_rule(costs):
        return costs(order.everything).dram_bytes
    minimum, alone = Minimum(costs, order), int(getattr(costs, "fallback", 0))
    between = order.pieces(order.everything & ~alone)
    return sum(group_dram(costs, 1 << i) for i in bits(alone)) + sum(minimum.of(piece) for piece in between)


@dataclass(frozen=True)
class Partition:
    """Every operation in one group.

    Attributes:
        groups: Sets of operations, in an order in which they can be executed.
        dram_bytes: Bytes between DRAM and chip, all groups together.
        status: ``optimal``: no partition has fewer; ``bounded``: none has fewer than ``lower_bound``; ``heuristic``:
            nothing is known but the floor.
        lower_bound: Bytes that no partition stays under; -1 where unknown.
        seconds: Time that finding it took.
        training_seconds: Part of it that fitting a classifier and an explainer took.
        unschedulable: Operations that fit in no way, not even alone; their bytes are in the total.
        plans: Distinct partitions that a search looked at.
        trace: Fewest bytes after each of them.
    """

    groups: tuple[int, ...]
    dram_bytes: int
    status: Status = "heuristic"
    lower_bound: int = -1
    seconds: float = 0.0
    unschedulable: tuple[int, ...] = ()
    plans: int = 1
    trace: tuple[int, ...] = field(default=(), repr=False)
    training_seconds: float = 0.0

    @property
    def gap(self) -> float | None:
        """How far above the lower bound it may be, a share of the bound; None where there is no bound."""
        if self.status == "optimal":
            return 0.0
        return self.dram_bytes / self.lower_bound - 1 if self.lower_bound > 0 else None


def group_dram(costs: GroupCosts, mask: int) -> int:
    """DRAM bytes of a group that may be in a partition, -1 for one that may not.

    An operation alone always may: if the buffer holds it in no way, it is reported (``Partition.unschedulable``), and
    its bytes count.
    """
    dram = costs.dram(mask)
    return costs(mask).dram_bytes if dram < 0 and not mask & (mask - 1) else dram


def partition_of(costs: GroupCosts, groups: Sequence[int], order: Order | None = None, **known: object) -> Partition:
    """Put a price on groups that are a partition.

    Raises:
        GraphError: If they are none, or one of them (but a lone operation) is invalid.
    """
    order = order or Order.of(costs)
    if reason := flaw(order, groups):
        raise GraphError(f"no partition: {reason}")
    drams = [group_dram(costs, group) for group in groups]
    if min(drams, default=0) < 0:
        raise GraphError(f"no partition: group {list(bits(groups[drams.index(min(drams))]))} is invalid")
    alone = tuple(group.bit_length() - 1 for group in groups if not group & (group - 1) and costs.dram(group) < 0)
    return Partition(order.order_groups(groups) or (), sum(drams), unschedulable=alone, **known)  # type: ignore[arg-type]


def flaw(order: Order, groups: Sequence[int]) -> str | None:
    """What keeps groups from being a partition: a doubled or missing operation, two pieces, groups in a circle."""
    seen = 0
    for group in groups:
        if group & seen:
            return f"operations {list(bits(group & seen))} are in two groups"
        if not order.connected(group):
            return f"group {list(bits(group))} is not connected"
        seen |= group
    if seen != order.everything:
        return f"operations {list(bits(order.everything ^ seen))} are in no group"
    if order.order_groups(groups) is None:
        return "some groups wait for one another"
    return None
