"""Drafts of operations one behind the other: what declarations of networks are written with."""

from __future__ import annotations

from autobuild.graphs.drafts import Draft, Value, Weight, convolution, fold_norm, linear
from autobuild.graphs.operations import Shape


class Chain:
    """Drafts one behind the other.

    Args:
        shape: Of the input, the batch included.

    Attributes:
        drafts: All so far, the input first.
        value: The output so far.
    """

    def __init__(self, shape: Shape) -> None:
        self.drafts: list[Draft] = []
        self.value = self.add(Draft("input", "input", outputs=[shape], name="input"))

    def conv(self, width: int, kernel: int, stride: int, place: str, groups: int = 1, activation: str = "",
             bias: bool = False, norm: bool = True) -> None:  # fmt: skip
        """A convolution with an odd kernel, padded by half of it, and a batch norm that is folded into it."""
        _, inputs, height, across = self.value.shape
        out = [(size - 1) // stride + 1 for size in (height, across)]
        draft = Draft("conv", "", [self.value], [(1, width, *out)], module=place, groups=groups)
        shape = (width, inputs // groups, kernel, kernel)
        draft.weights = [Weight(f"{place}.weight", shape)] + [Weight(f"{place}.bias", (width,))] * bias
        convolution(draft, shape, bias)
        draft.stride, draft.dilation = (stride, stride), (1, 1)
        draft.padding = ((kernel // 2, kernel // 2),) * 2
        if norm:
            fold_norm(draft, [Weight(f"{place}.norm.{name}", (width,)) for name in ("weight", "bias")], f"{place}.norm")
        self.value = self.add(draft)
        if activation:
            self.same(activation, place, [self.value])

    def pool(self, place: str) -> None:
        """The mean over all positions."""
        shape = self.value.shape
        pooled = Draft("global_avg_pool", "", [self.value], [(*shape[:2], 1, 1)], module=place, kernel=shape[2:])
        self.value = self.add(pooled)

    def rows(self, width: int, bias: bool, place: str) -> None:
        """A linear layer; a map of one position is flattened before."""
        if len(self.value.shape) > 2:
            self.value = self.add(Draft("alias", "", [self.value], [self.value.shape[:2]], module=place))
        features = self.value.shape[1]
        draft = Draft("linear", "", [self.value], [(1, width)], module=place)
        draft.weights = [Weight(f"{place}.weight", (width, features))] + [Weight(f"{place}.bias", (width,))] * bias
        linear(draft, features, bias)
        self.value = self.add(draft)

    def same(self, kind: str, place: str, inputs: list[Value]) -> None:
        """An operation that keeps the shape of the value so far."""
        self.value = self.add(Draft(kind, "", inputs, [self.value.shape], module=place))

    def add(self, draft: Draft) -> Value:
        """Append a draft; its output, which ``value`` does not become by itself."""
        self.drafts.append(draft)
        return Value(draft)
