"""The encoder against PyG, by gradient, and by what a hop may see."""

import pytest
import torch

import autobuild as ab
from autobuild.encode import EncoderConfig, FeatureEmbedding, GATv2, HopEncoder, read_out
from autobuild.errors import ConfigError
from autobuild.graphs import pack_architectures, pack_candidates
from autobuild.registry import LAYERS
from autobuild.spaces import SearchSpace
from autobuild.testing import LayerConformance


@pytest.fixture
def dag():
    chain = ab.sequence_space("dag", {f"s{i}": [1, 2] for i in range(4)}, {"k": [1, 2, 3]}, text="{k}")
    return SearchSpace("dag", chain.units, joins=[(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)])


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_gatv2_equals_pyg(dag, heads):
    from torch_geometric.nn import GATv2Conv

    torch.manual_seed(0)
    graphs = pack_architectures(dag, dag.sample(20))
    ours, theirs = GATv2(6, 8, heads), GATv2Conv(6, 8 // heads, heads=heads)
    with torch.no_grad():
        for a, b in ((ours.source, theirs.lin_l), (ours.target, theirs.lin_r)):
            b.weight.copy_(a.weight)
            b.bias.copy_(a.bias.normal_())
        theirs.att.copy_(ours.attention[None])
        theirs.bias.copy_(ours.bias.normal_())
    h = torch.randn(len(graphs.x), 6)
    torch.testing.assert_close(ours(h, graphs), theirs(h, graphs.edges), rtol=1e-5, atol=1e-6)


def test_feature_scalars_are_what_the_nodes_hold():
    torch.manual_seed(1)
    layer = FeatureEmbedding([2, 3])
    x = torch.tensor([[0, 2], [1, 0], [0, 0]])
    scalars = layer.scalars()
    assert (scalars >= 0).all()
    torch.testing.assert_close(layer(x), torch.stack([scalars[[0, 1, 0]], scalars[[4, 2, 2]]], dim=1))
    # one embedding and one MLP a feature, written out
    value = 4
    hidden = torch.relu(layer.embedding[value] @ layer.hidden[1] + layer.hidden_bias[1])
    torch.testing.assert_close(scalars[value], (hidden @ layer.out[1] + layer.out_bias[1]).abs())


class TestLayers(LayerConformance):
    @pytest.fixture(params=LAYERS)
    def layer(self, request):
        return LAYERS[request.param]


def test_a_hop_sees_exactly_its_subgraph():
    """Changing a node d steps upstream changes the root's embedding from hop d on, and not before."""
    space = ab.sequence_space("line", {"a": 5}, {"k": [1, 2]}, text="{k}")
    torch.manual_seed(2)
    encoder = HopEncoder([len(f.values) for f in space.node_features], EncoderConfig(hops=4)).eval()
    base = pack_candidates(space, 0, torch.zeros(1).long().numpy())
    with torch.no_grad():
        before = encoder(base).nodes
        for distance in range(5):
            graphs = pack_candidates(space, 0, torch.tensor([2**distance]).numpy())
            after = encoder(graphs).nodes
            changed = [not torch.allclose(a[-1], b[-1], atol=1e-7) for a, b in zip(before, after, strict=True)]
            assert changed[:distance] == [False] * distance
            assert changed[distance]


@pytest.mark.parametrize("how", ["mean", "sum", "max"])
def test_readouts_equal_a_loop(mbv3, how):
    graphs = pack_architectures(mbv3, mbv3.sample(7, design="depth"))
    nodes = torch.randn(len(graphs.x), 5)
    each = [nodes[a:b] for a, b in zip(graphs.ptr[:-1], graphs.ptr[1:], strict=True)]
    by_hand = {"mean": lambda n: n.mean(0), "sum": lambda n: n.sum(0), "max": lambda n: n.max(0).values}[how]
    torch.testing.assert_close(read_out(nodes, graphs, how), torch.stack([by_hand(n) for n in each]))


def test_shapes_and_norms(mbv3):
    graphs = pack_architectures(mbv3, mbv3.sample(6))
    encoding = HopEncoder([3, 3, 5, 4], EncoderConfig(hops=3, width=16)).eval()(graphs)
    assert [n.shape[1] for n in encoding.nodes] == [4, 16, 16, 16]
    assert encoding.graph_norms().shape == (4, 6)
    assert encoding.node_norms().shape == (4, len(graphs.x))
    torch.testing.assert_close(encoding.graph_norms()[2], encoding.graphs[2].abs().sum(1))
    other = HopEncoder([3, 3, 5, 4], EncoderConfig(norm="l2")).eval()(graphs)
    torch.testing.assert_close(other.node_norms()[1], other.nodes[1].square().sum(1).sqrt())


def test_a_batch_equals_its_graphs_one_by_one(mbv3):
    graphs = pack_architectures(mbv3, mbv3.sample(6))
    encoder = HopEncoder([3, 3, 5, 4], EncoderConfig()).eval()
    with torch.no_grad():
        whole = encoder(graphs).graphs[-1]
        single = torch.cat([encoder(graphs.slice(i, i + 1)).graphs[-1] for i in range(6)])
    torch.testing.assert_close(whole, single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"layer": "gatv3"}, {"readout": "men"}, {"hops": 0}, {"width": 3, "heads": 2}, {"dropout": 1.0}, {"norm": "l3"}],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ConfigError, match=f"encoder.{next(reversed(wrong))}"):
        EncoderConfig(**wrong)
