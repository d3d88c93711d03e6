"""Graphs that are written down from a space's blocks equal those that are traced from its networks."""

import time
from dataclasses import replace

import pytest

import autobuild as ab
from autobuild.errors import GraphError, SpaceError
from autobuild.graphs.from_blocks import graph_of_blocks, shape_behind
from autobuild.graphs.of_architecture import graph_of_architecture
from autobuild.spaces.blocks import AvgPool, Bottleneck, Classifier, Conv, MaxPool, MBConv, PreActivated, SqueezeExcite
from autobuild.spaces.registry import declared_by


def facts(graph):
    return [replace(node, name="", module="", op="") for node in graph.nodes]


def same(declared, traced):
    assert facts(declared) == facts(traced)
    assert declared.edges == traced.edges
    assert declared.outputs == traced.outputs


@pytest.mark.parametrize(
    "name",
    ["ofa_mbv3(width=1.2)", "ofa_mbv3(resolution='128-224/32')", "ofa_proxyless", "ofa_resnet50", "mnasnet",
     "nas_bench_macro", "tiny_mbconv", "nas_bench_201"],
)  # fmt: skip
def test_a_declared_network_equals_the_traced_one(name):
    space = ab.space(name)
    for arch in space.sample(2, seed=1, design="depth"):
        declared = graph_of_architecture(space, arch)
        file = declared_by(space)
        size = space.layers(arch)[0][0].get("resolution", file.INPUT_SHAPE[1])
        net = space.realise(arch, num_classes=getattr(file, "NUM_CLASSES", 10))
        same(declared, ab.graph_of(net, (1, file.INPUT_SHAPE[0], size, size)))
        assert declared.name == arch.text
        assert ab.graph_of(space, arch.text) == declared


def test_blocks_on_odd_sizes_equal_their_modules():
    from torch import nn

    chains = [
        [PreActivated(3, 8), Bottleneck(8, 8, 4), Bottleneck(8, 12, 4, 2), MaxPool(), AvgPool(12, 2)],
        [Conv(3, 8, 5, 2, act="hswish", norm=False), SqueezeExcite(8, 4), MBConv(8, 8, 3, 1, 16, "relu6", 4)],
        [Conv(3, 4, 3, before=True, act="relu", bias=True), AvgPool(4), SqueezeExcite(4, 2), Classifier(4, 5)],
    ]  # fmt: skip
    for blocks in chains:
        net = nn.Sequential(*(block.module() for block in blocks))
        traced = ab.graph_of(net, (1, 3, 37, 37))
        same(graph_of_blocks(blocks, (3, 37, 37)), traced)
        assert shape_behind(blocks, (3, 37, 37)) == traced.nodes[traced.outputs[0]].output_shape[1:]


def test_a_block_without_a_rule_is_traced_once_and_spliced_in():
    from torch import nn

    space = ab.space("nas_bench_201")
    own = declared_by(space).Activated(6)  # batch norm and ReLU, a block of that file
    blocks = [Conv(3, 6, 3), own, Conv(6, 6, act="relu"), own]
    traced = ab.graph_of(nn.Sequential(*(block.module() for block in blocks)), (1, 3, 9, 9))
    same(graph_of_blocks(blocks, (3, 9, 9)), traced)


@pytest.mark.parametrize(
    "arch",
    [
        "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    ],
)
def test_a_network_of_cells_equals_the_traced_one_whatever_its_edges_are(arch):
    space = ab.space("nas_bench_201")
    declared = graph_of_architecture(space, arch)
    same(declared, ab.graph_of(space.realise(arch), (1, 3, 32, 32)))
    assert declared.macs == ab.costs(space)["macs"]([arch])[0]


def test_graphs_only_and_open_inputs_are_refused():
    mine = ab.sequence_space(name="mine", units={"a": 1}, features={"kernel": (3, 5)}, text="k{kernel}")
    with pytest.raises(SpaceError, match="declares graphs only"):
        graph_of_architecture(mine, "k3")
    with pytest.raises(GraphError, match="give one of its architectures"):
        ab.graph_of(mine)
    with pytest.raises(GraphError, match=r"take 3 inputs \(sample, timestep, encoder_hidden_states\)"):
        graph_of_architecture(ab.space("sd_unet"), ab.space("sd_unet").example, input_shape=(4, 64, 64))


def test_a_declared_graph_takes_milliseconds():
    space = ab.space("ofa_mbv3")
    archs = space.sample(20, seed=3)
    graph_of_architecture(space, archs[0])
    start = time.process_time()
    for arch in archs:
        graph_of_architecture(space, arch)
    assert (time.process_time() - start) / len(archs) < 0.05
