"""Active rounds: what is asked for, what is told, and whether a planted best network is found."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.construct import acquire
from autobuild.construct.local_search import layers_apart
from autobuild.construct.rounds import Rounds, best_so_far
from autobuild.errors import ConfigError, EvaluationError, LabelError, TargetError
from autobuild.registry import ACQUISITIONS
from autobuild.testing import AcquisitionConformance


@pytest.fixture(scope="module")
def planted():
    """1,764 networks; the best one is neither the deepest nor the widest."""
    return ab.sequence_space(
        "planted",
        units={"a": [1, 2], "b": [1, 2]},
        features={"width": [1, 2, 3], "kernel": [3, 5]},
        text="w{width}k{kernel}",
    )


def truth(space, arch):
    """Wider and deeper up to a budget, and stages that go together; a little that only measuring tells."""
    a, b = space.layers(arch)
    width = [sum(layer["width"] for layer in stage) for stage in (a, b)]
    kernels = sum(layer["kernel"] == 5 for layer in (*a, *b))
    noise = (zlib.crc32(str(arch).encode()) % 1000) / 1e4
    return float(3 * width[0] + 2 * width[1] - 0.4 * (sum(width) - 5) ** 2 + 0.7 * kernels * (width[1] < 4) + noise)


def every(space):
    return [space.assemble((i, j)) for i in range(space.units[0].size) for j in range(space.units[1].size)]


def labels_of(space, archs):
    return ab.LabelledSet.from_frame(
        pd.DataFrame({"arch": [str(arch) for arch in archs], "acc": [truth(space, arch) for arch in archs]}), space
    )


def start_of(space, seed, n=20):
    return list(dict.fromkeys(space.sample(3 * n, seed=seed, design="depth")))[:n]


@pytest.fixture(scope="module")
def fitted(planted):
    model = ab.fit(labels_of(planted, start_of(planted, 3)), "acc", model="gp", seed=0)
    return model, model.explain().unit_scores


class Mock:
    """A model that is known: the truth is what it predicts; its intervals and draws are given."""

    def __init__(self, space, half=None, draws=None, seen=()):
        self.space, self.training_archs = space, list(seen)
        self.half, self.draws, self.asked = half, draws, []

    def predict_mean(self, archs):
        return np.array([truth(self.space, arch) for arch in archs])

    def intervals(self, archs, level):
        mean = self.predict_mean(archs)
        half = np.array([self.half(arch) for arch in archs]) if self.half else np.full(len(archs), np.nan)
        return mean, mean - half, mean + half

    def draw(self, archs, count, seed):
        self.asked.append((list(archs), count, seed))
        return None if self.draws is None else self.draws(archs, count, seed)


def zeros(space):
    return {unit.name: np.zeros(unit.size) for unit in space.units}


def test_a_balanced_batch_is_the_best_predicted_and_then_the_best_of_each_draw(planted):
    def draws(archs, count, seed):
        return np.random.default_rng(seed).normal(size=(count, len(archs)))

    model = Mock(planted, draws=draws)
    chosen = acquire(model, zeros(planted), 10, seed=5, by="balanced")
    best = sorted(every(planted), key=lambda arch: -truth(planted, arch))[:3]
    assert chosen[:3] == best
    ((pool, count, seed),) = model.asked
    assert (count, seed) == (7, 5)
    taken = set(best)
    for draw, arch in zip(draws(pool, 7, 5), chosen[3:], strict=True):
        left = [place for place in np.argsort(-draw) if pool[place] not in taken]
        assert arch == pool[left[0]]
        taken.add(arch)
    assert acquire(model, zeros(planted), 1, by="balanced") == best[:1]


def test_upper_takes_what_may_be_best_and_keeps_it_apart(planted):
    def half(arch):
        return 9.0 if len(arch.runs[1]) == 1 else 0.0

    model = Mock(planted, half=half)
    archs = sorted(every(planted), key=lambda arch: -(truth(planted, arch) + half(arch)))
    chosen = acquire(model, zeros(planted), 5)  # by="upper"
    assert chosen[0] == archs[0]
    expected = [archs[0]]
    for arch in archs:
        if len(expected) < 5 and all(layers_apart(arch, other) >= 2 for other in expected):
            expected.append(arch)
    assert chosen == expected
    # A model without draws is asked for its upper bound, after the share of the predicted best.
    balanced = acquire(model, zeros(planted), 5, by="balanced")
    assert balanced[0] == max(every(planted), key=lambda arch: truth(planted, arch))
    assert archs[0] in balanced
    predicted = acquire(model, zeros(planted), 5, by="predicted")
    assert predicted == sorted(every(planted), key=lambda arch: -truth(planted, arch))[:5]


@pytest.mark.parametrize("by", ["balanced", "predicted", "upper"])
def test_nothing_known_is_asked_for_and_the_space_may_run_out(fitted, planted, by):
    model, scores = fitted
    everything = every(planted)
    left = [arch for arch in everything if arch not in set(model.training_archs)][:6]
    known = [arch for arch in everything if arch not in set(left)]
    assert set(acquire(model, scores, 10, known=known, by=by)) == set(left)
    assert acquire(model, scores, 10, known=everything, by=by) == []


def test_twins_count_once():
    space = ab.space("nas_bench_macro")
    archs = list({space.key(arch): arch for arch in space.sample(60, seed=0)}.values())[:25]
    frame = pd.DataFrame({"arch": [str(a) for a in archs], "acc": [float(str(a).count("2")) for a in archs]})
    model = ab.fit(ab.LabelledSet.from_frame(frame, space), "acc", model="gp", seed=0)
    known = space.sample(300, seed=1)
    chosen = acquire(model, model.explain().unit_scores, 30, seed=2, known=known)
    keys = [space.key(arch) for arch in chosen]
    assert len(set(keys)) == 30
    assert not set(keys) & {space.key(arch) for arch in (*archs, *known)}


class TestShipped(AcquisitionConformance):
    @pytest.fixture(params=ACQUISITIONS)
    def acquisition(self, request):
        return ACQUISITIONS[request.param]


def test_the_same_seed_asks_for_the_same(fitted):
    model, scores = fitted
    assert acquire(model, scores, 8, seed=1, by="balanced") == acquire(model, scores, 8, seed=1, by="balanced")
    assert acquire(model, scores, 8, seed=1, by="balanced") != acquire(model, scores, 8, seed=2, by="balanced")
    assert (
        acquire(model, scores, 8, seed=1, by="balanced")[:2] == acquire(model, scores, 8, seed=2, by="balanced")[:2]
    )  # the predicted best


def test_rounds_find_a_planted_best_network_faster_than_chance(planted):
    values = np.sort([truth(planted, arch) for arch in every(planted)])
    ranks, chance = [], []
    for seed in range(3):
        start = start_of(planted, seed)
        done = list(
            ab.rounds(
                labels_of(planted, start),
                "acc",
                lambda arch: {"acc": truth(planted, arch)},
                2,
                8,
                model="gp",
                seed=seed,
            )
        )
        assert [one.number for one in done] == [1, 2]
        assert len(done[-1].labels) == 36
        assert len(set(done[-1].labels.keys)) == 36
        drawn = start_of(planted, seed, 36)
        assert done[-1].best == max(truth(planted, arch) for arch in done[-1].labels.archs)
        ranks.append(int((values > done[-1].best).sum()))
        chance.append(int((values > max(truth(planted, arch) for arch in drawn)).sum()))
    assert max(ranks) <= 8  # of 1,764
    assert all(found < drawn for found, drawn in zip(ranks, chance, strict=True))


def test_an_evaluation_that_fails_adds_no_label_and_is_not_asked_for_again(planted):
    calls = []

    def evaluate(arch):
        calls.append(str(arch))
        if len(calls) % 2:
            raise RuntimeError(f"out of memory {len(calls)}")
        return {"acc": truth(planted, arch), "ms": 2.0}

    start = start_of(planted, 0)
    one, two = ab.rounds(labels_of(planted, start), "acc", evaluate, 2, 4, model="gp")
    assert len(calls) == len(set(calls)) == 8
    assert [reason.partition(" (")[0] for reason in one.evaluated["reason"]] == [
        "RuntimeError: out of memory 1", "", "RuntimeError: out of memory 3", ""]  # fmt: skip
    assert list(one.evaluated["measured"].isna()) == [True, False, True, False]
    assert set(two.labels.frame["arch"]) == {*map(str, start), *calls[1::2]}
    assert two.labels.frame["ms"].count() == 4  # the start has none
    assert list(one.evaluated["arch"]) == calls[:4]
    assert len(one.model.training) == 22


def test_a_target_may_name_a_cost_and_an_infinite_target_is_a_failure(planted):
    def width(archs):
        return np.array([sum(layer["width"] for stage in planted.layers(arch) for layer in stage) for arch in archs])

    costs = {"width": width}
    asking = Rounds(labels_of(planted, start_of(planted, 0)), "acc - 0.1*width", costs=costs, model="gp")
    asked = asking.ask(2)
    told = asking.tell(asked, [{"acc": 5.0}, {"acc": float("inf")}])
    assert told["measured"][0] == pytest.approx(5 - 0.1 * width([planted.parse(asked["arch"][0])])[0])
    assert "is inf" in told["reason"][1]
    assert len(asking.labels) == 21


def test_mistakes_are_named(planted):
    labels = labels_of(planted, start_of(planted, 0))
    with pytest.raises(ConfigError, match="rounds=0"):
        ab.rounds(labels, "acc", dict, 0, 3)
    with pytest.raises(ConfigError, match="per_round=True"):
        ab.rounds(labels, "acc", dict, 1, True)
    with pytest.raises(ConfigError, match="did you mean 'upper'"):
        ab.rounds(labels, "acc", dict, acquisition="uper")
    with pytest.raises(ConfigError, match="did you mean 'balanced'"):
        acquire(Mock(planted), zeros(planted), 3, by="balance")
    with pytest.raises(ConfigError, match="unit 'b'"):
        acquire(Mock(planted), {"a": np.zeros(planted.units[0].size)}, 3)
    with pytest.raises(LabelError, match="at least 5"):
        ab.rounds(labels.head(4), "acc", dict)
    with pytest.raises(TargetError, match="'acc' is not among them"):
        next(ab.rounds(labels, "acc", lambda arch: {"top1": 1.0}, model="gp"))

    def broken(arch):
        raise KeyError("gpu")

    with pytest.raises(EvaluationError, match="all 10 evaluations of round 1 failed: KeyError: 'gpu'"):
        next(ab.rounds(labels, "acc", broken, model="gp"))


def test_an_evaluation_that_gives_no_numbers_is_told(planted):
    start, calls = start_of(planted, 3), []

    def evaluate(arch):
        calls.append(arch)
        return {"acc": "good" if len(calls) == 1 else truth(planted, arch)}

    (done,) = ab.rounds(labels_of(planted, start), "acc", evaluate, 1, 3, model="gp")
    assert [reason.partition(":")[0] for reason in done.evaluated["reason"]] == ["evaluate gave no metrics", "", ""]
    assert len(done.labels) == len(start) + 2


def test_the_best_so_far_counts_failed_evaluations():
    told = pd.DataFrame({"round": [1, 1, 2], "arch": ["x", "y", "z"], "measured": [2.0, np.nan, 1.5]})
    curve = best_so_far(1.0, 20, told)
    assert list(curve["evaluations"]) == [20, 21, 22, 23]
    assert list(curve["best"]) == [1.0, 2.0, 2.0, 2.0]
    assert list(curve["round"]) == [0, 1, 1, 2]
