"""Random networks for the simulator: every kind of access, heights that divide by nothing, skips, several outputs."""

import random
from fractions import Fraction

import torch
from torch import nn
from torch.nn import functional as F

CHANNELS, WIDTH = 4, 2


def random_group(graph, draw, size):
    """A connected group of up to ``size`` operations, grown one by one."""
    mask = 1 << draw.randrange(len(graph))
    while mask.bit_count() < size:
        around = 0
        for i in range(len(graph)):
            around |= graph.neighbours[i] if mask >> i & 1 else 0
        choices = [i for i in range(len(graph)) if (around & ~mask) >> i & 1]
        if not choices:
            break
        mask |= 1 << draw.choice(choices)
    return mask


class Step(nn.Module):
    """One operation on earlier values; values are numbered, 0 is the input."""

    def __init__(self, kind, module, inputs):
        super().__init__()
        self.kind, self.module, self.inputs = kind, module, inputs

    def forward(self, *given):
        return self.module(*given)


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *given):
        return self.function(*given)


class RandomNet(nn.Module):
    """Kernels, strides and borders run along the rows; every map is two columns wide.

    ``stride[v]`` is the product of strides on the way to value v, or None for one row; ``height[v]`` its rows.
    """

    def __init__(self, seed, steps=20):
        super().__init__()
        self.draw = random.Random(seed)
        self.shape = (1, CHANNELS, self.draw.randrange(9, 24), WIDTH)
        self.steps = nn.ModuleList()
        self.values = [torch.zeros(self.shape)]
        self.stride = [Fraction(1)]
        while len(self.steps) < steps:
            self._grow()
        self.outputs = [v for v in range(1, len(self.values)) if not any(v in step.inputs for step in self.steps)]
        self.outputs += [v for v in range(1, len(self.values)) if v not in self.outputs and self.draw.random() < 0.05]
        self.eval()

    def forward(self, x):
        values = [x]
        for step in self.steps:
            values.append(step(*(values[v] for v in step.inputs)))
        return tuple(values[v] for v in self.outputs)

    def _add(self, kind, module, inputs, stride):
        step = Step(kind, module, inputs)
        with torch.no_grad():
            self.values.append(step(*(self.values[v] for v in inputs)))
        self.steps.append(step)
        self.stride.append(stride)
        return len(self.values) - 1

    def _maps(self):
        """Values of more than one row; late ones are likelier."""
        found = [v for v, value in enumerate(self.values) if value.shape[2] > 1]
        return found[-5:] if self.draw.random() < 0.7 else found

    def _grow(self):
        v = self.draw.choice(self._maps())
        # fmt: off
        kinds = {"conv": 6, "pool": 1, "up": 1, "transposed": 1, "act": 3, "join": 6, "concat": 3, "slice": 2,
                 "gate": 2, "softmax": 0.5, "norm": 0.5, "pad": 1, "crop": 1, "rows": 0.5, "head": 1, "batch_norm": 1}
        # fmt: on
        kind = self.draw.choices(list(kinds), list(kinds.values()))[0]
        getattr(self, f"_{kind}")(v)

    def _conv(self, v):
        kernel, dilation = self.draw.choice((1, 2, 3, 3, 5)), self.draw.choice((1, 1, 2))
        stride = self.draw.choice((1, 1, 1, 2, 2, 3))
        reach, height, channels = (kernel - 1) * dilation, self.values[v].shape[2], self.values[v].shape[1]
        border = self.draw.choice((reach // 2, reach // 2, reach // 2, 0, min(1, reach)))
        if height + 2 * border - reach < 1 or (stride > 1 and height < 4):
            return
        groups = channels if channels == CHANNELS and self.draw.random() < 0.3 else 1
        options = {"padding": (border, 0), "dilation": (dilation, 1), "groups": groups}
        conv = nn.Conv2d(channels, CHANNELS, (kernel, 1), (stride, 1), **options)
        self._add("conv", conv, [v], self.stride[v] * stride)

    def _pool(self, v):
        height = self.values[v].shape[2]
        kernel, stride = self.draw.choice(((2, 2), (3, 2), (3, 1)))
        if height < 4:
            return
        make = self.draw.choice((nn.MaxPool2d, nn.AvgPool2d))
        self._add("pool", make((kernel, 1), (stride, 1), (kernel // 2 if stride == 1 else 0, 0)), [v],
                  self.stride[v] * stride)  # fmt: skip

    def _up(self, v):
        by = self.draw.choice((2, 3))
        if self.values[v].shape[2] * by > 40:
            return
        mode = self.draw.choice(("nearest", "bilinear", "nearest-exact"))
        self._add("up", nn.Upsample(scale_factor=(float(by), 1.0), mode=mode), [v], self.stride[v] / by)

    def _transposed(self, v):
        kernel, border = self.draw.choice(((2, 0), (3, 1), (4, 1), (3, 0)))
        if self.values[v].shape[2] > 16 or self.values[v].shape[1] != CHANNELS:
            return
        self._add("transposed", nn.ConvTranspose2d(CHANNELS, CHANNELS, (kernel, 1), (2, 1), (border, 0)), [v],
                  self.stride[v] / 2)  # fmt: skip

    def _act(self, v):
        self._add("act", self.draw.choice((nn.ReLU, nn.SiLU, nn.Hardswish))(), [v], self.stride[v])

    def _batch_norm(self, v):
        self._add("act", nn.BatchNorm2d(self.values[v].shape[1]), [v], self.stride[v])

    def _join(self, v):
        """The same place reached by two ways: an addition or product of two maps."""
        fits = [u for u in range(len(self.values)) if u != v and self.values[u].shape == self.values[v].shape
                and self.stride[u] == self.stride[v]]  # fmt: skip
        if fits:
            function = self.draw.choice((torch.add, torch.mul))
            self._add("join", Call(function), [self.draw.choice(fits), v], self.stride[v])

    def _concat(self, v):
        fits = [u for u in range(len(self.values)) if self.values[u].shape[2] == self.values[v].shape[2]
                and self.stride[u] == self.stride[v] and self.values[u].shape[1] <= 2 * CHANNELS]  # fmt: skip
        if self.values[v].shape[1] > 2 * CHANNELS:
            return
        chosen = [v, *self.draw.sample(fits, min(len(fits), self.draw.choice((1, 2))))]
        self._add("alias", Call(lambda *parts: torch.cat(parts, 1)), chosen, self.stride[v])

    def _slice(self, v):
        half = self.values[v].shape[1] // 2
        if half:
            for part in (slice(0, half), slice(half, 2 * half)):
                self._add("alias", Call(lambda x, part=part: x[:, part]), [v], self.stride[v])

    def _gate(self, v):
        """Squeeze and excite."""
        channels = self.values[v].shape[1]
        pooled = self._add("reduce", nn.AdaptiveAvgPool2d(1), [v], None)
        less = self._add("conv", nn.Conv2d(channels, 2, 1), [pooled], None)
        less = self._add("act", nn.ReLU(), [less], None)
        more = self._add("conv", nn.Conv2d(2, channels, 1), [less], None)
        more = self._add("act", nn.Sigmoid(), [more], None)
        self._add("join", Call(torch.mul), [v, more], self.stride[v])

    def _softmax(self, v):
        self._add("full", nn.Softmax(2), [v], self.stride[v])

    def _norm(self, v):
        self._add("full", nn.GroupNorm(1, self.values[v].shape[1]), [v], self.stride[v])

    def _pad(self, v):
        above, below = self.draw.choice(((0, 1), (1, 1), (2, 0)))
        self._add("alias", Call(lambda x: F.pad(x, (0, 0, above, below))), [v], self.stride[v])

    def _crop(self, v):
        if self.values[v].shape[2] > 4:
            self._add("alias", Call(lambda x: x[:, :, 1:-1]), [v], self.stride[v])

    def _rows(self, v):
        """Rows of two maps below one another."""
        if self.values[v].shape[2] < 16:
            self._add("alias", Call(lambda x: torch.cat((x, x), 2)), [v], self.stride[v])

    def _head(self, v):
        kind = self.draw.choice(("reduce", "full"))
        if kind == "reduce":
            self._add("reduce", nn.AdaptiveMaxPool2d(1), [v], None)
        else:
            flat = self._add("alias", nn.Flatten(), [v], None)
            self.values[flat] = self.values[flat][:, :, None, None]  # one row, and never a map again
            features = self.values[flat].shape[1]
            linear = nn.Linear(features, 3)
            self.steps.append(Step("full", linear, [flat]))
            self.values.append(torch.zeros(1, 3, 1, 1))
            self.stride.append(None)
