"""``graph_of``: operation graphs of PyTorch networks, ONNX files and architectures of search spaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import GraphError
from autobuild.graphs.operations import OperationGraph
from autobuild.spaces import SearchSpace

if TYPE_CHECKING:
    from torch import nn


def graph_of(
    model: nn.Module | SearchSpace | str | Path,
    example_input: Any = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    name: str = "",
    fold: bool = True,
) -> OperationGraph:
    """Read a network as a graph of operations: a PyTorch module, an ONNX file, or an architecture of a search space.

    >>> graph_of(network, (1, 3, 224, 224))
    >>> graph_of(space, arch)
    >>> graph_of("network.onnx", shapes={"images": (1, 3, 224, 224)})

    Args:
        model: A module, the path of an ONNX file, or a search space.
        example_input: For a module: a tensor, a tuple of tensors, a dict of keyword arguments, or the shape of one
            tensor. For a space: one of its architectures, or its text. Not used for an ONNX file.
        shapes: For an ONNX file: name -> shape of inputs or tensors whose shape the file leaves open.
        name: Name of the graph.
        fold: Fold each batch norm into the convolution or linear layer before it, as exporters do, so that a network
            and its ONNX export give the same operations, MACs and parameters. With ``fold=False`` batch norms stay
            nodes, and ``params`` of a module's graph equals :func:`autobuild.cost.count_params`.

    Returns:
        The graph. MACs and bytes are those of the example's batch.

    Raises:
        GraphError: The network cannot be traced, or the file is damaged or has unknown shapes or custom operators. The
            message names the node and says how to give shapes.
        SpaceError: The space builds no networks, or the text is not an architecture of it.
        ConfigError: A package is missing, or ``shapes`` has a name that the file does not have.
    """
    from torch import nn

    if isinstance(model, nn.Module):
        if example_input is None or shapes is not None:
            raise GraphError(
                f"graph_of({type(model).__name__}, ...): a module needs example_input, a tensor or a shape such as "
                "(1, 3, 224, 224); shapes= is for ONNX files"
            )
        from autobuild.graphs.from_torch import from_torch

        return from_torch(model, example_input, name=name, fold=fold)
    if isinstance(model, SearchSpace):
        return _of_space(model, example_input, name, fold)
    if not isinstance(model, str | Path):
        raise GraphError(
            f"graph_of: given a {type(model).__name__}, accepted: an nn.Module, the path of an ONNX file, or a space"
        )
    if example_input is not None:
        raise GraphError(f"graph_of({str(model)!r}, ...): an ONNX file takes shapes={{input name: shape}}, no example")
    from autobuild.graphs.from_onnx import from_onnx

    return from_onnx(model, shapes=shapes, name=name, fold=fold)


def _of_space(space: SearchSpace, arch: Any, name: str, fold: bool) -> OperationGraph:
    from autobuild.graphs.of_architecture import graph_of_architecture
    from autobuild.spaces import Architecture

    if not isinstance(arch, Architecture | str) or not fold:
        raise GraphError(f"graph_of({space.name}, ...): for a space, give one of its architectures, with fold=True")
    graph = graph_of_architecture(space, arch)
    return replace(graph, name=name) if name else graph
