"""Time limits: kept within a second by everything that fuses, with a plan, a bound below it, and the same plan as
without a limit where that is found in time."""

from __future__ import annotations

import random
import time

import pytest

import autobuild as ab
from autobuild.cost.fusion import FusedOperation, FusionGraph, GroupCosts, Tensor, buffer_sweep, fold, line_buffer
from autobuild.cost.fusion.deadline import Deadline, TimeUp
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.cost.fusion.partition.partition import partition_violation
from autobuild.cost.fusion.partition.solver import SEARCHES, solve
from autobuild.cost.fusion.partition.topology import Topology
from autobuild.cost.fusion.row_access import POINTWISE, WINDOW, Access, rows_read
from autobuild.errors import AutobuildError, ConfigError, GraphError
from autobuild.graphs import Operation, OperationGraph
from tests.cost.fusion.synthetic import SyntheticCosts

GRACE_S = 1.0


def branches(width: int, length: int, rows: int = 56, row_bytes: int = 4096) -> FusionGraph:
    """Chains of convolutions side by side, joined at the end: as many down-sets as ``(length + 1) ** width``."""
    ops: list[FusedOperation] = []
    tensors = [Tensor("x", -1, sum(1 << k * length for k in range(width)), rows, row_bytes, rows * row_bytes)]
    three = Access(WINDOW, 1, 1, -1, 1)
    last = width * length
    for k in range(width):
        for step in range(length):
            i = k * length + step
            reader = 1 << (last if step == length - 1 else i + 1)
            tensors.append(Tensor(f"{i}", i, reader, rows, row_bytes, rows * row_bytes))
            ops.append(FusedOperation(f"{i}", "conv", (f"{i}",), ((0 if step == 0 else i, three),), (i + 1,), rows,
                                      9 * (1000 + i), 64))  # fmt: skip
    tensors.append(Tensor("sum", last, 0, rows, row_bytes, rows * row_bytes, output=True))
    ends = tuple(((k + 1) * length, POINTWISE) for k in range(width))
    ops.append(FusedOperation("sum", "add", ("sum",), ends, (last + 1,), rows, pointwise=True))
    return FusionGraph(tuple(ops), tuple(tensors), "branches")


def held(graph: FusionGraph, limit: float, **options: object) -> ab.cost.fusion.Fused:
    """Fuse within a limit, and see that what came back is a partition above its bound."""
    started = time.monotonic()
    found = ab.fuse(graph, time_limit_s=limit, **options)
    assert time.monotonic() - started < limit + GRACE_S
    assert partition_violation(Topology.of(found.costs), found.partition.groups) is None
    told = found.metrics
    assert 0 < told["lower_bound"] <= told["dram_bytes"] <= told["unfused_dram_bytes"]
    assert told["optimum_gap"] == pytest.approx(told["dram_bytes"] / told["lower_bound"] - 1)
    return found


@pytest.mark.parametrize("scheme", ["lbdf", "brr", "mixed"])
@pytest.mark.parametrize("buffer_bytes", [300_000, 2_000_000])
def test_the_exact_search_keeps_its_limit(scheme, buffer_bytes):
    found = held(branches(8, 6), 0.5, buffer_bytes=buffer_bytes, scheme=scheme)
    if found.partition.status != "optimal":
        assert "not proven the best, at most" in repr(found)


@pytest.mark.parametrize("algorithm", ["interval", *SEARCHES])
@pytest.mark.parametrize("split", ["random", "oracle"])
def test_every_algorithm_keeps_its_limit(algorithm, split):
    if algorithm == "nsga2":
        pytest.importorskip("pymoo")
    held(branches(6, 8), 0.5, buffer_bytes=600_000, algorithm=algorithm, split=split, budget=10**6)


@pytest.mark.parametrize("split", ["gnnexplainer", "pgexplainer", "rg", "occlusion"])
def test_the_fit_of_an_explainer_is_part_of_the_limit(split):
    pytest.importorskip("torch_geometric")
    found = held(branches(6, 8), 1.5, buffer_bytes=600_000, algorithm="local", split=split, budget=10**6)
    assert 0 < found.partition.training_seconds <= found.partition.seconds


def test_thousands_of_groups_are_put_in_order_in_no_time():
    """Looking for the first among all that are ready, for each of them, took seconds behind every deadline."""
    n = 6000
    topology = Topology(*[(0,) * n] * 5)
    groups = [1 << i for i in range(n)]
    started = time.process_time()
    assert topology.order_groups(groups[::-1]) == tuple(groups)
    assert time.process_time() - started < 1


def test_a_limit_that_is_not_met_changes_nothing():
    for seed in range(30):
        assert exact_partition(SyntheticCosts(9, seed), 100.0).groups == exact_partition(SyntheticCosts(9, seed)).groups
    graph = branches(2, 5)
    unlimited = ab.fuse(graph, buffer_bytes=300_000, time_limit_s=1000.0)
    assert held(graph, 5.0, buffer_bytes=300_000).partition.groups == unlimited.partition.groups


