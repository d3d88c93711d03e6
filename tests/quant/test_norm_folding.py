"""Batch norms folded into the layers before them: equal outputs, exact bits, nothing folded that is read elsewhere."""

import copy
import json

import pytest
import torch
from torch import nn

import autobuild as ab
from autobuild.errors import QuantisationError
from autobuild.quant import config_of, folded, load_quantised
from autobuild.quant.folding import fold, neighbours, norm_pairs

X = (2, 3, 8, 8)


class Net(nn.Module):
    """Norms as attributes; ``conv2`` is also read beside its norm, ``norm3`` is called twice, ``norm5`` has batch
    statistics."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.norm = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8, affine=False)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.conv3, self.norm3 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.fc, self.norm4 = nn.Linear(8, 12), nn.BatchNorm1d(12)
        self.last, self.norm5 = nn.Linear(12, 12), nn.BatchNorm1d(12, track_running_stats=False)

    def forward(self, x):
        x = torch.relu(self.norm1(self.conv1(x)))
        x = self.norm(self.depthwise(x))
        y = self.conv2(x)
        x = self.norm3(self.norm3(self.conv3(y + self.norm2(y))))
        return self.norm5(self.last(self.norm4(self.fc(x.mean((2, 3))))))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = Net()
    for _ in range(3):
        net(3 * torch.randn(X) + 1)  # statistics that are not 0 and 1
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.affine:
            nn.init.uniform_(norm.weight, -2, 2)
            nn.init.normal_(norm.bias)
    return net.eval()


@pytest.fixture(scope="module")
def space(model):
    return ab.quant_space(model, X, methods=("uaq", "uaqt"), bits=(3, 4), fold=True, probe=True)


def test_only_what_goes_into_one_norm_is_folded(model, space):
    pairs = [["conv1", "norm1"], ["depthwise", "norm"], ["fc", "norm4"]]
    assert space.options["folded"] == pairs
    assert "3 batch norms are folded" in space.note
    assert isinstance(model.norm1, nn.BatchNorm2d)  # the model itself keeps them
    small = folded(model, space)
    assert [isinstance(getattr(small, norm), nn.Identity) for _, norm in pairs] == [True] * 3


def test_outputs_are_equal(model, space):
    x = torch.randn(X)
    with torch.no_grad():
        wanted, found = model(x), folded(model, space)(x)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert wanted.abs().max() > 0.1


def test_bits_are_exact_and_files_are_read_again(model, space, tmp_path):
    small, costs, path = folded(model, space), ab.costs(space), tmp_path / "small.safetensors"
    plain = ab.quant_space(model, X, methods=("uaq", "uaqt"), bits=(3, 4))
    x = torch.randn(X)
    for arch in space.sample(3, seed=2):
        with torch.no_grad(), ab.quantise(small, config_of(space, arch)) as quantised:
            quantised.save(path)
            outputs = small(x)
            for name in ("avg_bits", "stored_bits", "size_bytes"):
                assert costs[name]([arch])[0] == getattr(quantised, name)
        whole = path.read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")
        assert len(whole) - header == costs["size_bytes"]([arch])[0]
        assert "norm1.weight" not in json.loads(whole[8:header])
        other = folded(Net(), space)
        with torch.no_grad():
            load_quantised(other, path)
            assert torch.equal(other(x), outputs)
        assert costs["size_bytes"]([arch])[0] < ab.costs(plain)["size_bytes"]([arch.text])[0]


def test_a_stored_space_still_says_what_is_folded(model, space):
    again = ab.SearchSpace.from_json(space.to_json())
    assert folded(model, again).conv1.weight.equal(folded(model, space).conv1.weight)
    assert torch.equal(folded(model, ab.quant_space(model, X)).conv1.weight, model.conv1.weight)


def test_neighbours_are_what_the_graph_says():
    tiny = ab.space("tiny_mbconv")
    net = tiny.realise(tiny.sample(1, seed=4)[0]).eval()
    assert neighbours(net) == norm_pairs(net, (1, 1, 20, 20))
    x = torch.randn(2, 1, 20, 20)
    with torch.no_grad():
        assert torch.allclose(fold(copy.deepcopy(net), neighbours(net))(x), net(x), atol=1e-5)


class Branching(Net):
    """Its path depends on the data, so that it does not export."""

    def forward(self, x):
        return super().forward(x if float(x.detach().sum()) > 1e9 else -x)


def test_refused(model):
    with pytest.raises(QuantisationError, match="fold=True needs a model that exports"):
        ab.quant_space(Branching().eval(), X, fold=True)
    with pytest.raises(QuantisationError, match=r"conv1 and relu .*no attribute"):
        fold(copy.deepcopy(model), [("conv1", "relu")])
    with pytest.raises(QuantisationError, match="which are a Conv2d and a Linear; accepted: a linear or convolutional"):
        fold(copy.deepcopy(model), [("conv1", "fc")])
