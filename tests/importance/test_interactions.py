"""Interactions: planted ones are found and ranked first, with honest intervals; additive truths give none."""

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.errors import ConfigError
from autobuild.importance.interactions import find_interactions

SPACE = ab.sequence_space(
    "four",
    {f"stage{i}": [2, 3, 4] for i in (1, 2, 3, 4)},
    {"expand": [3, 4, 6], "kernel": [3, 5, 7]},
    text="e{expand}k{kernel}",
)


def planted(seed, size, bend=False, rows=200, noise=0.15):
    """Labels from a law of each choice alone, and two pairs worth ``size``, as :class:`LabelledSet`."""
    law = np.random.default_rng(100 + seed)
    worth, depth = law.normal(size=(4, 4, 2, 3)) * 0.3, law.normal(size=(4, 3)) * 0.6

    def truth(arch):
        stages = SPACE.layers(arch)
        value = sum(
            depth[s, len(layers) - 2]
            + sum(
                worth[s, i, 0, [3, 4, 6].index(layer["expand"])] + worth[s, i, 1, [3, 5, 7].index(layer["kernel"])]
                for i, layer in enumerate(layers)
            )
            for s, layers in enumerate(stages)
        )
        value += size * (stages[1][0]["kernel"] == 5 and len(stages[2]) == 3)
        value -= size * (stages[0][0]["expand"] == 6 and stages[3][0]["kernel"] == 7)
        return 3 * np.tanh(value / 6) if bend else value

    archs = list(dict.fromkeys(SPACE.sample(2 * rows, seed=seed)))[:rows]
    values = np.array([truth(arch) for arch in archs])
    values += noise * values.std() * np.random.default_rng(seed).standard_normal(rows)
    return ab.LabelledSet.from_frame(pd.DataFrame({"arch": [a.text for a in archs], "acc": 70 + values}), SPACE)


@pytest.fixture(scope="module")
def found():
    return find_interactions(ab.fit(planted(0, 1.2), "acc", model="linear"))


def test_two_planted_pairs_are_found_first_and_nothing_else(found):
    places = {frozenset((f.unit, f.layer, f.feature) for f in (p.first, p.second)) for p in found.pairs}
    assert places == {
        frozenset([("stage2", 1, "kernel"), ("stage3", 0, "depth")]),
        frozenset([("stage1", 1, "expand"), ("stage4", 1, "kernel")]),
    }
    pairs = found.units[found.units["unit"] != found.units["other"]].head(2)
    assert {frozenset(row) for row in zip(pairs["unit"], pairs["other"], strict=True)} == {
        frozenset(["stage2", "stage3"]),
        frozenset(["stage1", "stage4"]),
    }
    assert found.units["variance_share"].sum() == pytest.approx(1)


def test_effects_are_those_that_were_planted(found):
    """Of a value that pays 1.2 with one of three others, 1.2 * 2/3 * 2/3 is left beside the effects of both alone."""
    rows = found.choices.set_index(["unit", "layer", "feature", "value", "with_unit", "with_feature", "with_value"])
    pays = rows.loc[("stage2", 1, "kernel", 5, "stage3", "depth", 3)]
    assert pays["lower"] < 1.2 * 4 / 9 < pays["upper"]
    assert pays["upper"] - pays["lower"] < 0.4
    assert "kernel 5 in layer 1 of stage2 raises the target" in str(found)
    assert "with depth 3 of stage3" in str(found)
    # without the pair, the worth of the kernel is what the law says; with it 1.2 more
    pair = next(p for p in found.pairs if p.first.unit == "stage2")
    (with_, _), (without, _) = pair.given_second[:, 1, 1], pair.without_second[:, 1, 1]
    assert with_ - without == pytest.approx(1.2, abs=0.25)


