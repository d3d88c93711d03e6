"""Spaces as parameters of a search engine, at both grains: inverse, valid by construction, and usable by Optuna."""

import logging
import warnings

import hypothesis.strategies as st
import numpy as np
import optuna
import pytest
from hypothesis import given, settings

import autobuild as ab
from autobuild.errors import SpaceError
from autobuild.spaces import Feature, SearchSpace, Stage, Unit
from autobuild.spaces.parameters import MAX_CHOICES, Parameters, default_grain
from autobuild.spaces.sampling import big_integer


class Recorded:
    """A trial that draws at random and writes down what it was asked."""

    def __init__(self, seed):
        self.rng, self.asked = np.random.default_rng(seed), {}

    def suggest_categorical(self, name, choices):
        assert name not in self.asked, "asked twice"
        assert len(choices) > 1
        value = choices[int(self.rng.integers(len(choices)))]
        self.asked[name] = (value, tuple(choices))
        return value


def subset(space, seed, most=30):
    """A few random candidates of every unit."""
    rng = np.random.default_rng(seed)
    kept = {}
    for unit in space.units:
        n = int(rng.integers(1, min(most, unit.size) + 1))
        kept[unit.name] = sorted({big_integer(rng, unit.size) for _ in range(n)})
    return space.restrict(kept)


def strange():
    """Two stages a name cannot tell apart but by number; values of many kinds; a wide layer."""
    odd = Feature("odd", ("one", 1, "a|b", "b", None))
    wide = Feature("wide", tuple(range(600)))
    return SearchSpace(
        "strange",
        [
            Unit("x", [Stage("s.1", (1, 3), (odd,), "{odd}", separator="/")]),
            Unit("y", [Stage("s", (1,), (odd, wide), "{odd}w{wide}", separator="/")]),
        ],
        separator=";",
    )


def spaces():
    mbv3, proxyless = ab.space("ofa_mbv3"), ab.space("ofa_proxyless")
    return {
        **{name: ab.space(name) for name in ab.space_names()},
        "by value": mbv3.restrict(kernel=(3, 7), depth=(2, 4)),
        "few": subset(mbv3, 0),
        "joined": proxyless.join_units("stage5", "stage6"),
        "few joined": subset(proxyless.restrict(expand=6, depth=(1, 2)).join_units("stage4", "stage5"), 1),
        "few tied": subset(ab.space("mnasnet").join_units(0, 1, 2), 2),
        "few cells": subset(ab.space("nas_bench_201").join_units(0, 1, 2), 3),
        "few of macro": subset(ab.space("nas_bench_macro"), 4),
        "few of unet": subset(ab.space("sd_unet"), 5),
        "strange": strange(),
        "few strange": subset(strange(), 6, most=300),
        "one": mbv3.restrict({unit.name: [0] for unit in mbv3.units}),
    }


SPACES = spaces()


def grains(space):
    return ("layer", "unit") if max(unit.size for unit in space.units) <= MAX_CHOICES else ("layer",)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32 - 1))
def test_what_is_suggested_is_what_is_read_back(name, seed):
    space = SPACES[name]
    for grain in grains(space):
        trial = Recorded(seed)
        arch = space.suggest(trial, grain)
        assert arch in space
        assert space.parse(arch.text) == arch
        assert space.params(arch, grain) == {key: value for key, (value, _) in trial.asked.items()}
        assert space.choices(arch, grain) == {key: choices for key, (_, choices) in trial.asked.items()}
        assert list(space.params(arch, grain)) == list(trial.asked)
        drawn = space.sample(1, seed)[0]
        assert space.from_params({**space.params(drawn, grain), "lr": 0.1}, grain) == drawn


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["few", "few joined", "few tied", "few cells", "few strange"]), st.integers(0, 1000))
def test_every_candidate_of_a_narrowed_unit_can_be_reached_and_no_other(name, seed):
    space = SPACES[name]
    reached = {}
    for arch in space.sample(20, seed):
        for choice, _ in Parameters(space).items(arch):
            assert reached.setdefault(choice.name, choice.values) == choice.values  # one name, one set of choices
            assert choice.name.startswith(choice.place)


