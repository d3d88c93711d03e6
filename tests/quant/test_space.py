"""Quantisation spaces: units and edges of the model's graph, exact costs, budgets against brute force, files."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import autobuild as ab
from autobuild import plot
from autobuild.construct import NoNetworkError
from autobuild.cost.choice_tables import ChoiceTables
from autobuild.errors import ConfigError, QuantisationError
from autobuild.importance import bit_sensitivity
from autobuild.quant import arch_of, choice_table, config_of, weight_layers
from autobuild.quant.digits.networks import DigitsTransformer, DigitsUNet, example_input
from autobuild.spaces.registry import declared_by


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


@pytest.fixture(scope="module")
def frame(space):
    """40 labels that bits and errors determine."""
    archs = ab.sample_design(space, 40, seed=0)
    return pd.DataFrame({"arch": [a.text for a in archs], "loss": np.log(ab.costs(space)["output_error"](archs))})


@pytest.fixture(scope="module")
def fitted(space, frame):
    return ab.fit(ab.LabelledSet.read(frame, space), target="-loss", model="gp", seed=0)


def test_labels_to_built_configuration(space, frame, fitted):
    """The whole walk; the limit holds for what is built."""
    costs, archs, model = ab.costs(space), frame["arch"].tolist(), fitted
    built = model.explain().build(top=3, where="avg_bits <= 3.2")
    bits = [costs["avg_bits"]([row])[0] for row in built.frame["arch"]]
    assert max(bits) <= 3.2
    table = bit_sensitivity(model.explain())
    assert sorted(table["layer"]) == sorted(unit.name for unit in space.units)
    assert (table["gain"] > 0).mean() > 0.5  # 4 bits are better than 2
    assert table["gain_per_bit"].is_monotonic_decreasing
    within = frame["loss"][costs["avg_bits"](archs) <= 3.2]
    assert np.log(costs["output_error"]([built.frame["arch"][0]])[0]) <= within.min()


def test_front_of_budgets(space, fitted):
    """Every row is within its budget and the further limits, and no configuration of the space predicts better sums."""
    costs, scores = ab.costs(space), fitted.explain()
    budgets = [2.0, 2.4, 2.8, 3.2, 3.6, 4.0]
    front = ab.budget_front(scores, "avg_bits", budgets)
    assert front["budget"].tolist() == budgets
    assert (front["avg_bits"] <= front["budget"]).all()
    assert np.array_equal(front["avg_bits"], costs["avg_bits"](front["arch"].tolist()))
    assert (front["gain"].dropna() >= 0).all()
    assert front["gain"].dropna().sum() == pytest.approx(front["predicted"].iloc[-1] - front["predicted"].iloc[0])
    assert len(ab.budget_front(scores, budgets=4)) == 4
    bops, size = (float(np.median(costs[name](front["arch"].tolist()))) for name in ("bops", "size_bytes"))
    where = f"bops <= {bops} and size_bytes <= {size}"
    joint = ab.budget_front(scores, "avg_bits", budgets, where=where)
    assert (joint["bops"] <= bops).all()
    assert (joint["size_bytes"] <= size).all()
    assert joint["predicted"].iloc[-1] < front["predicted"].iloc[-1]
    every = [space.assemble(row) for row in itertools.product(*(range(unit.size) for unit in space.units))]
    allowed = (costs["bops"](every) <= bops) & (costs["size_bytes"](every) <= size)
    assert joint["predicted"].iloc[-1] >= np.quantile(fitted.predict_mean(every)[allowed], 0.999)
    (built,) = scores.build(top=1, where=f"avg_bits <= 4 and {where}")
    assert costs["bops"]([built])[0] <= bops
    assert costs["size_bytes"]([built])[0] <= size
    table = choice_table(space, front["arch"])
    assert table["layer"].tolist() == [unit.name for unit in space.units]
    assert table[len(front) - 1].tolist() == front["arch"].iloc[-1].split("|")
    for build in (partial(ab.budget_front, budgets=[1.5]), partial(ab.build, where="avg_bits <= 1.5")):
        with pytest.raises(NoNetworkError, match="the least that a network has is 2"):
            build(scores)
    with pytest.raises(ConfigError, match="did you mean 'avg_bits'"):
        ab.budget_front(scores, "avg_bit")


def test_sensitivity_has_intervals_and_a_figure(fitted):
    scores = fitted.explain()
    table = bit_sensitivity(scores)
    assert (table["lower"] < table["gain"]).all()
    assert (table["gain"] < table["upper"]).all()
    axes = plot.bit_sensitivity(scores, by=("block", "kind"))
    assert [tick.get_text() for tick in axes[1].get_xticklabels()] == ["conv2d", "linear"]
    points = np.concatenate([line.get_ydata() for line in axes[1].lines if line.get_marker() == "."])
    assert sorted(points) == sorted(table["gain"])
    assert "-loss" in axes[0].get_ylabel()
    with pytest.raises(ConfigError, match="1 axes were given for 2"):
        plot.bit_sensitivity(table, by=("block", "kind"), axes=axes[:1])


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
    assert "test_space.py" in space.note  # the line that does not export
    assert ab.costs(space)["bops"](["uaq4|" * 4 + "uaq4"])[0] == ab.graph_of(Residual(), (1, 2, 8, 8)).macs * 64


def test_a_shared_weight_is_one_unit_and_said():
    tied = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24))
    tied[2].weight = tied[0].weight
    space = ab.quant_space(tied, (1, 24), methods=("uaq",))
    assert [unit.name for unit in space.units] == ["0"]
    assert space.note == "2 shares the weight of 0, which is quantised once"


class Functional(nn.Module):
    """Weights that a function reads, not the layer that holds them: heads of an attention, a tied head."""

    def __init__(self):
        super().__init__()
        self.embed, self.attend = nn.Embedding(30, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))

    def forward(self, tokens):
        rows = self.embed(tokens)
        return functional.linear(self.last(self.attend(rows, rows, rows)[0]), self.embed.weight)


def test_operations_belong_to_the_layer_whose_weight_they_read():
    space = ab.quant_space(Functional(), torch.zeros(1, 5, dtype=torch.long), methods=("uaq",), bits=(4, 8))
    assert [unit.name for unit in space.units] == ["embed", "attend.out_proj"]
    assert ab.costs(space)["bops"](["uaq8|uaq4"])[0] == 16 * (8 * 5 * 240 + 4 * 5 * 64)
    assert space.note == (
        "264 of 608 weights are not quantised, because they belong to other modules or are computed (weight norm, "
        "pruning): attend.in_proj_weight, last.parametrizations.weight.original0, "
        "last.parametrizations.weight.original1"
    )
    with pytest.raises(QuantisationError, match="that of '0' is computed, as by weight norm; remove this first"):
        ab.quantise(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))), "uaq4")
    with pytest.raises(QuantisationError, match="RecursiveScriptModule has no linear"):
        ab.quant_space(torch.jit.script(nn.Linear(8, 8)), (1, 8))


def test_refused(model):
    with pytest.raises(QuantisationError, match="bits=9 of a quantised weight; accepted: whole numbers from 2 to 8"):
        ab.quant_space(model, (1, 2, 8, 8), bits=(4, 9))
    with pytest.raises(QuantisationError, match="no linear, convolutional or embedding layer"):
        ab.quant_space(nn.ReLU(), (1, 2))
    with pytest.raises(ConfigError, match="grain='layr'"):
        ab.quant_space(model, (1, 2, 8, 8), grain="layr")
    with pytest.raises(ConfigError, match=r"block \['conv1', 'fc'\]"):
        ab.quant_space(model, (1, 2, 8, 8), methods=("uaq",), blocks=[["conv1", "fc"]])
    for rows, message in (([float("nan")], "the loss of calibration batch 0 is nan"), ([], "losses gave no batch")):
        with pytest.raises(QuantisationError, match=message):
            ab.quant_space(
                model,
                (1, 2, 8, 8),
                losses=lambda net, rows=rows: (net(torch.ones(1, 2, 8, 8)).sum() * f for f in rows),
            )
    broken = Residual()
    nn.init.constant_(broken.skip.weight, float("inf"))
    with pytest.raises(QuantisationError, match="skip: 24 of 24 weights are NaN or infinite"):
        ab.quant_space(broken, (1, 2, 8, 8))


@pytest.fixture(scope="module")
def sizes_space():
    """Ten layers of unlike sizes, without values."""
    widths = (8, 24, 16, 64, 8, 40, 12, 32, 8, 20, 9)
    with torch.device("meta"):
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        model = nn.Sequential(*layers)
    return ab.quant_space(model, (1, 8), methods=("uaq",), bits=(2, 3, 4, 6), name="sizes")


@settings(max_examples=20, deadline=None)
@given(metric=st.sampled_from(["avg_bits", "stored_bits"]), share=st.floats(0.001, 1), seed=st.integers(0, 9))
def test_a_budget_is_never_exceeded_and_used_up_where_asked(sizes_space, metric, share, seed):
    """With a limit from below, something within 1 % of the budget is found wherever there is something."""
    from autobuild.construct.problem import Problem
    from autobuild.expressions.limits import parse_where
    from autobuild.spaces.additive import Additive

    cost = ab.costs(sizes_space)[metric]
    used = cost.bounds().lower
    budget = used.least + share * (used.greatest - used.least)
    rng = np.random.default_rng(seed)
    tables = (-rng.lognormal() * 4.0 ** -np.array([2, 3, 4, 6]) for _ in sizes_space.units)
    problem = Problem(Additive(0.0, tuple(tables)), {metric: used})
    solved = problem.best(parse_where(f"{metric} <= {budget!r}"))
    assert cost([sizes_space.assemble(solved.best)])[0] <= budget * (1 + 1e-12)
    lowest = 0.99 * budget
    full = problem.best(parse_where(f"{lowest!r} <= {metric} <= {budget!r}"))
    sums = np.zeros(1)
    for table in used.tables:
        sums = np.unique(np.round(np.add.outer(sums, table), 12))
    gaps = sums[(sums <= budget + 1e-9) & (sums >= lowest - 1e-9)]
    assert (full.best is not None) == bool(gaps.size) or np.abs(gaps[:, None] - [lowest, budget]).min() < 1e-6
    if full.best is not None:
        assert lowest * (1 - 1e-12) <= cost([sizes_space.assemble(full.best)])[0] <= budget * (1 + 1e-12)
        assert full.score <= solved.score


def test_a_budget_that_nothing_meets_names_the_least(sizes_space):
    archs = ab.sample_design(sizes_space, 30, seed=0)
    frame = pd.DataFrame({"arch": [a.text for a in archs], "acc": ab.costs(sizes_space)["bops"](archs)})
    scores = ab.fit(ab.LabelledSet.read(frame, sizes_space), target="acc", model="linear", seed=0).explain()
    with pytest.raises(NoNetworkError, match=r"avg_bits <= 1\.9: .*the least that a network has is 2\n"):
        scores.build(top=1, where="avg_bits <= 1.9")


def test_a_named_space_is_made_once(monkeypatch):
    """It may take a minute, and has no declaration that a worker would need."""
    made = []

    def digits_dit():
        made.append(ab.sequence_space("made", {"a": [1]}, {"bits": [3, 4]}, text="b{bits}"))
        return made[-1]

    monkeypatch.setattr("autobuild.quant.examples.digits_dit", digits_dit)
    assert declared_by(ab.space("quant:digits_dit")) is None
    assert len(made) == 1
