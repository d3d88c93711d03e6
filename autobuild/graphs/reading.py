"""``graph_of``: one verb for PyTorch networks and ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import GraphError
from autobuild.graphs.operations import OperationGraph

if TYPE_CHECKING:
    from torch import nn


def graph_of(
    model: nn.Module | str | Path,
    example_input: Any = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    name: str = "",
    fold: bool = True,
) -> OperationGraph:
    """Any network as a graph of operations: a PyTorch module through ``torch.export``, or an ONNX file.

    >>> graph_of(network, (1, 3, 224, 224))
    >>> graph_of("network.onnx", shapes={"images": (1, 3, 224, 224)})

    Args:
        model: A module, or the path of an ONNX file.
        example_input: For a module: a tensor, a tuple of tensors, a dict of keyword arguments, or a shape.
        shapes: For a file: shapes of inputs or tensors that it leaves open.
        name: Of the graph.
        fold: Fold batch norms into the convolution or linear layer before them, as exporters do, so that a network
            and its export give the same operations, MACs and parameters. With ``fold=False`` they stay nodes, and
            ``params`` of a module's graph equal :func:`autobuild.cost.count_params`.

    Returns:
        The graph. MACs and bytes are those of the example's batch.

    Raises:
        GraphError: What was given cannot be read as a graph: a network that cannot be traced, a damaged file, unknown
            shapes, custom operators. The message names the node and says how to give shapes.
        ConfigError: A missing package, or ``shapes`` with a name that the file does not have.
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
    if not isinstance(model, str | Path):
        raise GraphError(
            f"graph_of: given a {type(model).__name__}, accepted: an nn.Module or the path of an ONNX file"
        )
    if example_input is not None:
        raise GraphError(f"graph_of({str(model)!r}, ...): an ONNX file takes shapes={{input name: shape}}, no example")
    from autobuild.graphs.from_onnx import from_onnx

    return from_onnx(model, shapes=shapes, name=name, fold=fold)
