"""The weight layers of a model as a graph: their order, what feeds what, and how much each one computes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from autobuild.errors import GraphError, QuantisationError
from autobuild.graphs.drafts import Draft, tidied
from autobuild.graphs.from_torch import traced
from autobuild.quant.apply import no_layers, weight_layers, weight_name

KINDS = {nn.Linear: "linear", nn.Conv1d: "conv1d", nn.Conv2d: "conv2d", nn.Conv3d: "conv3d", nn.Embedding: "embedding"}
MOST_IN_A_BLOCK = 4  # layers whose choices are one decision at block level


@dataclass(frozen=True)
class LayerNode:
    """A weight layer of a model.

    Attributes:
        name: Path of the module.
        kind: ``linear``, ``conv1d``, ``conv2d``, ``conv3d`` or ``embedding``.
        shape: Shape of the weight.
        macs: Multiply-accumulates of one forward pass of the example.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    macs: int = 0

    @property
    def block(self) -> int | None:
        """First number in the path."""
        found = re.search(r"(?:^|[._])(\d+)(?:[._]|$)", self.name) or re.search(r"(\d+)", self.name.partition(".")[0])
        return int(found[1]) if found else None

    @property
    def stage(self) -> str:
        """First part of the path."""
        return self.name.partition(".")[0]

    @property
    def count(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class LayerGraph:
    """Weight layers in an order of computation, and the edges between them.

    Attributes:
        nodes: The layers.
        edges: Pairs of node numbers: the first feeds the second without a weight layer in between, and on no other way.
        note: Why this is a chain of modules, where the model does not export, and which layers share a weight.
    """

    nodes: tuple[LayerNode, ...]
    edges: tuple[tuple[int, int], ...]
    note: str = ""


def layer_graph(model: nn.Module, example_input: Any) -> LayerGraph:
    """The weight layers of a model, in the order in which an example passes them.

    Args:
        model: The model.
        example_input: As for :func:`autobuild.graph_of`.

    Raises:
        QuantisationError: The model has no weight layer, or it neither exports nor runs.
    """
    layers, shared = weight_layers(model)
    nodes = {
        name: LayerNode(name, next(kind for cls, kind in KINDS.items() if isinstance(layer, cls)),
                        tuple(layer.weight.shape))  # type: ignore[arg-type]
        for name, layer in layers.items()
    }  # fmt: skip
    if not nodes:
        raise no_layers(model)
    example_input = example_tensors(model, example_input)
    try:
        found = _contracted(tidied(*traced(model, example_input), fold=False)[0], nodes, shared)
    except GraphError as error:
        found = _chain(model, example_input, nodes, shared, str(error))
    said = [f"{name} shares the weight of {owner}, which is quantised once" for name, owner in shared.items()]
    return replace(found, note="; ".join(filter(None, [found.note, *said, left_out(model)])))


def left_out(model: nn.Module) -> str:
    """How many weights of a model cannot be quantised, and which, as text; empty if there are none."""
    held = {id(layer._parameters["weight"]) for layer in weight_layers(model)[0].values()}
    others = {name: weight.numel() for name, weight in model.named_parameters()
              if weight.ndim > 1 and id(weight) not in held}  # fmt: skip
    if not others:
        return ""
    total = sum(weight.numel() for weight in model.parameters())
    return (f"{sum(others.values()):,} of {total:,} weights are not quantised, because they belong to other modules or "
            f"are computed (weight norm, pruning): {', '.join([*others][:3])}{' ...' * (len(others) > 3)}")  # fmt: skip


def _contracted(drafts: Sequence[Draft], nodes: Mapping[str, LayerNode], shared: Mapping[str, str]) -> LayerGraph:
    """The operation graph with the weight layers alone; an operation belongs to the layer whose weight it reads."""
    owners = {weight_name(name): shared.get(name, name) for name in (*nodes, *shared)}
    owner: dict[int, str] = {}
    macs = dict.fromkeys(nodes, 0)
    for number, draft in enumerate(drafts):
        stored = (part.key for weight in draft.weights for part in weight.stored)
        name = next((owners[key] for key in stored if key in owners), None)
        if name is not None:
            owner[number] = name
            macs[name] += draft.macs or 0
    order = list(dict.fromkeys(owner.values()))
    place = {name: number for number, name in enumerate([*order, *(name for name in nodes if name not in order)])}
    numbers = {id(draft): number for number, draft in enumerate(drafts)}
    nearest: list[int] = []  # for each operation the layers whose outputs it carries, as bits
    before = [0] * len(place)  # for each layer all layers ahead of it, as bits
    feeding = [0] * len(place)
    for number, draft in enumerate(drafts):
        fed = 0
        for value in draft.inputs:
            fed |= nearest[numbers[id(value.draft)]]
        if number in owner:
            own = place[owner[number]]
            fed &= (1 << own) - 1  # a layer that is called twice has edges that run forward only
            feeding[own] |= fed
            before[own] |= fed
            for other in _bits(fed):
                before[own] |= before[other]
            fed = 1 << own
        nearest.append(fed)
    edges = []
    for own, fed in enumerate(feeding):
        further = 0
        for other in _bits(fed):
            further |= before[other]
        edges += [(other, own) for other in _bits(fed & ~further)]
    return LayerGraph(tuple(replace(nodes[name], macs=macs[name]) for name in place), tuple(sorted(edges)))


def _bits(number: int) -> list[int]:
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found


def _chain(
    model: nn.Module, example_input: Any, nodes: Mapping[str, LayerNode], shared: Mapping[str, str], reason: str
) -> LayerGraph:
    """The layers in the order of their calls: for models that do not export."""
    called: dict[str, int] = {}

    def seen(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            shape = nodes[name].shape
            work = 0 if nodes[name].kind == "embedding" else output.numel() * math.prod(shape[1:])
            called[name] = called.get(name, 0) + work

        return hook

    names = {**{name: name for name in nodes}, **shared}
    handles = [model.get_submodule(name).register_forward_hook(seen(owner)) for name, owner in names.items()]
    try:
        with torch.inference_mode():
            run_example(model, example_input)
    except Exception as error:
        raise QuantisationError(f"the model does not export ({reason}), and does not run: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    ordered = [
        replace(nodes[name], macs=called.get(name, 0)) for name in [*called, *(n for n in nodes if n not in called)]
    ]
    edges = tuple((number, number + 1) for number in range(len(ordered) - 1))
    return LayerGraph(tuple(ordered), edges, f"a chain of modules in the order of their calls: {reason}")


def run_example(model: nn.Module, example_input: Any) -> Any:
    """The output of a model for an example; see :func:`example_tensors`."""
    example = example_tensors(model, example_input)
    if isinstance(example, Mapping):
        return model(**example)
    return model(example) if isinstance(example, Tensor) else model(*example)


def example_tensors(model: nn.Module, example_input: Any) -> Any:
    """An example whose shapes are replaced by tensors of the model's device and type.

    Args:
        model: The model. Where its parameters have no values (meta device), neither have the tensors.
        example_input: A tensor, a shape, a tuple of these, or keyword arguments of these, which may be nested.

    Returns:
        The same with normally distributed numbers for every shape, the same in every call.
    """
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    if isinstance(example_input, Mapping):
        return {key: example_tensors(model, value) for key, value in example_input.items()}
    if not isinstance(example_input, tuple | list) or not example_input:
        return example_input
    if not all(isinstance(size, int) and size >= 0 for size in example_input):
        return tuple(example_tensors(model, value) for value in example_input)
    if first.is_meta:
        return torch.empty(tuple(example_input), dtype=first.dtype, device=first.device)
    return torch.randn(tuple(example_input), generator=torch.Generator().manual_seed(0)).to(first.device, first.dtype)


def blocks_of(nodes: Sequence[LayerNode]) -> list[list[str]]:
    """Layers that are decided together at block level: by their names, those of the largest module of at most four.

    These are a self-attention's query, key, value and output, a feed-forward's two layers, or a residual block's
    convolutions. A module of several such parts, as an attention and a feed-forward, is no block. Layers of a block are
    neighbours in ``nodes``.
    """
    inside: dict[str, list[str]] = {}
    for node in nodes:
        parts = node.name.split(".")
        for depth in range(1, len(parts)):
            inside.setdefault(".".join(parts[:depth]), []).append(node.name)
    block: dict[str, str] = {}
    for module, names in inside.items():  # from the outermost inward
        if 2 <= len(names) <= MOST_IN_A_BLOCK and not _parted(module, names):
            for name in names:
                block.setdefault(name, module)
    found: list[list[str]] = []
    for node in nodes:
        last = found[-1][-1] if found else None
        if last is not None and node.name in block and block[node.name] == block.get(last):
            found[-1].append(node.name)
        else:
            found.append([node.name])
    return [names for names in found if len(names) > 1]


def _parted(module: str, names: Sequence[str]) -> bool:
    """Whether two parts of a module have several layers each."""
    inside: dict[str, set[str]] = {}
    for name in names:
        parts = name.split(".")
        for depth in range(module.count(".") + 2, len(parts)):
            inside.setdefault(".".join(parts[:depth]), set()).add(name)
    several = [own for own in inside.values() if len(own) > 1]
    return any(not one & other for one, other in itertools.combinations(several, 2))
