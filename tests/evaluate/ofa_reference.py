"""A small Once-for-All supernet of random weights, its active sub-network, and the same subnet as a plain network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Family:
    """What a supernet fixes: channels (stem, first block, each stage), layers a stage, strides, activations, head."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    strides: tuple[int, ...]
    acts: tuple[str, ...]  # of the stem, of the first block, of each stage
    squeeze: tuple[int, ...]
    expanded: int | None
    last: int
    last_norm: bool
    eps: float


FAMILIES = {
    "mbv3": Family(
        widths=(8, 8, 16, 24, 32, 40, 48),
        depths=(4, 4, 4, 4, 4),
        strides=(2, 1, 2, 1, 2),
        acts=("hswish", "relu", "relu", "relu", "hswish", "hswish", "hswish"),
        squeeze=(0, 1, 0, 1, 1),
        expanded=64,
        last=72,
        last_norm=False,
        eps=1e-5,
    ),
    "proxyless": Family(
        widths=(16, 8, 16, 24, 32, 40, 48, 56),
        depths=(4, 4, 4, 4, 4, 1),
        strides=(2, 1, 2, 1, 2, 1),
        acts=("relu6",) * 8,
        squeeze=(0,) * 6,
        expanded=None,
        last=72,
        last_norm=True,
        eps=1e-3,
    ),
}
ACTS = {"relu": F.relu, "relu6": F.relu6, "hswish": lambda x: x * F.relu6(x + 3) / 6}
MODULES = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hswish": nn.Hardswish}


