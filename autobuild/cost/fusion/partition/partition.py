"""Partitions of a network into fusion groups: protocols of costs, the result type, and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeGuard

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.partition.topology import Adjacency, Topology
from autobuild.errors import GraphError

Status = Literal["optimal", "bounded", "heuristic"]


class AnyGroupCost(Protocol):
    """Cost of one group.

    Attributes:
        dram_bytes: DRAM bytes, also of a group that does not fit the buffer.
        valid: Whether the group can be executed in the buffer.
    """

    @property
    def dram_bytes(self) -> int:
        """DRAM bytes."""

    @property
    def valid(self) -> bool:
        """Whether the group can be executed in the buffer."""


class AnyGroupCosts(Adjacency, Protocol):
    """The edges of a network, and the cost of every group of its operations.

    Groups are bitmasks. An attribute ``hereditary = False`` says that a valid group may have invalid parts. Then no
    solver concludes from one group that another is invalid.
    """

    def __call__(self, mask: int, /) -> AnyGroupCost:
        """Cost of a group."""

    def dram(self, mask: int, /) -> int:
        """DRAM bytes of a valid group, -1 for an invalid one."""


class Tensor(Protocol):
    """A tensor that is written to DRAM or read from it as a whole."""

    @property
    def producer(self) -> int:
        """Number of the operation that writes it; -1 for inputs of the network."""

    @property
    def consumers(self) -> int:
        """Mask of the operations that read it."""

    @property
    def dram_bytes(self) -> int:
        """Bytes of the tensor in DRAM."""

    @property
    def output(self) -> bool:
        """Whether it is an output of the network."""


class TrafficCosts(AnyGroupCosts, Protocol):
    """Costs that list tensors and weights, so the least traffic of every group is known.

    Every group moves at least its weights, each tensor from outside that it reads, and each of its tensors that is read
    outside, once.
    """

    @property
    def tensors(self) -> Sequence[Tensor]:
        """All tensors except weights."""

    @property
    def weights(self) -> Sequence[int]:
        """Weight bytes of each operation."""


def has_tensor_traffic(costs: AnyGroupCosts) -> TypeGuard[TrafficCosts]:
    """Whether costs list tensors and weights."""
    return hasattr(costs, "tensors") and hasattr(costs, "weights")


class MinimumTraffic:
    """The least DRAM bytes of groups: their weights, and the tensors that cross their border, once."""

    def __init__(self, costs: TrafficCosts, topology: Topology) -> None:
        self.tensors = tensors = costs.tensors
        self.weights = costs.weights
        touched: list[list[int]] = [[] for _ in range(len(topology))]
        for t, tensor in enumerate(tensors):
            for i in bits(tensor.consumers | (1 << tensor.producer if tensor.producer >= 0 else 0)):
                touched[i].append(t)
        self.touched = touched

    def dram_bytes(self, group: int) -> int:
        """Least DRAM bytes of a group. An operation that is tiled, or a group that runs in two passes, moves more."""
        moved = sum(self.weights[i] for i in bits(group))
        for t in {t for i in bits(group) for t in self.touched[i]}:
            tensor = self.tensors[t]
            if tensor.producer >= 0 and group >> tensor.producer & 1:
                moved += tensor.dram_bytes * bool(tensor.output or tensor.consumers & ~group)
            else:
                moved += tensor.dram_bytes
        return moved


def floor_bytes(costs: AnyGroupCosts, topology: Topology) -> int:
    """A lower bound on the DRAM bytes of every partition.

    It is the traffic of the whole network as one group. If the costs name operations that never fuse (``fallback``), it
    is the traffic of these as groups of their own, plus that of the connected pieces between them.
    """
    if not has_tensor_traffic(costs):
        return costs(topology.everything).dram_bytes
    minimum, never_fused = MinimumTraffic(costs, topology), int(getattr(costs, "fallback", 0))
    between = topology.pieces(topology.everything & ~never_fused)
    return sum(group_dram(costs, 1 << i) for i in bits(never_fused)) + sum(
        minimum.dram_bytes(piece) for piece in between
    )


@dataclass(frozen=True)
class Partition:
    """Every operation in one group.

    Attributes:
        groups: Bitmasks of the groups, in an order of execution.
        dram_bytes: DRAM bytes of all groups together.
        status: ``optimal``: no partition has fewer bytes; ``bounded``: a limit was reached, none has fewer bytes than
            ``lower_bound``; ``heuristic``: found without a proof.
        lower_bound: Lower bound on the bytes of every partition; -1 if unknown.
        seconds: Time of the solver.
        training_seconds: Part of it that was spent on fitting a classifier and an explainer.
        unschedulable: Operations that the buffer cannot hold in any way. Their bytes are part of ``dram_bytes``.
        plans: Number of distinct partitions that a search evaluated.
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
        """Relative distance to the lower bound, ``dram_bytes / lower_bound - 1``; None without a bound."""
        if self.status == "optimal":
            return 0.0
        return self.dram_bytes / self.lower_bound - 1 if self.lower_bound > 0 else None


def group_dram(costs: AnyGroupCosts, mask: int) -> int:
    """DRAM bytes of a group; -1 if it may not be in a partition.

    A single operation always may. If the buffer cannot hold it, its bytes count all the same, and the partition reports
    it (:attr:`Partition.unschedulable`).
    """
    dram = costs.dram(mask)
    return costs(mask).dram_bytes if dram < 0 and not mask & (mask - 1) else dram


def partition_of(
    costs: AnyGroupCosts, groups: Sequence[int], topology: Topology | None = None, **known: object
) -> Partition:
    """A :class:`Partition` from its groups.

    Args:
        costs: Costs of the groups of a network.
        groups: Bitmasks of the groups.
        topology: Edges of the network, if already computed.
        known: Further attributes of the result.

    Raises:
        GraphError: The groups are not a partition, or a group of two or more operations is invalid.
    """
    topology = topology or Topology.of(costs)
    if reason := partition_violation(topology, groups):
        raise GraphError(f"not a partition: {reason}")
    drams = [group_dram(costs, group) for group in groups]
    if min(drams, default=0) < 0:
        raise GraphError(f"not a partition: group {list(bits(groups[drams.index(min(drams))]))} is invalid")
    unschedulable = tuple(
        group.bit_length() - 1 for group in groups if not group & (group - 1) and costs.dram(group) < 0
    )
    return Partition(topology.order_groups(groups) or (), sum(drams), unschedulable=unschedulable, **known)  # type: ignore[arg-type]


def partition_violation(topology: Topology, groups: Sequence[int]) -> str | None:
    """The first rule of a partition that groups break; None if there is none.

    Every operation is in exactly one group, groups are connected, and the graph of groups has no cycle.
    """
    seen = 0
    for group in groups:
        if group & seen:
            return f"operations {list(bits(group & seen))} are in two groups"
        if not topology.connected(group):
            return f"group {list(bits(group))} is not connected"
        seen |= group
    if seen != topology.everything:
        return f"operations {list(bits(topology.everything ^ seen))} are in no group"
    if topology.order_groups(groups) is None:
        return "the graph of groups has a cycle"
    return None
