"""Map ATen operators to the vocabulary of operation graphs, and count their multiply-accumulates."""

from __future__ import annotations

import math
from typing import Any

from autobuild.graphs.drafts import Draft, Value, Weight, clipping, convolution, linear
from autobuild.graphs.operations import Shape
from autobuild.graphs.torch_axes import fill_axes

# ATen names without overload and without a trailing underscore (in place). Operators that PyTorch tags as pointwise
# are elementwise and need not be listed.
TYPES = {
    **{name: name for name in (
        "relu", "relu6", "leaky_relu", "prelu", "elu", "sigmoid", "silu", "gelu", "mish", "tanh", "softplus", "softmax",
        "batch_norm", "layer_norm", "group_norm", "embedding", "add", "sub", "mul", "div", "pad", "gather",
    )},
    "_prelu_kernel": "prelu", "selu": "elu", "celu": "elu", "hardsigmoid": "hard_sigmoid", "hardswish": "hard_swish",
    "_softmax": "softmax", "log_softmax": "softmax", "_log_softmax": "softmax", "_safe_softmax": "softmax",
    "hardtanh": "clip", "clamp": "clip", "clip": "clip", "clamp_min": "clip", "clamp_max": "clip",
    "_native_batch_norm_legit_no_training": "batch_norm", "native_layer_norm": "layer_norm", "rms_norm": "layer_norm",
    "_fused_rms_norm": "layer_norm",
    **dict.fromkeys(("native_group_norm", "instance_norm", "_native_batch_norm_legit",
                     "_native_batch_norm_legit_functional"), "group_norm"),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), "rnn"),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices"),
                    "max_pool"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), "avg_pool"),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
                     "_adaptive_avg_pool3d"), "avg_pool"),
    **dict.fromkeys((f"adaptive_max_pool{d}d" for d in (1, 2, 3)), "max_pool"),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), "concat"),
    **dict.fromkeys(("slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind"), "slice"),
    **dict.fromkeys(("index", "index_select", "take_along_dim", "diagonal", "as_strided", "view_as_real",
                     "view_as_complex", "index_put", "_unsafe_index", "_unsafe_index_put", "index_add", "index_copy",
                     "index_fill", "scatter", "scatter_add", "scatter_reduce", "masked_scatter", "slice_scatter",
                     "select_scatter", "diagonal_scatter", "as_strided_scatter", "put", "max_unpool2d",
                     "max_unpool3d", "fractional_max_pool2d", "fractional_max_pool3d", "multinomial"), "gather"),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
                     "replication_pad1d", "replication_pad2d", "replication_pad3d"), "pad"),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d",
                     "upsample_bicubic2d", "upsample_linear1d", "upsample_trilinear3d", "_upsample_nearest_exact1d",
                     "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa",
                     "_upsample_bicubic2d_aa", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), "resize"),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "argmax", "argmin", "prod", "var", "std", "norm",
                     "var_mean", "std_mean", "aminmax", "linalg_vector_norm", "any", "all", "logsumexp",
                     "count_nonzero", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort", "argsort",
                     "topk", "kthvalue", "median", "nanmedian", "mode", "histc"), "reduce"),
    **dict.fromkeys(("transpose", "permute", "t", "numpy_T", "movedim", "moveaxis", "swapaxes", "swapdims", "roll",
                     "flip", "pixel_shuffle", "pixel_unshuffle", "native_channel_shuffle", "repeat", "unfold",
                     "im2col", "col2im"), "transpose"),
    **dict.fromkeys(("to", "_to_copy", "type_as", "scalar_tensor"), "cast"),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "_unsafe_view",
                     "view_copy"), "alias"),
    **dict.fromkeys(("where", "maximum", "minimum", "floor_divide", "masked_fill", "log_sigmoid", "rsub", "square",
                     "log_sigmoid_forward", "lerp", "tril", "triu", "softsign", "hardshrink", "bucketize",
                     "searchsorted", "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine",
                     "complex", "polar", "bernoulli", "normal"),
                    "elementwise"),
    "_embedding_bag_forward_only": "embedding", "_embedding_bag": "embedding",
}  # fmt: skip
IDENTITIES = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout", "detach",
              "clone", "contiguous", "alias", "lift_fresh", "lift_fresh_copy", "identity", "item",
              "_local_scalar_dense", "positive", "resolve_conj", "resolve_neg"}  # fmt: skip
# Operators whose result has the shape of the argument, but does not depend on its values.
FILLS = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
         "new_empty_strided", "zero", "fill"}  # fmt: skip
# Random numbers; those that have a type depend on values, unless they are written over their argument.
RANDOM = {"rand_like", "randn_like", "randint_like", "rand", "randn", "randint", "randperm", "normal_functional",
          "uniform", "exponential", "cauchy", "geometric", "log_normal", "bernoulli", "normal",
          "multinomial"}  # fmt: skip
