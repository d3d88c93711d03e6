"""Fuse a network: from a network and hardware to the best partition, its groups as a frame, and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.deadline import Deadline, TimeUp, within
from autobuild.cost.fusion.folding import fold
from autobuild.cost.fusion.graph import FusionGraph
from autobuild.cost.fusion.group_costs import GroupCost, GroupCosts
from autobuild.cost.fusion.partition.partition import AnyGroupCosts, Partition, group_dram
from autobuild.cost.fusion.partition.solver import deadline_of, load, solve
from autobuild.cost.hardware import DEFAULT, Hardware, read_hardware
from autobuild.errors import ConfigError, GraphError
from autobuild.graphs.operations import OperationGraph
from autobuild.graphs.reading import graph_of
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.sizes import byte_unit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Fused:
    """A network partitioned into fusion groups.

    Attributes:
        graph: The fusion graph.
        costs: Costs of its groups.
        partition: The groups, in an order of execution.
        hardware: The hardware description.
        algorithm: Name of the algorithm that found the partition.
    """

    graph: FusionGraph
    costs: GroupCosts
    partition: Partition
    hardware: Hardware
    algorithm: str

    @cached_property
    def group_costs(self) -> list[GroupCost]:
        """Cost of every group, in the order of ``partition.groups``."""
        return [self.costs(mask) for mask in self.partition.groups]

    @cached_property
    def group_of(self) -> list[int]:
        """For each operation the number of its group, starting at 0."""
        group_of = [0] * len(self.graph)
        for number, mask in enumerate(self.partition.groups):
            for i in bits(mask):
                group_of[i] = number
        return group_of

    @cached_property
    def groups(self) -> pd.DataFrame:
        """``group, ops, scheme, dram_bytes, buffer_bytes, valid``: one row a group, in order of execution.

        ``ops`` are operation names, separated by spaces. A space in a name is written ``_``.
        """
        import pandas as pd

        rows = [
            (number, self._ops(mask), cost.scheme, cost.dram_bytes, cost.buffer_bytes, cost.valid)
            for number, (mask, cost) in enumerate(zip(self.partition.groups, self.group_costs, strict=True), start=1)
        ]
        return pd.DataFrame(rows, columns=["group", "ops", "scheme", "dram_bytes", "buffer_bytes", "valid"])

    def _ops(self, mask: int) -> str:
        return " ".join("_".join(name.split()) for name in self.graph.names(mask))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """DRAM bytes with and without fusion, the lower bound, time, and extra work.

        - ``dram_bytes``; ``unfused_dram_bytes``: every folded operation is its own group, in the same buffer;
          ``reduction``: 1 - their ratio.
        - ``unbounded_unfused_dram_bytes``: the same with an unlimited buffer; ``separate_dram_bytes``: activations are
          separate operations, too (for comparison only); ``floor_dram_bytes``: weights, inputs and outputs of the
          network.
        - ``fusable_dram_bytes`` and ``fusable_unfused_dram_bytes``: without the operations that fit by no scheme for
          groups, as in the paper; ``fallback_dram_bytes``: these operations.
        - ``status``, ``lower_bound``, ``optimum_gap``, ``plans``, ``seconds``, and ``training_seconds``, the part for
          fitting an explainer.
        - ``macs``, ``uncounted`` (operators that ``macs`` leaves out, with their number) and ``extra_macs`` (computed a
          second time); ``unschedulable``: names of operations that the buffer cannot hold.
        """
        graph, partition = self.graph, self.partition
        unfused = unfused_dram_bytes(self.costs)
        fallback = [i for i in range(len(graph)) if self.costs.fallback >> i & 1]
        fallback_bytes = sum(self.costs(1 << i).dram_bytes for i in fallback)
        partition_fallback_bytes = sum(
            cost.dram_bytes
            for mask, cost in zip(partition.groups, self.group_costs, strict=True)
            if mask & self.costs.fallback
        )
        return {
            "dram_bytes": partition.dram_bytes,
            "unfused_dram_bytes": unfused,
            "reduction": 1 - partition.dram_bytes / unfused if unfused else 0.0,
            "unbounded_unfused_dram_bytes": graph.unfused_bytes,
            "separate_dram_bytes": unfused + graph.separate_bytes - graph.unfused_bytes,
            "floor_dram_bytes": graph.floor_bytes,
            "fusable_dram_bytes": partition.dram_bytes - partition_fallback_bytes,
            "fusable_unfused_dram_bytes": sum(
                self.costs(1 << i).dram_bytes for i in range(len(graph)) if i not in set(fallback)
            ),
            "fallback_dram_bytes": fallback_bytes,
            "groups": len(partition.groups),
            "operations": len(graph),
            "status": partition.status,
            "lower_bound": partition.lower_bound,
            "optimum_gap": partition.gap,
            "seconds": partition.seconds,
            "training_seconds": partition.training_seconds,
            "plans": partition.plans,
            "macs": graph.macs,
            "uncounted": dict(graph.uncounted),
            "extra_macs": sum(cost.extra_macs for cost in self.group_costs),
            "largest_buffer_bytes": max((cost.buffer_bytes for cost in self.group_costs), default=0),
            "unschedulable": [graph.ops[i].name for i in partition.unschedulable],
        }

    def __repr__(self) -> str:
        metrics = self.metrics
        size, unit = byte_unit(metrics["unfused_dram_bytes"])
        left_out = ", ".join(f"{count} {name}" for name, count in self.graph.uncounted)
        gap = metrics["optimum_gap"]
        quality = (
            "optimal"
            if metrics["status"] == "optimal"
            else "not proven the best" + ("" if gap is None else f", at most {gap:.2%} above the bound")
        )
        return (
            f"Fused({self.graph.name or 'network'}: {counted(metrics['operations'], 'operation')} in "
            f"{counted(metrics['groups'], 'group')}, "
            f"{metrics['macs'] / 1e6:,.1f} M MACs{f' without {left_out}' if left_out else ''}, "
            f"{metrics['dram_bytes'] / size:,.2f} {unit} of DRAM traffic instead of "
            f"{metrics['unfused_dram_bytes'] / size:,.2f}, {quality})"
        )

    def _repr_html_(self) -> str:
        import html

        table: str = self.groups.to_html(index=False, max_rows=30)
        return f"<p>{html.escape(repr(self))}</p>{table}"


def unfused_dram_bytes(costs: AnyGroupCosts) -> int:
    """DRAM bytes if every operation is its own group. Data of operations that do not fit is read several times."""
    return sum(group_dram(costs, 1 << i) for i in range(costs.n))


def fuse(
    model: Any,
    example_input: Any = None,
    hardware: str | Hardware = DEFAULT,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    buffer_bytes: int | None = None,
    scheme: str = "mixed",
    recompute: bool = False,
    algorithm: str = "exact",
    split: str = "random",
    seed: int = 0,
    time_limit_s: float = 60.0,
    budget: int = 5000,
) -> Fused:
    """Partition a network into fusion groups with the fewest DRAM bytes.

    >>> fuse(network, (1, 3, 224, 224), "edge_npu").metrics["reduction"]
    >>> fuse("network.onnx", "edge_npu")
    >>> fuse(space, arch, buffer_bytes=2**20)

    Args:
        model: A module, the path of an ONNX file, a search space, an operation graph (:func:`autobuild.graph_of`), or a
            fusion graph.
        example_input: For a module a tensor, a tuple or dict of tensors, or a shape; for a space an architecture. For
            all others the second argument is the hardware.
        hardware: A hardware description, the name of a preset, or the path of a YAML file.
        shapes: For an ONNX file: shapes of inputs with dynamic sizes.
        buffer_bytes: Size of the on-chip buffer, bytes. Default: that of the hardware.
        scheme: ``mixed``, ``lbdf`` or ``brr`` (:class:`~autobuild.cost.fusion.GroupCosts`).
        recompute: Also allow groups in two passes over their inputs.
        algorithm: ``exact``, ``interval``, or a baseline: ``random``, ``local``, ``nsga2``.
        split: For baselines: how invalid groups are split.
        seed: For baselines: seed of all random choices.
        time_limit_s: Seconds, without reading the network. When they have passed, the best partition so far is
            returned, with ``lower_bound`` and ``optimum_gap``.
        budget: For baselines: number of distinct partitions to evaluate.

    Returns:
        The partition with its frame ``groups`` and its ``metrics``.

    Raises:
        ConfigError: The hardware, scheme, algorithm or split is unknown, or the buffer is not positive.
        GraphError: The model cannot be read as a graph, or has dynamic shapes.
    """
    deadline_of(time_limit_s)  # check it before reading a network
    graph, described = _read(model, example_input, hardware, shapes)
    load(algorithm, split)
    deadline = deadline_of(time_limit_s)
    if not isinstance(graph, FusionGraph):
        graph = fold(graph, described.weight_bytes, described.activation_bytes)
    size = described.buffer_bytes if buffer_bytes is None else buffer_bytes
    costs = GroupCosts(graph, size, scheme, recompute)
    partition = solve(costs, algorithm, split, seed=seed, time_limit_s=deadline, budget=budget)
    fused = Fused(graph, costs, partition, described, algorithm)
    with within(costs, deadline), suppress(TimeUp):  # the least buffer of each group takes time, too
        _ = fused.group_costs
    return fused


def _read(
    model: Any, example_input: Any, hardware: str | Hardware, shapes: Mapping[str, tuple[int, ...]] | None
) -> tuple[OperationGraph | FusionGraph, Hardware]:
    """The graph and the hardware that the arguments specify."""
    if isinstance(model, Architecture) and isinstance(example_input, SearchSpace):
        model, example_input = example_input, model
    named = isinstance(example_input, str | Path | Hardware)
    if isinstance(model, OperationGraph | FusionGraph | str | Path) and example_input is not None:
        if not named or hardware is not DEFAULT:
            raise ConfigError(f"fuse({type(model).__name__}, ...): given an example input, a "
                              f"{type(example_input).__name__}; accepted with a module or a space only")  # fmt: skip
        hardware = example_input
    elif named and not isinstance(model, SearchSpace):
        raise ConfigError(f"fuse({type(model).__name__}, {example_input!r}): accepted after a module: an example "
                          "input, a tensor or a shape such as (1, 3, 224, 224), then the hardware")  # fmt: skip
    described = read_hardware(hardware)  # check it before reading a network
    if isinstance(model, OperationGraph | FusionGraph):
        if shapes is not None:
            raise ConfigError(f"fuse({type(model).__name__}, shapes=...): accepted with the path of an ONNX file only")
        return model, described
    if isinstance(model, str | Path):
        return graph_of(model, shapes=shapes), described
    if isinstance(model, SearchSpace) or hasattr(model, "named_parameters"):
        return graph_of(model, example_input, shapes=shapes), described
    raise GraphError(
        f"fuse: given a {type(model).__name__}, accepted: an nn.Module with an example input, the path of an ONNX "
        "file, a search space with an architecture, or a graph (autobuild.graph_of)"
    )


def buffer_sweep(
    model: Any,
    buffers: Sequence[int],
    hardware: str | Hardware = DEFAULT,
    *,
    example_input: Any = None,
    schemes: Sequence[str] = ("lbdf", "brr", "mixed"),
    time_limit_s: float = 60.0,
) -> pd.DataFrame:
    """DRAM bytes of the best partition for several buffer sizes.

    Args:
        model: As for :func:`fuse`.
        buffers: Buffer sizes, bytes.
        hardware: Hardware description; gives the bytes of a weight and of an activation.
        example_input: As for :func:`fuse`.
        schemes: Any of ``lbdf``, ``brr`` and ``mixed``.
        time_limit_s: Seconds for all partitions together. Each gets an equal share of the remaining time.

    Returns:
        A frame ``buffer_bytes, scheme, dram_bytes, status, unfused_dram_bytes, floor_dram_bytes``, one row for each
        buffer size and scheme, sorted.

    Raises:
        ConfigError: As for :func:`fuse`.
        GraphError: As for :func:`fuse`.
    """
    import pandas as pd

    deadline_of(time_limit_s)
    graph, described = _read(model, example_input, hardware, None)
    deadline = Deadline(time_limit_s)
    if not isinstance(graph, FusionGraph):
        graph = fold(graph, described.weight_bytes, described.activation_bytes)
    rows = []
    cells = [(buffer, scheme) for buffer in sorted(set(buffers)) for scheme in schemes]
    for number, (buffer, scheme) in enumerate(cells):
        costs = GroupCosts(graph, buffer, scheme)
        found = solve(costs, time_limit_s=deadline.share(1 / (len(cells) - number)))
        rows.append((buffer, scheme, found.dram_bytes, found.status, unfused_dram_bytes(costs), graph.floor_bytes))
    columns = ["buffer_bytes", "scheme", "dram_bytes", "status", "unfused_dram_bytes", "floor_dram_bytes"]
    return pd.DataFrame(rows, columns=columns)
