"""BRR against all orders of a group."""

from itertools import permutations
from random import Random

from random_nets import RandomNet, random_group

import autobuild as ab
from autobuild.cost.fusion import FusedOperation, FusionGraph, Tensor, fold, whole_tensor
from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.row_access import POINTWISE
from autobuild.cost.fusion.whole_tensor import WholeTensors


def needed_in_order(graph, mask, order):
    """Run operations one after another and count the bytes on chip at each step."""
    on_chip, peak = set(), 0
    for step, i in enumerate(order):
        op, later = graph.ops[i], order[step + 1 :]
        on_chip |= {t for t, _ in op.operands}
        last_use = {t for t in on_chip if not any(graph.tensors[t].consumers >> j & 1 for j in later)}
        size = sum(graph.tensors[t].rows * graph.tensors[t].row_bytes for t in on_chip)
        stays = {t for t in op.outputs if any(graph.tensors[t].consumers >> j & 1 for j in later)}
        output = sum(graph.tensors[t].row_bytes * (graph.tensors[t].rows if t in stays else 1) for t in op.outputs)
        freed = [graph.tensors[t].rows * graph.tensors[t].row_bytes for t in last_use & {t for t, _ in op.operands}]
        if op.pointwise and len(op.outputs) == 1 and any(place >= output for place in freed):
            output = 0
        tile = -(-op.weight_bytes * min(16, op.weight_tiles) // op.weight_tiles)
        peak = max(peak, size + output + tile + op.accumulator_bytes)
        on_chip = (on_chip - last_use) | stays
    return peak


def orders(graph, mask):
    """All orders in which the operations of a group can run."""
    for order in permutations(bits(mask)):
        done = 0
        for i in order:
            if graph.preds[i] & mask & ~done:
                break
            done |= 1 << i
        else:
            yield order


def random_graph(draw, n):
    """Operations with random operands: wide, so that the order matters."""
    readers = [0] * n
    outside = [draw.sample(range(n), draw.choice((1, 1, 2))) for _ in range(2)]
    reads = [draw.sample(range(i), min(i, draw.choice((0, 1, 1, 2)))) for i in range(n)]
    for i, sources in enumerate(reads):
        for source in sources:
            readers[source] |= 1 << i
    tensors = [Tensor(f"{i}", i, readers[i], draw.randrange(1, 5), draw.randrange(1, 40), 1, draw.random() < 0.2)
               for i in range(n)]  # fmt: skip
    tensors += [Tensor("in", -1, sum(1 << i for i in who), 3, draw.randrange(1, 40), 1) for who in outside]
    operands = [sources + [n + k for k, who in enumerate(outside) if i in who] for i, sources in enumerate(reads)]
    ops = tuple(
        FusedOperation(str(i), "conv", (str(i),), tuple((t, POINTWISE) for t in operands[i]), (i,), 1,
                       draw.randrange(40), draw.choice((1, 8, 32)), pointwise=draw.random() < 0.4)
        for i in range(n)
    )  # fmt: skip
    return FusionGraph(ops, tuple(tensors))


def test_requirement_is_the_least_over_all_orders():
    draw, matters = Random(0), 0
    for _ in range(120):
        graph = random_graph(draw, draw.randrange(2, 8))
        found = {needed_in_order(graph, graph.full, order) for order in orders(graph, graph.full)}
        buffers = WholeTensors(graph)
        needed = buffers.required_bytes(graph.full)
        assert needed == min(found)
        assert buffers.required_bytes(graph.full, needed) == needed
        assert buffers.required_bytes(graph.full, needed - 1) > needed - 1
        matters += len(found) > 1
    assert matters > 40


def test_requirement_of_groups_of_networks():
    draw, checked = Random(1), 0
    for seed in range(6):
        net = RandomNet(seed)
        graph = fold(ab.graph_of(net, net.shape))
        buffers = WholeTensors(graph)
        for mask in sorted({random_group(graph, draw, draw.randrange(2, 9)) for _ in range(20)}):
            best = min(needed_in_order(graph, mask, order) for order in orders(graph, mask))
            assert buffers.required_bytes(mask) == best, graph.names(mask)
            checked += 1
    assert checked > 60


def test_nine_operations_and_the_heuristic_beyond_the_limit(monkeypatch):
    draw = Random(5)
    for _ in range(3):
        graph = random_graph(draw, 9)
        exact = WholeTensors(graph).required_bytes(graph.full)
        assert exact == min(needed_in_order(graph, graph.full, order) for order in orders(graph, graph.full))
        monkeypatch.setattr(whole_tensor, "MAX_STATES", 1)
        bound = WholeTensors(graph).required_bytes(graph.full)
        monkeypatch.undo()
        assert bound >= exact
        assert bound in {needed_in_order(graph, graph.full, order) for order in orders(graph, graph.full)}


def test_parts_of_a_group_never_need_more():
    """So no superset of a group that does not fit has to be examined."""
    draw, smaller = Random(3), 0
    for _ in range(60):
        graph = random_graph(draw, 8)
        buffers = WholeTensors(graph)
        mask = draw.randrange(1, graph.full + 1)
        for i in bits(mask):
            if part := mask & ~(1 << i):
                assert buffers.required_bytes(part) <= buffers.required_bytes(mask)
                smaller += buffers.required_bytes(part) < buffers.required_bytes(mask)
    assert smaller > 20
