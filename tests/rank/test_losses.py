from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from autobuild.errors import ConfigError
from autobuild.rank import (
    hybrid_loss,
    lambdarank_loss,
    metrics,
    pairwise_logistic_loss,
    ranking_loss,
    srcc_loss,
)
from autobuild.rank.losses import RankingLoss
from autobuild.rank.losses._shared import average_ranks, relevance
from autobuild.registry import LOSSES
from autobuild.testing import LossConformance

NAMES = list(LOSSES)
STANDARDISED = ("hybrid", "lambdarank", "pairwise")  # where it is an option


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def lambdarank_by_definition(
    scores: np.ndarray, target: np.ndarray, k: int, sigma: float, top: float = 5.0
) -> tuple[float, np.ndarray]:
    """Loss and gradient, pair by pair: each pair is really swapped and its NDCG@k computed anew."""
    n = len(scores)
    low, high = np.quantile(target, 0.2), target.max()
    gain = [2 ** (min(max((y - low) / (high - low), 0), 1) * top) - 1 for y in target]
    ranking = sorted(range(n), key=lambda i: (-scores[i], i))

    def dcg(order: list[int]) -> float:
        return sum(gain[item] / math.log2(place + 2) for place, item in enumerate(order[:k]))

    ideal = dcg(sorted(range(n), key=lambda i: -gain[i]))
    loss, gradient = 0.0, np.zeros(n)
    for i, j in itertools.permutations(range(n), 2):
        if gain[i] > gain[j]:
            swapped = [j if item == i else i if item == j else item for item in ranking]
            change = abs(dcg(swapped) - dcg(ranking)) / ideal
            loss += change * math.log1p(math.exp(-sigma * (scores[i] - scores[j]))) / n
            push = change * sigma / (1 + math.exp(sigma * (scores[i] - scores[j]))) / n
            gradient[i] -= push
            gradient[j] += push
    return loss, gradient


@pytest.mark.parametrize("k", [1, 3, 10, 100])
def test_lambdarank_equals_swapping_every_pair(k: int) -> None:
    scores, target = values(3, 9, seed=1), values(9, seed=2)
    target[4] = target[7]
    leaf = scores.clone().requires_grad_()
    loss = lambdarank_loss(leaf, target, k=k, sigma=1.7)
    loss.backward()
    expected = [lambdarank_by_definition(row, target.numpy(), k, 1.7) for row in scores.numpy()]
    assert loss.item() == pytest.approx(np.mean([value for value, _ in expected]), rel=1e-10)
    np.testing.assert_allclose(leaf.grad.numpy(), np.stack([g for _, g in expected]) / 3, atol=1e-12)


def test_pairwise_equals_its_definition() -> None:
    scores, target = values(2, 7, seed=3), values(7, seed=4).round()
    costs = [
        np.mean(
            [
                math.log1p(math.exp(-0.5 * (row[i] - row[j])))
                for i, j in itertools.permutations(range(7), 2)
                if target[i] > target[j]
            ]
        )
        for row in scores.tolist()
    ]
    assert pairwise_logistic_loss(scores, target, sigma=0.5).item() == pytest.approx(np.mean(costs), rel=1e-12)


def test_srcc_loss_with_hard_ranks_is_one_less_spearman() -> None:
    scores, target = values(4, 60), values(60, seed=9).round(decimals=1)  # the target has ties
    expected = np.mean([1 - spearmanr(row, target).statistic for row in scores.numpy()])
    assert srcc_loss(scores, target, eps=1e-9).item() == pytest.approx(expected, abs=1e-10)
    raw = np.mean([1 - np.corrcoef(rankdata(row), target)[0, 1] for row in scores.numpy()])
    assert srcc_loss(scores, target, eps=1e-9, against="values").item() == pytest.approx(raw, abs=1e-10)
    assert abs(raw - expected) > 1e-4


def test_the_correlation_of_the_right_and_the_reversed_order() -> None:
    target = values(64, seed=2)
    assert srcc_loss(target, target, eps=1e-6).item() == pytest.approx(0, abs=1e-9)
    assert srcc_loss(-target, target, eps=1e-6).item() == pytest.approx(2, abs=1e-9)


