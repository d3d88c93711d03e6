"""sd_unet: U-Nets like that of Stable Diffusion (Rombach et al., 2022), for inpainting and other latent diffusion.

A macro space around Stable Diffusion v1: four resolutions, halved three times on the way down and doubled three times
on the way up. Every resolution chooses, in its down half, a width (a multiple of Stable Diffusion's own: 320, 640,
1,280 and 1,280 channels), the number of residual blocks, and attention after each of them or not; in its up half,
attention or not. The block in the middle has attention, or is one plain residual block, or is left out (Kim et al.,
BK-SDM, 2023, leave it out).

A skip connection carries every block's output of the down half to a block of the up half, so the up half has the same
width and one block more (it also takes what entered the resolution): these are no choices of their own. In the graph
a node is one half of a resolution, or the middle, and the skips are the long edges ``down1 -> up1`` to
``down4 -> up4``. Stable Diffusion v1 itself is
``w1.0n2a1|w1.0n2a1|w1.0n2a1|w1.0n2a0|attention|a0|a1|a1|a1``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autobuild.spaces import Feature, SearchSpace, Stage, Unit
from autobuild.spaces.stage import SpaceError

if TYPE_CHECKING:
    from torch import nn

INPUTS = ("sample", "timestep", "encoder_hidden_states")  # what a network is called with
INPAINTING_CHANNELS = 9  # noisy latents (4), mask (1), latents of the masked picture (4)
LATENT_CHANNELS = 4
BASE_WIDTH = 320
MULTIPLES = (1, 2, 4, 4)  # of the base width, at the four resolutions
WIDTH = Feature("width", (0.6, 0.8, 1.0, 1.2))
BLOCKS = Feature("blocks", (1, 2, 3))
ATTENTION = Feature("attention", (0, 1))
MIDDLE = Feature("middle", ("none", "plain", "attention"))
MIDDLE_TYPES = {"none": None, "plain": "UNetMidBlock2D", "attention": "UNetMidBlock2DCrossAttn"}
HEADS = 8


def space(base_width: int = BASE_WIDTH, cross_attention_dim: int = 768) -> SearchSpace:
    """Declare the space.

    Args:
        base_width: Channels that ``w1.0`` stands for at the first resolution; a multiple of 40.
        cross_attention_dim: Length of one token of the conditioning text's encoding.

    Raises:
        SpaceError: If the base width is not a multiple of 40: widths would not divide into groups and heads.
    """
    if base_width < 40 or base_width % 40:
        raise SpaceError(f"sd_unet: base_width={base_width!r}; accepted: multiples of 40 (Stable Diffusion has 320)")
    levels = range(1, len(MULTIPLES) + 1)
    down = [Stage(f"down{i}", (1,), (WIDTH, BLOCKS, ATTENTION), "w{width}n{blocks}a{attention}") for i in levels]
    up = [Stage(f"up{i}", (1,), (ATTENTION,), "a{attention}") for i in reversed(levels)]
    stages = [*down, Stage("middle", (1,), (MIDDLE,), "{middle}"), *up]
    last = len(stages) - 1
    declared = SearchSpace(
        "sd_unet",
        [Unit(stage.name, [stage]) for stage in stages],
        joins=[*((i, i + 1) for i in range(last)), *((i, last - i) for i in range(len(down)))],
        about="U-Nets like Stable Diffusion's (Rombach et al., 2022): widths, blocks and attention at four resolutions",
    )
    declared.options = {"base_width": base_width, "cross_attention_dim": cross_attention_dim}
    return declared


SPACE = space()


def realise(
    layers: list[list[dict[str, Any]]],
    num_classes: int = LATENT_CHANNELS,
    in_channels: int = INPAINTING_CHANNELS,
    *,
    base_width: int = BASE_WIDTH,
    cross_attention_dim: int = 768,
) -> nn.Module:
    """Build diffusers' ``UNet2DConditionModel`` from the configuration that ``layers`` describes, with fresh weights.

    ``num_classes`` is the number of output channels: 4 for Stable Diffusion's latents.

    Shapes: ``(batch, in_channels, height, width)``, time steps ``(batch,)`` and text ``(batch, tokens,
    cross_attention_dim)`` -> an object whose ``sample`` is ``(batch, num_classes, height, width)``. Height and width
    are multiples of 8.

    Raises:
        SpaceError: If diffusers is not installed, with the command that installs it.
    """
    configuration = unet_configuration(layers, base_width)
    network: nn.Module = _unet_class()(
        in_channels=in_channels, out_channels=num_classes, cross_attention_dim=cross_attention_dim, **configuration
    )
    return network


def unet_configuration(layers: list[list[dict[str, Any]]], base_width: int = BASE_WIDTH) -> dict[str, Any]:
    """What distinguishes this architecture among diffusers' U-Nets: keyword arguments of ``UNet2DConditionModel``."""
    nodes = [node for (node,) in layers]
    down, middle, up = nodes[: len(MULTIPLES)], nodes[len(MULTIPLES)], nodes[len(MULTIPLES) + 1 :]
    widths = [round(base_width * many * node["width"]) for many, node in zip(MULTIPLES, down, strict=True)]
    return {
        "block_out_channels": tuple(widths),
        "layers_per_block": tuple(node["blocks"] for node in down),
        "down_block_types": tuple("CrossAttnDownBlock2D" if node["attention"] else "DownBlock2D" for node in down),
        "mid_block_type": MIDDLE_TYPES[middle["middle"]],
        "up_block_types": tuple("CrossAttnUpBlock2D" if node["attention"] else "UpBlock2D" for node in up),
        "attention_head_dim": HEADS,  # by its name a width, but diffusers reads it as the number of heads
        "norm_num_groups": base_width // 10,  # 32 at the base width of Stable Diffusion
    }


def _unet_class() -> Any:
    try:
        from diffusers import UNet2DConditionModel
    except ModuleNotFoundError as error:
        raise SpaceError(
            f"sd_unet builds its networks with diffusers ({error.name} is missing): "
            "pip install 'autobuild-nas[diffusion]'"
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_torchvision_operators()
        from diffusers import UNet2DConditionModel
    return UNet2DConditionModel


_KEPT_ALIVE: list[Any] = []  # torch forgets an operator once its library object is gone


def _declare_torchvision_operators() -> None:
    """Let torchvision import where it has no compiled operators for this torch: diffusers imports it, unused here."""
    import warnings

    import torch

    warnings.warn(
        "torchvision has no compiled operators for this torch; torchvision::nms is declared, without an "
        "implementation, so that diffusers can be imported",
        stacklevel=4,
    )
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT_ALIVE.append(library)
