"""Costs of groups: bytes, which scheme, operations that do not fit alone, two passes."""

from random import Random

import pytest
import torch
from random_nets import RandomNet, random_group
from simulator import Simulator
from torch import nn

import autobuild as ab
from autobuild.cost.fusion import GroupCosts, fold
from autobuild.cost.fusion.bitmask import bits
from autobuild.errors import ConfigError


@pytest.fixture(scope="module")
def nets():
    found = [RandomNet(seed) for seed in range(5)]
    return [(net, fold(ab.graph_of(net, net.shape))) for net in found]


def groups_of(graph, draw, count=40):
    return sorted({random_group(graph, draw, draw.randrange(1, 11)) for _ in range(count)})


def dram_by_definition(graph, mask, passes=()):
    """Weights once, each tensor from outside once a pass that reads it, each tensor needed outside once."""
    inside = set(bits(mask))
    moved = sum(graph.ops[i].weight_bytes for i in inside)
    for part in passes or (mask,):
        read = {t for i in bits(part) for t, _ in graph.ops[i].operands if graph.tensors[t].producer not in inside}
        moved += sum(graph.tensors[t].dram_bytes for t in read)
    written = {t for i in inside for t in graph.ops[i].outputs
               if graph.tensors[t].output or set(bits(graph.tensors[t].consumers)) - inside}  # fmt: skip
    return moved + sum(graph.tensors[t].dram_bytes for t in written)


def test_bytes_are_those_of_the_definition(nets):
    draw = Random(0)
    for _, graph in nets:
        costs = GroupCosts(graph, 10**9)
        for mask in groups_of(graph, draw):
            wanted = dram_by_definition(graph, mask)
            assert costs(mask).dram_bytes == costs.dram(mask) == graph.dram_bytes(mask) == wanted
        assert graph.floor_bytes == sum(op.weight_bytes for op in graph.ops) + sum(
            t.dram_bytes for t in graph.tensors if t.output or t.producer < 0
        )
        assert graph.unfused_bytes == sum(costs.dram(1 << i) for i in range(len(graph)))


def test_validity_and_scheme_follow_the_requirements(nets):
    draw = Random(1)
    seen = set()
    for _, graph in nets:
        for buffer in (120, 250, 500):
            costs = {scheme: GroupCosts(graph, buffer, scheme) for scheme in ("mixed", "lbdf", "brr")}
            for mask in (mask for mask in groups_of(graph, draw) if mask & (mask - 1)):
                lines = costs["lbdf"].line_buffers.required_bytes(mask)
                whole = costs["brr"].whole_tensors.required_bytes(mask)
                found = {scheme: cost(mask) for scheme, cost in costs.items()}
                assert found["lbdf"].valid == (lines <= buffer)
                assert found["brr"].valid == (whole <= buffer)
                assert found["mixed"].valid == (min(lines, whole) <= buffer)
                if found["mixed"].valid:
                    assert found["mixed"].scheme == ("lbdf" if lines <= whole or whole > buffer else "brr")
                    assert found["mixed"].buffer_bytes == min(lines, whole)
                else:
                    assert "the buffer has" in found["mixed"].reason
                    assert buffer < found["mixed"].buffer_bytes <= min(lines, whole)
                for scheme, cost in costs.items():
                    assert cost.dram(mask) == (graph.dram_bytes(mask) if found[scheme].valid else -1)
                seen.add((found["lbdf"].valid, found["brr"].valid))
    assert len(seen) == 4


@pytest.mark.parametrize("scheme", ["lbdf", "brr", "mixed"])
def test_supersets_of_surely_invalid_groups_are_invalid(nets, scheme):
    draw, found = Random(5), 0
    for _, graph in nets:
        for buffer in (120, 250, 500):
            costs = GroupCosts(graph, buffer, scheme)
            for mask in groups_of(graph, draw, 30):
                if costs.surely_invalid(mask):
                    assert mask & (mask - 1)
                    larger = [mask, graph.full, *(mask | other for other in groups_of(graph, draw, 5))]
                    assert all(costs.dram(group) == -1 for group in larger)
                    found += 1
    assert found > 50


