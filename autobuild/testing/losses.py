"""Every property that a ranking loss must have, as a pytest suite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autobuild.rank import ndcg_at_k, srcc
from autobuild.rank.losses import RankingLoss


class LossConformance:
    """Subclass it in a test module and give a fixture ``loss``::

    class TestMyLoss(LossConformance):
        @pytest.fixture
        def loss(self):
            return ranking_loss("my_loss", margin=0.5)
    """

    def test_leading_dimensions_are_averaged(self, loss: RankingLoss) -> None:
        """The loss of several rows of scores is a scalar, the mean of their losses."""
        scores, target = _normal(2, 3, 16), _normal(16, seed=1)
        each = torch.stack([loss(row, target) for row in scores.reshape(6, 16)])
        assert loss(scores, target).shape == ()
        torch.testing.assert_close(loss(scores, target), each.mean())

    def test_gradients_are_exact(self, loss: RankingLoss) -> None:
        """The gradient equals finite differences, in double precision."""
        scores, target = _normal(2, 10, seed=3).requires_grad_(), _normal(10, seed=1)
        assert torch.autograd.gradcheck(lambda x: loss(x, target), (scores,), eps=1e-7, atol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("case", ["scores", "target", "both", "single", "huge"])
    def test_ties_and_extremes_stay_finite(self, loss: RankingLoss, case: str, dtype: torch.dtype) -> None:
        """Loss and gradient are finite; a target without an order gives no gradient."""
        n = 1 if case == "single" else 33
        scores, target = _normal(5, n).to(dtype), _normal(n, seed=1).to(dtype)
        if case in ("scores", "both"):
            scores = torch.full_like(scores, 0.1)
        if case in ("target", "both"):
            target = torch.full_like(target, 0.77)
        leaf = (scores * 1e18 if case == "huge" else scores).clone().requires_grad_()
        value = loss(leaf, target)
        value.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(value)
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        if case in ("target", "both", "single"):
            assert torch.all(leaf.grad == 0)

    def test_a_shift_and_the_order_of_rows_do_not_matter(self, loss: RankingLoss) -> None:
        """Scores plus a constant, and items in another order, have the same loss."""
        scores, target = _normal(2, 20), _normal(20, seed=1)
        order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(loss(scores + 3.7, target), loss(scores, target))
        torch.testing.assert_close(loss(scores[:, order], target[order]), loss(scores, target))

    def test_a_better_order_has_a_lower_loss(self, loss: RankingLoss) -> None:
        """With the same spread of scores, the loss grows from the right order over a noisy one to a reversed one."""
        target = _normal(64, seed=2)
        noise = _normal(64, seed=3)
        losses = [loss(x / x.std(), target).item() for x in (target, target + noise, noise, noise - target, -target)]
        assert losses[0] < losses[1] < losses[2] < losses[3]
        assert losses[1] < losses[4]

    def test_descent_raises_the_metrics(self, loss: RankingLoss) -> None:
        """Gradient descent on free scores brings the best items to the top."""
        target = _normal(64, seed=1)
        scores = _normal(3, 64, seed=2).requires_grad_()
        before = _metrics(scores, target)
        optimiser = torch.optim.Adam([scores], lr=0.05)
        for _ in range(150):
            optimiser.zero_grad()
            loss(scores, target).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        after = _metrics(scores, target)
        assert max(ndcg for _, ndcg in before) < 0.8 < 0.9 < min(ndcg for _, ndcg in after)
        assert all(later > earlier + 0.3 for (earlier, _), (later, _) in zip(before, after, strict=True))

    def test_half_precision_and_integer_targets(self, loss: RankingLoss) -> None:
        """Scores in half precision and integer targets give a finite loss."""
        assert torch.isfinite(loss(_normal(2, 8).half(), torch.arange(8)))


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _metrics(scores: Tensor, target: Tensor) -> list[tuple[float, float]]:
    rows = scores.detach().numpy()
    return [(srcc(row, target.numpy()), ndcg_at_k(row, target.numpy())) for row in rows]
