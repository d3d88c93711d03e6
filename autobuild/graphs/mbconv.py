"""Operation graphs of inverted-bottleneck networks, written down directly: no module is built, nothing is traced.

A plan says what all networks of a family share (stem, widths, strides, head); the layers of an architecture
(:meth:`autobuild.spaces.SearchSpace.layers`) say the rest. A layer is an expansion of 1 x 1 (absent where expand = 1),
a depthwise convolution, where asked squeeze-and-excitation, a projection of 1 x 1, and an addition where the shape
stays the same. Batch norms count as folded. For a network that exists, :func:`autobuild.graphs.graph_of` gives the same
graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autobuild.errors import GraphError
from autobuild.graphs.drafts import Draft, Value, Weight, convolution, finish, linear
from autobuild.graphs.operations import OperationGraph

Layers = Sequence[Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class MBConvStage:
    """What a stage's layers share.

    Attributes:
        width: Output channels of every layer.
        stride: Of the first layer; the others have stride 1.
        activation: A type of :data:`~autobuild.graphs.operations.ACTIVATIONS`.
        squeeze: Whether its layers squeeze and excite; None where the layer's own feature ``se`` says so.
    """

    width: int
    stride: int
    activation: str = "relu"
    squeeze: bool | None = False


@dataclass(frozen=True)
class MBConvPlan:
    """What the networks of a family share.

    Attributes:
        name: Of the family.
        stem: Channels of the 3 x 3 convolution of stride 2 at the start.
        stem_activation: Behind it.
        stages: One for each stage of ``layers``.
        tail: What follows, in order: ``("conv", channels, bias)`` of 1 x 1, ``("linear", features, True)``,
            ``("global_avg_pool", 0, False)``, or an activation.
        first: A layer of expand 1 and kernel 3 that every network has before the stages, or None.
        gate: The gate's activation.
        squeezed: From (input channels, expanded channels) to the channels between the two convolutions of the gate.
        in_channels: Channels of the picture.
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
    """The nearest multiple, never below 90 % of the value (the rule of MobileNet and Once-for-All)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def mbconv_graph(plan: MBConvPlan, layers: Layers, resolution: int = 224, name: str = "") -> OperationGraph:
    """The operation graph of one architecture.

    Args:
        plan: Of its family.
        layers: For each stage its layers, with ``expand`` and ``kernel``, and ``se`` where the plan leaves it open.
        resolution: Height and width of the picture.
        name: Of the graph.

    Raises:
        GraphError: If the layers have another number of stages than the plan.
    """
    if len(layers) != len(plan.stages):
        raise GraphError(f"{plan.name}: given layers of {len(layers)} stages, accepted: {len(plan.stages)}")
    chain = _Chain(plan)
    chain.start(resolution)
    stages = [([{"expand": 1, "kernel": 3}], plan.first)] if plan.first else []
    for number, (run, stage) in enumerate([*stages, *zip(layers, plan.stages, strict=True)]):
        for position, layer in enumerate(run):
            chain.layer(layer, stage, stage.stride if position == 0 else 1, f"{number}.{position}")
    for number, (kind, width, bias) in enumerate(plan.tail):
        chain.finish(kind, width, bias, f"tail.{number}")
    return finish(chain.drafts, [chain.value], name or plan.name, fold=True)


class _Chain:
    """Drafts one behind the other; ``value`` is the output so far."""

    def __init__(self, plan: MBConvPlan) -> None:
        self.plan = plan
        self.drafts: list[Draft] = []
        self.value: Value

    def start(self, resolution: int) -> None:
        plan = self.plan
        picture = Draft("input", "input", outputs=[(1, plan.in_channels, resolution, resolution)], name="input")
        self.value = self._add(picture)
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
            self._same("add", place, [before, self.value])

    def squeeze(self, width: int, place: str) -> None:
        whole = self.value
        self.pool(place)
        self.conv(width, 1, 1, f"{place}.reduce", activation="relu")
        self.conv(whole.shape[1], 1, 1, f"{place}.expand", activation=self.plan.gate)
        gate = self.value
        self.value = whole
        self._same("mul", place, [whole, gate])

    def finish(self, kind: str, width: int, bias: bool, place: str) -> None:
        if kind == "conv":
            self.conv(width, 1, 1, place, bias=bias)
        elif kind == "global_avg_pool":
            self.pool(place)
        elif kind == "linear":
            self.rows(width, bias, place)
        else:
            self._same(kind, place, [self.value])

    def conv(self, width: int, kernel: int, stride: int, place: str, groups: int = 1, activation: str = "",
             bias: bool = True) -> None:  # fmt: skip
        _, inputs, height, across = self.value.shape
        out = [(size - 1) // stride + 1 for size in (height, across)]  # odd kernels, padded by half of them
        draft = Draft("conv", "", [self.value], [(1, width, *out)], module=place, groups=groups)
        shape = (width, inputs // groups, kernel, kernel)
        draft.weights = [Weight(f"{place}.weight", shape)] + [Weight(f"{place}.bias", (width,))] * bias
        convolution(draft, shape, bias)
        draft.stride, draft.dilation = (stride, stride), (1, 1)
        draft.padding = ((kernel // 2, kernel // 2),) * 2
        self.value = self._add(draft)
        if activation:
            self._same(activation, place, [self.value])

    def pool(self, place: str) -> None:
        shape = self.value.shape
        pooled = Draft("global_avg_pool", "", [self.value], [(*shape[:2], 1, 1)], module=place, kernel=shape[2:])
        self.value = self._add(pooled)

    def rows(self, width: int, bias: bool, place: str) -> None:
        if len(self.value.shape) > 2:
            self.value = self._add(Draft("alias", "", [self.value], [self.value.shape[:2]], module=place))
        features = self.value.shape[1]
        draft = Draft("linear", "", [self.value], [(1, width)], module=place)
        draft.weights = [Weight(f"{place}.weight", (width, features))] + [Weight(f"{place}.bias", (width,))] * bias
        linear(draft, features, bias)
        self.value = self._add(draft)

    def _same(self, kind: str, place: str, inputs: list[Value]) -> None:
        """An operation that keeps the shape of the value so far."""
        self.value = self._add(Draft(kind, "", inputs, [self.value.shape], module=place))

    def _add(self, draft: Draft) -> Value:
        self.drafts.append(draft)
        return Value(draft)


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
    # The space of Accel-NASBench (Ahmad et al., DAC 2024): the gate is a quarter of the block's input.
    "mnasnet": MBConvPlan(
        "mnasnet", 32, "relu",
        tuple(MBConvStage(w, stride, "relu", None) for w, stride in
              zip((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 2, 1, 2, 1), strict=True)),
        (("conv", 1280, True), ("relu", 0, False), ("global_avg_pool", 0, False), ("linear", 1000, True)),
    ),
}  # fmt: skip
"""Plans of families whose published labels lie at hand; Once-for-All at the widths of those labels, 1.2 and 1.3."""
