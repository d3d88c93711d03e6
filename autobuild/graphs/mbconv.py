"""Operation graphs of inverted-bottleneck networks, computed without building or tracing modules.

A plan describes what all networks of a family share (stem, widths, strides, head). The rest follows from the layers of
an architecture (:meth:`autobuild.spaces.SearchSpace.layers`). A layer consists of a 1 x 1 expansion (unless expand is
1), a depthwise convolution, optionally squeeze-excite, a 1 x 1 projection, and an addition if the shape does not
change. Batch norms are folded. :func:`autobuild.graphs.graph_of` of the built network gives the same graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autobuild.errors import GraphError
from autobuild.graphs.chain import Chain
from autobuild.graphs.drafts import finish
from autobuild.graphs.operations import OperationGraph

Layers = Sequence[Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class MBConvStage:
    """Properties that the layers of a stage share.

    Attributes:
        width: Output channels of every layer.
        stride: Stride of the first layer; the others have stride 1.
        activation: A type of :data:`~autobuild.graphs.operations.ACTIVATIONS`.
        squeeze: Whether its layers have squeeze-excite; None if the feature ``se`` of each layer decides.
    """

    width: int
    stride: int
    activation: str = "relu"
    squeeze: bool | None = False


@dataclass(frozen=True)
class MBConvPlan:
    """Properties that the networks of a family share.

    Attributes:
        name: Name of the family.
        stem: Output channels of the first convolution, 3 x 3 with stride 2.
        stem_activation: Activation after the first convolution.
        stages: One entry per stage of ``layers``.
        tail: The operations after the stages, in order: ``("conv", channels, batch norm)`` of 1 x 1, ``("linear",
            features, True)``, ``("global_avg_pool", 0, False)``, or an activation.
        first: A layer with expand 1 and kernel 3 that every network has before the stages, or None.
        gate: Activation of the squeeze-excite gate.
        squeezed: Function from (input channels, expanded channels) to the channels within the squeeze-excite.
        in_channels: Channels of the input images.
    """

    name: str
    stem: int
    stem_activation: str
    stages: tuple[MBConvStage, ...]
    tail: tuple[tuple[str, int, bool], ...]
    first: MBConvStage | None = None
    gate: str = "sigmoid"
    squeezed: Callable[[int, int], int] = lambda inputs, expanded: inputs // 4
    in_channels: int = 3


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of ``divisor``, at least 90 % of ``value`` (the rule of MobileNet and Once-for-All)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def mbconv_graph(plan: MBConvPlan, layers: Layers, resolution: int = 224, name: str = "") -> OperationGraph:
    """Operation graph of one architecture.

    Args:
        plan: Plan of the family.
        layers: For each stage its layers, with ``expand`` and ``kernel``, and ``se`` if the plan leaves it open.
        resolution: Height and width of the input images, in pixels.
        name: Name of the graph.

    Returns:
        The operation graph, for a batch of one.

    Raises:
        GraphError: The number of stages differs from that of the plan.
    """
    if len(layers) != len(plan.stages):
        raise GraphError(f"{plan.name}: given layers of {len(layers)} stages, accepted: {len(plan.stages)}")
    chain = _Chain(plan, resolution)
    chain.start()
    stages = [([{"expand": 1, "kernel": 3}], plan.first)] if plan.first else []
    for number, (run, stage) in enumerate([*stages, *zip(layers, plan.stages, strict=True)]):
        for position, layer in enumerate(run):
            chain.layer(layer, stage, stage.stride if position == 0 else 1, f"{number}.{position}")
    for number, (kind, width, added) in enumerate(plan.tail):
        chain.finish(kind, width, added, f"tail.{number}")
    return finish(chain.drafts, [chain.value], name or plan.name, fold=True)


class _Chain(Chain):
    """A chain with methods for the layers of a plan."""

    def __init__(self, plan: MBConvPlan, resolution: int) -> None:
        super().__init__((1, plan.in_channels, resolution, resolution))
        self.plan = plan

    def start(self) -> None:
        plan = self.plan
        self.conv(plan.stem, 3, 2, "stem", activation=plan.stem_activation)

    def layer(self, layer: Mapping[str, Any], stage: MBConvStage, stride: int, place: str) -> None:
        before, inputs = self.value, self.value.shape[1]
        expanded = inputs * int(layer["expand"])
        if expanded != inputs:
            self.conv(expanded, 1, 1, f"{place}.expand", activation=stage.activation)
        self.conv(expanded, int(layer["kernel"]), stride, f"{place}.depthwise", expanded, stage.activation)
        if layer["se"] if stage.squeeze is None else stage.squeeze:
            self.squeeze(self.plan.squeezed(inputs, expanded), f"{place}.squeeze")
        self.conv(stage.width, 1, 1, f"{place}.project")
        if before.shape == self.value.shape:
            self.same("add", place, [before, self.value])

    def squeeze(self, width: int, place: str) -> None:
        whole = self.value
        self.pool(place)
        self.conv(width, 1, 1, f"{place}.reduce", activation="relu", bias=True, norm=False)
        self.conv(whole.shape[1], 1, 1, f"{place}.expand", activation=self.plan.gate, bias=True, norm=False)
        gate = self.value
        self.value = whole
        self.same("mul", place, [whole, gate])

    def finish(self, kind: str, width: int, added: bool, place: str) -> None:
        if kind == "conv":
            self.conv(width, 1, 1, place, norm=added)
        elif kind == "global_avg_pool":
            self.pool(place)
        elif kind == "linear":
            self.rows(width, added, place)
        else:
            self.same(kind, place, [self.value])


def _ofa_mbv3(width: float) -> MBConvPlan:
    """Once-for-All MobileNetV3 (Cai et al., 2020): widths, strides, activations and gates of its supernet."""
    stem, first, *widths, wide, last = (make_divisible(w * width) for w in (16, 16, 24, 40, 80, 112, 160, 960, 1280))
    kinds = ((2, "relu", False), (2, "relu", True), (2, "hard_swish", False), (1, "hard_swish", True),
             (2, "hard_swish", True))  # fmt: skip
    return MBConvPlan(
        "ofa_mbv3", stem, "hard_swish",
        tuple(MBConvStage(w, *kind) for w, kind in zip(widths, kinds, strict=True)),
        (("conv", wide, True), ("hard_swish", 0, False), ("global_avg_pool", 0, False), ("conv", last, False),
         ("hard_swish", 0, False), ("linear", 1000, True)),
        MBConvStage(first, 1, "relu"), "hard_sigmoid", lambda inputs, expanded: make_divisible(expanded // 4),
    )  # fmt: skip


def _ofa_proxyless(width: float) -> MBConvPlan:
    """Once-for-All ProxylessNAS (Cai et al., 2020)."""
    stem, first, *widths, last = (make_divisible(w * width) for w in (32, 16, 24, 40, 80, 96, 192, 320, 1280))
    strides = (2, 2, 2, 1, 2, 1)
    return MBConvPlan(
        "ofa_proxyless", stem, "relu6",
        tuple(MBConvStage(w, stride, "relu6") for w, stride in zip(widths, strides, strict=True)),
        (("conv", last, True), ("relu6", 0, False), ("global_avg_pool", 0, False), ("linear", 1000, True)),
        MBConvStage(first, 1, "relu6"),
    )  # fmt: skip


PLANS = {
    "ofa_mbv3": _ofa_mbv3(1.2),
    "ofa_proxyless": _ofa_proxyless(1.3),
    # The space of Accel-NASBench (Ahmad et al., DAC 2024): the gate has a quarter of the block's input channels.
    "mnasnet": MBConvPlan(
        "mnasnet", 32, "relu",
        tuple(MBConvStage(w, stride, "relu", None) for w, stride in
              zip((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 2, 1, 2, 1), strict=True)),
        (("conv", 1280, True), ("relu", 0, False), ("global_avg_pool", 0, False), ("linear", 1000, True)),
    ),
}  # fmt: skip
"""Plans of families whose published labels lie at hand; Once-for-All at the widths of those labels, 1.2 and 1.3."""
