"""Quantised weights in the formats of deployment libraries: torchao and compressed-tensors.

K-means codebooks have no format in either; other libraries were not tried.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from autobuild.errors import ConfigError, QuantisationError
from autobuild.quant.apply import weight_name
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
    linear, floating = _linear(quantised, "torchao")
    made = {weight: IntxUnpackedToInt8Tensor(*_integers(weight), None) for weight in linear.values()}
    return quantised.model.state_dict() | {weight_name(name): made[weight] for name, weight in linear.items()}, floating


def compressed_tensors(quantised: Quantised) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """The state and configuration of a quantised model in the format ``int-quantized`` of compressed-tensors.

    ``from_pretrained`` of transformers reads it, with the library compressed-tensors: codes of 2 to 8 bits in 8 bits
    each, a scale and a zero point for every output channel. They dequantise to the same weights. The format with packed
    codes (``pack-quantized``) is not written: transformers 5.24 with compressed-tensors 0.20 does not load it with zero
    points, not even as they write it themselves.

    Args:
        quantised: A model, quantised uniformly, that was not restored.

    Returns:
        Name -> tensor, for ``model.safetensors``; what ``config.json`` says, of the model itself only for one of
        transformers; and names of quantised layers that are not linear, whose rounded weights stay floating-point
        numbers.

    Raises:
        QuantisationError: A layer is quantised by k-means, for which the library has no format, or activations are.
    """
    linear, floating = _linear(quantised, "compressed-tensors")
    model = quantised.model.state_dict()
    state = quantised._others() | {weight_name(name): model[weight_name(name)] for name in floating}
    groups: dict[int, list[str]] = {}
    for name, weight in linear.items():
        codes, *beside = _integers(weight)[:3]
        scale, zero = (part.expand(len(codes), 1) for part in beside)
        key = weight_name(name)
        state |= {key: codes, f"{key}_scale": scale, f"{key}_zero_point": zero}
        groups.setdefault(weight.choice.bits, []).append(name)
    how = {"type": "int", "symmetric": False, "strategy": "channel"}
    about: dict[str, Any] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
    }
    about["config_groups"] = {
        f"{bits}_bits": {"format": "int-quantized", "targets": names, "weights": {"num_bits": bits, **how}}
        for bits, names in sorted(groups.items())
    }
    own = getattr(getattr(quantised.model, "config", None), "to_dict", dict)
    config = own() | {"architectures": [type(quantised.model).__name__], "quantization_config": about}
    return {name: tensor.cpu().contiguous() for name, tensor in state.items()}, config, floating


def _linear(quantised: Quantised, library: str) -> tuple[dict[str, QuantisedWeight], list[str]]:
    """Name -> weight of linear layers, with those that share one; and names of the other quantised layers."""
    if quantised.activations is not None:
        raise QuantisationError(
            f"{library}: activations={quantised.activations}; accepted: weights alone are quantised"
        )
    linear: dict[str, QuantisedWeight] = {}
    floating: list[str] = []
    for name, weight in quantised.weights.items():
        if weight.choice.method not in ("uaq", "uaqt"):
            raise QuantisationError(
                f"{name}: {weight.choice}: {library} has no format for k-means codebooks; "
                f"accepted for {library}: uaq and uaqt"
            )
        if isinstance(quantised.model.get_submodule(name), nn.Linear):
            users = [name, *(user for user, owner in quantised.shared.items() if owner == name)]
            linear |= dict.fromkeys(users, weight)
        else:
            floating.append(name)
    return linear, floating


def _integers(
    weight: QuantisedWeight,
) -> tuple[Tensor, Tensor, Tensor, torch.dtype, tuple[int, int], torch.dtype]:
    """Signed codes, scales, zero points, type of a code, shape of what shares a scale, type of a dequantised weight."""
    bits, (rows, width) = weight.choice.bits, weight.shape
    codes = unpack(weight.tensors["codes"], bits, math.prod(weight.shape)).view(rows, width)
    signed, zero = ((part.to(torch.int16) - 2 ** (bits - 1)).to(torch.int8) for part in (codes, weight.tensors["zero"]))
    block = (1 if weight.choice.per_channel else rows, width)
    return signed, weight.tensors["scale"].float(), zero, getattr(torch, f"int{bits}"), block, torch.float32
