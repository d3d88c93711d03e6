"""Map ONNX operators to the vocabulary of operation graphs, and count their multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from autobuild.errors import GraphError
from autobuild.graphs.drafts import (
    Draft,
    Value,
    Weight,
    clipping,
    convolution,
    einsum_macs,
    linear,
    matmul,
    weight_times,
)
from autobuild.graphs.onnx_axes import Call
from autobuild.graphs.operations import Shape

TYPES = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "PRelu": "prelu", "Elu": "elu", "Selu": "elu", "Celu": "elu",
    "Sigmoid": "sigmoid", "HardSigmoid": "hard_sigmoid", "Swish": "silu", "HardSwish": "hard_swish", "Gelu": "gelu",
    "Mish": "mish", "Tanh": "tanh", "Softplus": "softplus", "Softmax": "softmax", "LogSoftmax": "softmax",
    "Hardmax": "softmax", "Clip": "clip", "BatchNormalization": "batch_norm", "LayerNormalization": "layer_norm",
    "RMSNormalization": "layer_norm", "LpNormalization": "layer_norm", "GroupNormalization": "group_norm",
    "InstanceNormalization": "group_norm", "MeanVarianceNormalization": "group_norm",
    "LRN": "local_response_norm", "Add": "add", "Sum": "add", "Sub": "sub", "Mul": "mul", "Div": "div",
    "MaxPool": "max_pool", "AveragePool": "avg_pool", "LpPool": "avg_pool", "GlobalAveragePool": "global_avg_pool",
    "GlobalLpPool": "global_avg_pool", "GlobalMaxPool": "global_max_pool", "Concat": "concat", "Slice": "slice",
    "Split": "slice", "Pad": "pad", "Resize": "resize", "Upsample": "resize", "GridSample": "resize", "Cast": "cast",
    "CastLike": "cast",
    **dict.fromkeys(("Attention", "FlexAttention", "LinearAttention"), "attention"),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "rnn"),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "Compress", "Scatter", "ScatterElements", "ScatterND",
                     "TensorScatter", "OneHot", "MaxUnpool", "CenterCropPad"), "gather"),
    **dict.fromkeys(("Transpose", "DepthToSpace", "SpaceToDepth", "Tile", "ReverseSequence"), "transpose"),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "BitCast"), "alias"),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                     "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin", "CumSum", "CumProd",
                     "TopK", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), "reduce"),
    **dict.fromkeys(("Abs", "Acos", "Acosh", "And", "Asin", "Asinh", "Atan", "Atanh", "Bernoulli", "BitShift",
                     "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil", "Cos", "Cosh", "Equal", "Erf",
                     "Exp", "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Log",
                     "Max", "Mean", "Min", "Mod", "Neg", "Not", "Or", "Pow", "Reciprocal", "RotaryEmbedding", "Round",
                     "Shrink", "Sign", "Sin", "Sinh", "Softsign", "Sqrt", "SwiGLU", "Tan", "ThresholdedRelu", "Trilu",
                     "Where", "Xor"), "elementwise"),
}  # fmt: skip
# Operators of type "other" that do not multiply by weights or by another feature map, so that their MACs are 0.
FREE = frozenset((
    "RoiAlign", "MaxRoiPool", "NonMaxSuppression", "NonZero", "Unique", "Col2Im", "Multinomial", "Range",
    "TfIdfVectorizer", "StringNormalizer", "StringSplit", "StringConcat", "RegexFullMatch", "ImageDecoder",
    "ArrayFeatureExtractor", "Binarizer", "CastMap", "CategoryMapper", "DictVectorizer", "FeatureVectorizer", "Imputer",
    "LabelEncoder", "Normalizer", "OneHotEncoder", "Scaler", "ZipMap", "TreeEnsemble", "TreeEnsembleClassifier",
    "TreeEnsembleRegressor", "BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix", "Adagrad", "Adam",
    "Momentum",
))  # fmt: skip
# Quantised operators: positions of the inputs that are tensors; the others are scales and zero points.
QUANTISED: dict[str, tuple[str, tuple[int, ...]]] = {
    "ConvInteger": ("Conv", (0, 1)), "MatMulInteger": ("MatMul", (0, 1)),
    "QLinearConv": ("Conv", (0, 3, 8)), "QLinearMatMul": ("MatMul", (0, 3)),
}  # fmt: skip
# Operators whose inputs after the first are parameters, whatever their size.
WEIGHTED = ("conv", "conv_transpose", "linear", "batch_norm", "layer_norm", "group_norm", "prelu", "rnn")
# Operators whose constant inputs may be parameters (a single number is a factor, as in x * 0.5). Constants of other
# operators are settings.
MAPS = ("add", "sub", "mul", "div", "matmul", "attention", "concat", "gather", "embedding", "elementwise", "other")
STATES = {"LSTM": (4, 5, 6), "GRU": (4, 5), "RNN": (4, 5)}  # positions of inputs that are states, not weights


def fill(draft: Draft, call: Call) -> bool:
    """Set the type and the other fields of a draft; False if the node does not change its input.

    Raises:
        GraphError: The weights of a convolution do not match its input.
    """
    draft.type = TYPES.get(call.kind, "other")
    draft.macs = None if draft.type == "other" and call.kind not in FREE else 0
    if (special := SPECIAL.get(call.kind)) is not None:
        special(draft, call)
    return draft.type != "alias" or draft.outputs[0] != draft.inputs[0].shape


def keep_weights(draft: Draft) -> None:
    """Remove constants that are settings (axes, sizes, bounds, factors) from the weights of a draft."""
    if draft.type not in WEIGHTED:
        draft.weights = [w for w in draft.weights if draft.type in MAPS and w.numel > (1 if w.learnt else 8)]


def _convolution(draft: Draft, call: Call) -> None:
    x, weight = call.shapes[:2]
    groups = int(call.attributes.get("group", 1))
    transposed = call.kind == "ConvTranspose"
    taken = weight[:1] if transposed else tuple(size * groups for size in weight[1:2])
    if len(weight) != len(x) or taken != x[1:2]:
        raise GraphError(f"node {draft.name!r} ({draft.op}): its input has the shape {x}, its weights {weight}, which "
                         f"accept {taken[0] if taken else 'no'} channels")  # fmt: skip
    bias = 3 if call.kind == "DeformConv" else 2
    convolution(draft, weight, len(call.inputs) > bias and call.inputs[bias] is not None, transposed=transposed)
    window(draft, call, weight[2:])
    draft.groups = groups
    if call.kind == "DeformConv":
        draft.type = "other"  # the positions that it reads depend on data


def _causal(draft: Draft, call: Call) -> None:
    """Set the fields of a causal depthwise convolution."""
    weight = call.shapes[1]
    convolution(draft, weight, len(call.inputs) > 2 and call.inputs[2] is not None)
    draft.stride, draft.dilation, draft.padding, draft.groups = (1,), (1,), ((weight[2] - 1, 0),), weight[0]
    if len(draft.inputs) > 1:
        draft.type = "other"  # it also reads a state of earlier calls


def window(draft: Draft, call: Call, kernel: Shape) -> None:
    """Set kernel, stride, dilation and padding of a draft."""
    dims, attributes, transposed = len(kernel), call.attributes, draft.type == "conv_transpose"
    draft.kernel = kernel
    draft.stride = tuple(attributes.get("strides") or (1,) * dims)
    draft.dilation = tuple(attributes.get("dilations") or (1,) * dims)
    pads = attributes.get("pads") or (0,) * 2 * dims
    draft.padding = tuple(zip(pads[:dims], pads[dims:], strict=True))
    how = attributes.get("auto_pad", "NOTSET")
    if how == "VALID":
        draft.padding = ((0, 0),) * dims
    if how not in ("SAME_UPPER", "SAME_LOWER") and not (transposed and "output_shape" in attributes):
        return
    before, after = draft.inputs[0].shape[2:], draft.outputs[0][2:]
    if transposed:
        before, after = after, before
    more = attributes.get("output_padding") or (0,) * dims if transposed else (0,) * dims
    sizes = zip(before, after, kernel, draft.stride, draft.dilation, more, strict=True)
    total = [max(0, (small - 1) * s + d * (k - 1) + 1 + m - large) for large, small, k, s, d, m in sizes]
    less, rest = [t // 2 for t in total], [t - t // 2 for t in total]
    draft.padding = tuple(zip(less, rest, strict=True) if how == "SAME_UPPER" else zip(rest, less, strict=True))


def _pool(draft: Draft, call: Call) -> None:
    window(draft, call, tuple(call.attributes["kernel_shape"]))


def _global_pool(draft: Draft, call: Call) -> None:
    draft.kernel = draft.inputs[0].shape[2:]


def _product(draft: Draft, call: Call) -> None:
    """Set the fields of a matrix product; either factor may be a weight, transposed or not."""
    left, right = call.inputs[:2]
    turned = [bool(call.attributes.get(key)) for key in ("transA", "transB")]
    axis = max(len(call.shapes[0]) - (2 if turned[0] else 1), 0)
    contracted = call.shapes[0][axis]
    if isinstance(left, Weight):
        weight_times(draft, contracted)
        draft.axes = (max(len(call.shapes[1]) - (1 if turned[1] else 2), 0),)
    elif isinstance(right, Weight) and len(call.shapes[1]) == 2:
        bias = call.inputs[2] if len(call.inputs) > 2 else None
        linear(draft, contracted, bias is not None)
        if turned[0]:  # the input is transposed: it is summed over its rows
            draft.type, draft.bias, draft.axes = "matmul", None, (axis,)
    else:
        matmul(draft)
        draft.macs = math.prod(draft.outputs[0]) * contracted


def _einsum(draft: Draft, call: Call) -> None:
    """Set the fields of an Einstein sum; it becomes a linear layer or a matrix product if it has that form."""
    equation = str(call.attributes["equation"]).replace(" ", "")
    draft.type = "matmul"
    draft.macs = einsum_macs(equation, call.shapes)
    if len(call.shapes) == 1:
        draft.type = "transpose"  # or a sum or diagonal, which also has no MACs
    elif not draft.macs:
        draft.type = "mul"
    elif len(call.shapes) > 2:
        draft.type = "other"
    elif not _is_product(equation, call):
        draft.axes = tuple(range(len(draft.inputs[0].shape)))  # not analysed: assume all dimensions
    elif isinstance(call.inputs[1], Weight):
        linear(draft, call.shapes[0][-1], False)


def _is_product(equation: str, call: Call) -> bool:
    """Whether the equation multiplies the rows of the first operand by a matrix and keeps their order."""
    left, _, out = equation.partition("->")
    first, _, second = left.partition(",")
    summed = first[-1:]
    if isinstance(call.inputs[0], Weight) or out[:-1] != first[:-1] or summed in out or summed not in second:
        return False
    if isinstance(call.inputs[1], Weight):
        return sorted(second) == sorted(summed + out[-1:])
    shared = first[:-2]
    return second in (shared + summed + out[-1:], shared + out[-1:] + summed) and len(out) > 1


def _attention(draft: Draft, call: Call) -> None:
    """Count the MACs of attention: queries times keys, and scores times values; a causal mask is ignored."""
    q, k, v = call.shapes[:3]
    heads = int(call.attributes.get("q_num_heads", 0)) if len(q) == 3 else q[1]
    key_heads = int(call.attributes.get("kv_num_heads", heads)) if len(k) == 3 else k[1]
    past = call.shape(4)
    keys = k[-2] + (past[-2] if past else 0)
    width, read = (q[-1] // heads, v[-1] // key_heads) if len(q) == 3 else (q[-1], v[-1])
    draft.macs = q[0] * heads * q[-2] * keys * (width + read)


def _linear_attention(draft: Draft, call: Call) -> None:
    """Count the MACs of linear attention: the update of each head's state, and reading it for queries and deltas."""
    q, _, v = call.shapes[:3]
    heads, key_heads = (int(call.attributes[key]) for key in ("q_num_heads", "kv_num_heads"))
    steps = 2 if "delta" in str(call.attributes.get("update_rule", "gated_delta")) else 1
    draft.macs = q[0] * q[1] * (q[2] // heads) * (v[2] // key_heads) * (heads + steps * key_heads)


def _recurrent(draft: Draft, call: Call) -> None:
    """Count the MACs of a recurrent layer: every step multiplies input and state by the weights of all directions."""
    steps = math.prod(call.shapes[0][:2])  # steps times batch, in either layout
    draft.macs = steps * sum(math.prod(call.shapes[place]) for place in (1, 2))
    states = [call.inputs[place] for place in STATES[call.kind] if place < len(call.inputs)]
    draft.weights = [weight for weight in draft.weights if weight not in states]


def _reduction(draft: Draft, call: Call) -> None:
    """Change a mean or maximum over all positions of a feature map into a global pool."""
    x = draft.inputs[0].shape
    over = {axis % len(x) for axis in call.given("axes", 1) or ()} if x else set()
    if call.kind in ("ReduceMean", "ReduceMax") and len(x) >= 4 and over == set(range(2, len(x))):
        draft.type = "global_avg_pool" if call.kind == "ReduceMean" else "global_max_pool"
        draft.kernel = x[2:]


def _clip(draft: Draft, call: Call) -> None:
    found: list[float | None] = []
    for place, key in enumerate(("min", "max"), start=1):
        name = call.names[place] if len(call.names) > place else ""
        value = call.scalars.get(name) if name else call.attributes.get(key)
        found.append(None if value is None else float(value))
    # files of old opsets write the largest number instead of no bound
    draft.type = clipping(found[0], None if found[1] is not None and found[1] > 3e38 else found[1])


def _pick(draft: Draft, call: Call) -> None:
    if not isinstance(call.inputs[0], Value):
        draft.type = "embedding"


def _one_hot(draft: Draft, call: Call) -> None:
    draft.weights = []  # the numbers that it writes


def _batch_norm(draft: Draft, call: Call) -> None:
    draft.weights[2:] = [replace(weight, learnt=False) for weight in draft.weights[2:]]


def _instance_norm(draft: Draft, call: Call) -> None:
    """Recognise a group norm, which exporters write as instance norm with scale one and bias zero between reshapes."""
    scale, added = (call.scalars.get(name) for name in call.names[1:3])
    if scale is not None and added is not None and draft.inputs[0].draft.type == "alias":
        plain = bool((scale == 1).all()) and not added.any()
        draft.weights = [] if plain else draft.weights


def _grid(draft: Draft, call: Call) -> None:
    """Count the MACs of an affine grid: every position times a 2 x 3 or 3 x 4 matrix."""
    dims = len(draft.outputs[0]) - 2
    draft.macs = math.prod(draft.outputs[0][:-1]) * dims * (dims + 1)


def _linear_model(draft: Draft, call: Call) -> None:
    """Set the fields of a linear model of ``ai.onnx.ml``, whose coefficients are attributes."""
    coefficients = call.attributes.get("coefficients", ())
    features = draft.inputs[0].shape[-1] if draft.inputs[0].shape else 1
    rows = math.prod(draft.inputs[0].shape[:-1])
    draft.macs = rows * len(coefficients)
    learnt = (("coefficients", coefficients), ("intercepts", call.attributes.get("intercepts", ())))
    draft.weights = [Weight(f"{draft.name} {key}", (len(held),)) for key, held in learnt if held]
    if features and len(draft.outputs[0]) == len(draft.inputs[0].shape) and len(draft.outputs) == 1:
        draft.type, draft.bias = "linear", len(draft.weights) > 1


SPECIAL: dict[str, Callable[[Draft, Call], None]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "DeformConv"), _convolution), "CausalConvWithState": _causal,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    **dict.fromkeys(("MatMul", "Gemm"), _product), "Einsum": _einsum,
    **dict.fromkeys(("Attention", "FlexAttention"), _attention), "LinearAttention": _linear_attention,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent), "AffineGrid": _grid,
    **dict.fromkeys(("ReduceMean", "ReduceMax"), _reduction), "Clip": _clip, "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm, "OneHot": _one_hot,
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), _pick),
    **dict.fromkeys(("LinearClassifier", "LinearRegressor"), _linear_model),
}  # fmt: skip
