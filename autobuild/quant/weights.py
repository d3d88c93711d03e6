"""One quantised weight: the choice of method and bits, packed codes, and what is stored beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autobuild.errors import QuantisationError, nearest
from autobuild.quant.clustering import kmeans, over_rows
from autobuild.quant.uniform import fit_uniform

METHODS = {
    "uaq": "uniform affine, a scale and a zero point for every output channel",
    "uaqt": "uniform affine, one scale and one zero point for the whole tensor",
    "kmc": "K-Means C, a codebook for every output channel",
    "kma": "K-Means A, one codebook for the whole tensor",
}
BITS = range(2, 9)
SMALLEST = 2.0**-24  # of 16 bits
FEW = 31  # limits that are compared with all values, one after another, which is faster than to search among them
IN_CACHE = 1 << 15  # values that are compared at once
ROUNDING = 2.0**-10  # relative error that a number may get by being stored in 16 bits


@dataclass(frozen=True, order=True)
class Choice:
    """How a weight is quantised. Its text is the method and the bits, such as ``"kmc4"``.

    Args:
        method: One of :data:`METHODS`.
        bits: Bits of a weight, 2 to 8.

    Raises:
        QuantisationError: The method is unknown, or bits are outside 2-8.
    """

    method: str
    bits: int

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise QuantisationError(f"quantisation method {self.method!r}: {nearest(self.method, METHODS)}")
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or self.bits not in BITS:
            raise QuantisationError(f"bits={self.bits!r} of a quantised weight; accepted: whole numbers from 2 to 8")

    def __str__(self) -> str:
        return f"{self.method}{self.bits}"

    @property
    def per_channel(self) -> bool:
        """Whether every output channel has parameters of its own."""
        return self.method in ("uaq", "kmc")

    @property
    def entries(self) -> int:
        """Numbers that are stored for every channel, or for the tensor."""
        return 2**self.bits if self.method in ("kmc", "kma") else 2

    def fits(self, shape: Iterable[int]) -> bool:
        """Whether fewer numbers are stored beside the codes than weights are encoded by them."""
        channels, *others = shape
        return self.entries < math.prod(others) * (1 if self.per_channel else channels)

    @staticmethod
    def of(given: Choice | str | tuple[str, int]) -> Choice:
        """Read a choice from itself, its text, or a pair.

        Raises:
            QuantisationError: It is none of these.
        """
        if isinstance(given, Choice):
            return given
        if isinstance(given, str) and (found := re.fullmatch(r"([a-z]+)(\d+)", given)):
            return Choice(found[1], int(found[2]))
        if isinstance(given, tuple | list) and len(given) == 2:
            return Choice(*given)
        raise QuantisationError(f"choice {given!r}; accepted: a text such as 'uaq4' or a pair such as ('kmc', 3)")


@dataclass(frozen=True, eq=False)
class QuantisedWeight:
    """A weight as it is stored.

    Attributes:
        choice: Method and bits.
        shape: Shape of the weight; its first dimension is that of the output channels.
        tensors: ``codes``, packed bits (uint8); ``scale`` and ``zero``, or ``codebook``: a row a channel or one in all.
        error: Sum of squared differences between the weight and the dequantised one.
    """

    choice: Choice
    shape: tuple[int, ...]
    tensors: Mapping[str, Tensor]
    error: float

    def check(self, name: str) -> None:
        """Raise QuantisationError unless the tensors, read from a file, have the shapes and types of the choice."""
        rows, codes = self.shape[0] if self.choice.per_channel else 1, self.choice.bits * math.prod(self.shape)
        floats, small = (torch.float16, torch.float32), (torch.uint8,)
        wanted: dict[str, tuple[tuple[int, ...], tuple[torch.dtype, ...]]] = {"codes": ((-(-codes // 8),), small)}
        if self.choice.method in ("kmc", "kma"):
            wanted["codebook"] = ((rows, self.choice.entries), floats)
        else:
            wanted |= {"scale": ((rows, 1), floats), "zero": ((rows, 1), small)}
        given = {part: (tuple(tensor.shape), tensor.dtype) for part, tensor in self.tensors.items()}
        fits = set(given) == set(wanted) and all(
            given[part][0] == shape and given[part][1] in types for part, (shape, types) in wanted.items()
        )
        if not fits:
            shapes = {part: shape for part, (shape, _) in wanted.items()}
            raise QuantisationError(f"{name}: tensors {given}; accepted for {self.choice}: shapes {shapes}")

    @property
    def payload_bits(self) -> int:
        """Bits of the codes alone."""
        return self.choice.bits * math.prod(self.shape)

    @property
    def avg_bits(self) -> float:
        """Bits of the codes for each weight."""
        return float(self.choice.bits)

    @property
    def stored_bits(self) -> int:
        """Bits of all tensors: codes (filled up to a byte), scales, zero points and codebooks."""
        return 8 * sum(tensor.nbytes for tensor in self.tensors.values())

    def dequantised(self) -> Tensor:
        """The weight in 32-bit floating point. Shape :attr:`shape`."""
        codes = unpack(self.tensors["codes"], self.choice.bits, math.prod(self.shape))
        return _decoded(codes.view(self.shape[0], -1), self.tensors).view(self.shape)


def quantise_weight(
    weight: Tensor,
    choice: Choice | str | tuple[str, int],
    *,
    exact: bool = False,
    half: bool = False,
    name: str = "weight",
) -> QuantisedWeight:
    """Quantise one weight.

    Args:
        weight: Floating-point numbers; the first dimension is that of the output channels. Shape ``(channels, ...)``.
        choice: Method and bits, as a :class:`Choice`, a text such as ``"uaq4"`` or a pair.
        exact: Whether codebooks are those of least squared error (slower); otherwise a local optimum.
        half: Whether scales and codebooks have 16 bits in any case, so that the size does not depend on the weights;
            otherwise 32 where a number would lose more than a thousandth.
        name: Name of the weight in messages.

    Returns:
        The quantised weight.

    Raises:
        QuantisationError: The weight is not finite or has no two dimensions, bits are outside 2-8, or what would be
            stored beside the codes is no smaller than what they encode; or, with ``half``, beyond what 16 bits hold.
    """
    choice = Choice.of(choice)
    if weight.ndim < 2 or not weight.is_floating_point():
        raise QuantisationError(
            f"{name}: a weight of type {weight.dtype} and shape {tuple(weight.shape)}; accepted: "
            "floating-point numbers with a dimension of output channels and at least one more"
        )
    if weight.is_meta:
        raise QuantisationError(f"{name}: the weight has no values (meta device); accepted: a model with weights")
    plain = weight.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(plain.sum())) and not bool(torch.isfinite(plain).all()):  # the sum is faster
        bad = int((~torch.isfinite(plain)).sum())
        raise QuantisationError(
            f"{name}: {bad} of {plain.numel():,} weights are NaN or infinite; accepted: finite ones"
        )
    if not choice.fits(plain.shape):
        raise QuantisationError(
            f"{name}: {choice} stores {choice.entries} numbers for {'each channel' if choice.per_channel else 'all'} "
            f"of a weight of shape {tuple(plain.shape)}, no fewer than the weights that they encode; accepted: fewer "
            "bits or another method"
        )
    rows = plain.reshape(len(plain) if choice.per_channel else 1, -1).contiguous()
    beside: dict[str, Tensor]
    if choice.method in ("kmc", "kma"):
        beside = {"codebook": torch.from_numpy(kmeans(rows.numpy(), choice.entries, exact=exact))}
    else:
        scale, zero = (torch.from_numpy(part) for part in fit_uniform(rows.numpy(), choice.bits))
        beside = {"scale": scale.clamp(min=SMALLEST) if half else scale, "zero": zero.to(torch.uint8)}
    for part in {"scale", "codebook"} & set(beside):
        beside[part] = beside[part].to(torch.float16) if half else _storable(beside[part])
        if not bool(torch.isfinite(beside[part]).all()):
            raise QuantisationError(f"{name}: weights beyond 65,504 do not fit into the 16 bits of half=True")
    codes, error = _encoded(plain.reshape(len(plain), -1), choice, beside)
    return QuantisedWeight(choice, tuple(plain.shape), {"codes": codes, **beside}, error)


def _encoded(rows: Tensor, choice: Choice, beside: Mapping[str, Tensor]) -> tuple[Tensor, float]:
    """Packed codes of every weight, and the sum of squared errors. Shape: ``rows (channels, n)``."""

    def encode(part: slice) -> tuple[Tensor, float]:
        own, given = (
            rows[part],
            {name: tensor[part if len(tensor) > 1 else slice(1)] for name, tensor in beside.items()},
        )
        if "codebook" in given:
            book = given["codebook"].float()
            limits = ((book[:, 1:] + book[:, :-1]) / 2).expand(len(own), -1).contiguous()
            codes = _between(limits, own)
        else:
            codes = (own / given["scale"].float()).round_().add_(given["zero"]).clamp_(0, 2**choice.bits - 1)
        small = codes.to(torch.uint8)
        error = float((_decoded(small, given) - own).double().square().sum())
        return pack(small.flatten(), choice.bits), error

    parts = over_rows(tuple(rows.shape), encode)
    return torch.cat([codes for codes, _ in parts]), sum(error for _, error in parts)


def _between(limits: Tensor, values: Tensor) -> Tensor:
    """Numbers of limits below each value. Shapes: ``(rows, k - 1), (rows, n) -> (rows, n)``."""
    if limits.shape[1] > FEW:
        return torch.searchsorted(limits, values, out_int32=True)
    codes = np.zeros(tuple(values.shape), dtype=np.uint8)
    step = max(1, IN_CACHE // values.shape[1])
    for start in range(0, len(codes), step):
        own, given, out = (part[start : start + step] for part in (values.numpy(), limits.numpy(), codes))
        below = np.empty(own.shape, dtype=bool)
        for place in range(given.shape[1]):
            np.greater(own, given[:, place : place + 1], out=below)
            out += below.view(np.uint8)
    return torch.from_numpy(codes)


def _decoded(codes: Tensor, beside: Mapping[str, Tensor]) -> Tensor:
    """Values of codes. Shapes: ``(rows, n)``, tensors of one row or of as many ``-> (rows, n)``."""
    if "codebook" in beside:
        book = beside["codebook"].float()
        return book[0][codes.int()] if len(book) == 1 else book.gather(1, codes.long())
    return (codes.float() - beside["zero"].float()) * beside["scale"].float()


def stored_bits(shape: Iterable[int], choice: Choice) -> int:
    """Bits that :func:`quantise_weight` stores where 16 bits hold scales and codebooks; nothing is computed."""
    channels, *others = shape
    groups = channels if choice.per_channel else 1
    codes = 8 * -(-choice.bits * channels * math.prod(others) // 8)
    return codes + groups * (16 * choice.entries if choice.method in ("kmc", "kma") else 24)


def _storable(numbers: Tensor) -> Tensor:
    """Numbers in 16-bit floating point where that keeps about three digits of all of them, otherwise in 32 bits."""
    half = numbers.to(torch.float16)
    fine = (half.double() - numbers.double()).abs() <= ROUNDING * numbers.double().abs()
    return half if bool((fine & torch.isfinite(half)).all()) else numbers.to(torch.float32)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes as a sequence of bits, the lowest first. Shapes: ``(n,) -> (ceil(n * bits / 8),)``, both uint8."""
    if 8 % bits == 0:  # codes do not cross bytes
        each = 8 // bits
        whole = np.zeros((-(-codes.numel() // each), each), dtype=np.uint8)
        whole.reshape(-1)[: codes.numel()] = codes.numpy()
        out = whole[:, 0].copy()
        for place in range(1, each):
            out |= whole[:, place] << (bits * place)
        return torch.from_numpy(out)
    group = np.zeros((-(-codes.numel() // 8), 8), dtype=np.uint64)
    group.reshape(-1)[: codes.numel()] = codes.numpy()
    words = (group << _shifts(bits)).sum(axis=1, dtype=np.uint64)  # 8 codes are as many bytes as a code has bits
    packed = words.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :bits].reshape(-1)
    return torch.from_numpy(packed[: -(-codes.numel() * bits // 8)].copy())


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """The inverse of :func:`pack`. Shapes: ``(bytes,) -> (count,)``, both uint8."""
    if bits == 8:
        return packed[:count]
    whole = np.zeros(-(-count // 8) * bits, dtype=np.uint8)
    whole[: len(packed)] = packed.numpy()
    padded = np.zeros((len(whole) // bits, 8), dtype=np.uint8)
    padded[:, :bits] = whole.reshape(-1, bits)
    codes = (padded.view("<u8") >> _shifts(bits)) & np.uint64(2**bits - 1)
    return torch.from_numpy(codes.astype(np.uint8).reshape(-1)[:count].copy())


def _shifts(bits: int) -> NDArray[np.uint64]:
    return np.arange(0, 8 * bits, bits, dtype=np.uint64)
