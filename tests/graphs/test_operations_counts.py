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
from autobuild.errors import GraphError


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
    "noise": (Net(lambda m, x: m.a(torch.randn_like(x)) + m.a(torch.empty_like(x).uniform_()) + x, a=conv()), PICTURE),
    "drawn": (Net(lambda m, x: m.l(torch.bernoulli(x.sigmoid())) @ torch.rand(2, 5, 3), l=nn.Linear(8, 5)), ROWS),
    "decoder, masked": (Net(lambda m, x, y: m.d(x, y, tgt_mask=nn.Transformer.generate_square_subsequent_mask(6)),
                            d=nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 1)),
                        ROWS, (2, 4, 8)),
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


@pytest.mark.parametrize(
    ("net", "shape", "macs"),
    [
        (Net(lambda m, x: torch.cdist(x, m.w), w=w(5, 8)), ROWS, 2 * 6 * 5 * 8),
        (Net(lambda m, x: torch.cdist(x, x, p=1)), ROWS, 0),
        pytest.param(Net(lambda m, x: torch._grouped_mm(x, m.w, torch.tensor([2, 6, 9], dtype=torch.int32)),
                         w=w(3, 16, 8).bfloat16()), (9, 16), 9 * 16 * 8,
                     marks=pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="PyTorch 2.8 brings it")),
        (Net(lambda m, x: torch.complex(x, x) @ m.w, w=torch.randn(8, 5, dtype=torch.cfloat)), ROWS, 4 * 2 * 6 * 8 * 5),
    ],
)  # fmt: skip
def test_macs_that_pytorch_does_not_count(net, shape, macs):
    graph = read(net, shape)
    assert (graph.macs, graph.uncounted) == (macs, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ab.fuse(graph).metrics["macs"] == macs


class Cache:
    """Keys from before, as an object of a class that the tracer does not know."""

    def __init__(self, keys):
        self.layers, self.name = [{"keys": keys}], "cache"


def remembers(m, x, cache):
    cache.layers[0]["keys"] = torch.cat([cache.layers[0]["keys"], m.l(x)], 1)
    return x @ cache.layers[0]["keys"].mT, cache


def test_objects_are_read_as_their_tensors():
    """As a step of a language model, whose cache comes in and goes out."""
    cache = Cache(w(2, 3, 8))
    graph = read(Net(remembers, l=nn.Linear(8, 8)), (w(*ROWS), cache))
    assert graph.types() == {"input": 2, "linear": 1, "concat": 1, "transpose": 1, "matmul": 1}
    assert [graph.nodes[place].type for place in graph.outputs] == ["matmul", "concat"]
    assert graph.macs == 2 * 6 * 64 + 2 * 6 * 9 * 8
    assert cache.layers[0]["keys"].shape == (2, 3, 8)


def read(net, shape, **options):
    return ab.graph_of(net, shape, **options)


@pytest.mark.parametrize(
    ("net", "shape", "elements", "params"),
    [
        # what is read, and what is stored
        (Net(lambda m, x: F.conv2d(x, m.w[:8, :8, 2:5, 2:5]), w=w(16, 16, 7, 7)), PICTURE, 8 * 8 * 9, 16 * 16 * 49),
        (Net(lambda m, x: F.conv2d(x, m.w[:32, :8]), w=w(64, 64, 1, 1)), PICTURE, 32 * 8, 64 * 64),
        (Net(lambda m, x: F.conv2d(x, standardised(m.w) * m.g), w=w(8, 8, 3, 3), g=w(8, 1, 1, 1)), PICTURE, 576, 584),
        (nn.utils.parametrizations.weight_norm(conv(k=3)), PICTURE, 576 + 8, 576 + 8 + 8),
        (nn.utils.spectral_norm(conv(k=3)), PICTURE, 576 + 8, 576 + 8),
        (Net(lambda m, x: torch.sigmoid(m.a) * x, a=w(8, 1, 1)), PICTURE, 8, 8),
        (Net(lambda m, x: F.linear(x, m.a @ m.b), a=w(5, 2), b=w(2, 8)), ROWS, 5 * 8, 5 * 2 + 2 * 8),
        (Net(lambda m, x: F.linear(x, m.w.half().float()), w=w(5, 8)), ROWS, 40, 40),
        # data that only say of which type it shall be are not what it is
        (Net(lambda m, x: x * (m.a * m.b).sum().exp().type_as(x), a=w(4), b=w(4)), ROWS, 1, 8),
        (Net(lambda m, x: F.linear(x, (m.w + 1).to(x)), w=w(5, 8)), ROWS, 40, 40),
        # a token that every picture of the batch gets is stored and read once
        (Net(lambda m, x: torch.cat([m.t.expand(len(x), -1, -1), x], 1), t=w(1, 1, 8)), ROWS, 8, 8),
    ],
)
def test_weights_are_what_is_read_and_parameters_what_is_stored(net, shape, elements, params):
    graph = read(net, shape)
    assert (sum(node.weight_elements for node in graph.nodes), graph.params) == (elements, params)
    assert sum(node.weight_bytes for node in graph.nodes) == 4 * elements
    assert graph.folded_params == elements


def test_an_elastic_kernel_and_its_transform():
    """Once-for-All: the middle of the 5 x 5 kernel goes through a matrix; that is computed ahead and no MAC."""
    net = Net(
        lambda m, x: F.conv2d(
            x, F.linear(m.w[:, :, 1:4, 1:4].reshape(16, 9), m.t).view(16, 1, 3, 3), padding=1, groups=16
        ),
        w=w(16, 1, 5, 5),
        t=w(9, 9),
    )
    graph = read(net, (1, 16, 8, 8))
    (node,) = (node for node in graph.nodes if node.type != "input")
    assert (node.kernel, node.groups, node.macs, node.weight_elements) == ((3, 3), 16, 9 * 16 * 64, 16 * 9)
    assert graph.params == 16 * 25 + 81
    assert ab.fuse(graph).metrics["floor_dram_bytes"] == 16 * 9 + 2 * 16 * 64


@pytest.mark.parametrize("bias", [True, False])
def test_a_slimmable_norm_is_stored_whole(bias):
    """A convolution and its batch norm of six of sixteen channels: folded, and all sixteen stored."""

    def forward(m, x):
        x = F.conv2d(x, m.a.weight[:6], m.a.bias[:6] if bias else None)
        x = F.batch_norm(x, m.b.running_mean[:6], m.b.running_var[:6], m.b.weight[:6], m.b.bias[:6])
        return F.linear(x.mean((2, 3)), m.l.weight[:, :6], m.l.bias)

    net = Net(forward, a=conv(8, 16, 3, bias=bias), b=nn.BatchNorm2d(16), l=nn.Linear(16, 5))
    graph = read(net, (1, 8, 6, 6))
    assert graph.types() == {"input": 1, "conv": 1, "global_avg_pool": 1, "linear": 1}
    assert (graph.macs, graph.params) == (16 * 6 * 72 + 30, sum(p.numel() for p in net.parameters()))
    assert graph.folded_params == sum(node.weight_elements for node in graph.nodes) == 6 * 72 + 6 + 35


def test_a_state_of_zeros_is_multiplied_ahead():
    """The first step of a loop over cells has one product of data, every other step two."""

    def forward(m, x):
        state = (x.new_zeros(2, 5), x.new_zeros(2, 5))
        for step in range(6):
            state = m.cell(x[:, step], state)
        return state[0]

    graph = read(Net(forward, cell=nn.LSTMCell(8, 5)), ROWS)
    assert graph.macs == 2 * 20 * (6 * 8 + 5 * 5)
    assert graph.params == 4 * 5 * (8 + 5 + 2)


def test_what_is_read_once_is_shared():
    """The same computed weight in two places is one, its transposition as well; another slice is another."""
    net = Net(lambda m, x: x @ m.w[:, :8].T @ m.w[:, :8] + x @ m.w[:, 8:] * m.w[:, :8].sum(), w=w(8, 16))
    graph = read(net, (2, 8))
    names = [tuple(name for name, _ in node.shared or ()) for node in graph.nodes if node.type == "linear"]
    assert names[0] == names[1] != ()
    assert names[2] == ()
    assert (graph.params, graph.folded_params) == (128, 64 + 64 + 1)


def test_writes_are_joins_of_what_is_left_and_what_is_written():
    graph = read(NETS["written halves"][0], (1, 8, 12, 12))
    assert graph.types() == {"input": 1, "conv": 3, "concat": 2, "slice": 1}
    fused = ab.fuse(graph)
    assert {op.type for op in fused.graph.ops} == {"conv"}  # nothing is moved, and zeros that are overwritten not read
    assert fused.metrics["floor_dram_bytes"] == 2 * 8 * 144 + 2 * (32 + 4 * 4) + 64 + 4 * 8


def test_buffers_that_are_written_are_outputs_and_inputs_are_not():
    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("keys", torch.zeros(1, 16, 8))
            self.register_buffer("calls", torch.zeros(()))
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            self.calls += 1
            self.keys[:, 3:4] = self.layer(x)
            return F.scaled_dot_product_attention(x, self.keys, self.keys)

    graph = read(Cache(), (1, 1, 8))
    assert graph.macs == 64 + 16 * 16
    assert [graph.nodes[i].type for i in graph.outputs] == ["attention", "concat"]
    relu = read(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 8)), (1, 8))
    assert [relu.nodes[i].type for i in relu.outputs] == ["linear"]


