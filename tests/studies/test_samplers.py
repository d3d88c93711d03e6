"""Samplers of architectures: inside the space, none twice, the same from any worker, feasible first."""

import logging
import warnings

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.samplers import PartialFixedSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase
from optuna.trial import TrialState

import autobuild as ab
from autobuild.construct import hypervolume
from autobuild.construct.local_search import layers_apart
from autobuild.errors import ConfigError, SpaceError
from autobuild.studies.samplers import SAMPLERS, EvolutionSampler, GuidedSampler, make_sampler
from autobuild.studies.samplers.history import better
from autobuild.testing import SamplerConformance

NAMES = tuple(name for name in SAMPLERS if name != "motpe")
MACRO = ab.space("nas_bench_macro")


def of_population(size, name, space, **options):
    """A sampler whose population, if it has one, is so small that trials of a test fill it."""
    own = {"population": size} if "population" in SAMPLERS.parameters(name) else {}
    return make_sampler(name, space, **own, **options)


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def worth(arch):
    """A wide network, but not everywhere; stages act on each other."""
    digits = [int(c) for c in arch.text]
    return sum(digits[:5]) - 0.7 * sum(digits[5:]) + 2.0 * (digits[1] == digits[4] == 2)


def size(arch):
    return -float(sum(int(c) ** 2 for c in arch.text))


def run(sampler, space, n, grain="layer", study=None, targets=(worth,), constraint=None):
    study = study or optuna.create_study(directions=["maximize"] * len(targets), sampler=sampler)
    archs = []
    for _ in range(n):
        trial = study.ask()
        arch = space.suggest(trial, grain)
        if constraint:
            trial.set_constraint("limit", constraint(arch))
        study.tell(trial, [target(arch) for target in targets])
        archs.append(arch)
    return archs, study


def enter(study, space, archs, grain="layer", targets=(worth,), **given):
    for arch in archs:
        choices = {n: optuna.distributions.CategoricalDistribution(v) for n, v in space.choices(arch, grain).items()}
        study.add_trial(
            optuna.create_trial(
                params=space.params(arch, grain), distributions=choices, values=[t(arch) for t in targets], **given
            )
        )


def narrow(space, seed, most):
    rng = np.random.default_rng(seed)
    return space.restrict({u.name: np.sort(rng.choice(u.size, min(u.size, most), replace=False)) for u in space.units})


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("grain", ["layer", "unit"])
@pytest.mark.parametrize("name", NAMES)
def test_every_trial_is_a_new_network_of_the_space_and_nothing_is_complained_about(name, grain, n_targets, caplog):
    if name == "gp" and grain == "layer":
        pytest.skip("refused, see below")
    space = narrow(ab.space("ofa_mbv3"), 1, 40) if name != "guided" else MACRO
    optuna.logging.enable_propagation()
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "optuna"):
            warnings.simplefilter("error")
            sampler = of_population(10, name, space, grain=grain, n_targets=n_targets)
            targets = ((lambda arch: float(len(arch.text)), lambda arch: float(arch.text.count("3"))))[:n_targets]
            archs, study = run(sampler, space, 26, grain, targets=targets)
    finally:
        optuna.logging.disable_propagation()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert all(arch in space for arch in archs)
    assert len({space.key(arch) for arch in archs}) == 26
    for trial, arch in zip(study.trials, archs, strict=True):
        assert trial.params == space.params(arch, grain)


class TestShipped(SamplerConformance):
    @pytest.fixture(params=NAMES)
    def name(self, request):
        return request.param

    @pytest.fixture
    def grain(self, name):
        return "unit" if name == "gp" else "layer"

    @pytest.fixture
    def make(self, name, grain):
        return lambda space, seed: of_population(6, name, space, grain=grain, seed=seed)

    def test_a_stopped_search_continues(self, name, make, space, grain):
        if name == "gp":
            pytest.skip("Optuna's Gaussian process starts each fit at the one before")
        super().test_a_stopped_search_continues(make, space, grain)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "nsga3", "evolution", "gp", "guided"])