def test_more_time_finds_no_worse_a_plan():
    graph = branches(8, 6)
    short = held(graph, 0.3, buffer_bytes=600_000).metrics
    assert held(graph, 2.0, buffer_bytes=600_000).metrics["dram_bytes"] <= short["dram_bytes"]


def test_a_sweep_shares_its_limit():
    started = time.monotonic()
    swept = buffer_sweep(branches(8, 6), [300_000, 600_000, 10**6], time_limit_s=1.8)
    assert time.monotonic() - started < 1.8 + GRACE_S
    assert len(swept) == 9


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_a_map_of_2_to_the_40_rows(axis):
    """No code iterates over the rows of a tensor: neither for windows, nor for bands, nor for skips."""
    many = 2**40
    shape = (1, 2, many, 2) if axis == "rows" else (1, 2, 2, many)
    x = Operation("x", "input", (), (shape,))
    conv = Operation("conv", "conv", (shape,), (shape,), kernel=(3, 3), stride=(1, 1), dilation=(2, 2),
                     padding=((2, 2), (2, 2)), weight_elements=36, groups=1)  # fmt: skip
    pool = Operation("pool", "max_pool", (shape,), (shape,), kernel=(3, 1), stride=(1, 1), dilation=(1, 1),
                     padding=((1, 1), (0, 0)))  # fmt: skip
    join = Operation("join", "add", (shape, shape), (shape,))
    graph = OperationGraph((x, conv, pool, join), ((0, 1), (1, 2), (1, 3), (2, 3)), (3,))
    for size in (64, 2**20):
        held(fold(graph), 1.0, buffer_bytes=size)


