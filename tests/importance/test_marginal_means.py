"""Effects are marginal means: identities with candidate scores, planted laws, and how often intervals hold them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.importance._marginal_means import design_weights
from autobuild.importance.projection import project
from autobuild.jobs._console import table
from autobuild.settings.names import INTERVAL_SDS
from autobuild.spaces.sampling import sample

DEEP = ab.sequence_space(
    "deep",
    {"s1": [1, 2, 3], "s2": [1, 2, 3], "s3": [1, 2, 3, 4]},
    {"kernel": [3, 5], "expand": [1, 2]},
    text="k{kernel}e{expand}",
)


def worth(stage, layers):
    """1.5 for each layer from the third on in stage s3; kernels count more there."""
    late = [0.5 * (layer["kernel"] == 5) for layer in layers[2:]]
    return sum(0.4 + 0.3 * (layer["expand"] == 2) for layer in layers) + (
        1.5 * len(late) + sum(late) if stage == 2 else 0.0
    )


def law(space, archs):
    return np.array([sum(worth(s, layers) for s, layers in enumerate(space.layers(arch))) for arch in archs])


def fitted(space, truth, n, seed=0, noise=0.1, model="linear"):
    archs = list(dict.fromkeys(space.sample(n, seed, "depth")))
    values = truth(space, archs)
    values = values + noise * values.std() * np.random.default_rng(seed).normal(size=len(values))
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": values})
    return ab.fit(ab.LabelledSet.from_frame(frame, space), "acc", model=model)


def worth_tables(space, truth):
    """Of an additive law: what each candidate adds to the mean network."""
    base, tables = [0] * len(space.units), []
    for place, unit in enumerate(space.units):
        rows = [[i if at == place else own for at, own in enumerate(base)] for i in range(unit.size)]
        values = truth(space, [space.assemble(row) for row in rows])
        tables.append(values - design_weights(unit) @ values)
    return tables


def mean_where(unit, table, has):
    """The mean score of a unit's candidates for which ``has(layers of its first stage)``, by the definition."""
    chosen = np.array([has(unit.layers(unit.candidate(i))[0]) for i in range(unit.size)])
    weights = design_weights(unit) * chosen
    return weights @ table / weights.sum()


def by_definition(unit, table, row):
    """The effect of a row of ``places``, written out."""
    if row.feature == "depth":
        return mean_where(unit, table, lambda layers: len(layers) == row.value)
    at = max(row.layer, 1) - 1
    one = mean_where(unit, table, lambda layers: len(layers) > at and layers[at][row.feature] == row.value)
    return one - mean_where(unit, table, lambda layers: len(layers) > at)


@pytest.fixture(scope="module")
def scores():
    return fitted(DEEP, law, 250).explain()


def test_weights_are_those_of_the_sampling_design():
    unit = DEEP.restrict({"s3": np.arange(0, 340, 7)}).units[2]
    space = DEEP.restrict({"s3": np.arange(0, 340, 7)})
    drawn = np.bincount([space.indices(arch)[2] for arch in sample(space, 20_000, 0, "depth")], minlength=unit.size)
    weights = design_weights(unit)
    assert weights.sum() == pytest.approx(1)
    assert np.abs(drawn / 20_000 - weights).max() < 4 * (weights.max() / 20_000) ** 0.5


@pytest.mark.parametrize("joined", [False, True])
def test_every_table_is_an_average_of_candidate_scores(scores, joined):
    space = scores.space.join_units(0, 1) if joined else scores.space
    own = scores.model.explain(space)
    for unit, scored in zip(space.units, own.units, strict=True):
        assert design_weights(unit) @ scored.score == pytest.approx(0, abs=1e-9)
    if joined:  # two stages in a unit: effects are those of the unit apart, but for the fit of the sum
        np.testing.assert_allclose(own.places["effect"], scores.places["effect"], atol=0.1)
        return
    tables = dict(zip([unit.name for unit in space.units], zip(space.units, own.units, strict=True), strict=True))
    for row in own.places.itertuples():
        unit, scored = tables[row.unit]
        assert row.effect == pytest.approx(by_definition(unit, scored.score, row), abs=1e-9)
    for row in own.operations.itertuples():
        unit, scored = tables[row.unit]
        same = {"kernel": row.kernel, "expand": row.expand}
        one = mean_where(unit, scored.score, lambda ls: len(ls) >= row.layer and ls[row.layer - 1] == same)  # noqa: B023
        all_of_it = mean_where(unit, scored.score, lambda ls: len(ls) >= row.layer)  # noqa: B023
        assert row.score == pytest.approx(one - all_of_it, abs=1e-9)
    for row in own.layers.itertuples():
        unit, scored = tables[row.unit]
        there = mean_where(unit, scored.score, lambda ls: len(ls) >= row.layer)  # noqa: B023
        assert row.score == pytest.approx(there, abs=1e-9)
        if row.layer == 1:
            assert row.score == 0
            assert np.isnan(row.score_without)
        else:
            lacks = mean_where(unit, scored.score, lambda ls: len(ls) < row.layer)  # noqa: B023
            assert row.score_without == pytest.approx(lacks, abs=1e-9)
    pooled = own.places.groupby(["feature", "value"])["effect"].mean()
    for row in own.features.itertuples():
        assert row.effect == pytest.approx(pooled[row.feature, row.value])
    best = own.choices.set_index(["unit", "layer", "feature"])
    for key, group in own.places.groupby(["unit", "layer", "feature"]):
        first, second = sorted(group["effect"], reverse=True)[:2]
        assert best.loc[key, "difference"] == pytest.approx(first - second)


