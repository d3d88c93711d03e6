"""DRAM bytes after fusion as a cost, and the sums over units that enclose it."""

import dataclasses

import numpy as np
import pytest

import autobuild as ab
from autobuild.cost import make_cost, read_hardware
from autobuild.cost.dram_bytes_cost import DramBytes
from autobuild.cost.fusion import GroupCosts, fold
from autobuild.cost.fusion.partition.exact import exact_partition
from autobuild.errors import CostError, SpaceError
from autobuild.testing import CostConformance

EDGE = read_hardware("edge_npu")
SMALL = dataclasses.replace(EDGE, buffer_bytes=256 * 2**10)


class TestInASmallBuffer(CostConformance):
    @pytest.fixture
    def cost(self):
        return DramBytes(SMALL, scheme="lbdf")


def test_it_is_the_best_partition_of_the_whole_network():
    space = ab.space("nas_bench_macro")
    for arch in space.sample(3, seed=0):
        graph = ab.graph_of(space, arch)
        folded = fold(graph)
        found = DramBytes(SMALL)(graph)
        assert found["dram_bytes"] == exact_partition(GroupCosts(folded, SMALL.buffer_bytes)).dram_bytes
        assert found["unfused_dram_bytes"] == folded.unfused_bytes
        assert folded.floor_bytes <= found["dram_bytes"] < folded.unfused_bytes


@pytest.mark.parametrize("kib", [64, 256])
def test_unfused_bytes_are_those_that_fuse_tells(kib):
    """In the small buffer some operations fit only by reading their input or weights again, and that counts."""
    hardware = read_hardware("edge_npu", buffer_bytes=kib * 1024)
    space = ab.space("ofa_resnet50")
    arch = space.sample(1, seed=0)[0]
    graph = ab.graph_of(space, arch)
    found = ab.costs(space, hardware)["unfused_dram_bytes"]([arch])[0]
    assert found == ab.fuse(graph, hardware).metrics["unfused_dram_bytes"]
    assert (found > fold(graph).unfused_bytes) == (kib == 64)


class TestWhereInputsAreReadAgain(CostConformance):
    @pytest.fixture
    def space(self):
        return ab.space("ofa_resnet50")

    @pytest.fixture
    def cost(self):
        return DramBytes(read_hardware("edge_npu", buffer_bytes=64 * 1024))


@pytest.mark.parametrize("buffer", [4, 64])
def test_networks_of_equal_cells_cost_what_they_cost_traced_and_alone(buffer):
    space, hardware = ab.space("nas_bench_201"), dataclasses.replace(EDGE, buffer_bytes=buffer * 1024)
    archs = space.sample(3, seed=buffer, design="uniform")
    found = ab.costs(space, hardware)["dram_bytes"](archs)
    for arch, bytes_found in zip(archs, found, strict=True):
        folded = fold(ab.graph_of(space.realise(arch), (1, 3, 32, 32)))
        assert bytes_found == exact_partition(GroupCosts(folded, hardware.buffer_bytes)).dram_bytes
        assert bytes_found > folded.floor_bytes or buffer == 64


def test_what_the_buffer_cannot_hold_is_infeasible_and_named():
    space = ab.space("mnasnet")
    tiny = DramBytes(dataclasses.replace(EDGE, buffer_bytes=300))
    with pytest.raises(CostError, match=r"cannot be scheduled: needs .* has 300") as error:
        tiny(ab.graph_of(space, space.example))
    assert error.value.reason == "infeasible"


@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_resnet50", "tiny_mbconv", "mnasnet(x)"])
@pytest.mark.parametrize("cost", ["roofline", "dram_bytes"])
def test_sums_over_units_enclose_the_network(name, cost):
    if name == "mnasnet(x)":  # narrowed and joined
        space = ab.space("mnasnet").join_units("block0", "block1").restrict(kernel=3)
    else:
        space = ab.space(name)
    cost = DramBytes(SMALL, scheme="lbdf") if cost == "dram_bytes" else make_cost(cost)
    archs = space.sample(3, seed=5, design="depth")
    indices = [space.indices(arch) for arch in archs]
    tables = cost.unit_tables(space)
    values = [cost(ab.graph_of(space, arch)) for arch in archs]
    for metric, bounds in tables.items():
        whole = np.array([value[metric] for value in values])
        assert (bounds.lower.totals(indices) <= whole * (1 + 1e-9)).all()
        assert (bounds.upper.totals(indices) >= whole * (1 - 1e-9)).all()
        assert (bounds.upper.totals(indices) < 2.5 * whole).all()
    if name == "mnasnet(x)" and "roofline_ms" in tables:
        assert tables["roofline_ms"].exact  # nothing folds across a border there


def test_choices_that_act_together_are_enclosed():
    """The input's size changes what every layer costs: the least and the most over the sizes."""
    space = ab.space("ofa_proxyless(resolution=[132, 176])")
    cost = make_cost("roofline")
    bounds = cost.unit_tables(space)["roofline_ms"]
    assert not bounds.exact
    fixed = [cost.unit_tables(space.restrict({"input": [size]}))["roofline_ms"] for size in (0, 1)]
    rest = space.indices(space.sample(1, seed=1)[0])[1:]
    own = [bound.lower.totals([[0, *rest]])[0] for bound in fixed]
    assert own[1] > 1.3 * own[0]
    for size in (0, 1):
        assert bounds.lower.totals([[size, *rest]])[0] <= own[size] <= bounds.upper.totals([[size, *rest]])[0]


def test_a_space_without_blocks_has_no_tables():
    with pytest.raises(SpaceError, match="declares no blocks"):
        make_cost("roofline").unit_tables(ab.space("nas_bench_201"))
