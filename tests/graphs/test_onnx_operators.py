"""MACs of ONNX's operators against formulas written out, for operators that multiply; and which are known at all."""

import warnings

import numpy as np
import pytest
from onnx_files import FLOAT, INT8, UINT8, one, onnx, zeros

import autobuild as ab
from autobuild.cost.fusion import fold
from autobuild.graphs.onnx_operators import FREE, QUANTISED, SPECIAL, TYPES

S, Z = {"s": one(), "z": zeros("uint8")}, {"s": one(), "z": zeros("int8")}
# operator, inputs, attributes, shapes of inputs, weights, opset -> MACs and parameters
PRODUCTS = {
    "weight first": ("MatMul", "w x", {}, {"x": (16, 100)}, {"w": (32, 16)}, 32 * 16 * 100, 512),
    "weight first, batch": ("MatMul", "w x", {}, {"x": (3, 16, 9)}, {"w": (32, 16)}, 3 * 32 * 16 * 9, 512),
    "batches meet": ("MatMul", "x v", {}, {"x": (4, 1, 5, 6), "v": (3, 6, 7)}, {}, 4 * 3 * 5 * 6 * 7, 0),
    "vector": ("MatMul", "w x", {}, {"x": (16,)}, {"w": (32, 16)}, 32 * 16, 512),
    "gemm": ("Gemm", "w x b", {}, {"x": (16, 100)}, {"w": (32, 16), "b": (100,)}, 32 * 16 * 100, 612),
    "gemm turned": ("Gemm", "w x", {"transA": 1, "transB": 1}, {"x": (9, 16)}, {"w": (16, 32)}, 32 * 16 * 9, 512),
    "gemm of turned maps": ("Gemm", "x w", {"transA": 1}, {"x": (16, 5)}, {"w": (16, 7)}, 5 * 16 * 7, 112),
    "integers": ("MatMulInteger", "x w", {}, {"x": (4, 16)}, {"w": zeros("uint8", 16, 8)}, 4 * 16 * 8, 128),
    "quantised": ("QLinearMatMul", "x s z w s z s z", {}, {"x": (3, 4)}, {"w": zeros("uint8", 4, 6), **S}, 72, 24),
    "quantised gemm": ("com.microsoft::QGemm", "x s z w s z b s z", {"transB": 1}, {"x": (3, 4)},
                       {"w": zeros("uint8", 6, 4), "b": zeros("int32", 6), **S}, 72, 30),
    "fused": ("com.microsoft::FusedMatMul", "x w", {"transA": 1, "transB": 1}, {"x": (3, 16, 5)}, {"w": (7, 16)},
              3 * 5 * 16 * 7, 112),
    "four bits": ("com.microsoft::MatMulNBits", "x w s", {"K": 64, "N": 48, "bits": 4, "block_size": 32},
                  {"x": (2, 5, 64)}, {"w": zeros("uint8", 48, 2, 16), "s": (96,)}, 2 * 5 * 64 * 48, 64 * 48),
    "einsum of rows": ("Einsum", "x w", {"equation": "bij,jk->bik"}, {"x": (2, 3, 5)}, {"w": (5, 7)}, 210, 35),
    "einsum of heads": ("Einsum", "x v", {"equation": "bqhd,bkhd->bhqk"}, {"x": (2, 5, 3, 7), "v": (2, 11, 3, 7)}, {},
                        2 * 3 * 5 * 11 * 7, 0),
    "einsum of three": ("Einsum", "x v u", {"equation": "ij,jk,kl->il"}, {"x": (2, 3), "v": (3, 5), "u": (5, 7)}, {},
                        2 * 3 * 5 + 2 * 5 * 7, 0),
    "einsum elementwise": ("Einsum", "x v", {"equation": "...i,...i->...i"}, {"x": (2, 3), "v": (2, 3)}, {}, 0, 0),
    "einsum turned": ("Einsum", "x", {"equation": "ij->ji"}, {"x": (2, 3)}, {}, 0, 0),
    "integer convolution": ("ConvInteger", "x w", {}, {"x": (1, 4, 8, 8)}, {"w": zeros("uint8", 6, 4, 3, 3)},
                            36 * 6 * 4 * 9, 216),
    "quantised convolution": ("QLinearConv", "x s z w s z s z b", {"group": 2}, {"x": (1, 4, 8, 8)},
                              {"w": zeros("uint8", 6, 2, 3, 3), "b": zeros("int32", 6), **S}, 36 * 6 * 2 * 9, 114),
    "deformed convolution": ("DeformConv", "x w o", {}, {"x": (1, 3, 5, 5), "o": (1, 18, 3, 3)}, {"w": (4, 3, 3, 3)},
                             9 * 4 * 27, 108),
    "lstm": ("LSTM", "x w r b", {"hidden_size": 6, "direction": "bidirectional"}, {"x": (7, 2, 5)},
             {"w": (2, 24, 5), "r": (2, 24, 6), "b": (2, 48)}, 7 * 2 * 2 * 24 * (5 + 6), 240 + 288 + 96),
    "gru, batch first": ("GRU", "x w r _ _ h", {"hidden_size": 6, "layout": 1}, {"x": (2, 7, 5)},
                         {"w": (1, 18, 5), "r": (1, 18, 6), "h": (2, 1, 6)}, 7 * 2 * 18 * (5 + 6), 198),
    "attention of rows": ("Attention", "q k v", {"q_num_heads": 4, "kv_num_heads": 2},
                          {"q": (2, 5, 32), "k": (2, 7, 16), "v": (2, 7, 12)}, {}, 2 * 4 * 5 * 7 * (8 + 6), 0),
    "attention of heads": ("Attention", "q k v", {"is_causal": 1},
                           {"q": (2, 4, 5, 8), "k": (2, 2, 7, 8), "v": (2, 2, 7, 6)}, {}, 2 * 4 * 5 * 7 * (8 + 6), 0),
    "fused attention": ("com.microsoft::Attention", "x w b", {"num_heads": 4}, {"x": (2, 5, 32)},
                        {"w": (32, 96), "b": (96,)}, 2 * 5 * 32 * 96 + 2 * 2 * 5 * 5 * 32, 32 * 96 + 96),
    "quantised attention": ("com.microsoft::QAttention", "x w b s s _ z z", {"num_heads": 4}, {"x": (2, 5, 32)},
                            {"w": zeros("int8", 32, 96), "b": (96,), **Z}, 2 * 5 * 32 * 96 + 2 * 2 * 5 * 5 * 32, 3168),
    "attention of many heads": ("com.microsoft::MultiHeadAttention", "q k v", {"num_heads": 4},
                                {"q": (2, 5, 32), "k": (2, 7, 32), "v": (2, 7, 64)}, {}, 2 * 4 * 5 * 7 * (8 + 16), 0),
    "packed attention": ("com.microsoft::MultiHeadAttention", "q", {"num_heads": 4}, {"q": (2, 5, 4, 3, 8)}, {},
                         2 * 4 * 5 * 5 * 16, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PRODUCTS))
