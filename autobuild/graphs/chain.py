"""A builder for sequences of operations, used to write graphs of declared networks."""

from __future__ import annotations

from autobuild.graphs.drafts import Draft, Value, Weight, convolution, fold_norm, linear
from autobuild.graphs.operations import Shape


class Chain:
    """Builds a sequence of operations; each method appends one.

    Args:
        shape: Shape of the input, including the batch.

    Attributes:
        drafts: All operations so far, the input first.
        value: Output of the last operation, which is the input of the next one.
    """

    def __init__(self, shape: Shape) -> None:
        self.drafts: list[Draft] = []
        self.value = self.add(Draft("input", "input", outputs=[shape], name="input"))

    def conv(self, width: int, kernel: int, stride: int, place: str, groups: int = 1, activation: str = "",
             bias: bool = False, norm: bool = True) -> None:  # fmt: skip
        """Append a convolution with an odd kernel and "same" padding; a batch norm (``norm``) is folded into it."""
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
        """Append a global average pool."""
        shape = self.value.shape
        pooled = Draft("global_avg_pool", "", [self.value], [(*shape[:2], 1, 1)], module=place, kernel=shape[2:])
        self.value = self.add(pooled)

    def rows(self, width: int, bias: bool, place: str) -> None:
        """Append a linear layer; a feature map of one position is flattened before it."""
        if len(self.value.shape) > 2:
            self.value = self.add(Draft("alias", "", [self.value], [self.value.shape[:2]], module=place))
        features = self.value.shape[1]
        draft = Draft("linear", "", [self.value], [(1, width)], module=place)
        draft.weights = [Weight(f"{place}.weight", (width, features))] + [Weight(f"{place}.bias", (width,))] * bias
        linear(draft, features, bias)
        self.value = self.add(draft)

    def same(self, kind: str, place: str, inputs: list[Value]) -> None:
        """Append an operation whose output has the shape of :attr:`value`."""
        self.value = self.add(Draft(kind, "", inputs, [self.value.shape], module=place))

    def add(self, draft: Draft) -> Value:
        """Append an operation and return its output, without changing :attr:`value`."""
        self.drafts.append(draft)
        return Value(draft)