def test_two_passes_are_complete_and_simulated(nets):
    """Every pass has what it reads; both together compute and write everything; rows are the simulator's."""
    draw, checked = Random(2), 0
    for net, graph in nets:
        simulator = Simulator(net, graph)
        costs = GroupCosts(graph, 10**9, "lbdf", recompute=True)
        for mask in groups_of(graph, draw, 60):
            for way in costs.passes.cuts(mask):
                inside, first, second = (set(bits(part)) for part in (mask, way.first, way.second))
                assert first | second == inside
                for part, others in ((first, ()), (second, first - second)):
                    for i in part:
                        for t, _ in graph.ops[i].operands:
                            tensor = graph.tensors[t]
                            kept = tensor.producer in others and tensor.rows == 1
                            assert tensor.producer not in inside or tensor.producer in part or kept
                needed = max(simulator.run(part)[1] for part in way)
                one = GroupCosts(graph, needed, "lbdf", recompute=True)(mask)
                assert one.valid
                assert one.scheme != "two_pass" or one.buffer_bytes <= needed
                if one.scheme == "two_pass" and costs.line_buffers.required_bytes(mask) > needed:
                    options = [dram_by_definition(graph, mask, other) for other in costs.passes.cuts(mask)]
                    assert one.dram_bytes in options
                    assert one.dram_bytes <= dram_by_definition(graph, mask, way)
                    checked += 1
    assert checked > 20