def test_products_by_hand(name, read):
    op, reads, attributes, inputs, weights, macs, params = PRODUCTS[name]
    kind = UINT8 if op in QUANTISED or "QGemm" in op else INT8 if "QAtt" in op else FLOAT
    graph = read([(op, reads, "y", attributes)], inputs, "y", weights, opset=23, ir=10, kinds={"x": kind})
    assert (graph.macs, graph.params, graph.uncounted) == (macs, params, {})


@pytest.mark.parametrize(
    "node",
    [("RandomNormalLike", "x", "n"), ("RandomUniform", "", "n", {"shape": [1, 8, 6, 6]}), ("Bernoulli", "x", "n")],
)
def test_random_numbers_are_drawn_in_every_call(node, read):
    graph = read([node, ("Conv", "n w", "a"), ("Conv", "x w", "b"), ("Add", "a b", "y")], {"x": (1, 8, 6, 6)}, "y",
                 {"w": (4, 8, 3, 3)})  # fmt: skip
    assert (graph.macs, graph.params) == (2 * 16 * 32 * 9, 288)


def test_numbers_and_shapes_of_other_operators(read):
    nodes = [("OneHot", "i d v", "a"), ("MatMul", "a w", "b"), ("GroupNormalization", "b s z", "y", {"num_groups": 2})]
    held = {"d": np.asarray(10), "v": np.asarray([0, 1], np.float32), "w": (10, 4), "s": (2,), "z": (2,)}
    graph = read(nodes, {"i": (2, 4)}, "y", held, opset=18, kinds={"i": 7})
    assert (graph.params, graph.nodes[-1].output_shape) == (40 + 4, (2, 4, 4))


