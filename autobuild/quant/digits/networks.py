"""Small diffusion models and a small classifier of scikit-learn's 8 x 8 digits, whose weights ship.

Both diffusion models take a noisy picture ``(batch, 1, 8, 8)``, times in [0, 1] ``(batch,)`` and classes ``(batch,)``,
and predict ``v = cos(pi t / 2) noise - sin(pi t / 2) picture`` (Salimans & Ho, ICLR 2022).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autobuild.errors import ConfigError, nearest

SIDE = 8  # pixels
CLASSES = 10
PATCH = 2
WEIGHTS = Path(__file__).parent / "weights"


def time_waves(times: Tensor, width: int) -> Tensor:
    """Sines and cosines of times at geometric frequencies. Shapes: ``(batch,) -> (batch, width)``."""
    frequencies = torch.exp(torch.arange(width // 2, device=times.device) * (math.log(1000.0) / (width // 2 - 1)))
    angles = times[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Condition(nn.Module):
    """Time and class as one vector, ``(batch, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.time1, self.time2 = nn.Linear(width, width), nn.Linear(width, width)
        self.label = nn.Embedding(CLASSES, width)

    def forward(self, times: Tensor, classes: Tensor) -> Tensor:
        """See the class."""
        hidden = functional.silu(self.time1(time_waves(times, self.width)))
        return functional.silu(self.time2(hidden) + self.label(classes))


class Attention(nn.Module):
    """Self-attention over tokens, ``(batch, tokens, width)``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        batch, tokens, width = x.shape
        q, k, v = (
            part(x).view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return out


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class TransformerBlock(nn.Module):
    """A block of a diffusion transformer with adaptive layer norm (Peebles & Xie, ICCV 2023)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attn, self.ff = Attention(width, heads), FeedForward(width, 4 * width)
        self.ada = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.ada.weight)
        nn.init.zeros_(self.ada.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """See the class."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.ada(condition)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attn(self.norm1(x) * (1 + scale1) + shift1)
        out: Tensor = x + gate2 * self.ff(self.norm2(x) * (1 + scale2) + shift2)
        return out


class DigitsTransformer(nn.Module):
    """A class-conditional diffusion transformer: patches of 2 x 2 pixels, four blocks."""

    def __init__(self, width: int = 48, depth: int = 4, heads: int = 3) -> None:
        super().__init__()
        tokens = (SIDE // PATCH) ** 2
        self.patch = nn.Conv2d(1, width, PATCH, PATCH)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.condition = Condition(width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.ada, self.head = nn.Linear(width, 2 * width), nn.Linear(width, PATCH**2)

    def forward(self, x: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """See the class."""
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.place
        condition = self.condition(times, classes)
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.ada(condition)[:, None].chunk(2, dim=-1)
        pixels = self.head(self.norm(tokens) * (1 + scale) + shift)
        out: Tensor = functional.pixel_shuffle(
            pixels.transpose(1, 2).unflatten(2, (SIDE // PATCH, SIDE // PATCH)), PATCH
        )
        return out


class ResidualBlock(nn.Module):
    """Two convolutions with group norm; the condition is added between them."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, 1, 1), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.emb = nn.Linear(condition, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """See the class."""
        hidden = self.conv1(functional.silu(self.norm1(x))) + self.emb(condition)[..., None, None]
        out: Tensor = self.skip(x) + self.conv2(functional.silu(self.norm2(hidden)))
        return out


class PixelAttention(nn.Module):
    """Self-attention over the positions of a feature map, with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attn = nn.GroupNorm(8, width), Attention(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        out: Tensor = x + self.attn(tokens).transpose(1, 2).unflatten(2, x.shape[2:])
        return out


class DigitsUNet(nn.Module):
    """A class-conditional U-Net of two resolutions, 8 x 8 and 4 x 4."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        wide = 2 * width
        self.condition = Condition(wide)
        self.stem = nn.Conv2d(1, width, 3, 1, 1)
        self.down1 = ResidualBlock(width, width, wide)
        self.shrink = nn.Conv2d(width, wide, 3, 2, 1)
        self.down2, self.down2_attn = ResidualBlock(wide, wide, wide), PixelAttention(wide, 2)
        self.mid = ResidualBlock(wide, wide, wide)
        self.up2, self.up2_attn = ResidualBlock(2 * wide, wide, wide), PixelAttention(wide, 2)
        self.grow = nn.Conv2d(wide, width, 3, 1, 1)
        self.up1 = ResidualBlock(2 * width, width, wide)
        self.norm, self.head = nn.GroupNorm(8, width), nn.Conv2d(width, 1, 3, 1, 1)

    def forward(self, x: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """See the class."""
        condition = self.condition(times, classes)
        fine = self.down1(self.stem(x), condition)
        coarse = self.down2_attn(self.down2(self.shrink(fine), condition))
        hidden = self.mid(coarse, condition)
        hidden = self.up2_attn(self.up2(torch.cat([hidden, coarse], dim=1), condition))
        hidden = self.grow(functional.interpolate(hidden, scale_factor=2.0, mode="nearest"))
        hidden = self.up1(torch.cat([hidden, fine], dim=1), condition)
        out: Tensor = self.head(functional.silu(self.norm(hidden)))
        return out


class DigitsClassifier(nn.Module):
    """A small convolutional classifier; :meth:`features` are what distances of pictures are computed from."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, 1, 1), nn.GELU(), nn.Conv2d(width, width, 3, 2, 1), nn.GELU(),
            nn.Conv2d(width, width, 3, 1, 1), nn.GELU(), nn.Flatten(), nn.Linear(16 * width, 32), nn.GELU(),
        )  # fmt: skip
        self.head = nn.Linear(32, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Shapes: ``(batch, 1, 8, 8) -> (batch, 32)``."""
        out: Tensor = self.body(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.head(self.features(x))
        return out


NETWORKS: dict[str, Any] = {
    "digits_dit": DigitsTransformer,
    "digits_unet": DigitsUNet,
    "digits_classifier": DigitsClassifier,
}


def example_input() -> tuple[Tensor, Tensor, Tensor]:
    """One noisy picture, its time and its class: what a diffusion model takes."""
    return torch.zeros(1, 1, SIDE, SIDE), torch.full((1,), 0.5), torch.zeros(1, dtype=torch.int64)


def load_digits_network(name: str) -> nn.Module:
    """A network with the weights that ship, in evaluation mode.

    Args:
        name: ``"digits_dit"``, ``"digits_unet"`` or ``"digits_classifier"``.

    Raises:
        ConfigError: There is no such network.
    """
    from safetensors.torch import load_file

    if name not in NETWORKS:
        raise ConfigError(f"no network {name!r} ships: {nearest(name, NETWORKS)}")
    network: nn.Module = NETWORKS[name]()
    network.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
    return network.eval()