class Gated(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection, addition."""

    def __init__(self):
        super().__init__()
        self.expand, self.depthwise = nn.Conv2d(8, 32, 1), nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.reduce, self.restore = nn.Conv2d(32, 4, 1), nn.Conv2d(4, 32, 1)
        self.project = nn.Conv2d(32, 8, 1)

    def forward(self, x):
        y = torch.relu(self.depthwise(torch.relu(self.expand(x))))
        gate = torch.sigmoid(self.restore(torch.relu(self.reduce(y.mean((2, 3), keepdim=True)))))
        return x + self.project(y * gate)


def test_a_gate_is_held_whole_cut_or_computed_twice():
    graph = fold(ab.graph_of(Gated(), (1, 8, 16, 16)))
    names = [op.name for op in graph.ops]
    depthwise = names.index("depthwise/conv")
    costs = GroupCosts(graph, 6000, "lbdf", recompute=True)
    once = GroupCosts(graph, 6000, "lbdf")
    assert once.line_buffers.schedule(graph.full).rows[graph.ops[depthwise].outputs[0]] == 16  # the whole map
    assert not once(graph.full).valid
    cost = costs(graph.full)
    weights = sum(op.weight_bytes for op in graph.ops)
    # the first pass: expand, depthwise, mean, both small layers; the second: expand, depthwise, product, project, add
    way = next(iter(costs.passes.cuts(graph.full)))
    assert [names[i] for i in bits(way.first & way.second)] == ["expand/conv", "depthwise/conv"]
    assert (cost.scheme, cost.valid) == ("two_pass", True)
    assert cost.dram_bytes == weights + 2 * 8 * 256 + 8 * 256
    assert cost.extra_macs == 256 * (8 * 32 + 32 * 9)
    # second pass: three rows of 32 x 16 for the depthwise window, one of its output, one of the product, the gate, one
    # of the projection and of the sum, and the input from the row of the window's end to that of the addition
    assert cost.buffer_bytes == (256 + 128 + 288 + 128) + (256 + 32) + 512 * (3 + 1 + 1) + 32 + 128 * (2 + 1 + 1)


def conv_costs(layer, shape, buffer, scheme="mixed"):
    graph = fold(ab.graph_of(layer, shape))
    return graph, GroupCosts(graph, buffer, scheme)(1)


def test_an_operation_that_fits_alone_needs_its_lines_and_weights():
    graph, cost = conv_costs(nn.Conv2d(4, 8, 3, padding=1), (1, 4, 10, 10), 10**6, "lbdf")
    assert (cost.scheme, cost.buffer_bytes) == ("lbdf", 3 * 40 + 80 + (8 * 4 * 9 + 4 * 8))
    assert cost.dram_bytes == 400 + 800 + 320 == graph.unfused_bytes


def test_input_resident_where_weights_do_not_fit():
    """W 64 x 580, I 64 x 49, O 64 x 49: the input and one output channel's weights and a row of the output fit."""
    layer = nn.Conv2d(64, 64, 3, padding=1)
    needed = 64 * 49 + 580 + 64 * 7
    _, cost = conv_costs(layer, (1, 64, 7, 7), needed, "lbdf")
    assert (cost.scheme, cost.buffer_bytes, cost.dram_bytes) == ("resident", needed, 37_120 + 2 * 3_136)
    # a byte less, and two bands of five and two rows are cheaper than tiles: both read rows 4 and 5
    _, less = conv_costs(layer, (1, 64, 7, 7), needed - 1, "lbdf")
    assert (less.scheme, less.dram_bytes) == ("row_bands", 2 * 37_120 + (49 + 2 * 7 + 49) * 64)


def test_weight_tiles_read_the_input_again():
    """Lines: 3 rows of 64 x 7 and 1 of 64 x 7. What is left of 2,800 bytes holds 1,008 of 37,120 bytes of weights."""
    _, cost = conv_costs(nn.Conv2d(64, 64, 3, padding=1), (1, 64, 7, 7), 2_800, "lbdf")
    tiles = -(-37_120 // (2_800 - 4 * 448))
    assert tiles == 37
    assert (cost.scheme, cost.dram_bytes) == ("weight_tiles", 37_120 + tiles * 3_136 + 3_136)
    assert cost.buffer_bytes == 2_800


def test_row_bands_read_the_weights_again():
    """W 64 x 196, I = O = 64 x 40 x 2. Beside one channel of weights (196) and a row of the output (128) 22 rows of the
    input fit: two bands of 20 rows, which need rows 0 to 20 and 19 to 39."""
    layer = nn.Conv2d(64, 64, (3, 1), padding=(1, 0))
    graph, cost = conv_costs(layer, (1, 64, 40, 2), 196 + 128 + 22 * 128, "lbdf")
    assert graph.ops[0].weight_bytes == 12_544
    assert (cost.scheme, cost.dram_bytes) == ("row_bands", 2 * 12_544 + 5_120 + 2 * 128 + 5_120)
    # tiles of weights would read the input ceil(12,544 / (3,140 - 4 x 128)) = 5 times
    assert cost.dram_bytes < 12_544 + 5 * 5_120 + 5_120


def test_bands_of_dilated_windows_hold_only_the_rows_that_they_read():
    layer = nn.Conv2d(64, 64, (3, 1), padding=(12, 0), dilation=(12, 1))
    _, cost = conv_costs(layer, (1, 64, 40, 2), 196 + 128 + 3 * 128, "lbdf")
    assert (cost.scheme, cost.buffer_bytes) == ("row_bands", 196 + 128 + 3 * 128)
    # every row is read by the rows 12 above, beside and 12 below it, where they exist
    assert cost.dram_bytes == 40 * 12_544 + (40 + 28 + 28) * 128 + 5_120


def test_a_group_norm_reads_twice_where_it_cannot_stay():
    _, cost = conv_costs(nn.GroupNorm(2, 4), (1, 4, 32, 32), 1_000)
    assert (cost.scheme, cost.dram_bytes) == ("twice", 8 + 3 * 4_096)
    _, cost = conv_costs(nn.GroupNorm(2, 4), (1, 4, 32, 32), 10_000)
    assert (cost.scheme, cost.dram_bytes) == ("lbdf", 8 + 2 * 4_096)


def test_nothing_fits_is_said_with_what_it_would_need():
    graph = fold(ab.graph_of(nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 2, 1)), (1, 4, 10, 10)))
    costs = GroupCosts(graph, 150)
    cost = costs(1)
    # with one output channel's weights at a time the input is read eight times
    assert (cost.valid, cost.scheme, cost.dram_bytes) == (False, "", 320 + 8 * 400 + 512)
    # three rows of the input, one of the output, weights of one output channel
    assert cost.reason == "0/conv cannot be scheduled: needs 224 bytes, has 150"
    assert cost.buffer_bytes == 3 * 40 + 64 + 40
    assert costs.unschedulable() == {"0/conv": cost.reason}
    assert costs.fallback & 1
    assert costs.dram(1) == costs.dram(3) == -1
    assert "lbdf: needs at least" in costs(3).reason
    assert GroupCosts(graph, 224)(1).valid