def test_means_of_tokens_keep_their_rows(read):
    """Of three dimensions the last one are features or positions; the rows of the operation before decide."""
    mean = ("ReduceMean", "a", "y", {"axes": [-1], "keepdims": 0})
    rows = read([("MatMul", "x w", "a"), mean], {"x": (1, 5, 8)}, "y", {"w": (8, 4)})
    maps = read([("Conv", "x w", "a"), mean], {"x": (1, 8, 5)}, "y", {"w": (4, 8, 1)})
    assert [fold(graph).ops[1].operands[0][1].kind for graph in (rows, maps)] == ["window", "reduce"]


def test_attention_over_keys_from_before(read):
    past = {"pk": (2, 2, 3, 8), "pv": (2, 2, 3, 8)}
    heads = {"q": (2, 4, 5, 8), "k": (2, 2, 5, 8), "v": (2, 2, 5, 8)}
    graph = read([("Attention", "q k v _ pk pv", "y k2 v2")], heads | past, "y k2 v2", opset=23, ir=10)
    assert graph.macs == 2 * 4 * 5 * 8 * 16
    rows = {"q": (2, 5, 32), "k": (2, 5, 16), "v": (2, 5, 16), "n": (2, 1), "t": ()}
    grouped = ("com.microsoft::GroupQueryAttention", "q k v pk pv n t", "y k2 v2", {"num_heads": 4, "kv_num_heads": 2})
    graph = read([grouped], rows | past, "y k2 v2")
    assert (graph.macs, graph.nodes[-1].output_shapes) == (2 * 4 * 5 * 8 * 16, ((2, 5, 32), *[(2, 2, 8, 8)] * 2))


def test_rows_that_a_product_sums_over_are_all_read(read):
    """A weight before a map, maps turned, and heads that an equation moves: none is a linear layer on rows."""
    nodes = [("MatMul", "w x", "a"), ("com.microsoft::FusedMatMul", "x v", "b", {"transA": 1}),
             ("Einsum", "x u", "c", {"equation": "bij,ik->bjk"}), ("Einsum", "x u", "d", {"equation": "bij,jk->bik"}),
             ("MatMul", "x u", "e")]  # fmt: skip
    weights = {"w": (8, 16), "v": (16, 5), "u": (16, 5)}
    graph = read(nodes, {"x": (2, 16, 16)}, "a b c d e", weights)
    assert [node.type for node in graph.nodes[1:]] == ["matmul"] * 3 + ["linear"] * 2
    kinds = [op.operands[0][1].kind for op in fold(graph).ops]
    assert (kinds[0], kinds[1], kinds[2]) == ("full",) * 3
    assert kinds[3] == kinds[4] == "window"  # of one row