def test_rewriting_a_program_changes_no_operation(monkeypatch):
    """What PyTorch makes plain is read as the same network."""
    from operation_nets import NETS as SMALL
    from operation_nets import build

    import autobuild.graphs.torch_program as program

    for name in SMALL:
        net, shape = build(name)
        plain = read(net, shape)
        with monkeypatch.context() as patch:
            patch.setattr(program, "_has_to_be_rewritten", lambda _: True)
            again = read(net, shape)
        facts = [[(n.type, n.input_shapes, n.output_shapes, n.macs, n.weight_elements, n.module) for n in graph.nodes]
                 for graph in (plain, again)]  # fmt: skip
        assert facts[0] == facts[1]
        assert plain.edges == again.edges


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (lambda m, x: x[x > 0], r"aten.index.Tensor at test_operations_counts.py:\d+ .*depends on the values of data"),
        (lambda m, x: torch.nonzero(x).float(), r"aten.nonzero.default at test_operations_counts.py:\d+"),
        (lambda m, x: torch.unique(x), r"aten._unique2.default at test_operations_counts.py:\d+"),
        (lambda m, x: x[:, : int(x.max())], r"Net.* at test_operations_counts.py:\d+ .*values of data"),
        (lambda m, x: torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,)), "cond: control flow"),
        (lambda m, x: x @ nn.Parameter(torch.ones(12, 5)).data, "past the tracer, as .data does"),
        (lambda m, x: F.conv2d(x, torch.ones(3, 8, 13, 13)), "Kernel size can't be greater"),
        (lambda m, x: F.ctc_loss(x[0], torch.ones(12, 2), torch.tensor([8] * 12), torch.tensor([2] * 12)), "values of"),
        (lambda m, x: x.nowhere(), r"test_operations_counts.py:\d+ .*AttributeError"),
    ],
)
def test_what_has_no_graph_is_refused_by_line_and_operator(expression, said, capfd):
    with pytest.raises(GraphError, match=said):
        read(Net(expression), PICTURE)
    assert capfd.readouterr().err == ""


