"""Weights of a published Once-for-All supernet (Cai et al., ICLR 2020) for one of its subnets.

A checkpoint of the MobileNetV3 or ProxylessNAS supernet holds every layer at its largest: most layers in each stage,
widest expansion, largest kernel. A subnet takes the first layers of a stage, the first channels of an expansion
(training has sorted them by importance) and the centre of a kernel, passed through the learnt matrices ``7to5_matrix``
and ``5to3_matrix``; statistics of batch norms are sliced like channels. The realised network must compute what the
supernet does: ReLU and hard-swish where it has them, batch norms with eps 1e-5 (MobileNetV3) or 1e-3 (ProxylessNAS).
Statistics fit the whole supernet; the published accuracies are measured after passing some training pictures again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

Place = tuple[str, int, str]  # stage ("stem", "stage1", ..., "head"), layer in it from 1, part as the checkpoint has it
Weights = dict[Place, dict[str, "Tensor"]]  # for each part its tensors by field: weight, bias, running_mean, ...

_STEM = ("first_conv.conv", "first_conv.bn")
_BLOCK = (
    *("inverted_bottleneck.conv", "inverted_bottleneck.bn", "depth_conv.conv", "depth_conv.bn"),
    *("depth_conv.se.fc.reduce", "depth_conv.se.fc.expand", "point_linear.conv", "point_linear.bn"),
)
_HEAD = (
    ("final_expand_layer.conv", "final_expand_layer.bn"),  # MobileNetV3 only
    ("feature_mix_layer.conv", "feature_mix_layer.bn"),  # without batch norm in MobileNetV3
    ("classifier.linear",),
)
_SQUEEZE = 4  # a squeeze-and-excite has a quarter of the channels it weighs
_MATRIX = re.compile(r"(\d+)to(\d+)_matrix")


def load_ofa_weights(
    network: nn.Module,
    layers: Sequence[Sequence[Mapping[str, Any]]],
    checkpoint: str | Path | Mapping[str, Tensor],
    *,
    classifier: bool = True,
) -> nn.Module:
    """Give a realised subnet the weights that a supernet's checkpoint has for it.

    Args:
        network: The realised subnet; changed in place, or left as it is where an error is raised.
        layers: Its layers, as ``space.layers(arch)`` gives them.
        checkpoint: File of the supernet, or its state dict.
        classifier: False leaves the last linear layer fresh, for another number of classes.

    Raises:
        ModelError: Saying which part of the checkpoint or network does not fit, and how.
    """
    state = read_checkpoint(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
    return load_into(network, subnet_weights(state, layers), classifier=classifier)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """State dict of a checkpoint file: torch's format (tensors only, nothing else is unpickled) or safetensors."""
    import torch

    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            data: Any = load_file(str(path))
        else:
            data = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"no such checkpoint: {path}") from None
    except Exception as error:  # torch, pickle, zipfile and safetensors each have their own for a damaged file
        raise ModelError(f"{path}: not readable as a checkpoint of tensors: {error}") from None
    data = data.get("state_dict", data) if isinstance(data, Mapping) else data
    if not isinstance(data, Mapping) or not all(isinstance(value, torch.Tensor) for value in data.values()):
        raise ModelError(f"{path}: a checkpoint holds a state dict (names to tensors), or one under 'state_dict'")
    return dict(data)


def subnet_weights(
    checkpoint: Mapping[str, Tensor],
    layers: Sequence[Sequence[Mapping[str, Any]]],
    *,
    depths: Sequence[int] | None = None,
) -> Weights:
    """Cut the weights of one subnet out of a supernet's state dict.

    Args:
        checkpoint: State dict of the supernet; the names of both published versions of the code are understood.
        layers: For each stage its layers as ``{"expand": ..., "kernel": ...}``, other features ignored; a stage
            without these features (the choice of a resolution) has no weights and is passed over.
        depths: Number of layers that each stage of the supernet has. The default is read from the checkpoint: a stage
            begins where a block changes the number of channels.

    Returns:
        For each ``(stage, layer, part)``, in the order of the forward pass, its tensors by field.

    Raises:
        ModelError: If the checkpoint lacks a part, or the subnet is not inside the supernet.
    """
    try:
        return _subnet_weights(_table(checkpoint), layers, depths)
    except KeyError as error:
        raise ModelError(f"the checkpoint has no part or field {error}") from None


