"""Small networks that between them use most operations."""

import torch
from torch import nn


class Gated(nn.Module):
    """Dilated and grouped convolutions, a gate, a residual, pools, in-place operations."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 2, dilation=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(True))
        self.grouped = nn.Sequential(
            nn.Conv2d(8, 8, 3, 1, 1, groups=4), nn.ReLU6(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.tail = nn.Sequential(
            nn.Conv2d(8, 6, (1, 3), padding=(0, 1)), nn.Hardswish(), nn.AvgPool2d(2), nn.Dropout()
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.pool(self.stem(x))
        y = self.grouped(x)
        x = torch.nn.functional.silu(x + y * self.gate(y))
        x += y
        x = self.tail(x).mean((2, 3))
        return self.head(x.flatten(1))


class Rows(nn.Module):
    """Linear layers on rows, layer norm, and attention written out."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(12)
        self.query, self.key, self.value = (nn.Linear(12, 12, bias=False) for _ in range(3))
        self.out = nn.Linear(12, 7)

    def forward(self, x):
        h = self.norm(x)
        weights = torch.softmax(self.query(h) @ self.key(h).transpose(1, 2) / 12**0.5, dim=-1)
        return self.out(x + weights @ self.value(h))


class Hourglass(nn.Module):
    """Down, up by a transposed convolution and by interpolation, joined by concatenation."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 3, 2, 2)
        self.bottom = nn.BatchNorm2d(3)
        self.end = nn.Conv2d(9, 1, 1)

    def forward(self, x):
        low = torch.nn.functional.leaky_relu(self.down(x), 0.1)
        raised = torch.nn.functional.interpolate(low, scale_factor=2.0, mode="nearest")
        return torch.tanh(self.end(torch.cat([x, self.bottom(self.up(low)), raised], dim=1)))


NETS = {"gated": (Gated, (1, 3, 32, 32)), "rows": (Rows, (1, 9, 12)), "hourglass": (Hourglass, (1, 2, 16, 16))}


def build(name):
    """A network in evaluation mode whose batch norms have something to fold, and the shape of its input."""
    make, shape = NETS[name]
    torch.manual_seed(0)
    return stirred(make()), shape


def stirred(net):
    """The same network with batch norms as after some training."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.normal_(module.bias)
    return net.eval()