COPIES = {"copy"}  # result: the second argument, in the shape and type of the first
CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
# Positions of the two factors of a product, and of the summand that is added to it.
PRODUCTS = {"matmul": (0, 1), "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "vdot": (0, 1),
            "addmm": (1, 2), "baddbmm": (1, 2), "addbmm": (1, 2), "addmv": (1, 2)}  # fmt: skip
REPEATS = {"expand", "repeat", "repeat_interleave"}
ORDERS = {"transpose", "permute", "t", "numpy_T", "movedim", "moveaxis", "swapaxes", "swapdims"}  # rearrange elements
GROUPED = ("_grouped_mm", "grouped_mm_fallback")  # the latter in transformers
COUNTED = {"linear", "scaled_dot_product_attention", "bilinear", "deform_conv2d", "conv_tbc", "_cdist_forward",
           "_euclidean_dist", *GROUPED}  # fmt: skip
FIRST_ONLY = {"batch_norm", "layer_norm", "group_norm", "embedding"}  # other outputs are used by backward passes only
KNOWN = {*TYPES, *IDENTITIES, *FILLS, *RANDOM, *COPIES, *CONVOLUTIONS, *PRODUCTS, *COUNTED}


def operator_name(operator: Any) -> str:
    """Name of an operator without namespace, overload and underscore: ``aten.add_.Tensor`` -> ``add``."""
    parts = str(operator).split(".")
    name = parts[1] if len(parts) > 1 else parts[0]
    return name if name.startswith("__") else name.rstrip("_")


def is_known(operator: Any) -> bool:
    """Whether an operator is read directly; others are decomposed by PyTorch first."""
    return operator_name(operator) in KNOWN or is_pointwise(operator)


def is_pointwise(operator: Any) -> bool:
    """Whether PyTorch tags an operator as pointwise: each element of the result depends on one position."""
    import torch

    return torch.Tag.pointwise in getattr(operator, "tags", ())


def fill(draft: Draft, base: str, named: dict[str, Any], pointwise: bool) -> bool:
    """Set the type and the other fields of a draft; False if the operator does not change its input.

    Args:
        draft: The operation, with inputs, weights and outputs.
        base: Name of the operator without overload.
        named: Its arguments by the names of its schema, and by position as text; tensors are values or weights.
        pointwise: Whether the operator is pointwise, see :func:`is_pointwise`.
    """
    x = draft.inputs[0].shape
    if base in CONVOLUTIONS:
        _convolution(draft, base, named)
    elif base == "linear" and isinstance(named["input"], Value):
        linear(draft, named["input"].shape[-1], named.get("bias") is not None)
    elif base == "scaled_dot_product_attention":
        _attention(draft, named)
    elif base == "bilinear":
        # x1 W x2 for every row and output: first W x2, then the product with x1
        draft.type, (outputs, left, right) = "matmul", named["weight"].shape
        draft.macs = math.prod(draft.outputs[0][:-1]) * outputs * left * (right + 1)
    elif base in GROUPED:
        _experts(draft, named["0"], named["1"])
    elif base in ("_cdist_forward", "_euclidean_dist"):  # for p = 2 a square for every feature of every pair
        draft.type = "matmul"
        draft.macs = math.prod(draft.outputs[0]) * named["x1"].shape[-1] * (named.get("p", 2) == 2)
        draft.axes = (len(draft.inputs[0].shape) - 1,)
    elif base in ("deform_conv2d", "conv_tbc"):  # the positions read depend on data, or the layout differs
        per_output = named["weight"].shape[1:] if base == "deform_conv2d" else named["weight"].shape[:2]
        draft.macs = math.prod(draft.outputs[0]) * math.prod(per_output)
    elif base.lstrip("_").startswith("adaptive_"):
        return _adaptive(draft, base, x)
    elif base in TYPES:
        return _of_type(draft, base, named, x)
    elif pointwise:
        draft.type, draft.macs = "elementwise", 0
    return True


def _of_type(draft: Draft, base: str, named: dict[str, Any], x: Shape) -> bool:
    draft.type, draft.macs = TYPES[base], 0
    if draft.type == "rnn":
        _recurrent(draft, named)
    elif draft.type == "batch_norm" and named.get("training"):
        draft.type = "group_norm"  # instance norm without stored mean and variance
    elif draft.type in ("max_pool", "avg_pool"):
        _window(draft, named, len(x) - 2 if len(x) > 2 else 1)
    elif draft.type == "reduce":
        _reduction(draft, base, named, x)
    elif draft.type == "clip" and base != "clamp_max":
        draft.type = clipping(_number(named, 1), _number(named, 2))
    else:
        fill_axes(draft, base, named)
    return draft.type != "alias" or draft.outputs[0] != x