def eighths(channels: int) -> int:
    """The nearest multiple of 8 (halves up), the next one where that takes away more than a tenth."""
    near = max(8, (channels + 4) // 8 * 8)
    return near + 8 if 10 * near < 9 * channels else near


def make_supernet(family: Family, seed: int) -> dict[str, torch.Tensor]:
    """A state dict of random weights under the names of the published checkpoints."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def conv(name: str, outputs: int, inputs: int, kernel: int, bias: bool = False) -> None:
        state[f"{name}.weight"] = noise(outputs, inputs, kernel, kernel) * (1.25 / (inputs * kernel**2) ** 0.5)
        if bias:
            state[f"{name}.bias"] = 0.3 * noise(outputs)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + 0.2 * noise(channels), 0.2 * noise(channels)
        state[f"{name}.running_mean"], state[f"{name}.running_var"] = 0.2 * noise(channels), noise(channels) ** 2 + 0.8
        state[f"{name}.num_batches_tracked"] = torch.tensor(5)

    def block(name: str, inputs: int, outputs: int, squeeze: int) -> None:
        middle = 6 * inputs
        conv(f"{name}.inverted_bottleneck.conv.conv", middle, inputs, 1)
        norm(f"{name}.inverted_bottleneck.bn.bn", middle)
        conv(f"{name}.depth_conv.conv.conv", middle, 1, 7)
        for step, size in (("7to5", 25), ("5to3", 9)):
            state[f"{name}.depth_conv.conv.{step}_matrix"] = torch.eye(size) + 0.2 * noise(size, size)
        norm(f"{name}.depth_conv.bn.bn", middle)
        if squeeze:
            conv(f"{name}.depth_conv.se.fc.reduce", eighths(middle // 4), middle, 1, bias=True)
            conv(f"{name}.depth_conv.se.fc.expand", middle, eighths(middle // 4), 1, bias=True)
        conv(f"{name}.point_linear.conv.conv", outputs, middle, 1)
        norm(f"{name}.point_linear.bn.bn", outputs)

    widths = family.widths
    conv("first_conv.conv", widths[0], 3, 3)
    norm("first_conv.bn", widths[0])
    conv("blocks.0.mobile_inverted_conv.depth_conv.conv", widths[0], 1, 3)
    norm("blocks.0.mobile_inverted_conv.depth_conv.bn", widths[0])
    conv("blocks.0.mobile_inverted_conv.point_linear.conv", widths[1], widths[0], 1)
    norm("blocks.0.mobile_inverted_conv.point_linear.bn", widths[1])
    number, inputs = 1, widths[1]
    for outputs, depth, squeeze in zip(widths[2:], family.depths, family.squeeze, strict=True):
        for _ in range(depth):
            block(f"blocks.{number}.mobile_inverted_conv", inputs, outputs, squeeze)
            number, inputs = number + 1, outputs
    if family.expanded:
        conv("final_expand_layer.conv", family.expanded, inputs, 1)
        norm("final_expand_layer.bn", family.expanded)
    conv("feature_mix_layer.conv", family.last, family.expanded or inputs, 1)
    if family.last_norm:
        norm("feature_mix_layer.bn", family.last)
    state["classifier.linear.weight"], state["classifier.linear.bias"] = noise(10, family.last) / 8, noise(10)
    return state


def active_forward(family: Family, state: dict[str, torch.Tensor], layers, x: torch.Tensor) -> torch.Tensor:
    """The supernet with one sub-network active: every tensor is cut as it is used, to the channels that arrive."""

    def norm(x, name):
        fields = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{name}.{field}"][: x.shape[1], None, None] for field in fields)
        return (x - mean) / (var + family.eps).sqrt() * weight + bias

    def pointwise(x, name, outputs):
        return torch.einsum("oi,nihw->nohw", state[f"{name}.weight"][:outputs, : x.shape[1], 0, 0], x)

    def depthwise(x, name, stride, kernel):
        weight = state[f"{name}.conv.weight"][: x.shape[1], 0]
        for large, small in ((7, 5), (5, 3)):
            if kernel <= small:
                inner = weight[:, 1 : large - 1, 1 : large - 1].flatten(1)
                moved = torch.einsum("ts,cs->ct", state[f"{name}.{large}to{small}_matrix"], inner)
                weight = moved.unflatten(1, (small, small))
        return F.conv2d(x, weight[:, None], None, stride, kernel // 2, groups=x.shape[1])

    def squeezed(x, name):
        channels, middle = x.shape[1], eighths(x.shape[1] // 4)
        y = x.mean((2, 3)) @ state[f"{name}.reduce.weight"][:middle, :channels, 0, 0].T
        y = F.relu(y + state[f"{name}.reduce.bias"][:middle])
        y = y @ state[f"{name}.expand.weight"][:channels, :middle, 0, 0].T + state[f"{name}.expand.bias"][:channels]
        return x * F.relu6(y + 3)[:, :, None, None] / 6

    stem_act, first_act, *acts = (ACTS[name] for name in family.acts)
    x = stem_act(norm(F.conv2d(x, state["first_conv.conv.weight"], None, 2, 1), "first_conv.bn"))
    name = "blocks.0.mobile_inverted_conv"
    y = F.conv2d(x, state[f"{name}.depth_conv.conv.weight"], None, 1, 1, groups=x.shape[1])
    y = pointwise(first_act(norm(y, f"{name}.depth_conv.bn")), f"{name}.point_linear.conv", family.widths[1])
    y = norm(y, f"{name}.point_linear.bn")
    x = x + y if x.shape == y.shape else y
    for s, (stage, act) in enumerate(zip(layers, acts, strict=True)):
        for position, layer in enumerate(stage):
            name = f"blocks.{1 + sum(family.depths[:s]) + position}.mobile_inverted_conv"
            y = pointwise(x, f"{name}.inverted_bottleneck.conv.conv", layer["expand"] * x.shape[1])
            y = act(norm(y, f"{name}.inverted_bottleneck.bn.bn"))
            y = depthwise(y, f"{name}.depth_conv.conv", 1 if position else family.strides[s], layer["kernel"])
            y = act(norm(y, f"{name}.depth_conv.bn.bn"))
            y = squeezed(y, f"{name}.depth_conv.se.fc") if family.squeeze[s] else y
            y = norm(pointwise(y, f"{name}.point_linear.conv.conv", family.widths[2 + s]), f"{name}.point_linear.bn.bn")
            x = x + y if x.shape == y.shape else y
    if family.expanded:
        x = stem_act(norm(pointwise(x, "final_expand_layer.conv", family.expanded), "final_expand_layer.bn"))
        x = stem_act(pointwise(x.mean((2, 3), keepdim=True), "feature_mix_layer.conv", family.last))
    else:
        x = stem_act(norm(pointwise(x, "feature_mix_layer.conv", family.last), "feature_mix_layer.bn"))
    return x.mean((2, 3)) @ state["classifier.linear.weight"].T + state["classifier.linear.bias"]


class Residual(nn.Module):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*parts)

    def forward(self, x):
        y = self.body(x)
        return x + y if x.shape == y.shape else y


class Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = eighths(channels // 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, middle, 1),
            nn.ReLU(),
            nn.Conv2d(middle, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x):
        return x * self.gate(x)


def realise(family: Family, layers, classes: int = 10) -> nn.Module:
    """The subnet alone, with fresh weights."""

    def conv(inputs, outputs, kernel, act, stride=1, groups=1):
        norm = nn.BatchNorm2d(outputs, eps=family.eps)
        parts = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), norm]
        return [*parts, MODULES[act]()] if act else parts

    widths, (stem_act, first_act, *acts) = family.widths, family.acts
    parts = conv(3, widths[0], 3, stem_act, 2)
    parts += [Residual(*conv(widths[0], widths[0], 3, first_act, 1, widths[0]), *conv(widths[0], widths[1], 1, None))]
    inputs = widths[1]
    for s, (stage, act) in enumerate(zip(layers, acts, strict=True)):
        for position, layer in enumerate(stage):
            middle, stride = layer["expand"] * inputs, 1 if position else family.strides[s]
            body = conv(inputs, middle, 1, act) + conv(middle, middle, layer["kernel"], act, stride, middle)
            body += [Gate(middle)] if family.squeeze[s] else []
            inputs, before = widths[2 + s], inputs
            parts.append(Residual(*body, *conv(middle, inputs, 1, None)))
            assert before in (inputs, widths[1 + s])
    pool: list[nn.Module] = [nn.AdaptiveAvgPool2d(1)]
    if family.expanded:
        parts += [*conv(inputs, family.expanded, 1, stem_act), *pool]
        parts += [nn.Conv2d(family.expanded, family.last, 1, bias=False), MODULES[stem_act]()]
    else:
        parts += [*conv(inputs, family.last, 1, stem_act), *pool]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(family.last, classes)).eval()
