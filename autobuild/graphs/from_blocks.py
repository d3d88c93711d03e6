"""Operation graphs of networks that are declared as blocks, within a millisecond and equal to the traced graphs.

Every block of :mod:`autobuild.spaces.blocks` has a rule here. For blocks defined by the file of a space, which have no
rule, the module is traced once per input shape and its operations are inserted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, singledispatch

from autobuild.graphs.chain import Chain
from autobuild.graphs.drafts import Draft, Value, finish
from autobuild.graphs.operations import OperationGraph, Shape
from autobuild.spaces.blocks import (
    AvgPool,
    Block,
    Bottleneck,
    Cell,
    Classifier,
    Conv,
    MaxPool,
    MBConv,
    Plan,
    PreActivated,
    Shortcut,
    SqueezeExcite,
)

ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "hswish": "hard_swish",
    "sigmoid": "sigmoid",
    "hsigmoid": "hard_sigmoid",
}


def graph_of_plan(plan: Plan, shape: Shape, name: str = "") -> OperationGraph:
    """Operation graph of a network, for a batch of one and with folded batch norms.

    Args:
        plan: The blocks of the network.
        shape: Shape ``(channels, height, width)`` of an input.
        name: Name of the graph.

    Returns:
        The operation graph.

    Raises:
        GraphError: The module of a block without a rule cannot be traced.
    """
    named = [
        (f"{part}.{place}" + (f".{number}" if len(blocks) > 1 else ""), block)
        for part, layers in plan.items()
        for place, blocks in enumerate(layers)
        for number, block in enumerate(blocks)
    ]
    return _graph(named, shape, name)


def graph_of_blocks(blocks: Sequence[Block], shape: Shape, name: str = "") -> OperationGraph:
    """Operation graph of a sequence of blocks, as by :func:`graph_of_plan`."""
    return _graph([(str(number), block) for number, block in enumerate(blocks)], shape, name)


def shape_behind(blocks: Iterable[Block], shape: Shape) -> Shape:
    """Output shape of a sequence of blocks for an input of shape ``(channels, height, width)``."""
    for block in blocks:
        shape = _shape_behind(block, shape)
    return shape


@lru_cache(maxsize=100_000)
def _shape_behind(block: Block, shape: Shape) -> Shape:
    chain = Chain((1, *shape))
    write(block, chain, "")
    return chain.value.shape[1:]


def _graph(named: Iterable[tuple[str, Block]], shape: Shape, name: str) -> OperationGraph:
    chain = Chain((1, *shape))
    for place, block in named:
        write(block, chain, place)
    return finish(chain.drafts, [chain.value], name, fold=True)


@singledispatch
def write(block: Block, chain: Chain, place: str) -> None:
    """Append the operations of a block to a chain; a block without a rule is traced."""
    drafts, (output,) = _traced(block, chain.value.shape)
    known: dict[Value, Value] = {}
    copies: dict[int, Draft] = {}
    for draft in drafts:
        if draft.type == "input":
            known[Value(draft)] = chain.value
            continue
        copy = replace(
            draft,
            inputs=[known.get(value) or Value(copies[id(value.draft)], value.place) for value in draft.inputs],
            module=f"{place}.{draft.module}".strip("."),
            weights=[weight.within(place) for weight in draft.weights],
        )
        copies[id(draft)] = copy
        chain.add(copy)
    chain.value = known.get(output) or Value(copies[id(output.draft)], output.place)


@lru_cache(maxsize=1_000)
def _traced(block: Block, shape: Shape) -> tuple[list[Draft], list[Value]]:
    from autobuild.graphs.from_torch import traced

    return traced(block.module(), shape)


@write.register
def _conv(block: Conv, chain: Chain, place: str) -> None:
    act = ACTIVATIONS[block.act] if block.act else ""
    if act and block.before:
        chain.same(act, place, [chain.value])
        act = ""
    chain.conv(block.outputs, block.kernel, block.stride, place, block.groups, act, block.bias, block.norm)


@write.register
def _squeeze(block: SqueezeExcite, chain: Chain, place: str) -> None:
    whole = chain.value
    _average(AvgPool(block.width), chain, place)
    for number, conv in enumerate(block.convs):
        _conv(conv, chain, f"{place}.gate.{number}")
    gate, chain.value = chain.value, whole
    chain.same("mul", place, [whole, gate])


@write.register
def _mbconv(block: MBConv, chain: Chain, place: str) -> None:
    _residual(block.parts, None if not block.residual else [], chain, place)


@write.register
def _shortcut(block: Shortcut, chain: Chain, place: str) -> None:
    _residual([block.conv], [], chain, place)


@write.register
def _bottleneck(block: Bottleneck, chain: Chain, place: str) -> None:
    _residual(block.parts, block.shortcut, chain, place)
    chain.same("relu", place, [chain.value])


@write.register
def _preactivated(block: PreActivated, chain: Chain, place: str) -> None:
    _residual(block.parts, block.shortcut, chain, place)


@write.register
def _cell(block: Cell, chain: Chain, place: str) -> None:
    nodes = [chain.value]
    for number, edges in enumerate(block.nodes, start=1):
        brought = []
        for source, operation in edges:
            chain.value = nodes[source]
            write(operation, chain, f"{place}.{source}{number}")
            brought.append(chain.value)
        chain.value = brought[0]
        for other in brought[1:]:
            chain.same("add", place, [chain.value, other])
        nodes.append(chain.value)


def _residual(parts: Sequence[Block], shortcut: Sequence[Block] | None, chain: Chain, place: str) -> None:
    """Append a path and the addition of a shortcut; None stands for a path without a shortcut."""
    start = chain.value
    for number, part in enumerate(parts):
        write(part, chain, f"{place}.{number}")
    if shortcut is None:
        return
    end, chain.value = chain.value, start
    for number, part in enumerate(shortcut):
        write(part, chain, f"{place}.shortcut.{number}")
    chain.same("add", place, [end, chain.value])


@write.register
def _average(block: AvgPool, chain: Chain, place: str) -> None:
    if not block.stride:
        if chain.value.shape[2:] != (1, 1):  # a mean over one position does nothing
            chain.pool(place)
        return
    _windows("avg_pool", block.stride, block.stride, 0, block, chain, place)


@write.register
def _maximum(block: MaxPool, chain: Chain, place: str) -> None:
    _windows("max_pool", 3, 2, 1, block, chain, place)


def _windows(kind: str, kernel: int, stride: int, padding: int, block: Block, chain: Chain, place: str) -> None:
    batch, channels, height, width = chain.value.shape
    draft = Draft(kind, "", [chain.value], [(batch, channels, block.size(height), block.size(width))], module=place)
    draft.kernel, draft.stride, draft.dilation = (kernel,) * 2, (stride,) * 2, (1, 1)
    draft.padding = ((padding, padding),) * 2
    chain.value = chain.add(draft)


@write.register
def _classifier(block: Classifier, chain: Chain, place: str) -> None:
    if len(chain.value.shape) > 2 and chain.value.shape[2:] != (1, 1):
        batch, *rest = chain.value.shape
        features = 1
        for size in rest:
            features *= size
        chain.value = chain.add(Draft("alias", "", [chain.value], [(batch, features)], module=place))
    chain.rows(block.classes, True, place)
