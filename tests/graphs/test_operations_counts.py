"""Multiply-accumulates of hand-written networks against PyTorch's own counter, which runs them."""

import contextlib
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import autobuild as ab


class Net(nn.Module):
    """A network of one expression, with its layers and parameters by name."""

    def __init__(self, expression, **parts):
        super().__init__()
        self.expression = expression
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(part))

    def forward(self, *args):
        return self.expression(self, *args)


def w(*shape):
    return torch.randn(shape)


def counted(net, *shapes):
    """MACs by PyTorch's counter: half the operations of the products and convolutions that run."""
    # what runs as one kernel it does not see into
    apart = (sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False), torch.no_grad())
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as mode, contextlib.ExitStack() as stack:
        for setting in apart:
            stack.enter_context(setting)
        net.eval()(*(torch.randn(shape) for shape in shapes))
    torch.backends.mha.set_fastpath_enabled(True)
    return mode.get_total_flops() / 2


def standardised(kernel):
    return (kernel - kernel.mean((1, 2, 3), keepdim=True)) / kernel.std((1, 2, 3), keepdim=True)


def assigned(x, at, value):
    x = x.clone()
    x[at] = value
    return x


def halves(m, x):
    out = torch.zeros_like(x)
    out[:, :4] = m.a(x)
    out[:, 4:] = m.b(x)
    return m.head(out)


def split_added(m, x):
    x = m.a(x)
    x.split(4, dim=1)[0].add_(m.b(x))
    return m.head(x)


def in_place_chain(m, x):
    y = m.a(x)
    z = F.relu_(y)
    z.mul_(2)
    return m.b(y)


PICTURE, ROWS = (2, 8, 12, 12), (2, 6, 8)


def conv(i=8, o=8, k=1, **options):
    return nn.Conv2d(i, o, k, **options)