def _subnet_weights(
    table: Mapping[str, dict[str, Tensor]],
    layers: Sequence[Sequence[Mapping[str, Any]]],
    depths: Sequence[int] | None,
) -> Weights:
    stages = [stage for stage in layers if all("expand" in layer and "kernel" in layer for layer in stage)]
    groups = _groups(table, depths)
    if len(groups) != len(stages):
        found = [len(group) for group in groups]
        raise ModelError(f"the supernet has {len(groups)} stages (of {found} layers), the subnet has {len(stages)}")
    weights: Weights = {("stem", 1, part): table[part] for part in _STEM}
    weights |= {("stem", 2, part): table[f"blocks.0.{part}"] for part in _BLOCK if f"blocks.0.{part}" in table}
    for number, (stage, group) in enumerate(zip(stages, groups, strict=True), start=1):
        if len(stage) > len(group):
            raise ModelError(f"stage{number} has {len(stage)} layers, the supernet {len(group)}")
        for position, (layer, block) in enumerate(zip(stage, group, strict=False), start=1):
            try:
                cut = _block(table, block, layer["expand"], int(layer["kernel"]))
            except ModelError as error:
                raise ModelError(f"stage{number}, layer {position}: {error}") from None
            weights |= {(f"stage{number}", position, part): fields for part, fields in cut.items()}
    for position, parts in enumerate(_HEAD, start=1):
        weights |= {("head", position, part): table[part] for part in parts if part in table or position == len(_HEAD)}
    return weights


def load_into(
    network: nn.Module,
    weights: Weights,
    *,
    names: Callable[[Place], str] | None = None,
    classifier: bool = True,
) -> nn.Module:
    """Copy the weights of a subnet into a network: all of them, into all of its parameters and statistics.

    Args:
        network: The network; changed in place, or left as it is where an error is raised.
        weights: What :func:`subnet_weights` gave.
        names: Name in the network of the convolution, batch norm or linear layer for a place. The default pairs them
            in order: a network registers its layers in the order in which they run.
        classifier: False leaves the last linear layer of both as it is.

    Raises:
        ModelError: Naming the place and the layer that differ in kind or shape, or what is left over.
    """
    import torch
    from torch import nn

    leaves = {
        name: leaf for name, leaf in network.named_modules() if next(leaf.parameters(recurse=False), None) is not None
    }
    places = list(weights)
    if not classifier:
        places = [place for place in places if not place[2].startswith("classifier")]
        linear = [name for name, leaf in leaves.items() if isinstance(leaf, nn.Linear)]
        leaves = {name: leaf for name, leaf in leaves.items() if name != linear[-1]} if linear else leaves
    if names is not None:
        wanted = [names(place) for place in places]
        missing = [name for name in wanted if name not in leaves]
        if missing:
            raise ModelError(f"the network has no layer {missing[0]!r} with weights; it has {', '.join(leaves)}")
        if set(wanted) != set(leaves):
            raise ModelError(f"the network's layer {sorted(set(leaves) - set(wanted))[0]!r} would get no weights")
        leaves = {name: leaves[name] for name in wanted}
    moves: list[tuple[Tensor, Tensor]] = []
    for place, (name, leaf) in zip(places, leaves.items(), strict=False):
        moves += _moves(place, weights[place], name, leaf)
    if len(places) != len(leaves):
        raise ModelError(f"the subnet has {len(places)} parts with weights, the network {len(leaves)}")
    with torch.no_grad():
        for target, source in moves:
            target.copy_(source.reshape(target.shape))
    return network


def _moves(place: Place, fields: Mapping[str, Tensor], name: str, leaf: nn.Module) -> list[tuple[Tensor, Tensor]]:
    own = dict(leaf.named_parameters(recurse=False)) | dict(leaf.named_buffers(recurse=False))
    # a counter of batches, which early checkpoints lack: nothing is computed from it
    own = {field: tensor for field, tensor in own.items() if field in fields or field != "num_batches_tracked"}
    same = own.keys() == fields.keys() and all(_alike(own[field], fields[field]) for field in own)
    if not same:
        given, taken = (", ".join(f"{f} {tuple(t.shape)}" for f, t in side.items()) for side in (fields, own))
        stage, layer, part = place
        raise ModelError(
            f"{stage}, layer {layer}, {part} has {given}; the network's {name} ({type(leaf).__name__}) takes {taken}"
        )
    return [(own[field], fields[field]) for field in own]


def _alike(target: Tensor, source: Tensor) -> bool:
    """Equal shapes, where a linear layer equals a 1 x 1 convolution."""
    rows, columns = tuple(target.shape), tuple(source.shape)
    return rows == columns or (rows[:2] == columns[:2] and set(rows[2:] + columns[2:]) == {1})


