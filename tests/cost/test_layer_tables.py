"""Costs from tables equal counting the realised networks, for every choice that costs depend on."""

import pickle
import time

import numpy as np
import pytest
import torch

import autobuild as ab
from autobuild.cost import costs_of
from autobuild.errors import ConfigError, SpaceError
from autobuild.spaces.registry import declaration
from benchmarks.report import counted_by_torch

NAMES = (
    "nas_bench_macro",
    "mnasnet",
    "mnasnet(num_classes=10)",
    "nas_bench_201",
    "tiny_mbconv",
    "ofa_mbv3(width=1.2)",
    "ofa_mbv3(resolution='128-224/4')",
    "ofa_proxyless(resolution=[132, 176])",
    "ofa_resnet50(resolution='128-224/4')",
    "ofa_mbv3(num_classes=7, width=1.2, resolution='128-224/4')",
)


def size_of(space, arch, shape):
    return space.layers(arch)[0][0].get("resolution", shape[1])


@pytest.mark.parametrize("name", NAMES)
def test_tables_graphs_and_networks_agree(name):
    """Whoever counts, params and macs are those of the network that the space realises."""
    space = ab.space(name)
    channels, *size = declaration(space.family).INPUT_SHAPE
    archs = space.sample(8, seed=2)
    table = ab.costs(space).table(archs, ["params", "macs"]).drop(columns="arch").to_numpy()
    for arch, own in zip(archs, table.tolist(), strict=True):
        side = size_of(space, arch, (channels, *size))
        with torch.device("meta"):
            net = space.realise(arch)
        graph = ab.graph_of(space, arch)
        assert (graph.params, graph.macs) == tuple(own) == counted_by_torch(net, (channels, side, side))
        assert 0 < graph.folded_params < graph.params


def test_classes_and_input_shape_are_the_callers():
    space = ab.space("mnasnet")
    arch = space.sample(1, seed=0)
    for classes, shape in [(10, (1, 64, 64)), (100, (3, 97, 97))]:
        net = space.realise(arch[0], classes, shape[0])
        costs = costs_of(space, num_classes=classes, input_shape=shape)
        assert (costs["params"](arch)[0], costs["macs"](arch)[0]) == counted_by_torch(net, shape)


def test_costs_hold_in_narrowed_and_joined_spaces():
    space = ab.space("ofa_resnet50")
    small = space.restrict(expand=(0.2, 0.35)).join_units("stage1", "stage2")
    archs = small.sample(20, seed=1)
    assert np.array_equal(costs_of(small)["macs"](archs), costs_of(space)["macs"](archs))


def test_two_thousand_architectures_a_second():
    """Far above the bound, so that a busy machine passes."""
    space = ab.space("mnasnet")
    archs = space.sample(4000, seed=0)
    costs = costs_of(space)
    costs["params"](archs[:10])
    started = time.process_time()
    costs["params"](archs)
    costs["macs"](archs)
    assert len(archs) / (time.process_time() - started) > 2000


def test_what_cannot_be_counted_is_refused():
    mine = ab.sequence_space("mine", {"a": 1}, {"k": [1, 2]})
    with pytest.raises(SpaceError, match="declares graphs only"):
        costs_of(mine)
    with pytest.raises(SpaceError, match="equal height and width"):
        costs_of(ab.space("mnasnet"), input_shape=(3, 32, 64))
    other = ab.space("ofa_mbv3").sample(1)
    with pytest.raises(SpaceError, match="belongs to 'ofa_mbv3'"):
        costs_of(ab.space("mnasnet"))["params"](other)


def test_a_single_architecture_is_accepted_and_others_are_refused():
    space = ab.space("nas_bench_macro")
    costs = ab.costs(space)
    for name in ("macs", "dram_bytes"):
        assert costs[name]("12012012") == costs[name](["12012012"]) == costs[name](space.parse("12012012"))
        with pytest.raises(SpaceError, match="3: an architecture of nas_bench_macro, its text, or a list"):
            costs[name](3)
        with pytest.raises(SpaceError, match="not 3"):
            costs[name]([3])
    with pytest.raises(ConfigError, match=r"no cost 'mac': did you mean 'macs'"):
        costs["mac"]
    graphs_only = ab.sequence_space("plain", {"a": 2}, {"k": [1, 3]}, text="k{k}")
    with pytest.raises(ConfigError, match=r"no cost 'macs': .* declares graphs only"):
        ab.costs(graphs_only)["macs"]


def test_the_costs_of_a_space_pickle():
    costs = ab.costs(ab.space("nas_bench_macro"), "mobile_npu")
    again = pickle.loads(pickle.dumps(costs))
    archs = costs.space.sample(3, seed=0)
    assert again.hardware == costs.hardware
    assert list(again) == list(costs)
    assert again["macs"](archs).tolist() == costs["macs"](archs).tolist()
