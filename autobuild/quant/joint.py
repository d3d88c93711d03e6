"""One space over architectures and bits: every layer of an architecture also chooses how its weights are quantised.

A joint space is an ordinary space: its layers have the features of the architecture's layers, and ``method`` and
``bits``. What lies around the stages (stem, head) becomes a unit of its own. Sizes are counted exactly from the blocks
that the architecture's space declares, so that limits on them are solved like all others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from autobuild.errors import ConfigError, SpaceError, nearest
from autobuild.quant.apply import Quantised, quantise, weight_layers
from autobuild.quant.folding import fold, neighbours
from autobuild.quant.knowledge import unquantised_bytes
from autobuild.quant.weights import Choice, stored_bits
from autobuild.spaces import Architecture, Feature, SearchSpace, Stage, Unit
from autobuild.spaces.blocks import Block, Plan, Tally
from autobuild.spaces.blocks import count as counted
from autobuild.spaces.registry import declared_by, network_arguments, realiser
from autobuild.spaces.serialise import from_dict, to_dict

JOINT = "joint"  # the option of a joint space, as in autobuild.spaces.registry.DERIVED
GRAINS = ("layer", "stage")
COUNTS = ("payload_bits", "stored_bits", "weights", "size_bytes")  # beside those of a Tally
Layers = list[list[dict[str, Any]]]


def joint_space(
    space: SearchSpace,
    quant: Sequence[Choice | str] = ("uaq3", "uaq4", "uaq8"),
    *,
    grain: str = "layer",
    fold: bool = True,
    name: str | None = None,
) -> SearchSpace:
    """The search space of the architectures of a space, together with the bits of their weights.

    An architecture is written as in its own space, with a choice behind every layer: ``e3k5s1:uaq4-e1k3s0:uaq8``. What
    has weights around the stages is a unit of one layer, such as ``stem`` and ``head``. A weight that a choice does not
    fit (:meth:`Choice.fits`) takes the next of ``kmc``, ``kma``, ``uaqt`` or of ``uaq``, ``uaqt`` of the same bits.

    Costs are those of the space, for networks that are not quantised, and

    - ``size_bytes``: bytes of all tensors of the quantised network, exact; ``stored_bits``: those of quantised weights
      with their scales and codebooks, of 16 bits a number;
    - ``payload_bits`` and ``weights``: bits of codes, and numbers of quantised weights; ``avg_bits``: the first divided
      by the second, which is no sum over layers. ``payload_bits <= 4 * weights`` says the same as a limit that is
      solved exactly.

    Args:
        space: A whole space of chains of layers that declares its blocks (``plan``).
        quant: What a layer may choose: every listed method with every listed number of bits.
        grain: ``"layer"``: every layer chooses; ``"stage"``: all layers of a stage have one choice.
        fold: Whether batch norms are folded into the convolutions before them.
        name: Name of the space (default: ``joint_`` and the name of the space).

    Returns:
        The space. ``realise`` gives networks of full precision; :func:`autobuild.quant.quantised_network` quantises a
        trained one. It has the evaluator of its architectures, with quantised accuracy.

    Raises:
        ConfigError: The grain is unknown, or ``quant`` is no list of every method with every number of bits.
        QuantisationError: A method is unknown, or bits are outside 2-8.
        SpaceError: The space is narrowed or joined, has other edges than a chain, or declares no blocks.
    """
    if grain not in GRAINS:
        raise ConfigError(f"grain={grain!r}: {nearest(grain, GRAINS)}")
    choices = [Choice.of(choice) for choice in quant]
    methods = tuple(dict.fromkeys(choice.method for choice in choices))
    bits = tuple(sorted({choice.bits for choice in choices}))
    if not choices or len(set(choices)) < len(methods) * len(bits):
        raise ConfigError(
            f"quant={[str(choice) for choice in choices]}: accepted: choices such as 'uaq4', every method with every "
            "number of bits"
        )
    given = {"space": to_dict(space), "methods": list(methods), "bits": list(bits), "grain": grain, "fold": fold}
    made = Joint(space, given)
    extra = {key: value for key, value in space.options.items() if key == "num_classes"}
    whole = SearchSpace(
        name or f"joint_{space.name}",
        made.units(),
        family=name or f"joint_{space.family}",
        about=f"{space.about}; and the bits of their weights".lstrip("; "),
        separator=space.separator,
        identity=space.identity,
        options={JOINT: given, **extra},
    )
    whole.source = space.source
    return whole


class Joint:
    """The declaration of a joint space, in the form that :func:`autobuild.register_space` says.

    Args:
        base: The space of the architectures.
        given: The arguments of :func:`joint_space`, as stored with the space.
    """

    def __init__(self, base: SearchSpace, given: Mapping[str, Any]) -> None:
        self.base, self.given, self.file = base, given, declared_by(base)
        if base.family != base.name.partition("(")[0] or any(
            u.kept is not None or len(u.stages) > 1 for u in base.units
        ):
            raise SpaceError(
                f"joint_space takes whole spaces, not the narrowed or joined {base.name!r}: narrow the result"
            )
        if base.pattern is not None or base.joins != tuple((i, i + 1) for i in range(len(base.stages) - 1)):
            raise SpaceError(f"joint_space of {base.name!r}: its stages are no chain; accepted: sequences of stages")
        if not hasattr(self.file, "plan") or hasattr(self.file, "tallies"):
            raise SpaceError(f"joint_space of {base.name!r}: accepted: spaces that declare the blocks of stages (plan)")
        for attribute in ("INPUT_SHAPE", "NUM_CLASSES", "INPUTS"):
            if hasattr(self.file, attribute):
                setattr(self, attribute, getattr(self.file, attribute))
        self.FIELDS = (*Tally._fields, *COUNTS)
        self.COSTS = {**getattr(self.file, "COSTS", {}), **{name: {name: 1} for name in COUNTS}}
        self.RATIOS = {"avg_bits": ("payload_bits", "weights")}
        self.DEPENDS = getattr(self.file, "DEPENDS", {})
        own = {stage.name: stage for stage in base.stages}
        first = [[stage.layer_dict(digit) for digit in stage.run(0)] for stage in base.stages]
        plan = self.file.plan(first, **network_arguments(base))
        around = [part for part, layers in plan.items() if part not in own and _weights_of(_joined(layers), False)[0]]
        inputs = [name for name in own if name not in plan]
        self.stages = [*inputs, *(part for part in plan if part in own or part in around)]
        self.choosing = [name for name in self.stages if name not in inputs]
        if [name for name in self.stages if name in own] != list(own):
            raise SpaceError(f"joint_space of {base.name!r}: its plan has the parts {list(plan)}, in another order")

    def units(self) -> list[Unit]:
        """The units of the joint space."""
        features = (Feature("method", tuple(self.given["methods"])), Feature("bits", tuple(self.given["bits"])))
        own = {stage.name: stage for stage in self.base.stages}
        made = []
        for name in self.stages:
            stage = own.get(name) or Stage(name, (1,), features, "{method}{bits}")
            if name in own and name in self.choosing:
                if taken := {"method", "bits"} & {feature.name for feature in stage.features}:
                    raise SpaceError(
                        f"joint_space of {self.base.name!r}: {name!r} has a feature {min(taken)!r} already"
                    )
                once = ("method", "bits") if self.given["grain"] == "stage" else ()
                text = f"{stage.template}:{{method}}{{bits}}"
                stage = Stage(name, stage.depths, (*stage.features, *features), text, stage.separator,
                              stage.tied, () if stage.tied else (*stage.once, *once))  # fmt: skip
            made.append(Unit(name, [stage], joiner=self.base.separator))
        return made

    def of_base(self, layers: Layers) -> Layers:
        """The layers of the architecture alone."""
        kept = {stage.name for stage in self.base.stages}
        return [
            [{key: value for key, value in layer.items() if key not in ("method", "bits")} for layer in run]
            for name, run in zip(self.stages, layers, strict=True)
            if name in kept
        ]

    def realise(
        self, layers: Layers, num_classes: int | None = None, in_channels: int | None = None, **_: Any
    ) -> nn.Module:
        """The network of the architecture, not quantised."""
        network: nn.Module = realiser(self.base)(self.of_base(layers), num_classes, in_channels)
        return network

    def plan(self, layers: Layers, num_classes: int | None = None, in_channels: int | None = None, **_: Any) -> Plan:
        """The blocks of the architecture."""
        plan: Plan = self.file.plan(self.of_base(layers), **network_arguments(self.base, num_classes, in_channels))
        own = {stage.name for stage in self.base.stages}
        return {part: pieces if part in own else [list(_joined(pieces))] for part, pieces in plan.items()}

    def counts(self, layers: Layers, *, size: int, **given: Any) -> dict[str, list[tuple[int, ...]]]:
        """The numbers of :attr:`FIELDS` of every layer of every part."""
        chosen = dict(zip(self.stages, layers, strict=True))
        out: dict[str, list[tuple[int, ...]]] = {}
        for part, pieces in self.plan(layers, **given).items():
            out[part] = []
            for place, blocks in enumerate(pieces):
                layer = chosen[part][place] if part in self.choosing else {}
                choice = Choice(layer["method"], layer["bits"]) if layer else None
                out[part].append((*counted(blocks, size), *_sizes(tuple(blocks), choice, self.given["fold"])))
                for block in blocks:
                    size = block.size(size)
        return out

    def chosen(self, layers: Layers) -> list[Choice]:
        """The choice of every weight, in the order of the network's modules."""
        out = []
        named = dict(zip(self.stages, layers, strict=True))
        for part, pieces in self.plan(layers).items():
            for place, blocks in enumerate(pieces):
                if part in self.choosing:
                    layer = named[part][place]
                    out += [Choice(layer["method"], layer["bits"])] * len(_weights_of(tuple(blocks), False)[0])
        return out