def test_intervals_hold_the_truth_over_draws():
    held = []
    for seed in range(1, 7):
        frame = find_interactions(ab.fit(planted(seed, 1.2), "acc", model="linear")).choices
        for row in frame.itertuples():
            if (row.unit, row.feature, row.with_feature) == ("stage2", "kernel", "depth"):
                truth = 1.2 * ((row.value == 5) - 1 / 3) * ((row.with_value == 3) - 1 / 3)
                held.append(row.lower <= truth <= row.upper)
    assert len(held) >= 45
    assert 0.75 < np.mean(held) <= 1


@pytest.mark.parametrize(("bend", "noise"), [(False, 0.05), (False, 0.5), (True, 0.1)])
def test_additive_truths_give_none(bend, noise):
    for seed in range(4):
        model = ab.fit(planted(seed, 0.0, bend, noise=noise), "acc", model="linear")
        assert not len(find_interactions(model))
    assert "no pair of choices interacts" in str(find_interactions(model))


def test_scores_have_them_whatever_the_model_and_space(small_labels, small_model):
    assert list(small_model.explain().interactions.choices)[-4:] == ["effect", "lower", "upper", "n_seen"]
    costed = ab.fit(small_labels, "acc - 0.1*latency", model="linear").explain()
    assert costed.interactions.rows == len(small_labels)
    assert costed.interactions._repr_html_().startswith("<p>")
    one = ab.sequence_space("one", {"only": 1}, {"w": list(range(8))}, text="w{w}")
    rows = {"arch": [f"w{i}" for i in range(8)], "acc": np.arange(8.0)}
    labels = ab.LabelledSet.from_frame(pd.DataFrame(rows), one)
    assert len(find_interactions(ab.fit(labels, "acc", model="linear"))) == 0


def test_the_change_between_two_networks_adds_up(small_labels):
    scores = ab.fit(small_labels, "acc", model="gp").explain()
    a, b = (small_labels.archs[row] for row in (0, 7))
    change = scores.explain_change(a, b.text)
    total = float(scores.model.predict_mean([b])[0] - scores.model.predict_mean([a])[0])
    assert change["unit"].iloc[-1] == "total"
    assert change["contribution"].iloc[-1] == pytest.approx(total)
    assert change["contribution"].iloc[:-1].sum() == pytest.approx(total)
    assert (change["lower"] <= change["upper"]).all()
    assert scores.explain_change(a, a)["contribution"].tolist() == [0.0]
    why = scores.why(b)["contribution"]
    assert why.iloc[:-1].sum() == pytest.approx(why.iloc[-1])


def test_shapley_values_are_exact_and_sampled_alike():
    """A product of twelve units' values has a known Shapley value; sampled orders come near it, and add up."""
    from autobuild.importance import changes

    for count in (3, 12):
        totals = np.zeros(count)
        for (unit, before, after), weight in changes._steps(count):
            worth = [float(bin(mask).count("1") ** 2) for mask in (before, after)]
            totals[unit] += weight * (worth[1] - worth[0])
        assert totals.sum() == pytest.approx(count**2)
        np.testing.assert_allclose(totals, count, rtol=1e-9 if count == 3 else 0.35)


def test_models_are_compared_in_units_of_their_targets(small_labels):
    models = [ab.fit(small_labels, target, model="linear").explain() for target in ("acc", "-latency")]
    compared = ab.compare(models, names=["accuracy", "speed"])
    np.testing.assert_allclose(compared.frame["speed"], -2 * compared.frame["accuracy"], atol=0.05)
    assert compared.agreement.loc["accuracy", "speed"] < -0.9
    assert "accuracy" in compared._repr_html_()
    for wrong, names in ((models[:1], None), (models, ["a", "a"]), ([*models, 3], None)):
        with pytest.raises(ConfigError):
            ab.compare(wrong, names)


def test_the_map_of_effects_holds_every_place(small_labels):
    scores = ab.fit(small_labels, "acc", model="linear").explain()
    table = scores.effect_map
    row = scores.places.iloc[3]
    assert table.loc[(row["unit"], row["layer"]), (row["feature"], row["value"])] == row["effect"]
    assert table.notna().sum().sum() == len(scores.places)