def test_all_answers_lead_to_all_architectures():
    space = subset(ab.space("nas_bench_macro"), 4, most=6)
    everything = {space.assemble(index).text for index in np.ndindex(*(unit.size for unit in space.units))}

    def leaves(answers):
        found = set()

        def pick(choice):
            if answers:
                return answers.pop(0)
            found.update(choice.values)
            raise StopIteration

        try:
            return Parameters(space).walk(pick).text, found
        except StopIteration:
            return None, found

    waiting, archs = [[]], []
    while waiting:
        prefix = waiting.pop()
        text, more = leaves(list(prefix))
        if text:
            archs.append(text)
        waiting += [[*prefix, value] for value in more]
    assert len(archs) == len(set(archs))
    assert set(archs) == everything


def test_names_by_hand():
    mbv3 = ab.space("ofa_mbv3")
    arch = mbv3.parse("e3k3-e4k5|e6k7-e6k7-e6k7|e3k3-e3k3|e3k3-e3k3|e3k3-e3k3")
    params = mbv3.params(arch)
    assert list(params)[:5] == [
        "stage1.depth",
        "stage1.1.expand",
        "stage1.1.kernel",
        "stage1.2.expand",
        "stage1.2.kernel",
    ]
    assert params["stage1.2.kernel"] == 5
    assert "stage1.3.kernel" not in params
    assert mbv3.choices(arch)["stage2.depth"] == (2, 3, 4)
    cell = ab.space("nas_bench_201")
    assert list(cell.params(cell.sample(1, 0)[0]))[:2] == ["edge01.op", "edge02.op"]
    block = ab.space("mnasnet")
    assert list(block.params(block.sample(1, 0)[0]))[:3] == ["block0.depth", "block0.expand", "block0.kernel"]
    few = mbv3.restrict({"stage1": ["e3k3-e4k5", "e3k3-e4k7", "e3k3-e3k3-e6k7"]})
    assert few.choices(few.parse("e3k3-e4k7" + arch.text[9:])) == {
        "stage1.depth[2|3]": (2, 3),
        "stage1.2.kernel[5|7]": (5, 7),
        **{name: values for name, values in mbv3.choices(arch).items() if not name.startswith("stage1")},
    }
    few = ab.space("nas_bench_201").restrict({"edge01": [0, 3]})
    assert "edge01.op[none|nor_conv_3x3]" in few.params(few.sample(1, 0)[0])


def test_unit_grain_is_a_candidate_a_unit():
    space = ab.space("ofa_mbv3").restrict({"stage1": ["e3k3-e3k3"], "stage2": range(512)}).restrict(depth=2, kernel=3)
    arch = space.sample(1, 0)[0]
    params = space.params(arch, "unit")
    assert list(params) == ["stage2", "stage3", "stage4", "stage5"]  # stage1 has no choice left
    assert "|".join(["e3k3-e3k3", *params.values()]) == arch.text


def test_a_unit_too_large_is_refused_by_name():
    space = ab.space("ofa_mbv3").restrict({name: [0] for name in ("stage1", "stage2", "stage4", "stage5")})
    for ask in (lambda: space.suggest(Recorded(0), "unit"), lambda: space.from_params({}, "unit")):
        with pytest.raises(SpaceError, match=r"'stage3' has 7,371 candidates.*512.*narrow"):
            ask()
    assert default_grain(space) == "layer"
    assert default_grain(space.restrict({"stage3": range(64)})) == "unit"
    exactly = space.restrict({"stage3": range(512)})
    assert len(exactly.choices(exactly.sample(1, 0)[0], "unit")["stage3"]) == 512


