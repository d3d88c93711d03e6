from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autobuild.errors import ConfigError
from autobuild.rank import soft_rank

METHODS = ("pav", "minmax")


def values(n: int, *leading: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*leading, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ordered_partitions(items: tuple[int, ...]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
    for size in range(1, len(items) + 1):
        for block in itertools.combinations(items, size):
            for rest in ordered_partitions(tuple(i for i in items if i not in block)):
                yield [list(block), *rest]


def projection_by_faces(point: np.ndarray) -> np.ndarray:
    """Nearest point of the permutahedron of 1..n, trying the affine hull of every face; no isotonic regression here.

    A face is an ordered partition: its first block shares the ranks 1..|B1|, the second the next ones, and so on.
    """
    n = len(point)
    least = np.cumsum(np.arange(1, n + 1))
    nearest, distance = None, math.inf
    for partition in ordered_partitions(tuple(range(n))):
        candidate, first = point.copy(), 1
        for block in partition:
            candidate[block] += first + (len(block) - 1) / 2 - point[block].mean()
            first += len(block)
        inside = np.all(np.cumsum(np.sort(candidate)) >= least - 1e-10)
        if inside and np.sum((candidate - point) ** 2) < distance:
            nearest, distance = candidate, float(np.sum((candidate - point) ** 2))
    assert nearest is not None
    return nearest


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("eps", [0.2, 0.7, 2.0])
def test_equals_the_projection_by_brute_force(method: str, n: int, eps: float) -> None:
    for seed in range(4):
        z = values(n, seed=seed)
        ranks = soft_rank(z, eps=eps, standardise=False, method=method).numpy()
        np.testing.assert_allclose(ranks, projection_by_faces(z.numpy() / eps), atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_satisfies_the_optimality_condition_of_the_projection(method: str) -> None:
    # p is the projection of x exactly when x - p has no larger product with any vertex than with p; the best vertex
    # sorts 1..n the way of x - p. This holds at sizes where facets cannot be listed.
    for n, eps in itertools.product((1, 2, 50, 301), (0.003, 0.03, 0.3, 3.0)):
        z = values(n, seed=n)
        point = (z / eps).numpy()
        ranks = soft_rank(z, eps=eps, standardise=False, method=method).numpy()
        normal = point - ranks
        best = np.sort(normal) @ np.arange(1, n + 1)
        assert best - normal @ ranks <= 1e-8 * (1 + abs(best))
        assert np.all(np.cumsum(np.sort(ranks)) >= np.cumsum(np.arange(1, n + 1)) - 1e-8)


@pytest.mark.parametrize("eps", [1e-6, 0.01, 0.03, 0.3, 3.0])
def test_both_methods_agree_on_values_and_gradients(eps: float) -> None:
    z = torch.cat([values(64, 7), values(64, 2).round(decimals=1), torch.ones(1, 64, dtype=torch.float64)])
    weights = values(64, 10, seed=1)
    results = []
    for method in METHODS:
        leaf = z.clone().requires_grad_()
        ranks = soft_rank(leaf, eps=eps, method=method)
        (ranks * weights).sum().backward()
        results.append((ranks.detach(), leaf.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-9)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-9 / eps)


def test_the_minmax_method_takes_rows_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    z = values(20, 11)
    whole = soft_rank(z, method="minmax")
    monkeypatch.setattr("autobuild.rank.softrank._PAIRS_AT_ONCE", 3 * 20 * 20 + 1)
    assert torch.equal(soft_rank(z, method="minmax"), whole)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("eps", [0.03, 0.3, 2.0])
def test_gradient_is_exact(method: str, standardise: bool, eps: float) -> None:
    z = values(12, 2, 3, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_rank(x, eps, standardise, method), (z,), eps=1e-7, atol=1e-4)


def test_second_derivatives_are_exact() -> None:
    z = values(8, 2, seed=6).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: soft_rank(x, 0.5) ** 2, (z,), eps=1e-6, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_jacobian_is_identity_less_block_average(method: str) -> None:
    # One pooled pair (0 and 0.5 are closer than 1) and one value on its own.
    z = torch.tensor([9.0, 0.5, 0.0], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: soft_rank(x, 1.0, False, method), z)
    expected = torch.tensor([[0.0, 0, 0], [0, 0.5, -0.5], [0, -0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(jacobian, expected)
    torch.testing.assert_close(soft_rank(z, 1.0, False, method), z.new_tensor([3.0, 1.75, 1.25]))


@pytest.mark.parametrize("method", METHODS)
def test_vanishing_eps_gives_hard_ranks_with_the_largest_at_n(method: str) -> None:
    z = values(40, 3)
    hard = z.argsort(dim=-1).argsort(dim=-1) + 1.0
    torch.testing.assert_close(soft_rank(z, eps=1e-9, method=method), hard.double(), rtol=0, atol=0)
    assert soft_rank(torch.tensor([5.0, -1.0, 2.0]), eps=1e-5, method=method).tolist() == [3.0, 1.0, 2.0]
    tied = torch.tensor([1.0, 0.0, 1.0, 2.0])
    assert soft_rank(tied, eps=1e-5, method=method).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_large_eps_gives_the_scaled_values_around_the_mean_rank() -> None:
    z = values(9)
    expected = (z - z.mean()) / z.std(correction=0) / 50 + 5
    torch.testing.assert_close(soft_rank(z, eps=50.0), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, -3e7, 1e-30])
def test_constant_rows_have_mean_ranks_and_zero_gradient(method: str, dtype: torch.dtype, constant: float) -> None:
    z = torch.full((2, 127), constant, dtype=dtype)
    z[1] = values(127)
    z.requires_grad_()
    ranks = soft_rank(z, method=method)
    (ranks * torch.arange(127)).sum().backward()
    assert torch.all(ranks[0] == 64)
    assert z.grad is not None
    assert torch.all(z.grad[0] == 0)
    assert torch.all(torch.isfinite(z.grad))
    assert z.grad[1].abs().sum() > 0


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_single_precision_is_free_of_scale(scale: float) -> None:
    z = values(50).float()
    torch.testing.assert_close(soft_rank(z * scale, eps=0.1), soft_rank(z, eps=0.1), rtol=1e-4, atol=1e-3)


def test_odd_inputs() -> None:
    assert soft_rank(torch.zeros(3, 0)).shape == (3, 0)
    assert soft_rank(torch.zeros(0, 3)).shape == (0, 3)
    assert soft_rank(torch.tensor([[4.0], [7.0]])).tolist() == [[1.0], [1.0]]
    assert soft_rank(torch.tensor([3, 1, 2]), eps=0.01).tolist() == [3.0, 1.0, 2.0]
    assert soft_rank(values(300).half(), eps=0.01).dtype == torch.float32
    broken = torch.tensor([[1.0, math.nan, 2.0], [1.0, 3.0, 2.0]])
    for method in METHODS:
        ranks = soft_rank(broken, eps=0.01, method=method)
        assert torch.isnan(ranks[0]).all()
        assert ranks[1].tolist() == [1.0, 3.0, 2.0]


def test_bad_options_are_refused() -> None:
    for eps in (0, -1.0, math.nan, math.inf, "0.1"):
        with pytest.raises(ConfigError, match="eps"):
            soft_rank(torch.zeros(3), eps=eps)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'minmax'"):
        soft_rank(torch.zeros(3), method="min-max")
    with pytest.raises(ConfigError, match="dimensions"):
        soft_rank(torch.tensor(1.0))


def test_five_hops_of_a_batch_take_under_a_millisecond() -> None:
    z = torch.randn(5, 128, generator=torch.Generator().manual_seed(0))
    soft_rank(z)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        soft_rank(z)
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3


rows = hnp.arrays(
    np.float64,
    st.integers(2, 12),
    elements=st.one_of(st.integers(-5, 5).map(float), st.floats(-100, 100).map(lambda x: round(x, 6))),
)


@settings(max_examples=150, deadline=None)
@given(rows, st.sampled_from([0.01, 0.1, 1.0, 10.0]), st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_properties(row: np.ndarray, eps: float, method: str, random: object) -> None:
    n = len(row)
    z = torch.from_numpy(row)
    ranks = soft_rank(z, eps, method=method)
    assert math.isclose(float(ranks.sum()), n * (n + 1) / 2, rel_tol=1e-9)
    assert float(ranks.min()) >= 1 - 1e-9
    assert float(ranks.max()) <= n + 1e-9
    order = z.argsort()
    assert torch.all(ranks[order].diff() >= -1e-9)  # monotone
    same = z.unsqueeze(0) == z.unsqueeze(1)
    assert torch.all((ranks.unsqueeze(0) - ranks.unsqueeze(1))[same].abs() <= 1e-9)
    shuffled = list(range(n))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    torch.testing.assert_close(soft_rank(z[shuffled], eps, method=method), ranks[shuffled], rtol=0, atol=1e-8)
    torch.testing.assert_close(soft_rank(z * 7 - 30, eps, method=method), ranks, rtol=0, atol=1e-6)
    torch.testing.assert_close(soft_rank(-z, eps, method=method), n + 1 - ranks, rtol=0, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_the_cpu() -> None:
    z = values(64, 5)
    weights = values(64, 5, seed=1)
    results = []
    for device in ("cpu", "cuda"):
        leaf = z.to(device).requires_grad_()
        ranks = soft_rank(leaf)
        assert ranks.device.type == device
        (ranks * weights.to(device)).sum().backward()
        assert leaf.grad is not None
        results.append((ranks.detach().cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(results[0], results[1])