def _table(checkpoint: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by part and field, under one name whichever version of the code and wrapper wrote them.

    ``module.blocks.1.mobile_inverted_conv.depth_conv.conv.conv.weight`` -> ``blocks.1.depth_conv.conv``, ``weight``.
    """
    table: dict[str, dict[str, Tensor]] = {}
    for key, tensor in checkpoint.items():
        words = key.removeprefix("module.").split(".")
        words = [word for i, word in enumerate(words) if i == 0 or word != words[i - 1]]
        if words[0] == "blocks" and len(words) > 2 and words[2] in ("mobile_inverted_conv", "conv"):
            del words[2]
        table.setdefault(".".join(words[:-1]), {})[words[-1]] = tensor.detach()
    if "blocks.1.depth_conv.conv" not in table:
        raise ModelError(
            "this is no checkpoint of a Once-for-All supernet of inverted bottlenecks: it has no part "
            f"'blocks.1.mobile_inverted_conv.depth_conv.conv'; its first name is {next(iter(checkpoint), 'none')!r}"
        )
    return table


def _groups(table: Mapping[str, dict[str, Tensor]], depths: Sequence[int] | None) -> list[list[int]]:
    """Numbers of the blocks of each stage; block 0 comes before the first."""
    numbers = sorted({int(name.split(".")[1]) for name in table if name.startswith("blocks.")} - {0})
    if depths is not None:
        if sum(depths) != len(numbers):
            raise ModelError(f"depths={list(depths)} sum to {sum(depths)}; the checkpoint has {len(numbers)} blocks")
        starts = [sum(depths[:i]) for i in range(len(depths))]
        return [numbers[start : start + depth] for start, depth in zip(starts, depths, strict=True)]
    groups: list[list[int]] = []
    for number in numbers:
        inputs = table[f"blocks.{number}.inverted_bottleneck.conv"]["weight"].shape[1]
        outputs = table[f"blocks.{number}.point_linear.conv"]["weight"].shape[0]
        if inputs != outputs or not groups:
            groups.append([])
        groups[-1].append(number)
    return groups


def _block(
    table: Mapping[str, dict[str, Tensor]], number: int, expand: float, kernel: int
) -> dict[str, dict[str, Tensor]]:
    """One inverted bottleneck, cut to an expansion and a kernel size."""
    large = {part: table[f"blocks.{number}.{part}"] for part in _BLOCK if f"blocks.{number}.{part}" in table}
    widest, inputs = large["inverted_bottleneck.conv"]["weight"].shape[:2]
    width = _divisible(inputs * expand)
    if width > widest:
        raise ModelError(
            f"expand={expand} needs {width} channels, the supernet has {widest} (expand {widest / inputs:g})"
        )
    squeezed = _divisible(width // _SQUEEZE)
    small = {
        "inverted_bottleneck.conv": {"weight": large["inverted_bottleneck.conv"]["weight"][:width]},
        "depth_conv.conv": {"weight": _kernel(large["depth_conv.conv"], width, kernel)},
        "point_linear.conv": {"weight": large["point_linear.conv"]["weight"][:, :width]},
        "point_linear.bn": large["point_linear.bn"],
    }
    for part in ("inverted_bottleneck.bn", "depth_conv.bn"):
        small[part] = {field: tensor[:width] if tensor.dim() else tensor for field, tensor in large[part].items()}
    if "depth_conv.se.fc.reduce" in large:
        reduce, widen = large["depth_conv.se.fc.reduce"], large["depth_conv.se.fc.expand"]
        small["depth_conv.se.fc.reduce"] = {
            "weight": reduce["weight"][:squeezed, :width],
            "bias": reduce["bias"][:squeezed],
        }
        small["depth_conv.se.fc.expand"] = {"weight": widen["weight"][:width, :squeezed], "bias": widen["bias"][:width]}
    return {part: small[part] for part in _BLOCK if part in small}


def _kernel(fields: Mapping[str, Tensor], width: int, kernel: int) -> Tensor:
    """The first channels' kernels, made smaller step by step: the centre, through that step's matrix.

    Shapes: weight ``(channels, 1, 7, 7)`` -> ``(width, 1, kernel, kernel)``; a matrix to size k is ``(k*k, k*k)``.
    """
    weight = fields["weight"][:width]
    steps = {
        int(m[1]): (int(m[2]), fields[name])
        for name in fields
        if (m := _MATRIX.fullmatch(name)) and int(m[1]) > int(m[2])
    }
    accepted = [weight.shape[-1]]
    while accepted[-1] in steps:
        accepted.append(steps[accepted[-1]][0])
    if kernel not in accepted:
        raise ModelError(f"kernel={kernel}: the supernet has kernels of {', '.join(map(str, accepted))}")
    while weight.shape[-1] > kernel:
        size, matrix = steps[weight.shape[-1]]
        edge = (weight.shape[-1] - size) // 2
        centre = weight[:, :, edge : edge + size, edge : edge + size]
        weight = (centre.reshape(width, size * size) @ matrix.T).reshape(width, 1, size, size)
    return weight


def _divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of 8, at least 8, and not more than a tenth below."""
    rounded = max(divisor, int(round(channels) + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor
