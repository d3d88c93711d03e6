"""Differentiable ranks by Euclidean projection onto the permutahedron (Blondel et al., 2020).

Values and gradients are exact.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from autobuild.errors import ConfigError, nearest
from autobuild.settings.option import positive
from autobuild.settings.ranking import SoftSpearman

METHODS = ("auto", "pav", "minmax")

# Neighbours among n standardised values are about sqrt(12) / n apart: 0.027 for a batch of 128. With a much smaller eps
# all ranks are hard and have no gradient, so that wrongly ordered values are not corrected. With a much larger eps
# every value has a gradient, but only values in the tails are bent towards ranks.
EPS = SoftSpearman.eps

# The min-max method compares all pairs of positions; rows are processed in chunks of at most this many pairs.
_PAIRS_AT_ONCE = 2**24


def soft_rank(z: Tensor, eps: float = EPS, standardise: bool = True, method: str = "auto") -> Tensor:
    """Ascending soft ranks of each row: the projection of ``z / eps`` onto the permutahedron of (1, ..., n).

    The largest value gets the largest rank. As ``eps`` goes to 0 the ranks become the hard ranks 1..n; for a large
    ``eps`` they are ``z / eps`` shifted to the mean rank (n + 1) / 2. Every row sums to n (n + 1) / 2, equal values get
    equal ranks, and the gradient is exact: within a block of values that the projection pools, it is the identity
    minus the block average, divided by ``eps``. A row whose soft ranks are hard ranks has zero gradient.

    Args:
        z: Values, shape (..., n), any floating dtype; ranks are computed in float64 (half precision returns float32).
        eps: Strength of the smoothing, > 0; in standard deviations of a row if ``standardise`` is set.
        standardise: First scale each row to mean 0 and (population) standard deviation 1, differentiably, so that the
            effect of ``eps`` does not depend on the scale of ``z``. A row that is constant up to rounding errors gets
            the ranks (n + 1) / 2 and zero gradient.
        method: ``"pav"``: the pool-adjacent-violators algorithm on the CPU, linear in n. ``"minmax"``: the vectorised
            min-max formula on the device of ``z``, also exact, with O(n^2) memory. ``"auto"``: ``pav`` on the CPU,
            ``minmax`` on other devices.

    Returns:
        Soft ranks, shape (..., n), on the device of ``z``. A standardised row that contains NaN becomes NaN.

    Raises:
        ConfigError: ``eps`` is not a positive number, ``method`` is unknown, or ``z`` has no dimensions.

    Source: M. Blondel, O. Teboul, Q. Berthet, J. Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020,
    equations 5-6 and propositions 3-4, with the order reversed so that ranks ascend.
    """
    return centred_soft_rank(z, eps, standardise, method) + (z.shape[-1] + 1) / 2


def centred_soft_rank(z: Tensor, eps: float, standardise: bool, method: str) -> Tensor:
    """:func:`soft_rank` minus its mean (n + 1) / 2; accurate even if a large ``eps`` makes the ranks nearly equal."""
    positive("eps", eps)
    if method not in METHODS:
        raise ConfigError(f"method: given {method!r}, {nearest(method, METHODS)}")
    if z.ndim == 0:
        raise ConfigError("z: given a tensor without dimensions, accepted: shape (..., n)")
    if not z.is_floating_point() or z.dtype in (torch.float16, torch.bfloat16):
        z = z.to(torch.float32)
    if z.numel() == 0:
        return z.clone()
    scaled = (standardised(z) if standardise else z) / eps
    chosen = ("pav" if z.device.type == "cpu" else "minmax") if method == "auto" else method
    ranks: Tensor = _Project.apply(scaled.reshape(-1, z.shape[-1]), chosen)  # type: ignore[no-untyped-call]
    return ranks.reshape(z.shape)


def standardised(x: Tensor) -> Tensor:
    """Scale rows of ``x`` (..., n) to mean 0 and population standard deviation 1; constant rows become 0.

    The result does not depend on the shift and scale of a row, so both are first removed without recording a gradient.
    A constant row is then exactly zero with zero gradient, and the variance neither underflows nor overflows.
    """
    if x.shape[-1] == 0:
        return x
    with torch.no_grad():
        first = x[..., :1]
        spread = (x - first).abs().amax(dim=-1, keepdim=True)
        # Differences as small as rounding errors count as zero.
        constant = spread <= 4 * torch.finfo(x.dtype).eps * x.abs().amax(dim=-1, keepdim=True)
        scale = torch.where(constant, torch.ones_like(spread), spread)
    shifted = (x - first) / scale
    centred = shifted - shifted.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    inverse = torch.where(constant, torch.ones_like(variance), variance).rsqrt()
    return torch.where(constant, torch.zeros_like(centred), centred * inverse)


class _Project(torch.autograd.Function):
    """Project rows s (rows, n) onto the centred permutahedron, which gives soft ranks minus (n + 1) / 2."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, method: str) -> Tensor:
        rows, n = s.shape
        exact = torch.float32 if s.device.type == "mps" else torch.float64  # MPS has no float64
        ordered, order = s.to(exact).sort(dim=-1)
        ranks = torch.arange(n, device=s.device, dtype=exact) - (n - 1) / 2
        # With s ascending and w = 1..n, the projection is s - v; v is the isotonic (increasing) regression of s - w.
        # Only the blocks of v are needed: on a block the projection is s - mean(s) + mean(w), without cancellation.
        starts = (_starts_pav if method == "pav" else _starts_minmax)(ordered - ranks)
        sorted_blocks = starts.cumsum(dim=-1) - 1 + n * torch.arange(rows, device=s.device).unsqueeze(-1)
        blocks = torch.empty_like(order).scatter_(-1, order, sorted_blocks).reshape(-1)
        flat = sorted_blocks.reshape(-1)
        sizes = torch.zeros(rows * n, device=s.device, dtype=exact)
        sizes.index_add_(0, flat, torch.ones_like(flat, dtype=exact))
        sizes.clamp_(min=1)
        block_rank = torch.zeros_like(sizes).index_add_(0, flat, ranks.repeat(rows)).div_(sizes)
        block_mean = torch.zeros_like(sizes).index_add_(0, flat, ordered.reshape(-1)).div_(sizes)
        ctx.save_for_backward(blocks, sizes.to(s.dtype))
        projected = s.to(exact).reshape(-1) - block_mean[blocks] + block_rank[blocks]
        return projected.reshape(rows, n).to(s.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        blocks, sizes = ctx.saved_tensors
        (grad,) = grads
        flat = grad.reshape(-1)
        means = torch.zeros_like(sizes).index_add(0, blocks, flat) / sizes
        return (flat - means[blocks]).reshape(grad.shape), None


def _starts_pav(y: Tensor) -> Tensor:
    """Starts of the blocks of the isotonic regression of each row of y (rows, n), as booleans; on the CPU."""
    from scipy.optimize import isotonic_regression

    starts = torch.zeros(y.shape, dtype=torch.bool)
    marks = starts.numpy()
    for mark, row in zip(marks, y.detach().cpu().numpy(), strict=True):
        mark[isotonic_regression(row).blocks[:-1]] = True
    return starts.to(y.device)


def _starts_minmax(y: Tensor) -> Tensor:
    """The same as :func:`_starts_pav` by the min-max formula, without a loop over positions.

    Position j starts a block if and only if the cumulative sum touches its greatest convex minorant there: the largest
    mean of a run that ends before j is below the smallest mean of a run that starts at j (Robertson, Wright and
    Dykstra, 1988, theorem 1.4.4).
    """
    rows, n = y.shape
    starts = torch.ones(rows, n, dtype=torch.bool, device=y.device)
    position = torch.arange(n, device=y.device)
    length = position.unsqueeze(0) - position.unsqueeze(1) + 1  # length of the run i..k at [i, k]
    backwards = length <= 0
    length = length.clamp(min=1).to(y.dtype)
    turn = max(1, _PAIRS_AT_ONCE // (n * n))
    for start in range(0, rows, turn):
        part = y[start : start + turn]
        total = part.cumsum(dim=-1)
        means = (total.unsqueeze(-2) - (total - part).unsqueeze(-1)) / length
        left = means.masked_fill(backwards, -math.inf).amax(dim=-2)
        right = means.masked_fill(backwards, math.inf).amin(dim=-1)
        starts[start : start + turn, 1:] = left[:, :-1] < right[:, 1:]
    return starts