def test_what_was_learned_before_is_used(name):
    """Sixty labels of poor and good networks are entered: what comes next is better than chance."""
    grain = "unit" if name == "gp" else "layer"
    sampler = of_population(20, name, MACRO, grain=grain, seed=3)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    labelled = list({MACRO.key(a): a for a in MACRO.sample(90, 5, "uniform")}.values())[:60]
    enter(study, MACRO, labelled, grain)
    archs, _ = run(sampler, MACRO, 12, grain, study=study)
    values = np.array([worth(arch) for arch in labelled])
    assert np.mean([worth(arch) for arch in archs]) > np.quantile(values, 0.6)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "evolution", "guided"])
def test_feasible_networks_come_first(name):
    """The best networks break the constraint: what is proposed late mostly keeps it."""

    def limit(arch):
        return float(sum(int(c) for c in arch.text[:5])) - 5.0

    sampler = of_population(20, name, MACRO, seed=1)
    archs, _ = run(sampler, MACRO, 70, constraint=limit)
    chance = np.mean([limit(arch) <= 0 for arch in MACRO.sample(500, 0)])
    kept = np.mean([limit(arch) <= 0 for arch in archs[-25:]])
    assert kept > max(0.6, chance + 0.05)
    assert max(worth(a) for a in archs if limit(a) <= 0) >= 5 - 0.7 * 2


def test_constrained_domination_by_hand():
    low, high, mixed = np.array([1.0, 1.0]), np.array([2.0, 1.0]), np.array([0.0, 3.0])
    assert better(low, high)
    assert not better(high, low)
    assert not better(low, mixed)
    assert not better(low, low)
    assert better(high, low, 0.0, 0.5)
    assert not better(low, high, 0.5, 0.2)
    assert better(high, low, 0.2, 0.5)


def test_evolution_mutates_the_best_of_the_youngest():
    space = ab.space("ofa_mbv3")

    def wide(arch):
        return arch.text.count("6") + 0.5 * arch.text.count("k7")

    archs, _ = run(EvolutionSampler(space, seed=0, population=8, sample=8), space, 60, targets=(wide,))
    for number in range(8, 60):
        alive = archs[number - 8 : number]
        parents = [arch for arch in alive if wide(arch) == max(map(wide, alive))]
        assert min(layers_apart(archs[number], parent) for parent in parents) == 1
    assert max(map(wide, archs[:8])) < max(map(wide, archs))


@pytest.mark.parametrize("level", ["layer", "unit", "candidate"])
def test_mutation_acts_where_it_is_told_to(level):
    space = ab.space("ofa_mbv3")
    sampler = EvolutionSampler(space, seed=0, population=2, sample=1, mutation=level)
    changed = []
    archs, _ = run(sampler, space, 40, targets=(lambda arch: 1.0,))
    for number in range(2, 40):
        near = min(
            (sum(a != b for a, b in zip(space.indices(archs[number]), space.indices(old), strict=True)),
             layers_apart(archs[number], old))
            for old in archs[number - 2 : number]
        )  # fmt: skip
        changed.append(near)
    assert all(units == 1 for units, _ in changed)
    layers = np.mean([layers for _, layers in changed])
    assert {"layer": layers == 1, "unit": 1 < layers < 3.2, "candidate": layers > 2.8}[level]


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
@pytest.mark.parametrize("level", ["layer", "unit", "candidate"])
def test_children_mutate_at_the_level_that_was_chosen(name, level, monkeypatch):
    space, seen = ab.space("ofa_mbv3"), []
    mutate = type(space).mutate
    monkeypatch.setattr(
        type(space), "mutate", lambda self, arch, rng, at="layer": seen.append(at) or mutate(self, arch, rng, at)
    )
    run(make_sampler(name, space, population=4, mutation=level), space, 30, targets=(lambda a: float(len(a.text)),))
    assert len(seen) > 8
    assert set(seen) == {level}