def test_depth_is_worth_what_its_layers_bring(scores):
    """Ridge regression on choices used to give half of this to the features of the layers that a depth adds."""
    places = scores.places.set_index(["unit", "layer", "feature", "value"])["effect"]
    # 0.55 a layer, and 1.75 for each from the third on: means by depth 0.55, 1.1, 3.4, 5.7 about 2.6875
    for depth, mean in zip((1, 2, 3, 4), (0.55, 1.1, 3.4, 5.7), strict=True):
        assert places["s3", 0, "depth", depth] == pytest.approx(mean - 2.6875, abs=0.12)
    assert places["s3", 3, "kernel", 5] == pytest.approx(0.25, abs=0.06)  # among networks that have the layer
    assert places["s3", 1, "kernel", 5] == pytest.approx(0.0, abs=0.06)
    layers = scores.layers.set_index(["unit", "layer"])
    assert layers.loc[("s3", 3), "score"] == pytest.approx((3.4 + 5.7) / 2 - 2.6875, abs=0.12)
    assert layers.loc[("s3", 3), "score_without"] == pytest.approx((0.55 + 1.1) / 2 - 2.6875, abs=0.12)
    assert layers.loc[("s3", 4), "score_without"] == pytest.approx((0.55 + 1.1 + 3.4) / 3 - 2.6875, abs=0.12)


def test_effects_are_mean_predictions_where_units_act_on_each_other():
    """Whatever the model believes: the table says how its mean prediction differs, over the whole space."""

    def product(space, archs):
        return np.array([np.prod([1 + worth(s, layers) for s, layers in enumerate(space.layers(a))]) for a in archs])

    model = fitted(DEEP, product, 120, model="gp")
    scores = model.explain()
    assert scores.projection.share < 0.97
    archs = DEEP.sample(6000, 77, "depth")
    predicted = model.predict_mean(archs)
    for row in scores.places[scores.places["feature"] == "depth"].itertuples():
        place = [stage.name for stage in DEEP.stages].index(row.unit)
        own = predicted[[len(arch.runs[place]) == row.value for arch in archs]]
        slack = 3 * own.std() / len(own) ** 0.5 + (row.upper - row.lower) / 2
        assert row.effect == pytest.approx(own.mean() - predicted.mean(), abs=slack)


def test_intervals_hold_what_the_sample_of_networks_left_open():
    """In a space of 23,000, draws with every depth equally likely repeat the shallow networks: too few differ.

    The space was then taken for one that is decomposed as a whole, and effects of 0 had intervals that were ten times
    too narrow.
    """
    space = ab.sequence_space("mid", {"a": [1, 2, 3], "b": [1, 2, 4]}, {"k": [3, 5], "w": [1, 2]}, text="k{k}w{w}")

    def truth(archs):  # the sign of the effect of b's depth is decided in a: on average it has none
        layers = [space.layers(arch) for arch in archs]
        return np.array([len(b) * (1.0 if a[0]["w"] == 2 else -1.0) for a, b in layers])

    certain = SimpleNamespace(
        space=space, predict_mean=truth, draw=lambda archs, draws, seed: np.tile(truth(archs), (draws, 1))
    )
    held = []
    for seed in range(3):
        found = project(certain, seed=seed)
        assert len(found.background) < 1200
        assert found.share == pytest.approx(5.44 / 7, abs=0.1)  # (1 + 2 + 4)^2 / 9 of (1 + 4 + 16) / 3
        depths = np.concatenate([means.depths for means in found.means])
        held.append(np.abs(depths[:, 0]) < INTERVAL_SDS * depths[:, 1:].std(axis=1))
    assert np.mean(held) > 0.7