def test_the_largest_and_running_sums_are_no_barriers(read):
    """Along an attribute or a constant input: other rows are not asked for, along rows all of them are."""
    nodes = [("TopK", "x k", "a i", {"axis": 1}), ("ArgMax", "x", "b", {"axis": 1}), ("CumSum", "x one", "c"),
             ("CumSum", "x two", "d")]  # fmt: skip
    held = {"k": np.asarray([3]), "one": np.asarray(1), "two": np.asarray([-2])}
    graph = read(nodes, {"x": (2, 8, 6, 6)}, "a i b c d", held)
    assert [node.axes for node in graph.nodes[1:]] == [(1,), (1,), (1,), (2,)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kinds = [op.operands[0][1].kind for op in fold(graph).ops]
    assert kinds == ["window"] * 3 + ["full"]


def test_what_is_not_counted_is_named(read):
    nodes = [("DFT", "x", "a"), ("my.domain::Warp", "a", "b"), ("NonMaxSuppression", "p q", "c")]
    inputs = {"x": (1, 8, 1), "p": (1, 5, 4), "q": (1, 2, 5)}
    graph = read(nodes, inputs, "b c", shapes={"b": (1, 8, 2), "c": (3, 3)})
    assert graph.uncounted == {"DFT": 1, "my.domain::Warp": 1}
    assert "1 DFT, 1 my.domain::Warp" in repr(graph)


def test_paddings_that_a_file_leaves_to_the_reader(read):
    def last(op, shape, weight, **attributes):
        graph = read([(op, "x w", "y", attributes)], {"x": shape}, "y", {"w": weight})
        return graph.nodes[-1].padding, graph.nodes[-1].output_shape[2:], graph.macs

    small, wide = (1, 3, 5, 5), (1, 3, 9, 8)
    assert last("Conv", wide, (4, 3, 3, 3), auto_pad="VALID") == (((0, 0), (0, 0)), (7, 6), 7 * 6 * 4 * 27)
    same = last("Conv", wide, (4, 3, 3, 3), auto_pad="SAME_LOWER", strides=[2, 2])
    assert same == (((1, 1), (1, 0)), (5, 4), 5 * 4 * 4 * 27)
    turned = last("ConvTranspose", small, (3, 4, 3, 3), strides=[2, 2], output_shape=[9, 9])
    assert turned == (((1, 1), (1, 1)), (9, 9), 25 * 3 * 4 * 9)
    upper = last("ConvTranspose", small, (3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
    assert upper == (((0, 1), (0, 1)), (10, 10), 25 * 3 * 4 * 9)


def test_every_operator_of_onnx_has_a_type_or_a_reason():
    """What is left: it works on sequences or optionals, branches, makes constants, or is too much for a rule."""
    from autobuild.graphs.from_onnx import CONTROL, DRAWN, IDENTITIES, SHAPE_ONLY

    known = {*TYPES, *FREE, *QUANTISED, *SPECIAL, *CONTROL, *IDENTITIES, *SHAPE_ONLY, *DRAWN, "If", "Constant"}
    left = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""} - known
    left = {name for name in left if "Sequence" not in name and "Optional" not in name}
    assert left <= {"DFT", "STFT", "Det"}


@pytest.mark.slow
def test_the_cases_that_onnx_ships_give_graphs_or_reasons(tmp_path):
    """Hundreds of models of one operator each: none fails otherwise than by name, none has a negative number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
        graphs, reasons = {}, {}
        for case in cases:
            file = tmp_path / "case.onnx"
            file.write_bytes(case.model.SerializeToString())
            try:
                graphs[case.name] = ab.graph_of(file)
            except ab.errors.GraphError as error:
                reasons[case.name] = str(error)
    assert len(graphs) > 0.85 * len(cases) > 900
    for graph in graphs.values():
        assert graph.macs >= 0
        assert all(node.macs is not None or node.op in graph.uncounted for node in graph.nodes)
    said = ("has the unknown shape", "is of the kind", "is not a tensor", "control flow", "is not known")
    assert all(any(words in reason for words in said) for reason in reasons.values())
    assert not [name for name, reason in reasons.items() if "damaged" in reason]


def test_conv_relu_conv_through_quantisers_is_one_group(read):
    """Pairs of a quantiser and its inverse are the type in which numbers lie in memory, and no operations."""
    nodes = [("DequantizeLinear", "w0 s zw", "w"), ("Conv", "x w", "a", {"pads": [1] * 4}),
             ("QuantizeLinear", "a s z", "b"), ("DequantizeLinear", "b s z", "c"), ("Relu", "c", "d"),
             ("QuantizeLinear", "d s z", "e"), ("DequantizeLinear", "e s z", "f"), ("Conv", "f w", "y")]  # fmt: skip
    weights = {"w0": zeros("int8", 4, 4, 3, 3), "zw": zeros("int8"), **S}
    graph = read(nodes, {"x": (1, 4, 8, 8)}, "y", weights)
    assert [node.type for node in graph.nodes] == ["input", "conv", "relu", "conv"]
    assert [node.output_bytes for node in graph.nodes] == [1024, 256, 256, 4 * 4 * 36]
    assert (graph.params, graph.nodes[1].weight_bytes, graph.macs) == (144, 144, (64 + 36) * 4 * 36)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(ab.fuse(graph).partition.groups) == 1
    dynamic = [("DynamicQuantizeLinear", "x", "q s z"), ("ConvInteger", "q w z", "i"), ("Cast", "i", "f", {"to": 1}),
               ("Mul", "f s", "g"), ("Relu", "g", "y")]  # fmt: skip
    graph = read(dynamic, {"x": (1, 4, 8, 8)}, "y", {"w": zeros("int8", 4, 4, 3, 3)})
    assert [node.type for node in graph.nodes] == ["input", "conv", "cast", "mul", "relu"]
    assert np.array_equal([graph.macs, graph.params], [36 * 4 * 36, 144])
