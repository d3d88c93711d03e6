"""From a network and a buffer to its fusion groups: what is asked, what came out, as frames and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """A network cut into fusion groups.

    Attributes:
        graph: The folded network.
        costs: What its groups cost in the buffer.
        partition: The groups, in an order in which they can run.
        hardware: What it was computed for.
        algorithm: How the partition was found.
    """

    graph: FusionGraph
    costs: GroupCosts
    partition: Partition
    hardware: Hardware
    algorithm: str

    @cached_property
    def group_costs(self) -> list[GroupCost]:
        """Cost of every group, in order."""
        return [self.costs(mask) for mask in self.partition.groups]

    @cached_property
    def group_of(self) -> list[int]:
        """For each operation the number of its group, from 0."""
        found = [0] * len(self.graph)
        for number, mask in enumerate(self.partition.groups):
            for i in bits(mask):
                found[i] = number
        return found

    @cached_property
    def groups(self) -> pd.DataFrame:
        """``group, ops, scheme, dram_bytes, buffer_bytes, valid``: one row a group, in order of execution.

        ``ops`` are names with a space between; spaces within one are written ``_``.
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
        """Bytes before and after, how good the partition is known to be, and what it costs beside.

        ``dram_bytes``, ``unfused_dram_bytes`` (every folded operation alone, in the same buffer) and ``reduction``
        (1 - their ratio); ``unbounded_unfused_dram_bytes`` (every operation alone if each fitted, so that nothing is
        read twice); ``separate_dram_bytes`` (activations as operations of their own, for comparison only);
        ``floor_dram_bytes`` (weights, inputs and outputs of the network); ``fusable_dram_bytes`` and
        ``fusable_unfused_dram_bytes`` (without operations that fit in the buffer by no scheme of groups, as the paper
        counts); ``status``, ``lower_bound``, ``optimum_gap``, ``seconds``, ``training_seconds`` (the part of them that
        an explainer was fitted for); ``extra_macs`` (computed twice), ``macs`` and ``uncounted`` (the operators that
        ``macs`` leaves out, and how often each occurs); ``unschedulable`` (names).
        """
        graph, partition = self.graph, self.partition
        unfused = unfused_dram_bytes(self.costs)
        alone = [i for i in range(len(graph)) if self.costs.fallback >> i & 1]
        left_out = sum(self.costs(1 << i).dram_bytes for i in alone)
        fused_left_out = sum(
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
            "fusable_dram_bytes": partition.dram_bytes - fused_left_out,
            "fusable_unfused_dram_bytes": sum(
                self.costs(1 << i).dram_bytes for i in range(len(graph)) if i not in set(alone)
            ),
            "fallback_dram_bytes": left_out,
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
        told = self.metrics
        size, unit = byte_unit(told["unfused_dram_bytes"])
        left_out = ", ".join(f"{count} {name}" for name, count in self.graph.uncounted)
        gap = told["optimum_gap"]
        known = (
            "optimal"
            if told["status"] == "optimal"
            else "not proven the best" + ("" if gap is None else f", at most {gap:.2%} above the bound")
        )
        return (
            f"Fused({self.graph.name or 'network'}: {told['operations']} operations in {told['groups']} groups, "
            f"{told['macs'] / 1e6:,.1f} M MACs{f' without {left_out}' if left_out else ''}, "
            f"{told['dram_bytes'] / size:,.2f} {unit} of DRAM traffic instead of "
            f"{told['unfused_dram_bytes'] / size:,.2f}, {known})"
        )

    def _repr_html_(self) -> str:
        import html

        table: str = self.groups.to_html(index=False, max_rows=30)
        return f"<p>{html.escape(repr(self))}</p>{table}"


def unfused_dram_bytes(costs: AnyGroupCosts) -> int:
    """DRAM bytes if every operation runs alone in the buffer; what does not fit is read several times."""
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
    """Cut a network into fusion groups, so that the least crosses to DRAM.

    >>> fuse(network, (1, 3, 224, 224), "edge_npu").metrics["reduction"]
    >>> fuse("network.onnx", "edge_npu")
    >>> fuse(space, arch, buffer_bytes=2**20)

    Args:
        model: A module, the path of an ONNX file, a search space, operations (:func:`autobuild.graph_of`), or a graph
            that is folded already.
        example_input: For a module a tensor, a tuple or dict of tensors, or a shape; for a space one of its
            architectures. Nothing else takes one: there the second argument may be the hardware.
        hardware: A description, the name of a preset, or the path of a YAML file.
        shapes: For a file: shapes of inputs that it leaves open.
        buffer_bytes: On-chip buffer, where it is not that of the hardware.
        scheme: ``mixed``, ``lbdf`` or ``brr`` (:class:`~autobuild.cost.fusion.GroupCosts`).
        recompute: Also allow groups in two passes over their inputs.
        algorithm: ``exact``, ``interval``, ``random``, ``local`` or ``nsga2``.
        split: For searches: how invalid groups are split.
        seed: For searches.
        time_limit_s: Seconds for all but reading the network. When they are over, the best partition found so far is
            the answer: not proven, with ``lower_bound`` and ``optimum_gap``.
        budget: For searches: distinct partitions.

    Raises:
        ConfigError: For unknown hardware, scheme, algorithm or split, or a buffer that is not positive.
        GraphError: For something that cannot be read as a graph, or not be folded (shapes that are open).
    """
    deadline_of(time_limit_s)  # refused before a network is read
    graph, described = _read(model, example_input, hardware, shapes)
    load(algorithm, split)
    deadline = deadline_of(time_limit_s)
    if not isinstance(graph, FusionGraph):
        graph = fold(graph, described.weight_bytes, described.activation_bytes)
    size = described.buffer_bytes if buffer_bytes is None else buffer_bytes
    costs = GroupCosts(graph, size, scheme, recompute)
    partition = solve(costs, algorithm, split, seed=seed, time_limit_s=deadline, budget=budget)
    fused = Fused(graph, costs, partition, described, algorithm)
    with within(costs, deadline), suppress(TimeUp):  # how little a group needs is looked for while there is time
        _ = fused.group_costs
    return fused


def _read(
    model: Any, example_input: Any, hardware: str | Hardware, shapes: Mapping[str, tuple[int, ...]] | None
) -> tuple[OperationGraph | FusionGraph, Hardware]:
    """The graph and the hardware that arguments name."""
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
    described = read_hardware(hardware)  # refused before a network is read
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
    """DRAM bytes of the best partition against the size of the buffer.

    Args:
        model: As for :func:`fuse`.
        buffers: Sizes, bytes.
        hardware: For the bytes of a number.
        example_input: As for :func:`fuse`.
        schemes: Which schemes.
        time_limit_s: Seconds for all partitions together; each has an equal share of what is left.

    Returns:
        ``buffer_bytes, scheme, dram_bytes, status, unfused_dram_bytes, floor_dram_bytes``, sorted.
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
