"""The operation graph of an architecture of a search space."""

from __future__ import annotations

from typing import Any

from autobuild.errors import GraphError
from autobuild.graphs.from_blocks import graph_of_plan
from autobuild.graphs.operations import OperationGraph, Shape
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.blocks import Plan
from autobuild.spaces.registry import declared_by, network_arguments, realiser

INPUT = "input"  # name of the stage that chooses the input size, in spaces that have one


def graph_of_architecture(
    space: SearchSpace, arch: Architecture | str, num_classes: int | None = None, input_shape: Shape | None = None
) -> OperationGraph:
    """Operation graph of an architecture's network, with folded batch norms, for a batch of one.

    If the space declares its blocks (``plan``), the graph is computed from them within a millisecond and equals the
    traced graph. Otherwise the network is built and traced, which takes seconds.

    Args:
        space: The search space.
        arch: An architecture of the space, or its text.
        num_classes: Number of outputs of the classifier (default: the number that the space declares).
        input_shape: Shape ``(channels, height, width)`` of an input (default: the shape that the space declares, with
            the input size that the architecture chooses if the space has that choice).

    Returns:
        The operation graph.

    Raises:
        SpaceError: The space builds no networks.
        GraphError: The input shape is not known, or the network cannot be traced.
    """
    parsed = space.parse(arch) if isinstance(arch, str) else arch
    realiser(space)  # raises if the space builds no networks
    shape = shape_of_input(space, parsed, input_shape)
    plan = plan_of(space, parsed, num_classes, shape[0])
    if plan is not None:
        return graph_of_plan(plan, shape, parsed.text)
    from autobuild.graphs.from_torch import from_torch

    network = space.realise(parsed, num_classes=num_classes, in_channels=shape[0])
    return from_torch(network, (1, *shape), name=parsed.text)


def shape_of_input(space: SearchSpace, arch: Architecture, input_shape: Shape | None = None) -> Shape:
    """Input shape ``(channels, height, width)``. Raises GraphError if it is unknown or there are several inputs."""
    inputs: tuple[str, ...] = getattr(declared_by(space), "INPUTS", ())
    if len(inputs) > 1:
        named = ", ".join(f"{name!r}: ..." for name in inputs)
        raise GraphError(
            f"networks of space {space.name!r} take {len(inputs)} inputs ({', '.join(inputs)}), so one input shape "
            f"is not enough: trace a network, autobuild.graph_of(space.realise(arch), {{{named}}})"
        )
    shape = input_shape or getattr(declared_by(space), "INPUT_SHAPE", None)
    if shape is None:
        raise GraphError(
            f"space {space.name!r} does not declare the size of its inputs: give input_shape (in jobs "
            "shape=[channels,height,width]), or declare INPUT_SHAPE beside its SPACE"
        )
    chosen = next((place for place, stage in enumerate(space.stages) if stage.name == INPUT), None)
    if chosen is not None:
        shape = (shape[0], *[int(space.layers(arch)[chosen][0]["resolution"])] * 2)  # type: ignore[arg-type]
    return tuple(int(size) for size in shape)


def plan_of(space: SearchSpace, arch: Architecture, num_classes: int | None, in_channels: int) -> Plan | None:
    """The blocks of an architecture; None if the space declares none."""
    file: Any = declared_by(space)
    if not hasattr(file, "plan"):
        return None
    plan: Plan = file.plan(space.layers(arch), **network_arguments(space, num_classes, in_channels))
    return plan