@pytest.mark.parametrize("grain", ["layer", "unit"])
def test_tpe_proposes_jointly_over_the_groups_of_parameters_that_trials_share(grain):
    """Layers that only deep networks have included: each parameter in one group, and one proposal for all of them."""
    space = narrow(ab.space("ofa_mbv3"), 1, 40)
    sampler = make_sampler("tpe", space, grain=grain)
    _, study = run(sampler, space, 30, grain, targets=(lambda arch: float(len(arch.text)),))
    seen = {name for trial in study.trials for name in trial.params}
    always = set.intersection(*(set(trial.params) for trial in study.trials))
    assert (always < seen) == (grain == "layer")
    trial = study.ask()
    joint = sampler.inner.infer_relative_search_space(study, trial)
    assert set(joint) == seen
    assert set(sampler.inner.sample_relative(study, trial, joint)) == seen
    groups = [set(group) for group in sampler.inner._search_space_group.search_spaces]
    assert sum(map(len, groups)) == len(seen)
    assert (len(groups) > 1) == (grain == "layer")


def test_qmc_covers_every_choice_evenly():
    sampler = make_sampler("qmc", MACRO, seed=0)
    archs, _ = run(sampler, MACRO, 81)
    for place in range(8):
        counts = np.bincount([int(arch.text[place]) for arch in archs], minlength=3)
        assert counts.max() - counts.min() <= 14, (place, counts)


# --- the model-guided one -----------------------------------------------------------------------------------------


def labels(archs, **targets):
    frame = pd.DataFrame({"arch": [a.text for a in archs], **{n: [t(a) for a in archs] for n, t in targets.items()}})
    return ab.LabelledSet.from_frame(frame, MACRO)


def test_guided_finds_the_best_in_a_narrowed_space_with_labels_from_outside():
    drawn = list({MACRO.key(a): a for a in MACRO.sample(120, 2)}.values())[:70]
    small = MACRO.restrict({"stage1": [a for a in MACRO.units[0].texts(np.arange(9)) if a[1] == "2"]})
    outside = [arch for arch in drawn if arch not in small]
    assert len(outside) > 30
    sampler = make_sampler("guided", small, prior=labels(outside, acc=worth), seed=0)
    archs, _ = run(sampler, small, 10)
    best = max(worth(small.assemble(i)) for i in np.ndindex(*(u.size for u in small.units)))
    assert max(map(worth, archs)) == best
    assert sampler.predict(archs).shape == (10, 1)
    assert np.corrcoef(sampler.predict(archs)[:, 0], [worth(a) for a in archs])[0, 1] > 0.5


def test_guided_fits_again_every_k_trials(monkeypatch):
    fits = []
    original = GuidedSampler._model
    monkeypatch.setattr(
        GuidedSampler, "_model", lambda self, rows, column: fits.append(len(rows)) or original(self, rows, column)
    )
    prior = labels(list(dict.fromkeys(MACRO.sample(40, 2, "uniform")))[:30], acc=worth)
    run(make_sampler("guided", MACRO, prior=prior, refit_every=4), MACRO, 10)
    assert fits == [30, 34, 38]


def test_guided_widens_a_front_more_than_chance():
    def volume(archs):
        return hypervolume([(worth(a), size(a)) for a in archs], (-5.0, -33.0))

    guided, _ = run(make_sampler("guided", MACRO, n_targets=2, seed=1), MACRO, 60, targets=(worth, size))
    drawn = [
        run(make_sampler("random", MACRO, n_targets=2, seed=s), MACRO, 60, targets=(worth, size))[0] for s in (1, 2)
    ]
    assert volume(guided) > max(map(volume, drawn)) * 1.1