# name: network, shapes of its inputs
NETS = {
    "sliced kernel": (Net(lambda m, x: F.conv2d(x, m.w[:8, :8, 2:5, 2:5]), w=w(16, 16, 7, 7)), PICTURE),
    "slimmable": (Net(lambda m, x: F.conv2d(x, m.w[:32, :8]), w=w(64, 64, 1, 1)), PICTURE),
    "merged branches": (Net(lambda m, x: F.conv2d(x, F.pad(m.a, (1, 1, 1, 1)) + m.b), a=w(8, 8, 1, 1), b=w(8, 8, 3, 3)),
                        PICTURE),
    "computed linear": (Net(lambda m, x: F.linear(x, standardised(m.w).flatten(1)), w=w(5, 2, 2, 2)), ROWS),
    "bmm, weight first": (Net(lambda m, x: torch.bmm(m.w, x), w=w(2, 9, 6)), ROWS),
    "bmm, weight second": (Net(lambda m, x: torch.bmm(x, m.w), w=w(2, 8, 9)), ROWS),
    "matmul, matrix first": (Net(lambda m, x: m.a @ m.l(x), a=w(6, 6), l=nn.Linear(8, 4)), ROWS),
    "matmul, batches broadcast": (Net(lambda m, x: x @ m.w, w=w(3, 1, 8, 5)), ROWS),
    "matmul of maps": (Net(lambda m, x: x @ x.mT), ROWS),
    "transposed weight": (Net(lambda m, x: x @ m.w.T, w=w(5, 8)), ROWS),
    "addmm": (Net(lambda m, x: torch.addmm(m.b, x, m.w), b=w(5), w=w(8, 5)), (6, 8)),
    "addmm of a map": (Net(lambda m, x: torch.addmm(x, x, m.w), w=w(8, 8)), (6, 8)),
    "addmm, weight first": (Net(lambda m, x: torch.addmm(m.b, m.w, x), b=w(8), w=w(5, 6)), (6, 8)),
    "baddbmm": (Net(lambda m, x: torch.baddbmm(m.b, x, m.w), b=w(1), w=w(2, 8, 5)), ROWS),
    "kernel of data": (Net(lambda m, x, k: F.linear(x, k)), ROWS, (3, 8)),
    "tensordot": (Net(lambda m, x: torch.tensordot(x, m.w, dims=([1], [0])), w=w(6, 5)), ROWS),
    "chain": (Net(lambda m, x: torch.linalg.multi_dot([x, m.a, m.b]), a=w(8, 3), b=w(3, 40)), (6, 8)),
    "einsum": (Net(lambda m, x: torch.einsum("bchw,oc->bohw", x, m.w), w=w(5, 8)), PICTURE),
    "einsum, ellipsis": (Net(lambda m, x: torch.einsum("...c,oc->...o", x, m.w), w=w(5, 8)), ROWS),
    "einsum of three": (Net(lambda m, x: torch.einsum("bnc,cd,de->bne", x, m.a, m.b), a=w(8, 3), b=w(3, 9)), ROWS),
    "einsum of heads": (Net(lambda m, x: torch.einsum("bqc,bkc->bqk", x, x)), ROWS),
    "einsum, a sum": (Net(lambda m, x: torch.einsum("bchw->bc", x)), PICTURE),
    "attention": (nn.MultiheadAttention(8, 2, batch_first=True), ROWS, ROWS, ROWS),
    "grouped queries": (Net(lambda m, q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True)), (1, 4, 6, 8),
                        (1, 4, 5, 8)),
    "learnt queries": (Net(lambda m, x: F.scaled_dot_product_attention(m.q, x, x), q=w(2, 3, 8)), ROWS),
    "encoder layer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), ROWS),
    "decoder layer": (nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), ROWS, (2, 4, 8)),
    "depthwise": (conv(k=3, groups=8), PICTURE),
    "dilated, strided": (conv(k=3, stride=2, dilation=2, padding=1), PICTURE),
    "same padding": (conv(k=4, padding="same"), PICTURE),
    "reflected border": (conv(k=3, padding=1, padding_mode="reflect"), PICTURE),
    "transposed": (nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2), PICTURE),
    "conv1d": (nn.Conv1d(6, 4, 3), ROWS),
    "conv3d": (nn.Conv3d(2, 3, 3), (1, 2, 5, 6, 7)),
    "correlation": (Net(lambda m, x, k: F.conv2d(x, k)), PICTURE, (3, 8, 5, 5)),
    "written halves": (Net(halves, a=conv(o=4), b=conv(o=4), head=conv()), PICTURE),
    "written part": (Net(lambda m, x: m.head(assigned(x, (slice(None), slice(4)), m.a(x[:, :4]))), a=conv(4, 4),
                         head=conv()), PICTURE),
    "written rows": (Net(lambda m, x: m.head(assigned(x, (..., slice(0, None, 2)), 0.0)), head=conv()), PICTURE),
    "added in a split": (Net(split_added, a=conv(), b=conv(o=4), head=conv()), PICTURE),
    "in-place chain": (Net(in_place_chain, a=conv(), b=conv()), PICTURE),
    "masked": (Net(lambda m, x: m.head(assigned(x, x > 0, 0.0)), head=conv()), PICTURE),
    "scattered": (Net(lambda m, x: m.head(torch.zeros_like(x).scatter_(1, x.argsort(1), m.a(x))), a=conv(),
                      head=conv()), PICTURE),
    "called twice": (Net(lambda m, x: m.a(m.a(x)), a=conv()), PICTURE),
    "lstm cell": (Net(lambda m, x, h: m.cell(x, (h, h)), cell=nn.LSTMCell(8, 5)), (3, 8), (3, 5)),
    "lstm": (nn.LSTM(8, 5, 2, bidirectional=True, batch_first=True), ROWS),
    "lstm, projected": (nn.LSTM(8, 5, 2, proj_size=3), ROWS),
    "gru": (nn.GRU(8, 5, 3, bidirectional=True), ROWS),
    "rnn": (nn.RNN(8, 5, batch_first=True), ROWS),
    "weight norm": (nn.utils.parametrizations.weight_norm(conv(k=3)), PICTURE),
    "empty slice": (Net(lambda m, x: m.l(torch.cat([x[..., :0], x], -1)), l=nn.Linear(8, 5)), ROWS),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_macs_equal_those_that_run(name):
    net, *shapes = NETS[name]
    runs = counted(net, *shapes)
    graph = ab.graph_of(net, tuple(torch.randn(shape) for shape in shapes))
    assert graph.macs == runs
    assert graph.uncounted == {}
    assert graph.params == sum(p.numel() for p in net.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no barrier
        assert ab.fuse(graph).metrics["macs"] == runs