def test_compiled_and_exported_modules():
    with pytest.raises(GraphError, match=r"compiled by .*; give graph_of the module from which it was made"):
        read(torch.jit.script(nn.Linear(8, 5)), ROWS)
    exported = torch.export.export(nn.Linear(8, 5), (w(*ROWS),)).module()
    assert read(exported, ROWS).macs == 2 * 6 * 40


def test_forms_of_the_example_input():
    import numpy as np

    net = nn.Bilinear(3, 4, 5)
    pair = {"input1": (2, 3), "input2": (2, 4)}
    for example in (pair, tuple(pair.values()), tuple(np.ones(s, np.float32) for s in pair.values())):
        assert read(net, example).macs == 2 * 5 * 3 * (4 + 1)
    for shape in ((2, 8), [2, 8], torch.Size([2, 8]), np.array([2, 8]), (np.int64(2), np.int64(8))):
        assert read(nn.Linear(8, 5), shape).macs == 80
    assert read(nn.Linear(8, 5, device="meta").half(), (2, 8)).nodes[-1].weight_bytes == 2 * 45
    assert ab.fuse(nn.Linear(8, 5), (2, 8)).metrics == {
        **ab.fuse(nn.Linear(8, 5), example_input=(2, 8)).metrics, "seconds": pytest.approx(0, abs=5)
    }  # fmt: skip
    with pytest.raises(GraphError, match="needs example_input"):
        ab.fuse(nn.Linear(8, 5))
    with pytest.raises(GraphError, match="has no numbers"):
        read(nn.Linear(8, 5), (0, 8))


