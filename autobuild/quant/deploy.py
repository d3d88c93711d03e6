"""Quantised weights in the format of a deployment library: torchao.

K-means codebooks have no format in torchao; other libraries were not tried.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autobuild.errors import ConfigError, QuantisationError
from autobuild.quant.weights import QuantisedWeight, unpack

if TYPE_CHECKING:
    from autobuild.quant.apply import Quantised


def torchao_state(quantised: Quantised) -> tuple[dict[str, Tensor], list[str]]:
    """The state of a quantised model with the weights of linear layers as torchao's integers of 2 to 8 bits.

    They are torchao's ``IntxUnpackedToInt8Tensor``: codes in 8 bits each, which torchao packs when it lowers a model, a
    scale and a zero point for every output channel or for the whole weight. They dequantise to the same weights.
    A model of the same class reads the state by ``load_state_dict(state, assign=True)``.

    Args:
        quantised: A model, quantised uniformly, that was not restored.

    Returns:
        Name -> tensor; and names of quantised layers that are not linear, whose rounded weights stay floating-point
        numbers because torchao computes with integers in linear layers alone.

    Raises:
        QuantisationError: A layer is quantised by k-means, for which no library has a format, or activations are.
        ConfigError: torchao is not installed.
    """
    try:
        from torchao.quantization import IntxUnpackedToInt8Tensor
    except ModuleNotFoundError as error:
        raise ConfigError("export=torchao needs torchao: pip install 'autobuild-nas[deploy]'") from error
    if quantised.activations is not None:
        raise QuantisationError(f"torchao: activations={quantised.activations}; accepted: weights alone are quantised")
    state, floating = dict(quantised.model.state_dict()), []
    for name, weight in quantised.weights.items():
        if weight.choice.method not in ("uaq", "uaqt"):
            raise QuantisationError(
                f"{name}: {weight.choice}: torchao has no format for k-means codebooks; "
                "accepted for torchao: uaq and uaqt"
            )
        if not isinstance(quantised.model.get_submodule(name), nn.Linear):
            floating.append(name)
            continue
        users = [name, *(user for user, owner in quantised.shared.items() if owner == name)]
        made = IntxUnpackedToInt8Tensor(*_integers(weight), None)
        state |= {f"{user}.weight": made for user in users}
    return state, floating


def _integers(
    weight: QuantisedWeight,
) -> tuple[Tensor, Tensor, Tensor, torch.dtype, tuple[int, int], torch.dtype]:
    """Signed codes, scales, zero points, type of a code, shape of what shares a scale, type of a dequantised weight."""
    bits, (rows, width) = weight.choice.bits, weight.shape
    codes = unpack(weight.tensors["codes"], bits, math.prod(weight.shape)).view(rows, width)
    signed, zero = ((part.to(torch.int16) - 2 ** (bits - 1)).to(torch.int8) for part in (codes, weight.tensors["zero"]))
    block = (1 if weight.choice.per_channel else rows, width)
    return signed, weight.tensors["scale"].float(), zero, getattr(torch, f"int{bits}"), block, torch.float32
