"""Mixed-precision quantisation of a model as a search space: a unit a weight layer, a candidate a method and bits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from autobuild.errors import ConfigError, QuantisationError, SpaceError, nearest
from autobuild.quant.cache import VariantCache
from autobuild.quant.folding import fold as folded_in_place
from autobuild.quant.folding import norm_pairs
from autobuild.quant.knowledge import Knowledge, measure
from autobuild.quant.layer_graph import LayerGraph, LayerNode, blocks_of, layer_graph
from autobuild.quant.weights import Choice
from autobuild.spaces import Architecture, Feature, SearchSpace, Stage, Unit

if TYPE_CHECKING:
    import pandas as pd

GRAINS = ("layer", "block")
UNITS = {
    "avg_bits": "bit",
    "stored_bits": "bit",
    "size_bytes": "B",
    "quant_error": "1",
    "bops": "1",
    "first_order": "1",
    "fisher": "1",
    "output_error": "1",
}


def quant_space(
    model: nn.Module,
    example_input: Any,
    *,
    methods: Sequence[str] = ("uaq", "kmc", "kma"),
    bits: Sequence[int] = (3, 4),
    grain: str = "layer",
    blocks: Sequence[Sequence[str]] | None = None,
    activations: int | None = None,
    losses: Callable[[nn.Module], Iterable[Tensor]] | None = None,
    probe: bool = False,
    exact: bool = False,
    fold: bool = False,
    cache: VariantCache | None = None,
    name: str | None = None,
) -> SearchSpace:
    """The search space of mixed-precision quantisations of a model.

    Every weight layer is a unit, in the order and with the edges of the model's own graph, and under its name in the
    model. A candidate is a method and a number of bits, written ``kmc4``. What is known without evaluating is stored
    with the space as costs: ``avg_bits``, ``stored_bits``, ``size_bytes``, ``quant_error`` (sum of squared errors of
    the weights), ``bops`` (MACs times bits of weights and activations), and what ``losses`` and ``probe`` ask for. A
    stored space (``to_json``) can be read without the model.

    Args:
        model: Any module. It is quantised layer by layer and restored. Where its weights have no values (meta device),
            bits and ``bops`` are known, and sizes for ``ab.quantise(..., half=True)``; errors are not.
        example_input: As for :func:`autobuild.graph_of`: a tensor, a tuple, keyword arguments, or a shape, which may
            also stand for a tensor of the others.
        methods: Methods of :data:`autobuild.quant.METHODS`.
        bits: Numbers of bits, 2 to 8.
        grain: ``"layer"``, or ``"block"``: the layers of an attention, a feed-forward or a residual block are one unit,
            whose candidates are all combinations.
        blocks: Names of layers that are one unit each, neighbours in the graph; found from the names where None.
        activations: Bits of activations, 6 or 8, which ``bops`` count; None counts 16.
        losses: Function of the model that gives one scalar loss a calibration batch; adds ``first_order``, the sum over
            layers of ``|g . d|``, and ``fisher``, the sum of ``(g d)^2 / 2`` (g: gradients, d: error of a weight).
        probe: Whether to add ``output_error``: the squared change of the output for ``example_input``, relative to the
            output's, with one layer quantised at a time, summed over layers.
        exact: Whether codebooks are those of least squared error (slower).
        fold: Whether batch norms are folded into the layers before them. The space is then one of
            :func:`autobuild.quant.folded` of the model and this space, which its configurations are for.
        cache: Where quantised weights are kept on disk.
        name: Name of the space (default: the model's class, in lower case).

    Returns:
        The space. Its note counts choices that were left out because they store as much as they encode.

    Raises:
        QuantisationError: The model has no weight layers, a weight is not finite, bits or a method are unknown, or a
            model whose norms are to be folded does not export.
        ConfigError: The grain is unknown, or a block has unknown layers or no neighbours.
    """
    if grain not in GRAINS:
        raise ConfigError(f"grain={grain!r}: {nearest(grain, GRAINS)}")
    choices = [Choice(method, number) for method in dict.fromkeys(methods) for number in dict.fromkeys(bits)]
    if not choices:
        raise QuantisationError("quant_space: no method or no bits; accepted: at least one of each")
    name = name or type(model).__name__.lower()
    pairs = norm_pairs(model, example_input) if fold else []
    if pairs:
        model = folded_in_place(copy.deepcopy(model), pairs)
    graph = layer_graph(model, example_input)
    known = measure(model, graph, choices, example_input, losses=losses, probe=probe, exact=exact, cache=cache)
    space = declared(graph, choices, known, name=name, grain=grain, blocks=blocks, activations=activations)
    if pairs:
        space.options["folded"] = [list(pair) for pair in pairs]
        space.note = "; ".join(filter(None, [space.note, f"{len(pairs)} batch norms are folded"]))
    return space


def declared(
    graph: LayerGraph,
    choices: Sequence[Choice],
    known: Knowledge,
    *,
    name: str,
    grain: str = "layer",
    blocks: Sequence[Sequence[str]] | None = None,
    activations: int | None = None,
) -> SearchSpace:
    """The space of a graph of layers and the numbers of their choices; see :func:`quant_space`."""
    fitting = {
        node.name: [number for number, choice in enumerate(choices) if choice.fits(node.shape)] for node in graph.nodes
    }
    rows = [number for number, node in enumerate(graph.nodes) if fitting[node.name]]
    nodes = [graph.nodes[number] for number in rows]
    if not nodes:
        raise QuantisationError("no choice fits any layer: each stores as many numbers as it encodes")
    left_out = len(nodes) * len(choices) - sum(len(fitting[node.name]) for node in nodes)
    total = sum(node.count for node in nodes)
    units = [_unit(node, choices, fitting[node.name], total) for node in nodes]
    place = {row: number for number, row in enumerate(rows)}
    joins = [(place[a], place[b]) for a, b in graph.edges if a in place and b in place]
    notes = [note for note in (graph.note, known.note) if note]
    if left_out:
        notes.append(f"{left_out} choices of layers were left out, which store as many numbers as they encode")
    if len(nodes) < len(graph.nodes):
        notes.append(f"{len(graph.nodes) - len(nodes)} layers without a choice keep their weights")
    options = {"tables": _tables(nodes, choices, known, total, activations or 16), "activations": activations}
    space = SearchSpace(
        name,
        units,
        joins=joins,
        about=f"Mixed-precision quantisation: {len(nodes)} weight layers, {total:,} weights",
        note="; ".join(notes),
        options=options | ({"half": True} if known.half else {}),
    )
    return _joined(space, nodes, blocks) if grain == "block" or blocks is not None else space


def _unit(node: LayerNode, choices: Sequence[Choice], fitting: Sequence[int], total: int) -> Unit:
    """One layer. Its size is a power of two: the share of the model's weights, in halvings, rounded."""
    methods, bits = (tuple(dict.fromkeys(getattr(choice, part) for choice in choices)) for part in ("method", "bits"))
    features = (
        Feature("method", methods),
        Feature("bits", bits),
        Feature("kind", (node.kind,)),
        Feature("halvings", (round(math.log2(total / node.count)),)),
        Feature("block", (node.block,)),
        Feature("stage", (node.stage,)),
    )
    stage = Stage(node.name, (1,), features, "{method}{bits}")
    kept = None if len(fitting) == len(choices) else np.array(fitting)
    return Unit(node.name, [stage], kept)


def _tables(
    nodes: Sequence[LayerNode], choices: Sequence[Choice], known: Knowledge, total: int, activation_bits: int
) -> dict[str, Any]:
    def table(name: str, values: list[list[float]], divisor: int = 1, constant: int = 0) -> dict[str, Any]:
        return {"unit": UNITS[name], "constant": constant, "divisor": divisor, "values": values}

    stored = [known.of(node.name, "stored_bits") for node in nodes]
    return {
        "avg_bits": table("avg_bits", [[choice.bits * node.count for choice in choices] for node in nodes], total),
        "stored_bits": table("stored_bits", stored),
        "size_bytes": table("size_bytes", [[v // 8 for v in row] for row in stored], constant=known.other_bytes),
        "bops": table("bops", [[node.macs * choice.bits * activation_bits for choice in choices] for node in nodes]),
        **{name: table(name, [known.of(node.name, name) for node in nodes]) for name in known.estimates},
    }


def _joined(space: SearchSpace, nodes: Sequence[LayerNode], blocks: Sequence[Sequence[str]] | None) -> SearchSpace:
    for block in blocks_of(nodes) if blocks is None else blocks:
        try:
            space = space.join_units(*block)
        except SpaceError as error:
            raise ConfigError(f"block {list(block)}: {error}") from None
    return space


def config_of(space: SearchSpace, arch: Architecture | str) -> dict[str, Choice]:
    """The choices of an architecture of a quantisation space: name of a layer -> method and bits.

    Args:
        space: The space.
        arch: An architecture of it, or its text.

    Raises:
        SpaceError: The architecture is not of this space, or the space is no quantisation space.
    """
    layers = space.layers(arch)
    if not all({"method", "bits"} <= run[0].keys() for run in layers):
        raise SpaceError(f"space {space.name!r} is no quantisation space: its layers have no method and bits")
    pairs = [(str(run[0]["method"]), int(str(run[0]["bits"]))) for run in layers]
    return {stage.name: Choice(*pair) for stage, pair in zip(space.stages, pairs, strict=True)}


def choice_table(space: SearchSpace, archs: Iterable[Architecture | str]) -> pd.DataFrame:
    """What configurations choose, layer by layer, such as those of a front of budgets.

    Args:
        space: A quantisation space.
        archs: Configurations of it.

    Returns:
        One row a layer: ``layer, kind, block, stage``, and ``0, 1, ...``: the choice of every configuration. Which
        layers have 4 bits in the last one: ``table[table[last].str.endswith("4")]``.

    Raises:
        SpaceError: As :func:`config_of`.
    """
    import pandas as pd

    configs = [config_of(space, arch) for arch in archs]
    rows: list[dict[Any, Any]] = []
    for stage in space.stages:
        about: dict[Any, Any] = {name: stage.layer_dict(0).get(name) for name in ("kind", "block", "stage")}
        chosen: dict[Any, Any] = {number: str(own[stage.name]) for number, own in enumerate(configs)}
        rows.append({"layer": stage.name} | about | chosen)
    return pd.DataFrame(rows)


def arch_of(space: SearchSpace, config: Mapping[str, Any]) -> Architecture:
    """The inverse of :func:`config_of`.

    Raises:
        QuantisationError: A layer has no choice, or the space has no such layer.
    """
    names = [stage.name for stage in space.stages]
    if wrong := [name for name in config if name not in names] + [name for name in names if name not in config]:
        raise QuantisationError(f"layer {wrong[0]!r}: the configuration and the space {space.name!r} have other layers")
    return space.parse(space.separator.join(str(Choice.of(config[name])) for name in names))
