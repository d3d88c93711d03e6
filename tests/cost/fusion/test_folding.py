"""Networks as fusion graphs: what folds, what is an alias, how rows are read."""

import math
import warnings
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import autobuild as ab
from autobuild.cost.fusion import fold
from autobuild.cost.fusion.row_access import Access, adaptive_window, compose, resized, rows_read, transposed_window
from autobuild.errors import GraphError
from autobuild.graphs import Operation, OperationGraph

POINT = Access("window")


class Forward(nn.Module):
    """Modules and a function of them and the input."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


def folded(function, shape=(1, 4, 8, 5), **modules):
    return fold(ab.graph_of(Forward(function, **modules).eval(), shape))


def reads(graph):
    """Each operation: type, and for each operand its name and access."""
    return [(op.type, [(graph.tensors[t].name, access) for t, access in op.operands]) for op in graph.ops]


def test_norms_and_activations_fold_into_a_producer_that_nothing_else_reads():
    net = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.SiLU())
    kept = ab.graph_of(net, (1, 4, 8, 5), fold=False)
    for graph in (fold(kept), fold(ab.graph_of(net, (1, 4, 8, 5)))):
        assert [op.type for op in graph.ops] == ["conv", "conv"]
        assert [op.weight_bytes for op in graph.ops] == [8 * 4 * 9 + 4 * 8, 8 * 8 + 4 * 8]  # biases of four bytes
        assert graph.separate_bytes - graph.unfused_bytes == 2 * 2 * 8 * 6 * 3
    assert fold(kept).ops[0].members == ("0/conv", "1/batch_norm", "2/relu")


def test_operands_with_other_readers_do_not_fold():
    graph = folded(
        lambda m, x: (y := m.conv(x)) + torch.relu(m.norm(y)), conv=nn.Conv2d(4, 4, 1), norm=nn.BatchNorm2d(4)
    )
    assert [op.type for op in graph.ops] == ["conv", "batch_norm", "add"]
    assert graph.ops[1].members == ("norm/batch_norm", "relu")
    assert graph.ops[1].weight_bytes == 4 + 4 * 4  # a factor and an addend a channel
    both = folded(lambda m, x: (torch.relu(y := m.conv(x)), y), conv=nn.Conv2d(4, 4, 1))
    assert [op.type for op in both.ops] == ["conv", "relu"]  # an output of the network has a reader outside
    first = folded(lambda m, x: torch.relu(x))
    assert (first.ops[0].type, first.unfused_bytes) == ("relu", 2 * 160)


def test_bytes_per_number_scale_weights_and_tensors():
    net = nn.Sequential(nn.Conv2d(4, 8, 1), nn.AdaptiveAvgPool2d(1))
    graph = fold(ab.graph_of(net, (1, 4, 8, 5)), weight_bytes=1, activation_bytes=2)
    assert [op.weight_bytes for op in graph.ops] == [32 + 4 * 8, 0]
    image, maps, mean = graph.tensors
    assert (image.rows, image.row_bytes, image.dram_bytes) == (8, 2 * 20, 2 * 160)
    assert (maps.row_bytes, maps.dram_bytes) == (2 * 40, 2 * 320)
    assert (mean.rows, mean.row_bytes, mean.dram_bytes, mean.output) == (1, 4 * 8, 2 * 8, True)  # sums of four bytes
    assert graph.unfused_bytes == 64 + 320 + 640 + 640 + 16
    assert graph.floor_bytes == 64 + 320 + 16
    with pytest.raises(GraphError, match=r"weight_bytes: given 0, accepted: a positive whole number"):
        fold(ab.graph_of(net, (1, 4, 8, 5)), weight_bytes=0)


def test_readers_of_a_concatenation_read_its_operands():
    graph = folded(lambda m, x: m.end(torch.cat([x, m.one(x), m.one(x)], 1)), one=nn.Conv2d(4, 2, 3, padding=1),
                   end=nn.Conv2d(8, 3, 3, 2, dilation=2, padding=1))  # fmt: skip
    window = Access("window", 2, 1, -1, 3, 2)
    names = [graph.tensors[op.outputs[0]].name for op in graph.ops]
    assert reads(graph)[-1] == ("conv", [("x", window), (names[0], window), (names[1], window)])
    assert graph.ops[0].operands == ((0, Access("window", 1, 1, -1, 1)),)


def test_slices_of_channels_count_as_tensors_of_their_own():
    graph = folded(lambda m, x: m.a(x[:, :1]) + m.b(x[:, 1:]), a=nn.Conv2d(1, 4, 1), b=nn.Conv2d(3, 4, 1))
    assert [(t.name, t.dram_bytes) for t in graph.tensors[:2]] == [("x[0:5]", 40), ("x[5:20]", 120)]
    assert [graph.dram_bytes(1), graph.dram_bytes(2)] == [20 + 40 + 160, 28 + 120 + 160]
    assert graph.floor_bytes == 48 + 160 + 160


def test_rows_are_followed_through_borders_crops_and_joins_of_rows():
    def forward(m, x):
        y = F.pad(x, (0, 0, 2, 1))  # row r of y is row r - 2 of x
        return m.conv(torch.cat([y[:, :, 1:], x], dim=2)), m.conv(x[:, :, ::3])

    graph = folded(forward, conv=nn.Conv2d(4, 4, (3, 1), (2, 1)))
    assert reads(graph)[0][1] == [("x", Access("window", 2, 1, -1, 1)), ("x", Access("window", 2, 1, -10, -8))]
    assert reads(graph)[1][1] == [("x", Access("window", 6, 1, 0, 6, 1))]


def test_maps_become_tokens_and_tokens_maps():
    net = Forward(lambda m, x: m.mix(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(1, 4, 8, 5) * x,
                  mix=nn.Linear(4, 4))  # fmt: skip
    graph = fold(ab.graph_of(net, (1, 4, 8, 5)))
    # five tokens are one row of the map
    assert reads(graph)[0] == ("linear", [("x", Access("window", 1, 5))])
    assert reads(graph)[1] == ("mul", [("mix/linear", Access("window", 5, 1, 0, 4)), ("x", POINT)])


def test_windows_of_attention_keep_their_rows():
    def forward(m, x):  # channels last, cut into windows of 2 x 3 positions, and back
        x = x.permute(0, 2, 3, 1)
        windows = x.view(1, 4, 2, 2, 3, 4).permute(0, 1, 3, 2, 4, 5).reshape(8, 6, 4)
        found = m.mix(windows)
        return found.view(1, 4, 2, 2, 3, 4).permute(0, 1, 3, 2, 4, 5).reshape(1, 8, 6, 4) + x

    graph = folded(forward, (1, 4, 8, 6), mix=nn.Linear(4, 4))
    # two windows lie side by side in two rows of the map: window j is rows 2 (j // 2) and 2 (j // 2) + 1, which the
    # window j - 1 to j + 1 holds
    assert reads(graph)[0] == ("linear", [("x", Access("window", 1, 1, -1, 1))])
    assert reads(graph)[1] == ("add", [("mix/linear", Access("window", 1, 1, -1, 1)), ("x", POINT)])


def test_attention_reads_rows_of_queries_and_all_keys_and_values():
    def forward(m, x):
        q, k, v = m.qkv(x).reshape(1, 9, 3, 2, 6).permute(2, 0, 3, 1, 4).unbind(0)
        return m.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, 9, 12))

    graph = folded(forward, (1, 9, 12), qkv=nn.Linear(12, 36), out=nn.Linear(12, 12))
    full = Access("full", 1, 1, 0, 8)
    qkv = "qkv/linear"
    assert reads(graph) == [
        ("linear", [("x", POINT)]),
        ("attention", [(f"{qkv}[0:12]", POINT), (f"{qkv}[12:24]", full), (f"{qkv}[24:36]", full)]),
        ("linear", [(graph.ops[1].name, POINT)]),
    ]
    assert graph.ops[1].accumulator_bytes == 4 * 2 * 9  # one row of scores of each head


def test_attention_written_out():
    def forward(m, x):
        return torch.softmax(x @ m.key(x).transpose(1, 2), dim=-1) @ x

    graph = folded(forward, (1, 9, 12), key=nn.Linear(12, 12))
    full = Access("full", 1, 1, 0, 8)
    found = reads(graph)
    assert found[1] == ("matmul", [("x", POINT), ("key/linear", full)])
    assert found[2] == ("softmax", [(graph.ops[1].name, POINT)])
    assert found[3] == ("matmul", [(graph.ops[2].name, POINT), ("x", full)])


def test_norms_and_softmax_over_rows_need_all_rows():
    graph = folded(lambda m, x: torch.softmax(m.norm(x), 2).softmax(1), norm=nn.GroupNorm(2, 4))
    full = Access("full", 1, 1, 0, 7)
    assert [access for op in graph.ops for _, access in op.operands] == [full, full, POINT]
    assert graph.ops[0].accumulator_bytes == 2 * 4 * 4


def test_a_flattened_map_is_read_whole_and_one_row_freely():
    graph = folded(lambda m, x: m.a(x.flatten(1)) * m.b(x.mean((2, 3))), a=nn.Linear(160, 3), b=nn.Linear(4, 3))
    kinds = {op.name: [access.kind for _, access in op.operands] for op in graph.ops}
    assert kinds["a/linear"] == ["full"]
    assert kinds["b/linear"] == ["vector"]
    assert [op.type for op in graph.ops if any(access.kind == "reduce" for _, access in op.operands)] == [
        "global_avg_pool"
    ]


def test_a_learnt_token_in_front_is_a_tensor_from_outside():
    net = Forward(lambda m, x: m.mix(torch.cat([m.token.expand(1, -1, -1), x], dim=1))[:, 0], mix=nn.Linear(4, 4))
    net.token = nn.Parameter(torch.zeros(1, 1, 4))
    graph = fold(ab.graph_of(net, (1, 5, 4)))
    assert [(t.name, t.rows, t.dram_bytes, t.producer) for t in graph.tensors if t.producer < 0] == [
        ("x", 5, 20, -1), ("concat (constant)", 1, 4, -1),
    ]  # fmt: skip
    assert dict(reads(graph)[0][1])["x"] == Access("window", 1, 1, -1, -1)


def test_of_a_table_the_rows_that_are_looked_up_are_read():
    """Also of one that is the weight of the last layer, too, which reads all of it; a short table is read once."""
    net = Forward(lambda m, i: F.linear(m.table(i), m.table.weight) + m.short(i).sum(), table=nn.Embedding(1000, 8),
                  short=nn.Embedding(3, 8))  # fmt: skip
    graph = fold(ab.graph_of(net, torch.zeros(2, 5, dtype=torch.long)))
    assert {op.name: op.weight_bytes for op in graph.ops if op.weight_bytes} == {
        "table/embedding": 2 * 5 * 8, "short/embedding": 3 * 8, "linear": 1000 * 8,
    }  # fmt: skip
    assert graph.shared == ()


def test_products_with_a_weight_need_all_rows_that_they_sum_over():
    whole, point = Access("full", 1, 1, 0, 5), POINT
    weight = nn.Parameter(torch.ones(6, 6))
    for expression, shape, wanted in [
        (lambda m, x: m.weight @ x, (1, 6, 8), whole),  # tokens are mixed
        (lambda m, x: x @ m.weight, (1, 6, 6), point),
        (lambda m, x: x @ m.weight[None, None, :, :2], (1, 6, 6), point),
        (lambda m, x: x @ m.weight[0], (1, 6, 6), point),
        (lambda m, x: m.weight[0] @ x, (1, 6, 8), whole),
        (lambda m, x: F.scaled_dot_product_attention(m.weight[None, :3], x, x), (1, 6, 6), whole),
        (lambda m, x: x.cumsum(1), (1, 6, 8), whole),
        (lambda m, x: x.cumsum(2), (1, 6, 8), point),
        (lambda m, x: x.sort(1)[0], (1, 6, 8), whole),
    ]:
        graph = fold(ab.graph_of(Forward(expression, weight=weight), shape))
        assert [access for _, access in graph.ops[0].operands] == [wanted]
        assert len(graph.tensors) == 2  # indices that nobody asks for are not written


def test_an_unknown_operator_is_a_barrier_that_a_warning_names():
    net = Forward(lambda m, x: torch.relu(torch.linalg.matrix_exp(m.conv(x))), conv=nn.Conv2d(4, 4, 1))
    with pytest.warns(UserWarning, match=r"'other' \(aten.linalg_matrix_exp.default\) is not known .* barrier"):
        graph = fold(ab.graph_of(net, (1, 4, 8, 8)))
    assert [op.barrier for op in graph.ops] == [False, True, False]
    assert len(graph.ops[1].members) == 1  # not even an activation folds into it


@pytest.mark.skipif(not (find_spec("torchvision") and find_spec("timm")), reason="torchvision or timm is missing")
def test_known_networks_have_no_barriers():
    for name, size in (("mobilenet_v3_small", 64), ("timm/vit_tiny_patch16_224", 224), ("shufflenet_v2_x0_5", 64)):
        network = ab.graph_of(ab.load_zoo(name), (1, 3, size, size))
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            graph = fold(network)
        assert not any(op.barrier for op in graph.ops)


def test_bad_graphs_are_refused():
    node = Operation("x", "input", (), ((1, 3, 0, 8),))
    with pytest.raises(GraphError, match=r"node 'x' has a tensor of shape \(1, 3, 0, 8\); accepted: positive"):
        fold(OperationGraph((node,), (), (0,), "net"))
    dynamic = Operation("x", "input", (), ((1, 3, "height", 8),))
    with pytest.raises(GraphError, match="needs static shapes"):
        fold(OperationGraph((dynamic,), (), (0,), "net"))
    one, two = (Operation(name, "relu", ((1, 2),), ((1, 2),)) for name in "ab")
    with pytest.raises(GraphError, match=r"edge \(1, 0\) does not run forward"):
        OperationGraph((one, two), ((0, 1), (1, 0)), (1,), "cycle")
    with pytest.raises(GraphError, match=r"input shape \(3, 8, 8\); accepted: batch, channels and 2 more"):
        fold(ab.graph_of(nn.Conv2d(3, 4, 3), (3, 8, 8)))


def rows_by_experiment(module, rows):
    """For each row of the output the rows of the input that change it."""
    x = torch.full((rows + 1, 1, rows, 1), 0.5)
    for q in range(rows):
        x[q, :, q] = 1.5
    with torch.no_grad():
        y = module(x)
    changed = ~torch.isclose(y[:-1], y[-1:], atol=1e-6)
    return [changed[:, 0, r, 0].nonzero().flatten().tolist() for r in range(y.shape[2])]


@pytest.mark.parametrize("rows", [3, 7, 8])
def test_accesses_equal_experiments(rows):
    def check(module, access):
        for r, found in enumerate(rows_by_experiment(module, rows)):
            first, last = rows_read(access, r, rows)
            assert found == [] or (found[0], found[-1]) == (first, last), (module, r)

    for out in (2, 5, 12):
        check(nn.AdaptiveAvgPool2d((out, 1)), adaptive_window(rows, out))
        for mode, named in (("nearest", "nearest"), ("nearest-exact", "nearest-exact")):
            check(nn.Upsample(size=(out, 1), mode=mode), resized(rows, out, named))
    for kernel, stride, border in ((2, 2, 0), (3, 2, 1), (4, 2, 1), (3, 3, 0), (5, 2, 2)):
        conv = nn.ConvTranspose2d(1, 1, (kernel, 1), (stride, 1), (border, 0))
        nn.init.ones_(conv.weight)
        check(conv, transposed_window(kernel, stride, 1, border))
    for mode, named in (("bilinear", "linear"), ("bicubic", "cubic")):
        for out in (2, 5, 12):
            access = resized(rows, out, named)
            for r, found in enumerate(rows_by_experiment(nn.Upsample(size=(out, 1), mode=mode), rows)):
                first, last = rows_read(access, r, rows)
                assert all(first <= q <= last for q in found)  # weights may be zero at a border


def test_composed_windows_contain_every_row():
    accesses = [Access("window", num, den, low, low + more) for num, den, low, more in (
        (1, 1, 0, 0), (2, 1, -1, 2), (1, 2, 0, 1), (3, 2, -1, 0), (2, 3, 1, 3))]  # fmt: skip
    for outer in accesses:
        for inner in accesses:
            both = compose(outer, inner)
            exact = outer.den == 1 or inner.num == 1
            for r in range(12):
                first = (r * outer.num + outer.low) // outer.den
                last = (r * outer.num + outer.high) // outer.den
                wanted = [(q * inner.num + bound) // inner.den for q, bound in ((first, inner.low), (last, inner.high))]
                found = [(r * both.num + bound) // both.den for bound in (both.low, both.high)]
                assert found[0] <= wanted[0]
                assert wanted[1] <= found[1]
                assert found == wanted or not exact
    assert math.gcd(compose(accesses[1], accesses[2]).num, compose(accesses[1], accesses[2]).den) == 1