def test_mistakes_are_named():
    space = ab.space("nas_bench_macro")
    arch = space.parse("00000000")
    with pytest.raises(SpaceError, match="did you mean 'unit'"):
        space.params(arch, "units")
    with pytest.raises(SpaceError, match=r"'stage1.1.op' is missing"):
        space.from_params({"stage1.2.op": 0})
    with pytest.raises(SpaceError, match=r"'stage1.1.op' is 7: .*accepted: 0, 1, 2"):
        space.from_params({**space.params(arch), "stage1.1.op": 7})
    with pytest.raises(SpaceError, match="is \\[0\\]"):
        space.from_params({**space.params(arch), "stage1.1.op": [0]})
    small = space.restrict({"stage1": ["00", "01"]})
    for outside in ("11000000", "22000000"):
        with pytest.raises(SpaceError, match=f"'{outside[:2]}' is not among the 2 candidates"):
            small.params(space.parse(outside))
    with pytest.raises(SpaceError, match="ofa_mbv3"):
        space.params(ab.space("ofa_mbv3").sample(1, 0)[0])


def test_a_long_list_of_what_remains_is_shortened_and_stays_unique():
    space = strange()
    kept = [space.units[1].index(f"1w{i}") for i in range(0, 600, 2)]
    small = space.restrict({"y": kept})
    names = [name for name in small.params(small.sample(1, 0)[0]) if "wide" in name]
    other = space.restrict({"y": [space.units[1].index(f"bw{i}") for i in range(1, 600, 2)]})
    others = [name for name in other.params(other.sample(1, 0)[0]) if "wide" in name]
    assert len(names) == len(others) == 1
    assert "300 of 600" in names[0]
    assert "300 of 600" in others[0]
    assert names != others
    assert max(map(len, [*names, *others])) < 120


@pytest.mark.parametrize("name", ["ofa_mbv3", "few", "few joined", "mnasnet", "few cells", "sd_unet"])
@pytest.mark.parametrize("grain", ["layer", "unit"])
def test_objectives_that_users_write_themselves(name, grain, caplog):
    """Define by run, TPE with groups: no warning, no error, and every trial reads back."""
    space = SPACES[name]
    if grain not in grains(space):
        pytest.skip("a unit has over 512 candidates")
    seen = []

    def objective(trial):
        arch = space.suggest(trial, grain)
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        seen.append(arch)
        return len(arch.text) + lr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=0)
    study = optuna.create_study(sampler=sampler)
    optuna.logging.enable_propagation()
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "optuna"):
            warnings.simplefilter("error")
            study.optimize(objective, n_trials=30)
    finally:
        optuna.logging.disable_propagation()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []
    for trial, arch in zip(study.trials, seen, strict=True):
        assert space.from_params(trial.params, grain) == arch
        distributions = {key: d.choices for key, d in trial.distributions.items() if key != "lr"}
        assert distributions == space.choices(arch, grain)


def test_finished_trials_can_be_entered_and_read_by_another_storage(tmp_path):
    space = SPACES["few joined"]
    archs = space.sample(20, 0)
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/s.db", study_name="s")
    for number, arch in enumerate(archs):
        distributions = {
            name: optuna.distributions.CategoricalDistribution(values) for name, values in space.choices(arch).items()
        }
        study.add_trial(
            optuna.create_trial(params=space.params(arch), distributions=distributions, values=[float(number)])
        )
    again = optuna.load_study(storage=f"sqlite:///{tmp_path}/s.db", study_name="s")
    assert [space.from_params(trial.params) for trial in again.trials] == archs
    again.optimize(lambda trial: len(space.suggest(trial).text), n_trials=5)


def test_what_is_no_trial_no_architecture_and_no_parameters_is_told():
    space = ab.space("tiny_mbconv")
    arch = space.sample(1, seed=0)[0]
    assert space.params(arch.text) == space.params(arch)
    for wrong in (None, {}, optuna.create_study()):
        with pytest.raises(SpaceError, match=r"trial=.*: a trial of Optuna is accepted"):
            space.suggest(wrong)
    for wrong in (None, 3, "e9k3"):
        with pytest.raises(SpaceError, match=str(wrong)):
            space.params(wrong)
    for wrong in (None, 3, ["e3"]):
        with pytest.raises(SpaceError, match=r"params=.*: a mapping name -> value is accepted"):
            space.from_params(wrong)
    for wrong in (2.5, "3", True, -1):
        with pytest.raises(SpaceError, match=f"cannot draw {wrong!r} architectures"):
            space.sample(wrong)
    with pytest.raises(SpaceError, match="space None: a name"):
        ab.space(None)
