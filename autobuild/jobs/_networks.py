"""Networks by name (ONNX files, models of torchvision and timm, architectures of spaces), and their input shapes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, nearest

if TYPE_CHECKING:
    from autobuild.graphs.operations import OperationGraph

KINDS = ("onnx", "torchvision", "timm", "space")
SIZE = 224


def network_of(given: str) -> tuple[str, str]:
    """The kind and the name of the network that ``model=`` gives: ``onnx:PATH``, ``timm:NAME``, ``timm/NAME``.

    Raises:
        ConfigError: An unknown kind, or an ONNX file that does not exist.
    """
    kind, rest = ("onnx", given.removeprefix("onnx:")) if given.lower().endswith(".onnx") else _split(given)
    if kind not in KINDS or not rest:
        raise ConfigError(f"model={given}: {nearest(kind, KINDS)}, each followed by a colon and a path or name")
    if kind == "onnx" and not Path(rest).is_file():
        raise ConfigError(f"model={given}: there is no such file")
    return kind, rest


def _split(given: str) -> tuple[str, str]:
    before, slash, after = given.partition("/")
    if slash and before in ("torchvision", "timm"):
        return before, after
    kind, _, rest = given.partition(":")
    return kind, rest


def read_network(kind: str, rest: str, config: Mapping[str, Any]) -> tuple[OperationGraph, list[str]]:
    """The operation graph of a network, and the assumptions made: a batch of one if a file leaves it open.

    Args:
        kind: One of :data:`KINDS`.
        rest: What it is called.
        config: ``shape`` (channels, height and width), ``shapes`` (of an ONNX file's tensors) and ``space``.

    Raises:
        ConfigError, GraphError, SpaceError: It cannot be read, or its shapes are not known.
    """
    import autobuild as ab
    from autobuild.graphs import zoo
    from autobuild.graphs.of_architecture import graph_of_architecture

    shape, shapes = shape_of(config["shape"]), shapes_of(config["shapes"])
    if shapes is not None and kind != "onnx":
        raise ConfigError(f"shapes={config['shapes']}: accepted for ONNX files; a {kind} network takes shape=")
    if kind == "space":
        return graph_of_architecture(ab.space(config["space"]), rest, input_shape=shape), []
    if kind == "onnx":
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            graph = ab.graph_of(rest, shapes=_onnx_shapes(rest, shape, shapes))
        return graph, [str(warning.message) for warning in caught]
    network = zoo.load_zoo(f"{kind}/{rest}")
    size = getattr(network, "default_cfg", {}).get("input_size", (3, SIZE, SIZE))
    return ab.graph_of(network.eval(), (1, *(shape or size)), name=rest), []


def left_out(uncounted: Mapping[str, int]) -> str:
    """A line that lists operators whose MACs are not counted; empty if there are none."""
    named = ", ".join(f"{count} {name}" for name, count in uncounted.items())
    return f"MACs leave out {named}: there is no rule for them" if named else ""


def _onnx_shapes(
    path: str, shape: tuple[int, ...] | None, shapes: dict[str, tuple[int, ...]] | None
) -> dict[str, tuple[int, ...]] | None:
    """Shapes of a file's inputs; None if only the batch size is open."""
    if shapes is not None and shape is not None:
        raise ConfigError("shape= and shapes= were both given; one is accepted")
    if shapes is not None:
        return shapes
    try:
        import onnx

        model = onnx.load(path, load_external_data=False)
    except Exception:  # damaged, or no package to read it: graph_of raises the error
        return None
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [node for node in model.graph.input if node.name not in held]
    if shape is not None:
        if len(inputs) != 1:
            names = ", ".join(node.name for node in inputs)
            raise ConfigError(f"shape=: {path} has {len(inputs)} inputs ({names}); one is accepted; give shapes=")
        return {inputs[0].name: (1, *shape)}
    dims = inputs[0].type.tensor_type.shape.dim if len(inputs) == 1 else ()
    sizes = [max(dim.dim_value, 0) for dim in dims]
    if len(sizes) == 4 and not all(sizes[1:]):
        written = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in dims)
        raise ConfigError(f"model=onnx:{path}: its input {inputs[0].name!r} has the shape ({written}): give the open "
                          f"sizes, for example "
                          f"shape=[{sizes[1] or 3},{sizes[2] or SIZE},{sizes[3] or SIZE}]")  # fmt: skip
    return None


_SHAPE = re.compile(
    r"""\s*(?:'(?P<single>[^']+)'|"(?P<double>[^"]+)"|(?P<plain>[^\s'",;(\[{}]+?))\s*[:=]\s*"""
    r"""(?:\[(?P<list>[\d\s,]+)\]|\((?P<tuple>[\d\s,]+)\)|(?P<sizes>\d+(?:x\d+)*))\s*(?:[,;]|$)"""
)


def shape_of(given: Sequence[int] | None) -> tuple[int, ...] | None:
    """Channels, height and width from ``shape=``; None if not given. Raises ConfigError."""
    if given is None:
        return None
    if len(given) != 3 or min(given) < 1:
        raise ConfigError(f"shape={list(given)}: channels, height and width are accepted, each above 0")
    return tuple(given)


def shapes_of(given: str | None) -> dict[str, tuple[int, ...]] | None:
    """Shapes by the name of a tensor from ``shapes=``; None if not given. Raises ConfigError."""
    if given is None:
        return None
    text = given.strip()
    text = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    shapes: dict[str, tuple[int, ...]] = {}
    place = 0
    while place < len(text):
        match = _SHAPE.match(text, place)
        sizes = match and re.findall(r"\d+", match["list"] or match["tuple"] or match["sizes"])
        if match is None or not sizes or not all(map(int, sizes)):
            raise ConfigError(f"shapes={given}: accepted are names and sizes above 0, for example "
                              "shapes='x: 1x3x224x224, mask: 1x77'")  # fmt: skip
        shapes[match["single"] or match["double"] or match["plain"]] = tuple(map(int, sizes))
        place = match.end()
    return shapes
