"""One way of counting: limits, targets, tables, graphs and networks say the same numbers, whatever computes them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import autobuild as ab
from autobuild.cost import count_macs, count_params, make_cost
from autobuild.errors import CostError, SpaceError
from autobuild.spaces import sequence_space
from benchmarks.report import counted_by_torch

SHAPE = (3, 16, 16)


class Functional(nn.Module):
    """A convolution and products that no module holds; one layer runs twice, with one weight."""

    def __init__(self, width, classes, channels):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(width, channels, 3, 3))
        self.mixing = nn.Linear(width, width, bias=False)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        rows = functional.conv2d(x, self.kernel, stride=4).flatten(2).transpose(1, 2)
        mixed = self.mixing(self.mixing(rows))
        read = torch.matmul(torch.matmul(mixed, rows.transpose(1, 2)).softmax(-1), rows)
        return self.classifier(read.mean(1))


class Normed(nn.Module):
    """A residual network in small: convolutions with batch norms."""

    def __init__(self, width, classes, channels):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        x = self.stem(x)
        return self.classifier((x + self.block(x)).relu().mean((2, 3)))


class Sorting(Normed):
    """The same with an operator that nobody has a rule for."""

    def forward(self, x):
        return super().forward(torch.linalg.matrix_exp(x))


class Branching(Normed):
    """Control flow that depends on data."""

    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


def registered(name, network, shape=SHAPE):
    """A space of two widths whose networks nobody but its realise can count."""

    class Declared:
        SPACE = sequence_space(name, {"a": 1}, {"width": [8, 16]}, text="w{width}")
        INPUT_SHAPE = shape

        @staticmethod
        def realise(layers, num_classes=5, in_channels=3):
            return network(layers[0][0]["width"], num_classes, in_channels)

    ab.register_space(Declared)
    return ab.space(name)


class Encoder(nn.Module):
    """Patches of 8 x 8 through two layers of attention."""

    def __init__(self, width, classes, channels):
        super().__init__()
        self.patches = nn.Conv2d(channels, 64, 8, 8)
        self.layers = nn.Sequential(*(nn.TransformerEncoderLayer(64, width // 4, 128, 0.0, batch_first=True),) * 2)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x):
        return self.classifier(self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def test_attention_counts_in_costs_and_graphs():
    """Modules alone have 2,884,224; products with queries, keys and values come to the rest."""
    space = registered("counted_encoder", Encoder, (3, 64, 64))
    arch = space.parse("w16")
    costs = ab.costs(space)
    patches, fed, classified = 64 * 64 * 3 * 64, 2 * 2 * 64 * 64 * 128, 640
    attention = 2 * (4 * 64 * 64 * 64 + 2 * 64 * 64 * 64)
    assert patches + fed + classified == 2_884_224
    assert costs["macs"](arch).tolist() == [patches + fed + classified + attention] == [6_029_952]
    assert ab.graph_of(space, arch).macs == count_macs(space.realise(arch), (3, 64, 64)) == 6_029_952
    assert costs["params"](arch).tolist() == [count_params(space.realise(arch))]


@pytest.mark.parametrize("network", [Functional, Normed])
def test_functions_norms_and_shared_layers_are_counted(network):
    space = registered(f"counted_{network.__name__.lower()}", network)
    costs = ab.costs(space)
    for text in ("w8", "w16"):
        net = space.realise(text)
        graph = ab.graph_of(space, text)
        params, macs = counted_by_torch(net, SHAPE)
        assert [params] == costs["params"](text).tolist() == [graph.params] == [count_params(net)]
        assert [macs] == costs["macs"](text).tolist() == [graph.macs]
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert graph.params - graph.folded_params == 16 * len(norms)  # a scale and a shift become one bias


def test_the_network_of_a_space_has_the_classes_that_its_costs_count():
    arch = "e6k5-e4k5-e4k3-e4k7|e4k7-e3k7-e6k7-e6k3|e4k5-e3k3-e4k5-e4k7|e3k5-e4k7-e4k5-e6k7|e3k7-e3k3-e3k3-e3k5"
    for name, params in (("ofa_mbv3", 4_988_648), ("ofa_mbv3(num_classes=10)", 3_720_458)):
        space = ab.space(name)
        graph, net = ab.graph_of(space, arch), space.realise(arch)
        assert [params] == ab.costs(space)["params"](arch).tolist() == [graph.params] == [count_params(net)]
        assert graph.folded_params == params - 14_080  # channels of batch norms
        stored = ab.SearchSpace.from_json(space.restrict(kernel=(3, 5, 7)).to_json())
        assert count_params(stored.realise(arch)) == params
    assert count_params(ab.space("ofa_mbv3").realise(arch, num_classes=10)) == 3_720_458
    own = registered("counted_defaults", Normed)  # which says its classes by realise's default alone
    assert own.realise("w8").classifier.out_features == 5
    assert ab.costs(own)["params"]("w8").tolist() == [ab.graph_of(own, "w8").params]
    wider = ab.space("counted_defaults", num_classes=7)
    assert wider.name == "counted_defaults(num_classes=7)"
    assert ab.costs(wider)["params"]("w8") - ab.costs(own)["params"]("w8") == 2 * 9
    for wrong in (0, 2.5, True, "10"):
        with pytest.raises(SpaceError, match=r"num_classes=.*a whole number of at least 1"):
            ab.space("mnasnet", num_classes=wrong)
    with pytest.raises(SpaceError, match="did you mean 'num_classes'"):
        ab.space("mnasnet", classes=10)


def test_what_cannot_be_counted_is_refused_by_name():
    space = registered("counted_sorting", Sorting)
    said = r"macs of 'w8': no rule for aten\.linalg_matrix_exp\.default \(1\); [\d,]+ without\. .*can declare the count"
    for count in (ab.costs(space)["macs"], lambda arch: make_cost("macs")(ab.graph_of(space, arch))):
        with pytest.raises(CostError, match=said):
            count("w8")
    with pytest.raises(CostError, match=r"no rule for aten\.linalg_matrix_exp"):
        count_macs(space.realise("w8"), SHAPE)
    assert ab.costs(space)["params"]("w8").tolist() == [count_params(space.realise("w8"))]
    branching = registered("counted_branching", Branching)
    with pytest.raises(CostError, match=r"could not be traced.*declare the count in the space"):
        ab.costs(branching)["macs"]("w8")
    with pytest.raises(CostError, match=r"inputs of shape \(3, 16, 16\).*could not be traced"):
        count_macs(branching.realise("w8"), SHAPE)


def test_one_network_that_cannot_be_counted_does_not_hide_the_others():
    space = registered("counted_mixed", lambda width, *given: (Sorting if width == 8 else Normed)(width, *given))
    assert np.isfinite(ab.costs(space)["macs"]("w16")).all()
    from autobuild.cost.space_costs import CostOf

    wrong, right = CostOf(make_cost("macs"), space).results(["w8", "w16"])
    assert isinstance(wrong, CostError)
    assert right == {"macs": float(ab.graph_of(space, "w16").macs)}
