"""Fold batch norms into the convolutions and linear layers before them, so that fewer tensors are stored.

In evaluation mode a batch norm is ``g (y - m) / sqrt(v + e) + b`` with fixed numbers for every channel, so that
``conv`` and ``norm`` together are one convolution with the weight ``w g / sqrt(v + e)`` and another bias
(Jacob et al., CVPR 2018, section 3.2).
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from autobuild.errors import GraphError, QuantisationError
from autobuild.graphs import graph_of
from autobuild.quant.apply import weight_layers
from autobuild.quant.layer_graph import example_tensors
from autobuild.spaces import SearchSpace

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FOLDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

Pairs = list[tuple[str, str]]


def norm_pairs(model: nn.Module, example_input: Any) -> Pairs:
    """Layers whose output goes into one batch norm and nowhere else, as the model's own graph says.

    Args:
        model: The model.
        example_input: As for :func:`autobuild.graph_of`.

    Returns:
        Pairs of module names: a layer and its norm.

    Raises:
        QuantisationError: The model does not export.
    """
    try:
        graph = graph_of(model, example_tensors(model, example_input), fold=False)
    except GraphError as error:
        raise QuantisationError(f"fold=True needs a model that exports: {error}") from error
    calls = Counter(node.module for node in graph.nodes if node.module)
    sources = graph.sources()
    uses = Counter(itertools.chain(*sources, graph.outputs))
    found = []
    for node, fed in zip(graph.nodes, sources, strict=True):
        before = graph.nodes[fed[0]] if len(fed) == 1 else None
        if node.type != "batch_norm" or before is None or before.type not in ("conv", "linear") or uses[fed[0]] != 1:
            continue
        of_channels = before.type == "conv" or len(before.output_shapes[0]) == 2
        if of_channels and calls[node.module] == calls[before.module] == 1:
            found.append((before.module, node.module))
    return _foldable(model, found)


def neighbours(model: nn.Module) -> Pairs:
    """The pairs that follow one another in an ``nn.Sequential``, as in all networks made of blocks of this library."""
    found: Pairs = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            names = [".".join(filter(None, (name, child))) for child, _ in module.named_children()]
            found += itertools.pairwise(names)
    return _foldable(model, found)


def _foldable(model: nn.Module, pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Those of the pairs that are a layer with a weight of its own, and a norm with fixed statistics."""
    modules, shared = dict(model.named_modules(remove_duplicate=False)), weight_layers(model)[1]
    times = Counter(id(module) for module in modules.values())
    alone = set(modules) - set(shared) - set(shared.values())
    return [
        (layer, norm)
        for layer, norm in pairs
        if layer in alone
        and type(modules[layer]) in FOLDED
        and type(modules[norm]) in NORMS
        and modules[norm].running_var is not None
        and times[id(modules[layer])] == times[id(modules[norm])] == 1
    ]


def fold(model: nn.Module, pairs: Iterable[tuple[str, str]]) -> nn.Module:
    """Fold norms in place.

    Args:
        model: The model; it is put into evaluation mode.
        pairs: Names of a layer and of the batch norm behind it.

    Returns:
        The model, with an ``nn.Identity`` for every folded norm.

    Raises:
        QuantisationError: The model has no such layer and norm.
    """
    model.eval()
    for layer, norm in pairs:
        try:
            first: Any = model.get_submodule(layer)
            second: Any = model.get_submodule(norm)
        except AttributeError as error:
            raise QuantisationError(f"{layer} and {norm} are to be folded: {error}") from error
        if type(first) not in FOLDED or type(second) not in NORMS or second.running_var is None:
            raise QuantisationError(
                f"{layer} and {norm} are to be folded, which are a {type(first).__name__} and a "
                f"{type(second).__name__}; accepted: a linear or convolutional layer and a batch norm with statistics"
            )
        with torch.no_grad():
            scale = (second.running_var.double() + second.eps).rsqrt()
            scale = scale if second.weight is None else scale * second.weight.double()
            moved = -second.running_mean.double() if first.bias is None else first.bias.double() - second.running_mean
            bias = moved * scale if second.bias is None else moved * scale + second.bias
            weight = first.weight.double() * scale.view(-1, *[1] * (first.weight.ndim - 1))
            first.bias = nn.Parameter(bias.to(first.weight.dtype))
            first.weight = nn.Parameter(weight.to(first.weight.dtype))
        parent, _, own = norm.rpartition(".")
        setattr(model.get_submodule(parent), own, nn.Identity())
    return model


def folded(model: nn.Module, space: SearchSpace) -> nn.Module:
    """A copy of a model whose batch norms are folded as a space asks for.

    >>> space = ab.quant_space(model, x, fold=True)
    >>> small = folded(model, space)
    >>> quantised = ab.quantise(small, config_of(space, arch))

    Args:
        model: The model of the space, or another of the same architecture.
        space: A quantisation space; where it was made without ``fold=True``, nothing is folded.

    Returns:
        The copy, in evaluation mode.

    Raises:
        QuantisationError: The model has no such layers.
    """
    return fold(copy.deepcopy(model), space.options.get("folded", ()))
