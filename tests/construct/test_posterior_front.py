"""Narrowing for several targets: fronts of joint draws, what they promise of the true front, and what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import autobuild as ab
from autobuild.construct import (
    Additive,
    Limited,
    Metric,
    NoNetworkError,
    front_scores,
    narrow_probable,
    narrow_units,
    parse_where,
    probable_front,
    widen,
)
from autobuild.construct._posterior import _votes
from autobuild.construct.dominance import first_fronts, fronts, undominated


@pytest.fixture(scope="module")
def planted():
    """512 architectures."""
    return ab.sequence_space(
        "planted", {"a": 1, "b": 1, "c": 1}, {"width": [1, 2, 3, 4], "kernel": [3, 5]}, text="w{width}k{kernel}"
    )


def everything(space):
    return [space.assemble(index) for index in np.ndindex(*(unit.size for unit in space.units))]


def beaten(values, row):
    """By brute force: another row is as good in everything and better in something."""
    return any((other >= values[row]).all() and (other > values[row]).any() for other in values)


class Bayesian:
    """An additive truth drawn from N(0, 1), and what noisy measurements of some networks leave open of it, exactly."""

    def __init__(self, space, seed, n=40, noise=0.7):
        rng = np.random.default_rng(seed)
        self.space, self.sizes = space, [unit.size for unit in space.units]
        self.starts = np.cumsum([0, *self.sizes[:-1]])
        self.truth = rng.normal(size=sum(self.sizes))
        self.training_archs = space.sample(n, rng)
        rows = self.rows(self.training_archs)
        measured = rows @ self.truth + noise * rng.normal(size=n)
        self.spread = np.linalg.inv(np.eye(len(self.truth)) + rows.T @ rows / noise**2)
        self.mean = self.spread @ rows.T @ measured / noise**2
        self.root = np.linalg.cholesky(self.spread)

    def rows(self, archs):
        found = np.zeros((len(archs), sum(self.sizes)))
        for row, arch in zip(found, archs, strict=True):
            row[self.starts + self.space.indices(arch)] = 1
        return found

    def true(self, archs):
        return self.rows(archs) @ self.truth

    def predict_mean(self, archs):
        return self.rows(archs) @ self.mean

    def intervals(self, archs, level):
        rows = self.rows(archs)
        mean, sd = rows @ self.mean, np.sqrt(((rows @ self.root) ** 2).sum(axis=1))
        return mean, mean - 1.2816 * sd, mean + 1.2816 * sd

    def draw(self, archs, count, seed):
        drawn = self.mean[:, None] + self.root @ np.random.default_rng(seed).normal(size=(len(self.mean), count))
        return (self.rows(archs) @ drawn).T

    @property
    def scores(self):
        ends = [*self.starts[1:], len(self.mean)]
        names = [unit.name for unit in self.space.units]
        return {name: self.mean[a:b] for name, a, b in zip(names, self.starts, ends, strict=True)}


@pytest.mark.parametrize("targets", [2, 3])
def test_the_true_front_stays_inside_as_much_as_is_stated(planted, targets):
    """Truths drawn from what the models believe: then what is stated holds on average, to the error of the average."""
    every = everything(planted)
    stated, kept = [], []
    for repeat in range(16):
        models = [Bayesian(planted, 100 * repeat + number) for number in range(targets)]
        scores = [model.scores for model in models]
        probable = probable_front(models, planted, scores, seed=repeat)
        assert probable.weight.sum() == pytest.approx(1)
        assert probable.best.sum() == pytest.approx(1)
        small, held = narrow_probable(planted, front_scores(scores), probable, mass=0.7)
        assert held >= 0.7 - 1e-9
        assert held == pytest.approx(sum(
            vote for row, vote in zip(probable.indices, probable.best, strict=True) if planted.assemble(row) in small
        ))  # fmt: skip
        front = undominated(np.stack([model.true(every) for model in models], axis=1))
        stated.append(held)
        kept.append(np.mean([every[place] in small for place in front]))
    error = np.std(np.array(kept) - stated) / np.sqrt(len(kept))
    assert np.mean(kept) >= np.mean(stated) - 2 * error
    assert error < 0.1


def test_a_share_is_kept_to_and_holds_more_of_the_front_than_chance_and_than_one_target(planted):
    every = everything(planted)
    inside = {"front": [], "first target": [], "chance": []}
    for repeat in range(8):
        models = [Bayesian(planted, 1000 + 100 * repeat + number) for number in range(2)]
        front = undominated(np.stack([model.true(every) for model in models], axis=1))
        scores = [model.scores for model in models]
        probable = probable_front(models, planted, scores, seed=0)
        small, _ = narrow_probable(planted, front_scores(scores), probable, share=0.1)
        assert small.size <= 51
        inside["front"].append(np.mean([every[place] in small for place in front]))
        alone, _ = narrow_probable(
            planted, scores[0], probable_front(models[:1] * 2, planted, scores[:1] * 2, seed=0), share=0.1
        )
        inside["first target"].append(np.mean([every[place] in alone for place in front]))
        inside["chance"].append(small.size / 512)
    means = {name: np.mean(values) for name, values in inside.items()}
    assert means["front"] > means["first target"] > means["chance"]


class Sure:
    """A model that knows."""

    def __init__(self, space, truth):
        self.space, self.truth, self.training_archs = space, truth, []

    def predict_mean(self, archs):
        return np.array([self.truth(arch) for arch in archs])

    def intervals(self, archs, level):
        return (self.predict_mean(archs),) * 3

    def draw(self, archs, count, seed):
        return None


def test_what_is_known_for_sure_is_the_front_itself(planted):
    """Units act on each other in one target, so that sums over units cannot tell the front."""

    def widths(arch):
        return [layer["width"] for (layer,) in planted.layers(arch)]

    truths = [
        lambda arch: 3.0 * (widths(arch)[0] == widths(arch)[1]) + widths(arch)[2] + 0.01 * str(arch).count("k5"),
        lambda arch: -1.0 * sum(widths(arch)) - 0.3 * str(arch).count("k5"),
    ]
    every = everything(planted)
    values = np.array([[truth(arch) for truth in truths] for arch in every])
    front = {every[row] for row in range(512) if not beaten(values, row)}
    models = [Sure(planted, truth) for truth in truths]
    flat = [{unit.name: np.zeros(8) for unit in planted.units}] * 2
    probable = probable_front(models, planted, flat)
    voted = {planted.assemble(row): vote for row, vote in zip(probable.indices, probable.best, strict=True) if vote > 0}
    assert {values[every.index(arch)].tobytes() for arch in voted} == {
        values[every.index(arch)].tobytes() for arch in front
    }
    np.testing.assert_allclose(list(voted.values()), 1 / len(voted))
    small, held = narrow_probable(planted, front_scores(flat), probable, mass=1.0)
    assert held == pytest.approx(1)
    assert all(arch in small for arch in voted)
    assert small.size < 512
    again = probable_front(models, planted, flat)
    assert (again.indices == probable.indices).all()
    assert (again.best == probable.best).all()


@settings(max_examples=60, deadline=None)
@given(arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 4)), elements=st.integers(0, 9)))
def test_votes_are_those_of_fronts_found_by_brute_force(drawn):
    weight, best = _votes(drawn)
    expected = np.zeros(drawn.shape[1])
    for draw in drawn:
        front = [row for row in range(len(draw)) if not beaten(draw, row)]
        front = [row for row in front if not any((draw[row] == draw[other]).all() for other in range(row))]
        expected[front] += 1 / len(front) / len(drawn)
    np.testing.assert_allclose(best, expected)
    assert weight.sum() == pytest.approx(1)
    assert (weight[best > 0] > 0).all()


@settings(max_examples=60, deadline=None)
@given(arrays(float, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=st.integers(0, 6)), st.integers(1, 70))
def test_fronts_come_one_after_another(values, most):
    found = list(fronts(values))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(values)))
    for earlier, later in itertools.pairwise(found):
        for row in later:
            assert any((values[other] >= values[row]).all() for other in earlier)
    for front in found:
        assert len(undominated(values[front])) == len(front)
    first = first_fronts(values, most, np.random.default_rng(0))
    assert len(first) == len(set(first)) == min(most, len(values))
    done = 0
    for front in found:
        part = first[done : done + len(front)]
        assert set(part) <= set(front.tolist())
        done += len(front)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_scores_for_several_targets_are_best_where_any_direction_is(seed, targets):
    rng = np.random.default_rng(seed)
    scores = [{name: rng.normal(size=size) for name, size in (("a", 7), ("b", 4))} for _ in range(targets)]
    joined = front_scores(scores)
    for name, table in joined.items():
        assert table.max() == 0
        assert (table <= 0).all()
        for own in scores:
            assert table[own[name].argmax()] == pytest.approx(0, abs=1e-12)
        values = np.stack([own[name] for own in scores], axis=1)
        for row in np.flatnonzero(table > -1e-12):
            assert not beaten(values, row)  # whoever is best in a direction is beaten by nobody


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_top_and_threshold_keep_what_any_target_keeps(seed, top):
    space = ab.sequence_space("p", {"a": 1, "b": 1}, {"w": [1, 2, 3, 4], "k": [3, 5]}, text="w{w}k{k}")
    rng = np.random.default_rng(seed)
    scores = [{unit.name: rng.normal(size=8) for unit in space.units} for _ in range(2)]
    for how in ({"top": top}, {"threshold": float(rng.normal())}):
        both = narrow_units(space, scores, **how)
        alone = [narrow_units(space, own, **how) for own in scores]
        for unit, *parts in zip(both.units, *(small.units for small in alone), strict=True):
            assert {c.text for c in unit} == {c.text for part in parts for c in part}


def test_limits_hold_for_everything_looked_at(planted):
    models = [Bayesian(planted, seed) for seed in (1, 2)]
    cost = Additive(0.0, tuple(np.arange(8.0) for _ in range(3)))
    metric = Metric(lambda archs: cost.totals([planted.indices(a) for a in archs]), cost)

    def limited(text):
        return Limited(planted, Additive(0.0, (np.zeros(8),) * 3), parse_where(text), {"ms": metric})

    probable = probable_front(models, planted, [model.scores for model in models], limited=limited("ms <= 6"))
    assert (probable.indices.sum(axis=1) <= 6).all()
    assert len(probable.indices) == len(np.unique(probable.indices, axis=0))
    every = np.array(list(np.ndindex(8, 8, 8)))
    assert len(probable.indices) > 0.5 * (every.sum(axis=1) <= 6).sum()
    with pytest.raises(NoNetworkError, match="ms"):
        probable_front(models, planted, [model.scores for model in models], limited=limited("ms <= -1"))


def test_widening_brings_back_what_is_as_good_in_all_targets(planted):
    small = planted.restrict({"a": ["w2k3"], "b": ["w1k3"], "c": ["w4k5"]})
    best = planted.parse("w2k3|w1k3|w4k5")
    texts = [planted.units[0].candidate(index).text for index in range(8)]
    scores = [{name: np.zeros(8) for name in "abc"} for _ in range(2)]
    scores[0]["a"] = np.array([1.0 if text.startswith("w3") else 0.0 for text in texts])
    scores[1]["a"] = np.array([-1.0 if text.startswith(("w3", "w4")) else 0.0 for text in texts])
    wide = widen(planted, small, [best], scores)
    assert {c.text for c in wide.units[0]} == {"w1k3", "w2k3", "w2k5"}  # w3k3 is better in one and worse in the other
    assert {c.text for c in widen(planted, small, [best], scores[0]).units[0]} >= {"w3k3", "w4k3"}


def test_what_is_stated_holds_on_published_labels(published):
    """NAS-Bench-Macro, all 6,561 measured: accuracy against parameters, from 100 labels."""
    space = ab.space("nas_bench_macro")
    full = ab.LabelledSet.read(published / "nas-bench-macro_cifar10.json", space)
    targets, costs = ("mean_acc", "-cost.params"), ab.costs(space)
    values = np.stack([full.target(target, costs).values for target in targets], axis=1)
    front = [full.archs[place] for place in undominated(values)]
    inside, alone = [], []
    for seed in range(5):
        rows = np.random.default_rng(seed).choice(len(full), 100, replace=False)
        some = ab.LabelledSet.from_frame(full.frame.iloc[rows].reset_index(drop=True), space)
        scores = [ab.fit(some, target, model="gp", seed=seed).explain() for target in targets]
        small = ab.narrow(scores, mass=0.8)
        assert small.size < 0.1 * space.size
        inside.append(np.mean([arch in small for arch in front]))
        one = scores[0].narrow(share=0.1)
        alone.append(np.mean([arch in one for arch in front]))
    assert np.mean(inside) > 0.65  # 0.8 is stated; labels are noisy, and 100 of them are few
    assert np.mean(inside) > np.mean(alone) + 0.1