# --- Optuna around it ---------------------------------------------------------------------------------------------


def test_parameters_of_the_users_own_enqueued_trials_and_fixed_ones():
    space = ab.space("ofa_mbv3")
    sampler = make_sampler("evolution", space, population=4)
    study = optuna.create_study(sampler=sampler)
    wanted = space.sample(1, 9)[0]
    study.enqueue_trial(space.params(wanted))
    seen = []

    def objective(trial):
        seen.append(space.suggest(trial))
        return trial.suggest_float("lr", 0, 1) + len(seen[-1].text)

    study.optimize(objective, n_trials=8)
    assert seen[0] == wanted
    assert len(set(seen)) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = PartialFixedSampler({"stage1.depth": 2}, sampler)
    study.optimize(objective, n_trials=5)
    assert all(len(arch.runs[0]) == 2 for arch in seen[8:])


def test_hyperband_and_threads():
    study = optuna.create_study(
        direction="maximize", sampler=make_sampler("tpe", MACRO), pruner=optuna.pruners.HyperbandPruner(1, 9)
    )

    def objective(trial):
        arch = MACRO.suggest(trial)
        for step in range(9):
            trial.report(worth(arch) * (step + 1) / 9, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return worth(arch)

    study.optimize(objective, n_trials=30, n_jobs=2)
    keys = [MACRO.key(MACRO.from_params(trial.params)) for trial in study.trials]
    assert len(set(keys)) >= 28  # threads may ask at the same moment: claims are the search's business
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}


class Conformance(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    pass


class TestRandom(Conformance):
    @pytest.fixture
    def sampler(self):
        return lambda: make_sampler("random", MACRO)


class TestEvolution(Conformance):
    @pytest.fixture
    def sampler(self):
        return lambda: make_sampler("evolution", MACRO, population=4)


class TestTPE(Conformance):
    @pytest.fixture
    def sampler(self):
        return lambda: make_sampler("tpe", MACRO)


class TestNSGA(Conformance):
    @pytest.fixture
    def sampler(self):
        return lambda: make_sampler("nsga2", MACRO, population=4)


def test_mistakes_are_named():
    big = ab.space("ofa_mbv3")
    with pytest.raises(ConfigError, match="did you mean 'evolution'"):
        make_sampler("evoluton", MACRO)
    with pytest.raises(ConfigError, match=r"every trial has.*grain='unit'"):
        make_sampler("gp", MACRO)
    with pytest.raises(SpaceError, match=r"7,371.*narrow"):
        make_sampler("gp", big, grain="unit")
    with pytest.raises(ConfigError, match="sampler='tpe'"):
        make_sampler("motpe", MACRO)
    with pytest.raises(SpaceError, match="did you mean 'layer'"):
        make_sampler("evolution", MACRO, mutation="layers")
    for name in ("evolution", "nsga2"):
        with pytest.raises(ConfigError, match="population=1"):
            make_sampler(name, MACRO, population=1)
    prior = labels(list(dict.fromkeys(MACRO.sample(40, 2, "uniform")))[:30], acc=worth)
    with pytest.raises(ConfigError, match="for 2 objectives"):
        make_sampler("guided", MACRO, prior=prior, n_targets=2)
    with pytest.raises(ConfigError, match=r"'nas_bench_macro'.*'ofa_mbv3'"):
        make_sampler("guided", big, prior=prior)
    with pytest.raises(ConfigError, match="did you mean 'gp'"):
        make_sampler("guided", MACRO, model="gpp")
    with pytest.raises(ConfigError, match="refit_every=0"):
        make_sampler("guided", MACRO, refit_every=0)
    with pytest.raises(ConfigError, match="n_targets=0"):
        make_sampler("tpe", MACRO, n_targets=0)
    assert isinstance(make_sampler("auto", MACRO, prior=prior), GuidedSampler)
    assert not isinstance(make_sampler("auto", MACRO), GuidedSampler)