def test_windows_in_closed_form_equal_windows_row_by_row():
    rng, shortened = random.Random(0), 0
    for _ in range(800):
        num, den = rng.randint(1, 5), rng.choice([1, 1, 1, 2, 3])
        step = rng.choice([1, 1, 2, 3, 6]) if den == 1 else 1
        low = rng.randint(-40, 20)
        access = Access(WINDOW, num, den, low, low + rng.randint(0, 4) * step, step)
        rows, out = rng.randint(2, 200), rng.randint(1, 250)
        oldest = [rows - 1] * (out + 1)
        for r in reversed(range(out)):
            first, last = rows_read(access, r, rows)
            oldest[r] = min(first if first <= last else rows - 1, oldest[r + 1])
        lead, moments = line_buffer._timing.__wrapped__(access, rows, out, den, num)
        assert lead == max(den * rows_read(access, r, rows)[1] - num * r for r in range(out))
        for lag in (lead, lead + 1, lead + 7):  # most rows that wait at once, whenever the reader begins
            waits = [min((lag + num * r) // den, rows - 1) - oldest[r] + 1 for r in range(out)]
            kept = [min((lag + when) // den, rows - 1) - first + 1 for when, first in moments]
            assert max(1, *waits) == max([1, *kept])
        shortened += len(line_buffer.critical_rows(access, rows, out)) < out
        bound, more = line_buffer._timing_bound(access, rows, out, den, num)
        assert bound >= lead
        assert max(min((lead + when) // den, rows - 1) - first + 1 for when, first in more) >= max(
            min((lead + num * r) // den, rows - 1) - oldest[r] + 1 for r in range(out)
        )
    assert shortened > 300


def test_costs_stop_at_the_deadline_and_keep_their_cache():
    costs = GroupCosts(branches(6, 6), 600_000)
    known = costs.dram(0b11)
    costs.deadline = Deadline(0)
    assert costs.dram(0b11) == known
    assert costs.dram(1) >= 0  # operations alone are always known
    with pytest.raises(TimeUp):
        costs.dram(0b111)
    costs.deadline = Deadline()
    assert costs.dram(0b111) == GroupCosts(costs.graph, 600_000).dram(0b111)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "8", True, None])
def test_wrong_time_limits_are_refused(limit):
    for call in (lambda: ab.fuse(branches(2, 2), time_limit_s=limit),
                 lambda: solve(SyntheticCosts(3), time_limit_s=limit),
                 lambda: buffer_sweep(branches(2, 2), [10**6], time_limit_s=limit)):  # fmt: skip
        with pytest.raises(ConfigError, match=r"time_limit_s.*accepted: a number above zero"):
            call()


def any_graph(seed: int) -> OperationGraph:
    """A random graph: scalars, maps, tokens, vectors, unknown operators, several inputs and outputs, odd axes."""
    rng = random.Random(seed)
    shapes = [(), (1,), (4,), (2, 3), (1, 6, 4), (1, 3, 8, 8), (1, 3, 1, 1), (1, 2, 3, 4, 5), (2, 2, 2, 2, 2, 2)]
    if seed % 5 == 0:
        shapes += [(0,), (1, 0, 3)]
    nodes, edges, operands = [], set(), []
    types = ("relu", "add", "elementwise", "other", "matmul", "linear", "reduce", "softmax", "layer_norm", "concat",
             "slice", "transpose", "alias", "conv", "max_pool", "attention", "gather", "resize", "pad", "rnn",
             "embedding", "global_avg_pool", "group_norm", "batch_norm")  # fmt: skip
    for i in range(rng.randint(1, 9)):
        kind = "input" if i == 0 or rng.random() < 0.15 else rng.choice(types)
        reads = [] if kind == "input" else sorted(rng.randrange(i) for _ in range(rng.choice((0, 1, 1, 2, 3))))
        places = [(j, rng.randrange(len(nodes[j].output_shapes))) for j in reads]
        taken = tuple(nodes[j].output_shapes[place] for j, place in places)
        out = (taken[0] if taken and rng.random() < 0.5 else rng.choice(shapes),)
        if rng.random() < 0.15:
            out += (rng.choice(shapes),)
        axes = rng.choice((None, (0,), (1,), (2,), (-1,), (0, 2), (7,)))
        spatial = kind in ("conv", "max_pool") and rng.random() < 0.7
        nodes.append(Operation(f"n{i}", kind, taken, out, axes=None if kind == "input" else axes,
                               spans=rng.choice((None, (((0, 1, 1),),))), mode=rng.choice((None, "linear", "constant")),
                               kernel=(3, 3) if spatial else None, stride=(1, 1) if spatial else None,
                               dilation=(1, 1) if spatial else None, padding=((1, 1), (1, 1)) if spatial else None,
                               weight_elements=rng.choice((0, 9)), macs=None if kind == "other" else 5))  # fmt: skip
        edges |= {(j, i) for j in reads}
        operands.append(tuple(places))
    outputs = tuple(sorted({rng.randrange(len(nodes)) for _ in range(rng.choice((0, 1, 2)))}))
    return OperationGraph(tuple(nodes), tuple(sorted(edges)), outputs, f"any {seed}", tuple(operands))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_graph_is_fused_or_refused_by_name():
    fused = 0
    for seed in range(400):
        graph = any_graph(seed)
        try:
            found = ab.fuse(graph, buffer_bytes=(40, 4096)[seed % 2], time_limit_s=5.0)
        except GraphError:
            continue
        fused += 1
        told = found.metrics
        assert told["lower_bound"] <= told["dram_bytes"], seed
        assert told["uncounted"] == graph.uncounted
        assert all(f"{count} {name}" in repr(found) for name, count in graph.uncounted.items())
        assert len(found.groups) == len(found.partition.groups)
    assert fused > 200


def test_a_sum_over_all_of_a_map_fuses():
    import torch
    from torch import nn

    class Sum(nn.Module):
        def forward(self, x):
            return torch.einsum("bchw->bc", x.relu())

    assert ab.fuse(Sum(), (1, 4, 6, 6)).metrics["operations"] >= 1


def test_what_is_fused():
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    graph = ab.graph_of(net, (1, 3, 8, 8))
    own = ab.fuse(net, (1, 3, 8, 8)).metrics["dram_bytes"]
    assert own == ab.fuse(graph).metrics["dram_bytes"] == ab.fuse(fold(graph)).metrics["dram_bytes"]
    assert ab.fuse(net, (1, 3, 8, 8), "edge_npu").hardware == ab.fuse(graph, "edge_npu").hardware
    space = ab.space("tiny_mbconv")
    arch = space.sample(1, seed=0)[0]
    bytes_of_arch = ab.fuse(ab.graph_of(space, arch)).metrics["dram_bytes"]
    assert ab.fuse(space, arch).metrics["dram_bytes"] == bytes_of_arch
    assert ab.fuse(arch, space).metrics["dram_bytes"] == bytes_of_arch
    assert ab.fuse(space, arch.text, "edge_npu").metrics["dram_bytes"] == bytes_of_arch


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((3,), "given a int, accepted: an nn.Module with an example input, the path of an ONNX file"),
        ((None,), "given a NoneType, accepted"),
        (("no.onnx",), "no.onnx"),
        ((branches(2, 2), (1, 3, 8, 8)), "given an example input, a tuple; accepted with a module or a space only"),
        ((branches(2, 2), "edge_nqu"), "did you mean 'edge_npu'"),
    ],
)
def test_what_cannot_be_fused_is_refused_by_name(given, said):
    with pytest.raises(AutobuildError, match=said):
        ab.fuse(*given)


def test_a_module_without_an_example_is_refused():
    from torch import nn

    with pytest.raises(GraphError, match="a module needs example_input"):
        ab.fuse(nn.ReLU())
    with pytest.raises(ConfigError, match=r"an example input, a tensor or a shape .* then the hardware"):
        ab.fuse(nn.ReLU(), "edge_npu")
