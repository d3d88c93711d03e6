"""LBDF against the row-by-row simulator."""

from collections import Counter
from random import Random

from random_nets import RandomNet, random_group
from simulator import Simulator

import autobuild as ab
from autobuild.cost.fusion import fold
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.line_buffer import LineBuffers


def test_rows_equal_the_simulators_on_hundreds_of_groups():
    seen = Counter()
    for seed in range(17):
        net = RandomNet(seed)
        graph = fold(ab.graph_of(net, net.shape))
        buffers, simulator = LineBuffers(graph), Simulator(net, graph)
        draw = Random(seed)
        for mask in sorted({random_group(graph, draw, draw.randrange(1, 11)) for _ in range(28)}):
            assert buffers.refusal(mask) == ""
            rows, needed, _ = simulator.run(mask)
            lines = buffers.schedule(mask)
            assert (lines.required_bytes, lines.rows) == (needed, rows), (seed, graph.names(mask))
            seen.update(features(graph, mask, lines))
    assert seen["group"] >= 350
    assert len(seen) == 14
    assert min(seen.values()) >= 10, seen


def features(graph, mask, lines):
    """Features of a group that need special treatment."""
    ops = [graph.ops[i] for i in bits(mask)]
    touched = [(graph.tensors[t], access) for op in ops for t, access in op.operands]
    windows = [access for tensor, access in touched if access.kind == "window" and tensor.rows > 1]
    yield "group"
    yield from {kind for tensor, (kind, *_) in touched if tensor.rows > 1}
    yield from {name for name, found in {
        "stride": any(access.num > 1 for access in windows),
        "enlarging": any(access.den > 1 for access in windows),
        "dilation": any(op.type == "conv" and "#" not in op.name and access.high - access.low > 4 for op in ops
                        for _, access in op.operands),
        "odd height": any(tensor.rows > 1 and tensor.rows % 2 for tensor, _ in touched),
        "squeeze-excite": any(t.rows == 1 and a.kind == "vector" and op.type == "mul" and op.rows > 1
                              for op in ops for n, a in op.operands for t in [graph.tensors[n]]),
        "channels": any("[" in tensor.name for tensor, _ in touched),
        "concat": any(len({t for t, _ in op.operands}) > 1 and op.type == "conv" for op in ops),
        "two sinks": sum(not graph.succs[i] & mask for i in bits(mask)) > 1,
        "skip from outside": any(op.type in ("add", "mul") and len(op.operands) == 2
                                 and {graph.tensors[t].producer in bits(mask) for t, _ in op.operands} == {True, False}
                                 for op in ops),
        "held whole": any(rows == graph.tensors[t].rows > 4 for t, rows in lines.rows.items()),
    }.items() if found}  # fmt: skip