def test_a_small_space_is_decomposed_as_a_whole(small_labels):
    """All 400 architectures are predicted, each as probable as the design draws it: no effect rests on a sample."""
    model = ab.fit(small_labels, "acc", model="linear")
    scores, space = model.explain(), small_labels.space
    (a, b), predicted = space.units, {}
    weights = np.outer(design_weights(a), design_weights(b))
    predicted = model.predict_mean([space.assemble((i, j)) for i in range(a.size) for j in range(b.size)])
    table = predicted.reshape(a.size, b.size)
    assert scores.base == pytest.approx((weights * table).sum(), abs=1e-3)
    wanted = table @ design_weights(b) - (weights * table).sum()
    np.testing.assert_allclose(scores.units[0].score, wanted, atol=0.02)


def test_tied_layers_and_sizes_as_features():
    """A tied unit (one choice for all its layers), and units of one layer whose features are sizes."""
    tied = ab.sequence_space(
        "tied", {"a": {"depth": [1, 2, 3], "tied": True}, "b": {"depth": [1, 2], "tied": True}}, {"kernel": [3, 5]},
        text="k{kernel}l{depth}",
    )  # fmt: skip

    def by_layer(space, archs):
        return np.array(
            [sum(0.7 + 0.2 * (layer["kernel"] == 5) for run in space.layers(a) for layer in run) for a in archs]
        )

    tables = worth_tables(tied, by_layer)
    for row in fitted(tied, by_layer, 300, noise=0.02).explain().places.itertuples():
        place = [unit.name for unit in tied.units].index(row.unit)
        assert row.effect == pytest.approx(by_definition(tied.units[place], tables[place], row), abs=0.05)
    scaled = ab.sequence_space(
        "scaled", {"net": 1, "head": 1}, {"blocks": [1, 2, 3], "width": [0.5, 1], "resolution": [160, 224]},
        text="d{blocks}w{width}r{resolution}",
    )  # fmt: skip

    def sizes(space, archs):
        return np.array(
            [
                sum(layer["blocks"] * (1 + s) + layer["width"] for s, (layer,) in enumerate(space.layers(a)))
                for a in archs
            ]
        )

    own = fitted(scaled, sizes, 300, noise=0.02).explain()
    row = own.places.set_index(["unit", "feature", "value"])["effect"]
    assert row["net", "blocks", 3] == pytest.approx(1, abs=0.06)
    assert row["head", "blocks", 1] == pytest.approx(-2, abs=0.06)
    assert row["head", "resolution", 160] == pytest.approx(0, abs=0.06)


def saturating(space, archs):
    return 90 - 40 * np.exp(-law(space, archs) / 4)


def saturating_tables():
    """Of this law: what each candidate adds to the mean network, which is no sum over units."""
    decays = [np.exp(-own / 4) for own in worth_tables(DEEP, law)]
    usual = [design_weights(unit) @ own for unit, own in zip(DEEP.units, decays, strict=True)]
    level = 40 * np.exp(-mean_law() / 4) * np.prod(usual)
    return [-level * (own / mean - 1) for own, mean in zip(decays, usual, strict=True)]


@pytest.mark.parametrize(
    ("truth", "model"), [("sum", "linear"), pytest.param("saturating", "gp", marks=pytest.mark.slow)]
)
def test_intervals_hold_planted_effects(truth, model):
    """Several draws of 120 noisy labels: 90 % intervals of depths, layers and features hold the truth mostly."""
    tables, value = (worth_tables(DEEP, law), law) if truth == "sum" else (saturating_tables(), saturating)
    place = {unit.name: number for number, unit in enumerate(DEEP.units)}
    depths, features = [], []
    for seed in range(5):
        own = fitted(DEEP, value, 120, seed=seed, noise=0.2, model=model).explain()
        for row in own.places.itertuples():
            true = by_definition(DEEP.units[place[row.unit]], tables[place[row.unit]], row)
            (depths if row.feature == "depth" else features).append(row.lower <= true <= row.upper)
        for row in own.layers[own.layers["layer"] > 1].itertuples():
            at = place[row.unit]
            true = mean_where(DEEP.units[at], tables[at], lambda layers: len(layers) >= row.layer)  # noqa: B023
            depths.append(row.lower <= true <= row.upper)
    assert np.mean(depths) >= 0.8
    assert np.mean(features) >= 0.8


def mean_law():
    """Mean of the law over the design: that of each stage, summed."""
    return sum(
        np.mean([0.55 * depth + (1.75 * max(depth - 2, 0) if stage == 2 else 0) for depth in own.depths])
        for stage, own in enumerate(DEEP.units)
    )


