"""What an accelerator runs one after another: operations with what is folded into them, and the tensors between.

The rules are few. Batch norms that a graph has folded are gone already. An activation, or a batch norm, that alone reads
what it reads is done while that is written, so it is part of its producer. An alias is another shape of the same bytes.
Everything else is a step of its own, which reads its weights and inputs and writes its output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autobuild.graphs.operations import ACTIVATIONS, Operation, OperationGraph

FOLDED = (*ACTIVATIONS, "clip", "batch_norm")


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        operation: The operation that it is named after; an activation behind it is folded in.
        reads: Tensors read, by number.
        writes: The tensor written; its number is that of the last operation folded in.
        macs: Multiply-accumulates; None where an operation has no rule.
        weights: Weights and constants read, as numbers (elements).
    """

    operation: Operation
    reads: tuple[int, ...]
    writes: int
    macs: int | None
    weights: int


@dataclass(frozen=True)
class Steps:
    """The steps of a graph, in its order.

    Attributes:
        steps: The steps.
        elements: Tensor -> how many numbers it has: those that steps write, and the network's inputs.
        inputs: Tensors that the network is given.
        outputs: Tensors that it returns.
    """

    steps: tuple[Step, ...]
    elements: dict[int, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def steps_of(graph: OperationGraph) -> Steps:
    """The steps of a graph; an operation without inputs and weights (a constant) is none."""
    sources = graph.sources()
    readers = [0] * len(graph.nodes)
    for source, _ in graph.edges:
        readers[source] += 1
    for output in graph.outputs:
        readers[output] += 1
    tensor = list(range(len(graph.nodes)))  # the tensor that holds a node's output
    drafts: dict[int, list[int]] = {}  # tensor -> the operations that make it
    elements: dict[int, int] = {}
    inputs: list[int] = []
    for i, node in enumerate(graph.nodes):
        if node.type == "input":
            inputs.append(i)
            elements[i] = _elements(node)
        elif node.type == "alias" and len(sources[i]) == 1:
            tensor[i] = tensor[sources[i][0]]
        elif node.type in FOLDED and len(sources[i]) == 1 and _folds(sources[i][0], readers, tensor, drafts):
            made = drafts.pop(tensor[sources[i][0]])
            elements.pop(tensor[sources[i][0]])
            drafts[i] = [*made, i]
            elements[i] = _elements(node)
        else:
            drafts[i] = [i]
            elements[i] = _elements(node)
    steps = tuple(_step(graph, made, sources, tensor) for made in drafts.values())
    outputs = tuple(dict.fromkeys(tensor[output] for output in graph.outputs))
    return Steps(steps, elements, tuple(inputs), outputs)


def _folds(source: int, readers: list[int], tensor: list[int], drafts: dict[int, list[int]]) -> bool:
    """Whether what reads this node alone may be folded into it: it makes a tensor of its own, which nobody else reads.

    An alias in between, or of the same tensor, ends that: another reader may hang on it.
    """
    return tensor[source] == source and readers[source] == 1 and source in drafts


def _step(graph: OperationGraph, made: list[int], sources: list[list[int]], tensor: list[int]) -> Step:
    operations = [graph.nodes[i] for i in made]
    reads = tuple(dict.fromkeys(tensor[source] for source in sources[made[0]]))
    macs = [operation.macs for operation in operations]
    total = None if None in macs else sum(number or 0 for number in macs)
    return Step(operations[0], reads, made[-1], total, sum(map(weight_elements, operations)))


def weight_elements(operation: Operation) -> int:
    """Numbers that an operation reads beside its inputs; graphs of this project hold them in 4 bytes each."""
    return operation.weight_bytes // 4


def _elements(operation: Operation) -> int:
    return sum(map(math.prod, operation.output_shapes))