@pytest.mark.parametrize(("layer", "shape"), [
    (nn.Conv2d(64, 64, 3, padding=1), (1, 64, 7, 7)),
    (nn.Conv2d(64, 64, (3, 1), padding=(12, 0), dilation=(12, 1)), (1, 64, 40, 2)),
    (nn.Conv2d(8, 8, 5, 2, 2), (1, 8, 33, 9)),
    (nn.GroupNorm(2, 4), (1, 4, 32, 32)),
    (nn.Linear(300, 200), (1, 300)),
])  # fmt: skip
def test_a_smaller_buffer_never_moves_less_also_where_nothing_fits(layer, shape):
    graph = fold(ab.graph_of(layer, shape))
    sizes = sorted({*range(20, 3_000, 37), *range(3_000, 60_000, 990)}, reverse=True)
    found = [GroupCosts(graph, size)(1) for size in sizes]
    moved = [cost.dram_bytes for cost in found]
    assert moved == sorted(moved)
    assert not found[-1].valid
    enough = GroupCosts(graph, found[-1].buffer_bytes)(1)
    assert (enough.valid, enough.dram_bytes) == (True, found[-1].dram_bytes)


def test_a_barrier_runs_alone_or_not_at_all():
    class Net(nn.Module):
        def forward(self, x):
            return torch.relu(torch.linalg.matrix_exp(torch.relu(x)))

    with pytest.warns(UserWarning, match="barrier"):
        graph = fold(ab.graph_of(Net(), (1, 4, 8, 8)))
    costs = GroupCosts(graph, 600)
    assert (costs(0b010).valid, costs(0b010).buffer_bytes, costs(0b010).dram_bytes) == (True, 512, 512)
    assert costs(0b011).reason == "lbdf: other is a barrier; brr: other is a barrier"
    assert not GroupCosts(graph, 511)(0b010).valid


def test_paths_with_different_strides_have_no_lines():
    class Net(nn.Module):
        """Both ways lead to eight rows: every second one, and the first eight."""

        def __init__(self):
            super().__init__()
            self.every, self.crop = nn.Conv2d(2, 2, 1, (2, 1)), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.every(x) + self.crop(x)[:, :, :8]

    graph = fold(ab.graph_of(Net(), (1, 2, 16, 2)))
    costs = GroupCosts(graph, 10**6, "lbdf")
    assert "different strides" in costs(0b111).reason
    assert costs.dram(0b111) == -1
    assert costs(0b011).valid  # both convolutions without the addition agree on nothing and need not
    assert costs(0b101).valid
    assert GroupCosts(graph, 10**6)(0b111).scheme == "brr"


@pytest.mark.parametrize(("buffer", "scheme", "said"), [
    (0, "mixed", "buffer_bytes: given 0, accepted: a positive whole number"),
    (-5, "mixed", "buffer_bytes: given -5"),
    (1.5, "mixed", "buffer_bytes: given 1.5"),
    (100, "lbdff", "did you mean 'lbdf'"),
])  # fmt: skip
def test_bad_options_are_refused(buffer, scheme, said):
    graph = fold(ab.graph_of(nn.Conv2d(1, 1, 1), (1, 1, 2, 2)))
    with pytest.raises(ConfigError, match=said):
        GroupCosts(graph, buffer, scheme)
    with pytest.raises(ConfigError, match="group 0: accepted: masks from 1 to 1"):
        GroupCosts(graph, 100)(0)