@pytest.mark.parametrize("scorer", ["additive", "hopnorm"])
def test_whole_numbers_stay_whole_and_what_is_absent_is_said_so(scorer, capsys):
    """A unit without a kernel, and a feature of fractions: neither turns a kernel of 3 into 3.0, or none into nan."""
    space = ab.sequence_space(
        "mixed",
        {"a": [1, 2], "b": {"depth": [1, 2], "features": {"kernel": None, "width": [0.5, 1]}, "text": "w{width}"}},
        {"kernel": [3, 5], "width": [0.5, 1]},
        text="k{kernel}w{width}",
    )
    archs = list(dict.fromkeys(space.sample(120, 0, "depth")))
    values = [
        sum(layer["width"] + 0.2 * layer.get("kernel", 0) for run in space.layers(a) for layer in run) for a in archs
    ]
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "acc": values})
    labels = ab.LabelledSet.from_frame(frame, space)
    family = {"model": "graph", "config": ab.FitConfig(epochs=2)} if scorer == "hopnorm" else {"model": "linear"}
    scores = ab.fit(labels, "acc", **family).explain(scorer=scorer)
    kernels = set(scores.operations["kernel"])
    assert {str(value) for value in kernels} == {"3", "5", "None"}
    assert not any("nan" in text or "None" in text or "3.0" in text for text in scores.layers["best"])
    assert any("kernel=" in text for text in scores.layers["best"])
    values = scores.features.groupby("feature", sort=False)["value"].agg(list)
    assert {str(value) for value in values["width"]} == {"0.5", "1"}
    assert {"3", "5"} <= {str(value) for value in values["kernel"]} <= {"3", "5", "None"}
    page = scores._repr_html_()
    for wrong in ("<td>3.0</td>", "<td>None</td>", "NaN", "nan"):
        assert wrong not in page
    table(scores.operations, rows=100)
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    column = cells[0].index("kernel")
    assert {row[column] for row in cells[1:]} == {"3", "5", "-"}


def test_computed_terms_of_a_target_are_part_of_every_table():
    """What a cost term adds stands in the candidates' scores, and in the averages of them."""
    space = ab.space("tiny_mbconv")
    labels = ab.LabelledSet.read("tiny_mbconv", space, n=60)
    learned = ab.fit(labels, "acc", model="linear").explain().places
    scores = ab.fit(labels, "acc - 1e-5*cost.macs", model="linear").explain()
    tables = dict(zip([unit.name for unit in space.units], zip(space.units, scores.units, strict=True), strict=True))
    depths = scores.places[scores.places["feature"] == "depth"]
    for row in depths.itertuples():
        unit, scored = tables[row.unit]
        of_depth = unit.depth_of(np.arange(unit.size)) == row.value
        assert row.effect == pytest.approx(scored.score[of_depth].mean(), abs=1e-9)
    macs = ab.costs(space)["macs"]
    archs = space.sample(2000, 3, "depth")
    counted = -1e-5 * macs(archs).astype(float)
    for row, before in zip(depths.itertuples(), learned["effect"][depths.index], strict=True):
        place = [stage.name for stage in space.stages].index(row.unit)
        own = counted[[len(arch.runs[place]) == row.value for arch in archs]].mean() - counted.mean()
        assert row.effect - before == pytest.approx(own, abs=0.1 * counted.std())


def test_what_is_chosen_once_has_one_effect_and_layers_share_it(tmp_path):
    """Width once a unit, kernel in each layer: the width's effect stands in layer 0, and is not counted per layer."""
    path = tmp_path / "partly.yaml"
    path.write_text(
        "name: partly\nunits: {a: {depth: 1-3, tied: [width]}, b: {depth: 1-2, tied: [width]}}\n"
        "features: {kernel: [3, 5], width: [16, 24]}\ntext: 'w{width}k{kernel}'"
    )
    space = ab.space(path)

    def truth(space, archs):
        return np.array(
            [
                sum(
                    2.0 * (layers[0]["width"] == 24) + sum(0.5 * (own["kernel"] == 5) for own in layers)
                    for layers in arch
                )
                for arch in map(space.layers, archs)
            ]
        )

    scores = fitted(space, truth, 300, noise=0.0).explain()
    places = scores.places.query("feature == 'width'")
    assert set(places["layer"]) == {0}
    gap = (
        places.query("value == 24").set_index("unit")["effect"]
        - places.query("value == 16").set_index("unit")["effect"]
    )
    np.testing.assert_allclose(gap, 2.0, atol=0.05)
    arch = space.parse("w24k3-w24k5-w24k3|w16k3")
    layers = scores.node_scores(arch).query("unit == 'a'")["effect"].to_numpy()
    # half of 2.0 for the width, shared by three layers, and a quarter more or less for the kernel
    np.testing.assert_allclose(layers, 1 / 3 + np.array([-0.25, 0.25, -0.25]), atol=0.06)