def declaration(space: SearchSpace) -> Joint:
    """The declaration of a joint space, from what is stored with it.

    Raises:
        SpaceError: The space is none.
    """
    if JOINT not in space.options:
        raise SpaceError(f"space {space.name!r} is no joint space; accepted: what ab.joint_space returns")
    made, stages = _declared(json.dumps(space.options[JOINT]), space.source)
    if stages != space.stages:
        raise SpaceError(f"space {space.name!r}: its stages are not those of the joint space that it says it is")
    return made


@lru_cache(maxsize=16)
def _declared(given: str, source: str) -> tuple[Joint, tuple[Stage, ...]]:
    stored = json.loads(given)
    base = from_dict(stored["space"])
    base.source = source
    made = Joint(base, stored)
    return made, tuple(stage for unit in made.units() for stage in unit.stages)


def nearest_fitting(choice: Choice, shape: Sequence[int]) -> Choice | None:
    """The choice, or where it does not fit a weight the next simpler method of the same bits; None where none fits."""
    methods = {"uaq": ("uaq", "uaqt"), "kmc": ("kmc", "kma", "uaqt"), "kma": ("kma", "uaqt")}
    tried = (Choice(method, choice.bits) for method in methods.get(choice.method, (choice.method,)))
    return next((one for one in tried if one.fits(shape)), None)