class TestShipped(LossConformance):
    @pytest.fixture(params=[(name, {}) for name in LOSSES] + [(name, {"standardise": True}) for name in STANDARDISED])
    def loss(self, request: pytest.FixtureRequest) -> RankingLoss:
        name, options = request.param
        return ranking_loss(name, **options)


def test_a_monotone_map_of_the_target_does_not_move_the_loss_against_ranks() -> None:
    scores, target = values(2, 30), values(30, seed=1)
    assert srcc_loss(scores, target).item() == pytest.approx(srcc_loss(scores, target.exp()).item(), abs=1e-12)
    by_value = [srcc_loss(scores, y, against="values").item() for y in (target, target.exp())]
    assert abs(by_value[0] - by_value[1]) > 1e-3


def test_hybrid_is_the_weighted_sum() -> None:
    scores, target = values(5, 32), values(32, seed=1)
    parts = srcc_loss(scores, target, eps=0.2), lambdarank_loss(scores, target, k=4)
    both = hybrid_loss(scores, target, weight=0.3, eps=0.2, k=4)
    torch.testing.assert_close(both, 0.3 * parts[0] + 0.7 * parts[1])


def test_average_ranks_and_relevance_equal_numpy() -> None:
    target = values(50, seed=8).round(decimals=1)
    np.testing.assert_array_equal(average_ranks(target).numpy(), rankdata(target))
    np.testing.assert_allclose(relevance(target, 7.0).numpy(), metrics.relevance(target, 7.0), rtol=1e-12)
    by_hand = metrics.relevance([0.0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100], 4.0)
    np.testing.assert_allclose(by_hand, [0, 0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4])
    assert torch.all(relevance(torch.ones(4)) == 0)


def test_a_precise_target_keeps_its_order_beside_single_precision_scores() -> None:
    target = 1e6 + 1e-3 * values(40, seed=2)
    assert srcc_loss(target.argsort().argsort().float(), target, eps=1e-6).item() == pytest.approx(0, abs=1e-5)


def test_registry() -> None:
    scores, target = values(2, 20), values(20, seed=1)
    chosen = ranking_loss("srcc", eps=0.3, against="values")
    torch.testing.assert_close(chosen(scores, target), srcc_loss(scores, target, eps=0.3, against="values"))
    again = pickle.loads(pickle.dumps(chosen))
    assert again(scores, target) == chosen(scores, target)
    with pytest.raises(ConfigError, match="did you mean 'lambdarank'"):
        ranking_loss("lambda_rank")
    with pytest.raises(ConfigError, match="did you mean 'max_relevance'"):
        ranking_loss("hybrid", max_relevence=3)
    with pytest.raises(ConfigError, match="ranking=srcc has no option 'k'"):
        ranking_loss("srcc", k=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("srcc", {"against": "rank"}, "did you mean 'ranks'"),
        ("srcc", {"eps": 0}, "eps: given 0"),
        ("pairwise", {"sigma": math.inf}, "sigma"),
        ("lambdarank", {"k": 0}, "k: given 0"),
        ("lambdarank", {"k": 2.5}, "whole number"),
        ("lambdarank", {"max_relevance": 1000}, "up to 100"),
        ("hybrid", {"weight": 1.5}, "weight: given 1.5"),
        ("hybrid", {"weight": math.nan}, "weight"),
    ],
)
def test_bad_values_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ranking_loss(name, **options)(values(2, 5), values(5))


@pytest.mark.parametrize("name", NAMES)
def test_each_of_several_networks_has_its_own_target(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, target = torch.randn(3, 4, 9, generator=generator), torch.randn(4, 9, generator=generator)
    loss = ranking_loss(name)
    each = torch.stack([loss(scores[:, m], target[m]) for m in range(4)])
    torch.testing.assert_close(loss(scores, target), each.mean())
    torch.testing.assert_close(LOSSES[name].of_rows(scores, target).mean(0), each)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("left", "right"), [((5,), (4,)), ((2, 5), (3, 5)), ((), (1,)), ((0,), (0,)), ((0, 3), (3,))])
def test_shapes_that_do_not_fit_are_refused(name: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="shape"):
        ranking_loss(name)(torch.zeros(left), torch.zeros(right))
