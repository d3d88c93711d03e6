"""A runtime whose times are known: fusion, memory layouts, shared work and the cost of a call, without any clock.

Convolutions and pools work in a blocked layout; sums and activations do if all that they read is blocked. A tensor is
copied once where a reader, or the caller, wants the other layout. A ReLU behind a convolution that nothing else reads
is free; equal operators without weights on the same tensors are run once.
"""

import math

import onnx

from autobuild.cost.latency.latency_table import LatencyTable
from autobuild.cost.latency.timing import Timing

CALL_MS = 0.005
BLOCKED = ("Conv", "AveragePool", "MaxPool", "GlobalAveragePool")
FUSED = {("Conv", "Relu"), ("Conv", "Sigmoid")}


class SimulatedTable(LatencyTable):
    """A table that is filled from the rules above."""

    def time(self, fragment):
        ms = simulate(onnx.load_from_string(fragment.model))
        return Timing(ms, ms, ms, 1, 0, 0.0)


def simulate(model):
    graph = onnx.shape_inference.infer_shapes(model).graph
    sizes = {v.name: math.prod(d.dim_value for d in v.type.tensor_type.shape.dim)
             for v in (*graph.input, *graph.value_info, *graph.output)}  # fmt: skip
    weights = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    data = {value.name for value in graph.input}
    same = {name: name for name in data}  # a tensor -> the one that it equals
    layout = dict.fromkeys(data, "plain")
    writers, copied, seen, total = {}, set(), {}, CALL_MS
    nodes = [node for node in graph.node if any(name in sizes for name in node.input) or node.op_type != "Constant"]
    readers = {name: [n for n in nodes if name in n.input] for n in nodes for name in n.input}
    for node in nodes:
        reads = [same[name] for name in node.input if name in same]
        if not reads:
            continue
        out = node.output[0]
        learnt = any(weights.get(name, 0) > 1 for name in node.input)
        settings = str(sorted(str(a) for a in node.attribute))
        key = (node.op_type, tuple(reads), settings) if not learnt else out
        if key in seen:
            same[out] = seen[key]
            continue
        seen[key] = same[out] = out
        writers[out] = node.op_type
        carried = node.op_type in ("Add", "Relu", "HardSwish", "Sigmoid") and all(layout[r] == "blocked" for r in reads)
        layout[out] = "blocked" if node.op_type in BLOCKED or carried else "plain"
        for read in reads:
            if layout[read] != layout[out] and (read, layout[out]) not in copied:
                copied.add((read, layout[out]))
                total += 2e-6 * sizes[read]
        before = writers.get(reads[0])
        alone = len(readers.get(reads[0], [])) == 1 and reads[0] not in outputs
        if not ((before, node.op_type) in FUSED and alone):
            work = sum(weights.get(name, 0) for name in node.input) if node.op_type == "Conv" else 1
            total += 1e-6 * (sizes[out] + sizes[reads[0]]) + 1e-9 * sizes[out] * work
    for name in outputs:
        if layout[same[name]] == "blocked" and (same[name], "plain") not in copied:
            copied.add((same[name], "plain"))
            total += 2e-6 * sizes[name]
    return total
