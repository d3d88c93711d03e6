"""Quantisation spaces: units and edges of the model's graph, exact costs, budgets against brute force, files."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import autobuild as ab
from autobuild.cost.choice_tables import ChoiceTables
from autobuild.errors import ConfigError, QuantisationError
from autobuild.importance import bit_sensitivity
from autobuild.quant import arch_of, config_of, weight_layers
from autobuild.quant.digits.networks import DigitsTransformer, DigitsUNet, example_input


class Residual(nn.Module):
    """conv1 -> (conv2 -> conv3) + skip -> fc; `fc` has 4 weights a channel."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 3)
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1))
        self.skip = nn.Conv2d(6, 4, 1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        return self.fc((self.body(x) + self.skip(x)).mean((2, 3)))


def losses(model):
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        x, classes = torch.randn(5, 2, 8, 8, generator=generator), torch.randint(3, (5,), generator=generator)
        yield functional.cross_entropy(model(x), classes)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Residual().eval()


@pytest.fixture(scope="module")
def space(model):
    return ab.quant_space(
        model, (1, 2, 8, 8), methods=("uaq", "kma"), bits=(2, 3, 4), losses=losses, probe=True, name="residual"
    )


def test_units_and_edges_are_those_of_the_model(space):
    assert [unit.name for unit in space.units] == ["conv1", "body.0", "body.2", "skip", "fc"]
    assert set(space.joins) == {(0, 1), (1, 2), (0, 3), (2, 4), (3, 4)}
    assert [unit.size for unit in space.units] == [6, 6, 6, 6, 5]  # 12 weights are fewer than kma4's 16 entries
    assert "1 choices" in space.note
    assert space.layers(space.sample(1)[0])[1][0]["kind"] == "conv2d"


def test_costs_are_those_of_the_quantised_model(model, space, tmp_path):
    costs, archs = ab.costs(space), space.sample(6, seed=1)
    for arch in archs:
        with ab.quantise(model, config_of(space, arch)) as quantised:
            quantised.save(tmp_path / "q.safetensors")
            for name in ("avg_bits", "stored_bits", "size_bytes"):
                assert costs[name]([arch])[0] == getattr(quantised, name)
            assert costs["quant_error"]([arch])[0] == pytest.approx(quantised.quant_error)
        assert arch_of(space, config_of(space, arch)) == arch
    macs = ab.graph_of(model, (1, 2, 8, 8)).macs
    assert costs["bops"](["uaq4|" * 4 + "uaq4"])[0] == macs * 4 * 16


def test_budgets_are_exact(space):
    """The best sum within a limit, against all 6,480 configurations."""
    rng = np.random.default_rng(0)
    tables = ChoiceTables(space)
    bits = tables.additive("avg_bits")
    score = [rng.normal(size=unit.size) + table for unit, table in zip(space.units, bits.tables, strict=True)]
    every = np.array(list(itertools.product(*(range(unit.size) for unit in space.units))))
    value = sum(own[every[:, unit]] for unit, own in enumerate(score))
    used = ab.costs(space)["avg_bits"]([space.assemble(tuple(row)) for row in every.tolist()])
    from autobuild.construct.problem import Problem
    from autobuild.expressions import Names
    from autobuild.spaces.additive import Additive

    for bound in (2.5, 3.1, 3.7):
        limits = Names(costs=ab.costs(space)).limits(f"avg_bits <= {bound}")
        solution = Problem(Additive(0.0, tuple(score)), {"avg_bits": bits}).best(limits)
        best = tuple(solution.indices[0])
        assert ab.costs(space)["avg_bits"]([space.assemble(best)])[0] <= bound
        assert value[every.tolist().index(list(best))] == pytest.approx(value[used <= bound].max())


def test_estimates_are_those_of_a_direct_computation(model, space):
    (arch,) = space.sample(1, seed=3)
    costs, layers = ab.costs(space), weight_layers(model)[0]
    weights = [layer.weight for layer in layers.values()]
    grads = [torch.autograd.grad(loss, weights) for loss in losses(model)]
    first = fisher = 0.0
    with ab.quantise(model, config_of(space, arch)) as quantised:
        changed = [quantised.weights[name].dequantised() for name in layers]
    for place, weight in enumerate(weights):
        change = changed[place] - weight.detach()
        own = torch.stack([gradient[place] for gradient in grads])
        first += abs(float((own.mean(0) * change).sum()))
        fisher += float(((own**2).mean(0) * change**2).sum()) / 2
    assert costs["first_order"]([arch])[0] == pytest.approx(first, rel=1e-4)
    assert costs["fisher"]([arch])[0] == pytest.approx(fisher, rel=1e-4)
    x = torch.randn((1, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    plain, total = model(x).detach(), 0.0
    for name, choice in config_of(space, arch).items():
        with ab.quantise(model, {name: choice}):
            total += float(((model(x).detach() - plain) ** 2).sum() / (plain**2).sum())
    assert costs["output_error"]([arch])[0] == pytest.approx(total, rel=1e-4)


def test_a_stored_space_needs_no_model(space, tmp_path):
    path = tmp_path / "space.json"
    path.write_text(space.to_json())
    again, (arch,) = ab.space(str(path)), space.sample(1)
    for name in ab.costs(space):
        assert ab.costs(again)[name]([arch.text])[0] == ab.costs(space)[name]([arch])[0]
    assert config_of(again, arch.text) == config_of(space, arch)


def test_labels_to_built_configuration(space):
    """The whole walk on a label that bits and errors determine; the limit holds for what is built."""
    import pandas as pd

    costs, archs = ab.costs(space), ab.sample_design(space, 40, seed=0)
    frame = pd.DataFrame({"arch": [a.text for a in archs], "loss": np.log(costs["output_error"](archs))})
    labels = ab.LabelledSet.read(frame, space)
    model = ab.fit(labels, target="-loss", model="gp", seed=0)
    built = model.explain().build(top=3, where="avg_bits <= 3.2")
    bits = [costs["avg_bits"]([row])[0] for row in built.frame["arch"]]
    assert max(bits) <= 3.2
    table = bit_sensitivity(model.explain())
    assert sorted(table["layer"]) == sorted(unit.name for unit in space.units)
    assert (table["gain"] > 0).mean() > 0.5  # 4 bits are better than 2
    assert table["gain_per_bit"].is_monotonic_decreasing
    within = frame["loss"][costs["avg_bits"](archs) <= 3.2]
    assert np.log(costs["output_error"]([built.frame["arch"][0]])[0]) <= within.min()


def test_blocks_of_a_transformer_and_of_a_unet():
    torch.manual_seed(0)
    space = ab.quant_space(DigitsTransformer(12, 1, 2), example_input(), methods=("uaq",), grain="block")
    names = [unit.name for unit in space.units]
    attention, ff = (f"blocks.0.{'+blocks.0.'.join(parts)}" for parts in (
        ("attn.q", "attn.k", "attn.v", "attn.out"), ("ff.fc1", "ff.fc2")))  # fmt: skip
    assert attention in names
    assert ff in names
    assert space.units[names.index(attention)].size == 16
    unet = ab.quant_space(DigitsUNet(8), example_input(), methods=("uaq",), grain="block")
    assert any({"down1.conv1", "down1.conv2"} <= set(unit.name.split("+")) for unit in unet.units)
    custom = ab.quant_space(Residual(), (1, 2, 8, 8), methods=("uaq",), blocks=[["body.0", "body.2"]])
    assert [unit.size for unit in custom.units] == [2, 4, 2, 2]


class Branching(Residual):
    """Its path depends on the data, so that it does not export."""

    def forward(self, x):
        return super().forward(x if float(x.detach().sum()) > 1e9 else -x)


def test_a_model_that_does_not_export_is_a_chain_of_modules():
    space = ab.quant_space(Branching(), (1, 2, 8, 8), methods=("uaq",))
    assert [unit.name for unit in space.units] == ["conv1", "body.0", "body.2", "skip", "fc"]
    assert space.note.startswith("a chain of modules in the order of their calls")
    assert ab.costs(space)["bops"](["uaq4|" * 4 + "uaq4"])[0] == ab.graph_of(Residual(), (1, 2, 8, 8)).macs * 64


def test_refused(model):
    with pytest.raises(QuantisationError, match="no linear, convolutional or embedding layer"):
        ab.quant_space(nn.ReLU(), (1, 2))
    with pytest.raises(ConfigError, match="grain='layr'"):
        ab.quant_space(model, (1, 2, 8, 8), grain="layr")
    with pytest.raises(ConfigError, match=r"block \['conv1', 'fc'\]"):
        ab.quant_space(model, (1, 2, 8, 8), methods=("uaq",), blocks=[["conv1", "fc"]])
    broken = Residual()
    nn.init.constant_(broken.skip.weight, float("inf"))
    with pytest.raises(QuantisationError, match="skip: 24 of 24 weights are NaN or infinite"):
        ab.quant_space(broken, (1, 2, 8, 8))