def joint_config(space: SearchSpace, arch: Architecture | str, model: nn.Module) -> dict[str, Choice]:
    """The choices of an architecture of a joint space: name of a layer of its network -> method and bits.

    Args:
        space: A joint space.
        arch: An architecture of it, or its text.
        model: What ``space.realise(arch)`` gave.

    Raises:
        SpaceError: The space is no joint one, or the model is not the architecture's network.
    """
    chosen = declaration(space).chosen(space.layers(arch))
    layers, _ = weight_layers(model)
    if len(chosen) != len(layers):
        raise SpaceError(f"the model has {len(layers)} weight layers, {str(arch)!r} has {len(chosen)}")
    shapes = {name: tuple(layer.weight.shape) for name, layer in layers.items()}  # type: ignore[arg-type]
    fitting = {name: nearest_fitting(one, shapes[name]) for name, one in zip(layers, chosen, strict=True)}
    return {name: choice for name, choice in fitting.items() if choice is not None}


def quantised_network(space: SearchSpace, arch: Architecture | str, model: nn.Module) -> Quantised:
    """Quantise a trained network as an architecture of a joint space says; its norms are folded first, in place.

    Args:
        space: A joint space.
        arch: An architecture of it, or its text.
        model: Its network, trained.

    Returns:
        The :class:`~autobuild.quant.Quantised` model. Its ``size_bytes``, ``stored_bits`` and ``avg_bits`` are the
        costs of the architecture.

    Raises:
        SpaceError: As :func:`joint_config`.
        QuantisationError: A weight is not finite, or beyond what 16 bits hold.
    """
    config = joint_config(space, arch, model)
    if declaration(space).given["fold"]:
        fold(model, neighbours(model))
    return quantise(model, config, half=True)


def _joined(pieces: Sequence[Sequence[Block]]) -> tuple[Block, ...]:
    return tuple(block for blocks in pieces for block in blocks)


@lru_cache(maxsize=100_000)
def _weights_of(blocks: tuple[Block, ...], folded: bool) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Shapes of the weights of a layer, and bytes of its other tensors."""
    with torch.device("meta"):
        module: nn.Module = nn.Sequential(*(block.module() for block in blocks))
    layers, _ = weight_layers(module)
    shapes = tuple(tuple(layer.weight.shape) for layer in layers.values())  # type: ignore[arg-type]
    others = unquantised_bytes(module, set(layers))
    for layer, norm in neighbours(module) if folded else ():
        others -= sum(tensor.nbytes for tensor in module.get_submodule(norm).state_dict().values())
        others += 4 * len(layers[layer].weight) if layers[layer].bias is None else 0  # type: ignore[arg-type]
    return shapes, others


@lru_cache(maxsize=100_000)
def _sizes(blocks: tuple[Block, ...], choice: Choice | None, folded: bool) -> tuple[int, ...]:
    """The numbers of :data:`COUNTS` of a layer."""
    shapes, others = _weights_of(blocks, folded)
    payload = stored = weights = 0
    for shape in shapes:
        fitting = None if choice is None else nearest_fitting(choice, shape)
        if fitting is None:
            others += 4 * math.prod(shape)
        else:
            payload += fitting.bits * math.prod(shape)
            stored += stored_bits(shape, fitting)
            weights += math.prod(shape)
    return payload, stored, weights, stored // 8 + others