@pytest.mark.parametrize(
    "expression",
    [
        F.normalize, F.glu, lambda x: x[:, :1].expand_as(x), lambda x: x.reshape_as(x), lambda x: x.clip(0, 1),
        lambda x: x.swapdims(1, 2), lambda x: x.hsplit(2), lambda x: x.repeat_interleave(2, 1),
        lambda x: torch.var_mean(x, 1), lambda x: F.one_hot(x.argmax(1), 8), lambda x: F.fold(F.unfold(x, 2), 12, 2),
        lambda x: x.cumsum(1), lambda x: x.sort(1)[0], lambda x: torch.hypot(x, x), lambda x: F.cosine_similarity(x, x),
        lambda x: x.scatter(1, x.argsort(1), x), lambda x: x.masked_fill(x > 0, 0.0), lambda x: x.mT,
        lambda x: torch.histc(x, 4), lambda x: F.fractional_max_pool2d(x, 2, 3),
        pytest.param(lambda x: x * torch.tensor(x.mean().item()), marks=pytest.mark.skipif(
            torch.__version__ < "2.8", reason="PyTorch traces this from 2.8 on")), nn.GRU(12, 3),
    ],
)  # fmt: skip
def test_operators_under_other_names_are_no_barriers(expression):
    net = Net(lambda m, x: expression(x[0] if isinstance(expression, nn.GRU) else x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = read(net, PICTURE)
        ab.fuse(graph)
    assert graph.uncounted == {}


def test_what_has_no_rule_is_named_with_its_number():
    graph = read(Net(lambda m, x: torch.fft.fft2(torch.fft.fft2(x)).real), PICTURE)
    assert graph.uncounted == {"aten._fft_c2c.default": 2}
    assert "0.0 M MACs without 2 aten._fft_c2c.default" in repr(graph)
    with pytest.warns(UserWarning, match="barrier"):
        assert ab.fuse(graph).metrics["uncounted"] == graph.uncounted


def test_a_mask_deep_in_a_network_is_a_constant():
    """As in shifted windows: filled in by constants, so the program needs no rewriting, however long what is before."""

    def masked(m, x):
        for _ in range(400):
            x = torch.tanh(x)
        mask = x.new_zeros(6, 6)
        mask[:3, 3:] = 1
        return m.layer(x) + mask.masked_fill(mask != 0, -100.0).sum(1, keepdim=True)

    graph = read(Net(masked, layer=nn.Linear(8, 8)), (6, 8))
    assert graph.types() == {"input": 1, "tanh": 400, "linear": 1, "add": 1}
    assert (graph.macs, graph.nodes[-1].weight_elements) == (6 * 64, 6)