def product(draft: Draft, base: str, left: Value | Weight, right: Value | Weight) -> None:
    """Set the fields of a product of two tensors, one of which may be a weight.

    For a product with a weight, ``axes`` is the dimension of the input that is summed over.
    """
    draft.type = "matmul"
    draft.macs = math.prod(draft.outputs[0]) * left.shape[-1]
    if base == "addbmm":  # also sums over the batch
        draft.type, draft.macs = "other", draft.macs * left.shape[0]
    elif isinstance(left, Weight):
        rank = len(right.shape)
        draft.axes = (max(rank - 2, 0),)
    elif isinstance(right, Weight):
        rank = len(left.shape)
        if len(right.shape) == 2:
            linear(draft, left.shape[-1], False)
        else:
            draft.axes = (rank - 1,)


def _convolution(draft: Draft, base: str, named: dict[str, Any]) -> None:
    shape, taken = named["weight"].shape, named["input"].shape
    dims = len(shape) - 2
    transposed = bool(named.get("transposed")) or "transpose" in base
    convolution(draft, shape, named.get("bias") is not None, transposed=transposed, taken=taken)
    draft.stride = _per_dim(named.get("stride", 1), dims)
    draft.dilation = _per_dim(named.get("dilation", 1), dims)
    draft.groups = int(named.get("groups", 1))
    padding = named.get("padding", 0)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(draft.dilation, draft.kernel or (), strict=True)]
        draft.padding = tuple((t // 2, t - t // 2) for t in total)
    else:
        draft.padding = tuple((p, p) for p in _per_dim(0 if padding == "valid" else padding, dims))
    if not isinstance(named["input"], Value):  # the kernel depends on the input, and the image is constant
        draft.type = "other"


def _experts(draft: Draft, rows: Value | Weight, matrices: Value | Weight) -> None:
    """Count the MACs of rows of which each is multiplied by one of several matrices; all matrices count as read."""
    draft.type, draft.macs = "matmul", math.prod(draft.outputs[0]) * rows.shape[-1]
    if len(rows.shape) == len(matrices.shape) == 2:  # the dimension that is summed over is divided into groups
        draft.macs = math.prod(rows.shape) * matrices.shape[-1]
    elif len(rows.shape) == 2 and isinstance(rows, Value) and isinstance(matrices, Weight):
        linear(draft, rows.shape[-1], False)


def _attention(draft: Draft, named: dict[str, Any]) -> None:
    """Count the MACs of attention: queries times keys, and scores times values; masks are ignored."""
    query, key, value = (named[name] for name in ("query", "key", "value"))
    draft.type = "attention"
    draft.macs = math.prod(draft.outputs[0][:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    if not isinstance(query, Value):
        draft.axes = (len(draft.inputs[0].shape) - 2,)


def _recurrent(draft: Draft, named: dict[str, Any]) -> None:
    """Count the MACs of recurrent layers: each weight matrix times one vector per step of each sequence."""
    data = named.get("input", named.get("data"))
    steps = math.prod(data.shape[:-1])  # type: ignore[union-attr]
    matrices = [weight for weight in named["params"] if len(weight.shape) == 2]
    draft.macs = steps * sum(math.prod(weight.shape) for weight in matrices)


def _window(draft: Draft, named: dict[str, Any], dims: int) -> None:
    draft.kernel = _per_dim(named["kernel_size"], dims)
    draft.stride = _per_dim(named.get("stride") or draft.kernel, dims)
    draft.dilation = _per_dim(named.get("dilation", 1), dims)
    draft.padding = tuple((p, p) for p in _per_dim(named.get("padding", 0), dims))


def _adaptive(draft: Draft, base: str, x: Shape) -> bool:
    """Change an adaptive pool into one with fixed windows if the sizes divide; False if each window is one position."""
    draft.type, draft.macs = TYPES[base], 0
    wanted = draft.outputs[0][2:]
    if wanted == x[2:]:
        return False
    if all(size % out == 0 for size, out in zip(x[2:], wanted, strict=True)):
        draft.kernel = draft.stride = tuple(size // out for size, out in zip(x[2:], wanted, strict=True))
        draft.dilation = (1,) * len(wanted)
        draft.padding = ((0, 0),) * len(wanted)
    return True


def _reduction(draft: Draft, base: str, named: dict[str, Any], x: Shape) -> None:
    """Change a mean or maximum over all positions of a feature map into a global pool."""
    if base in ("max", "min") and isinstance(named.get("other"), Value | Weight):
        draft.type = "elementwise"
        return
    fill_axes(draft, base, named)
    over = named.get("dim")
    dims = {d % len(x) for d in ([over] if isinstance(over, int) else over or ())} if x else set()
    if base in ("mean", "amax") and len(x) >= 4 and dims == set(range(2, len(x))):
        draft.type = "global_avg_pool" if base == "mean" else "global_max_pool"
        draft.kernel = x[2:]


def _number(named: dict[str, Any], place: int) -> Any:
    """A bound of clamp or hardtanh, by its position; None if there is none or it is a tensor."""
    value = named.get(str(place))
    return value if isinstance(value, int | float) else None


def _per_dim(value: Any, dims: int) -> Shape:
    sizes = tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
    return sizes * dims if len(sizes) == 1 else sizes
