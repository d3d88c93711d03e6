"""Operators that ONNX Runtime writes into optimised and quantised files (domain ``com.microsoft``).

ONNX does not define them, so their output shapes are computed here. Most are an ONNX operator with quantised numbers,
an activation or a bias, and are read as that operator. Source: ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autobuild.graphs.drafts import Draft, Weight, linear
from autobuild.graphs.onnx_axes import Call
from autobuild.graphs.operations import Shape

DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "", "ai.onnx")  # some files omit the domain
# Operator of ONNX Runtime -> the equivalent ONNX operator, and the positions of its inputs.
SAME_AS: dict[str, tuple[str, tuple[int, ...]]] = {
    "FusedConv": ("Conv", (0, 1, 2, 3)), "FusedGemm": ("Gemm", (0, 1, 2)), "FusedMatMul": ("MatMul", (0, 1)),
    "TransposeMatMul": ("MatMul", (0, 1)), "QGemm": ("Gemm", (0, 3, 6)), "MatMulIntegerToFloat": ("MatMul", (0, 1, 6)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1, 4)),
    "QLinearAdd": ("Add", (0, 3)), "QLinearMul": ("Mul", (0, 3)), "QLinearSigmoid": ("Sigmoid", (0,)),
    "QLinearLeakyRelu": ("LeakyRelu", (0,)), "QLinearSoftmax": ("Softmax", (0,)),
    "QLinearAveragePool": ("AveragePool", (0,)), "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearReduceMean": ("ReduceMean", (0,)), "QLinearConcat": ("Concat", ()), "QLinearWhere": ("Where", (0, 1, 4)),
    "Gelu": ("Gelu", (0,)), "FastGelu": ("Gelu", (0, 1)), "BiasGelu": ("Gelu", (0, 1)), "QuickGelu": ("Swish", (0,)),
    "SimplifiedLayerNormalization": ("RMSNormalization", (0, 1)), "BiasSoftmax": ("Softmax", (0, 1)),
    "SkipLayerNormalization": ("LayerNormalization", (0, 1, 2, 3, 4)),
    "SkipSimplifiedLayerNormalization": ("RMSNormalization", (0, 1, 2, 3)),
    "RotaryEmbedding": ("RotaryEmbedding", (0, 2, 3)), "QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
    "DequantizeLinear": ("DequantizeLinear", (0, 1, 2)), "Trilu": ("Trilu", (0, 1)),
}  # fmt: skip
FLOATS = ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DequantizeLinear")  # always write floating point
LIKE_FIRST = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization",
              "RotaryEmbedding", "FastGelu", "BiasGelu", "QuickGelu", "Gelu", "BiasSoftmax", "QLinearSoftmax",
              "QLinearSigmoid", "QLinearLeakyRelu", "QuantizeLinear", "DequantizeLinear", "Trilu")  # fmt: skip


def is_contrib(kind: str, domain: str) -> bool:
    """Whether this is a known operator of ONNX Runtime."""
    return domain in DOMAINS and (kind in SAME_AS or kind in FILL)


def same_as(kind: str, inputs: int) -> tuple[str, tuple[int, ...]] | None:
    """The equivalent ONNX operator and the positions of its inputs; None if there is none."""
    if kind == "QLinearConcat":  # a scale and a zero point, then three inputs per part
        return "Concat", tuple(range(2, inputs, 3))
    return SAME_AS.get(kind)


def written_shapes(kind: str, call: Call) -> list[Shape | None]:
    """Output shapes of an operator of ONNX Runtime, None where unknown; empty if there is no rule."""
    if kind in LIKE_FIRST:
        return [call.shapes[0], None, None, call.shapes[0]][: 4 if kind.startswith("Skip") else 1]  # the sum is last
    rule = SHAPES.get(kind)
    return rule(call) if rule is not None else []


def fill_contrib(kind: str, draft: Draft, call: Call) -> bool:
    """Set the fields of a draft for an operator without ONNX equivalent; False if the operator is not known."""
    rule = FILL.get(kind)
    if rule is not None:
        rule(draft, call)
    return rule is not None


def _product(call: Call) -> list[Shape | None]:
    left, right = (shape if len(shape) > 1 else (*((1,) * (2 - len(shape))), *shape) for shape in call.shapes[:2])
    rows = left[-1 if call.attributes.get("transA") else -2]
    columns = right[-2 if call.attributes.get("transB") else -1]
    batch = left[:-2] if len(left) >= len(right) else right[:-2]
    return [(*batch, rows, columns)]


def _bits_product(call: Call) -> list[Shape | None]:
    return [(*call.shapes[0][:-1], int(call.attributes["N"]))]


def _attention(call: Call) -> list[Shape | None]:
    batch, length, _ = call.shapes[0]
    return [(batch, length, _widths(call)[2])]


def _widths(call: Call) -> tuple[int, int, int]:
    """Numbers of columns for queries, keys and values in the weight that computes all three."""
    total = call.shapes[1][1]
    sizes = call.attributes.get("qkv_hidden_sizes") or (total // 3,) * 3
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _multi_head(call: Call) -> list[Shape | None]:
    q, heads = call.shapes[0], int(call.attributes["num_heads"])
    if len(q) == 5:  # packed queries, keys and values: batch, length, heads, 3, width
        return [(*q[:2], q[2] * q[4])]
    v = call.shape(2)
    width = q[2] if v is None else v[2] if len(v) == 3 else heads * v[3]
    return [(*q[:2], width)]


def _grouped(call: Call) -> list[Shape | None]:
    q = call.shapes[0]
    heads, width = int(call.attributes["num_heads"]), _head_width(call)
    written: list[Shape | None] = [(*q[:2], heads * width)]
    for place in (3, 4):
        past = call.shape(place)
        if past is None:
            past = (q[0], int(call.attributes["kv_num_heads"]), 0, width)
        written.append((*past[:2], past[2] + q[1], past[3]))
    return written


def _head_width(call: Call) -> int:
    heads, key_heads = int(call.attributes["num_heads"]), int(call.attributes["kv_num_heads"])
    packed = call.shape(1) is None
    return call.shapes[0][2] // (heads + 2 * key_heads if packed else heads)


def _embedded(call: Call) -> list[Shape | None]:
    return [(*call.shapes[0][:2], call.shapes[2][1]), call.shapes[0][:1]]


def _fill_projected(draft: Draft, call: Call, past_place: int) -> None:
    """Set the fields of ``Attention`` and ``QAttention``, including their projections."""
    batch, length, width = call.shapes[0]
    q, k, v = _widths(call)
    past = call.shape(past_place)
    keys = length + (past[-2] if past else 0)
    draft.type = "attention"
    draft.macs = batch * length * (width * (q + k + v) + keys * (q + v))


def _fill_attention(draft: Draft, call: Call) -> None:
    _fill_projected(draft, call, 4)


def _fill_quantised(draft: Draft, call: Call) -> None:
    _fill_projected(draft, call, 8)
    draft.weights = [replace(weight, learnt=True) for weight in call.inputs[1:3] if isinstance(weight, Weight)]


def _fill_multi_head(draft: Draft, call: Call) -> None:
    q, k, v = call.shapes[0], call.shape(1), call.shape(2)
    heads = int(call.attributes["num_heads"])
    past = call.shape(6)
    written = draft.outputs[0][2]
    width = q[2] * q[4] if len(q) == 5 else q[2]
    keys = q[1] if k is None else k[2] if v is not None and len(v) == 4 else k[1]
    keys += past[2] if past else 0
    draft.type = "attention"
    draft.macs = q[0] * q[1] * keys * (width // heads + written // heads) * heads


def _fill_grouped(draft: Draft, call: Call) -> None:
    q, k = call.shapes[0], call.shape(1)
    past = call.shape(3)
    keys = (q[1] if k is None else k[1]) + (past[2] if past else 0)
    draft.type = "attention"
    draft.macs = 2 * q[0] * q[1] * keys * int(call.attributes["num_heads"]) * _head_width(call)


def _fill_bits_product(draft: Draft, call: Call) -> None:
    """Set the fields of a linear layer with packed weights."""
    n, k = int(call.attributes["N"]), int(call.attributes["K"])
    bias = call.inputs[5] if len(call.inputs) > 5 else None
    linear(draft, k, isinstance(bias, Weight))
    packed, *others = (weight for weight in call.inputs[1:] if isinstance(weight, Weight))
    draft.weights = [Weight(packed.key, (n, k), int(call.attributes.get("bits", 4)) / 8)]
    draft.weights += [Weight(w.key, w.shape, w.itemsize, w == bias) for w in others]


def _fill_embedded(draft: Draft, call: Call) -> None:
    draft.type, draft.macs = "embedding", 0


SHAPES: dict[str, Callable[[Call], list[Shape | None]]] = {
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul", "QGemm", "FusedGemm", "MatMulIntegerToFloat",
                     "DynamicQuantizeMatMul"), _product),
    "MatMulNBits": _bits_product, "MatMulBnb4": _bits_product, "Attention": _attention, "QAttention": _attention,
    "MultiHeadAttention": _multi_head, "GroupQueryAttention": _grouped, "EmbedLayerNormalization": _embedded,
}  # fmt: skip
FILL: dict[str, Callable[[Draft, Call], None]] = {
    "MatMulNBits": _fill_bits_product, "MatMulBnb4": _fill_bits_product, "Attention": _fill_attention,
    "QAttention": _fill_quantised, "MultiHeadAttention": _fill_multi_head, "GroupQueryAttention": _fill_grouped,
    "EmbedLayerNormalization": _fill_embedded,
}  # fmt: skip
