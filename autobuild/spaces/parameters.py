"""A search space as a sequence of named categorical parameters, for search engines such as Optuna.

There are two grains. ``"layer"``: for every stage its depth, then the features that the stage chooses once, then every
other feature of each layer that exists; which parameters exist depends on the values of earlier ones. ``"unit"``: one
parameter per unit, whose values are the texts of its candidates. Both offer only values that the (narrowed) space still
holds, so every combination of answers is an architecture of the space and no trial has to be rejected.

A name always stands for the same set of values, as Optuna requires of a categorical parameter. If a narrowed unit
leaves only some of the declared values, the name lists them, as in ``stage1.2.kernel[3|5]``.
"""

from __future__ import annotations

import hashlib
import keyword
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from autobuild.errors import SpaceError, nearest
from autobuild.settings.names import GRAINS
from autobuild.spaces.stage import Digits, Feature, Stage, Value
from autobuild.spaces.unit import Unit

if TYPE_CHECKING:
    from autobuild.spaces.space import Architecture, SearchSpace

MAX_CHOICES = 512  # values of one parameter at grain "unit", because a trial stores and scans them all
MAX_NAME = 200  # characters in a list of values within a name, because databases index names

Chosen = Value | None


class Choice(NamedTuple):
    """One categorical parameter.

    Attributes:
        name: Name of the parameter; it always stands for this set of values.
        values: The values to choose from, at least two, in declared order.
        place: The name without the list of values, e.g. ``stage1.2.kernel``.
    """

    name: str
    values: tuple[Chosen, ...]
    place: str


class Trial(Protocol):
    """The part of the interface of an Optuna trial that is used here."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of ``choices``."""
        ...


Pick = Callable[[Choice], Chosen]
Option = tuple[Chosen, int, int]  # a value, and the range [first, last) of full candidate numbers that have it


class Parameters:
    """The parameters of one search space at one grain.

    Args:
        space: The search space.
        grain: ``"layer"`` or ``"unit"``.

    Raises:
        SpaceError: The grain is unknown, or at grain ``"unit"`` a unit has more than 512 candidates.
    """

    def __init__(self, space: SearchSpace, grain: str = "layer") -> None:
        if grain not in GRAINS:
            raise SpaceError(f"grain={grain!r}: {nearest(grain, GRAINS)}")
        self.space, self.grain = space, grain
        self._labels = _stage_labels(space.stages)
        self._texts: list[tuple[str, ...]] = []
        if grain == "unit":
            for unit in space.units:
                if unit.size > MAX_CHOICES:
                    raise SpaceError(
                        f"unit {unit.name!r} has {unit.size:,} candidates; as one choice a trial would store and scan "
                        f"them all, which is done up to {MAX_CHOICES}: narrow the space first (scores.narrow(...) or "
                        "space.restrict(...)), or take grain='layer'"
                    )
            self._texts = [tuple(unit.texts(np.arange(unit.size))) for unit in space.units]
            self._places = [{text: number for number, text in enumerate(texts)} for texts in self._texts]

    def walk(self, pick: Pick) -> Architecture:
        """Ask ``pick`` for the value of every parameter, and return the resulting architecture."""
        if self.grain == "unit":
            return self._walk_units(pick)
        from autobuild.spaces.sampling import _architecture

        runs: list[Digits] = []
        for unit, part in zip(self.space.units, self.space._unit_stages, strict=True):
            runs += _walk_layers(unit, self._labels[part], pick)
        return _architecture(self.space, tuple(runs))

    def _walk_units(self, pick: Pick) -> Architecture:
        indices = []
        for unit, texts, places in zip(self.space.units, self._texts, self._places, strict=True):
            chosen = pick(Choice(unit.name, texts, unit.name)) if len(texts) > 1 else texts[0]
            indices.append(_found(unit.name, chosen, texts, places))
        return self.space.assemble(indices)

    def suggest(self, trial: Trial) -> Architecture:
        """The architecture that a trial suggests."""
        if not hasattr(trial, "suggest_categorical"):
            raise SpaceError(
                f"trial={trial!r}: a trial of Optuna is accepted, such as an objective gets, or study.ask() returns"
            )
        return self.walk(lambda choice: trial.suggest_categorical(choice.name, choice.values))

    def items(self, arch: Architecture | str) -> list[tuple[Choice, Chosen]]:
        """The parameters of an architecture, in order, with its values.

        Raises:
            SpaceError: The architecture, or its text, is not in the space.
        """
        from autobuild.spaces.space import Architecture

        known = arch if isinstance(arch, Architecture) else self.space.parse(arch)
        made: list[tuple[Choice, Chosen]] = []
        if self.grain == "unit":
            for unit, index, texts in zip(self.space.units, self.space.indices(known), self._texts, strict=True):
                if len(texts) > 1:
                    made.append((Choice(unit.name, texts, unit.name), texts[index]))
            return made
        values = self._values(known)

        def pick(choice: Choice) -> Chosen:
            value = values[choice.place]
            made.append((choice, value))
            return value

        self.walk(pick)
        return made

    def read(self, params: Mapping[str, Any]) -> Architecture:
        """The architecture of these parameter values; unknown names are ignored.

        Raises:
            SpaceError: A parameter is missing, or its value is not one of its choices.
        """
        if not isinstance(params, Mapping):
            raise SpaceError(f"params={params!r}: a mapping name -> value is accepted, such as space.params(arch)")

        def pick(choice: Choice) -> Chosen:
            if choice.name not in params:
                raise SpaceError(f"parameter {choice.name!r} is missing: {nearest(choice.name, params)}")
            value: Chosen = params[choice.name]
            return value

        return self.walk(pick)

    def places(self) -> list[str]:
        """Every place at which some architecture of the unrestricted space has a choice, each once."""
        if self.grain == "unit":
            return [unit.name for unit in self.space.units if unit.size > 1]
        out = []
        for stage, label in zip(self.space.stages, self._labels, strict=True):
            out += [_depth_place(label)] if len(stage.depths) > 1 else []
            asked = [(0, f) for f in _chosen(stage, once=True)]
            asked += [(position, f) for position in range(stage.depths[-1]) for f in _chosen(stage, once=False)]
            out += [_feature_place(stage, label, position, f.name) for position, f in asked if len(f.values) > 1]
        return out

    def _values(self, arch: Architecture) -> dict[str, Chosen]:
        """Place -> value of this architecture, including places with only one possible value."""
        if len(arch.runs) != len(self.space.stages) or arch.family != self.space.family:
            raise SpaceError(f"{arch.text!r} is of {arch.family!r}, not of {self.space.family!r}")
        for unit, part in zip(self.space.units, self.space._unit_stages, strict=True):
            if unit.kept is not None:
                unit.index_of_runs(arch.runs[part])
        own: dict[str, Chosen] = {}
        for stage, label, run in zip(self.space.stages, self._labels, arch.runs, strict=True):
            own[_depth_place(label)] = len(run)
            for position, digit in enumerate(run):
                for feature, value in zip(stage.features, stage.layers[digit], strict=True):
                    own[_feature_place(stage, label, position, feature.name)] = value
        return own


def _walk_layers(unit: Unit, labels: Sequence[str], pick: Pick) -> list[Digits]:
    """Choose one candidate of a unit, one parameter after another.

    Candidates of the unrestricted unit are numbered in the order of the parameters. The candidates that agree with the
    values chosen so far are therefore a range of numbers, in which the kept candidates are found by binary search.
    """
    low, width, runs = 0, unit.full_size, []
    for stage, label in zip(unit.stages, labels, strict=True):
        width //= stage.size
        depth, low, high = _choose(unit, _depth_place(label), _depth_options(stage, low, width), pick)
        run, chosen = [], {}
        for position in range(-1, depth):  # position -1: the features that are chosen once for all layers
            for feature in _chosen(stage, once=position < 0):
                step = (high - low) // len(feature.values)
                options = [(v, low + i * step, low + (i + 1) * step) for i, v in enumerate(feature.values)]
                value, low, high = _choose(unit, _feature_place(stage, label, position, feature.name), options, pick)
                chosen[feature.name] = feature.values.index(value)
            if position >= 0:
                digit = 0
                for feature in stage.features:
                    digit = digit * len(feature.values) + chosen[feature.name]
                run.append(digit)
        runs.append(tuple(run))
    return runs


def _chosen(stage: Stage, once: bool) -> list[Feature]:
    """The features that are chosen once for all layers (``once``), or those that every layer chooses."""
    return [feature for feature in stage.features if (feature.name in stage.once) == once]


def _depth_options(stage: Stage, low: int, width: int) -> list[Option]:
    starts = stage._starts
    return [(depth, low + width * starts[i], low + width * starts[i + 1]) for i, depth in enumerate(stage.depths)]


def _choose(unit: Unit, place: str, options: list[Option], pick: Pick) -> tuple[Any, int, int]:
    """Choose among the options that still hold a kept candidate; ``pick`` is asked only if there are two or more."""
    there = options
    if unit.kept is not None:
        counts = np.searchsorted(unit.kept, [*(low for _, low, _ in options), options[-1][2]])
        there = [option for option, more in zip(options, np.diff(counts), strict=True) if more]
    if len(there) == 1:
        return there[0]
    values = tuple(value for value, _, _ in there)
    name = place if len(there) == len(options) else f"{place}[{_listed(values, len(options))}]"
    chosen = pick(Choice(name, values, place))
    return there[_found(name, chosen, values, {value: number for number, value in enumerate(values)})]


def _found(name: str, chosen: Any, values: tuple[Chosen, ...], places: Mapping[Any, int]) -> int:
    try:
        return places[chosen]
    except (KeyError, TypeError):
        raise SpaceError(f"parameter {name!r} is {chosen!r}: {nearest(chosen, values)}") from None


@lru_cache(maxsize=4096)
def _listed(values: tuple[Chosen, ...], declared: int) -> str:
    """The remaining values as text; different sets of values of a feature give different texts."""
    text = "|".join(_word(value) for value in values)
    if len(text) <= MAX_NAME:
        return text
    return f"{len(values)} of {declared}: {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _word(value: Chosen) -> str:
    bare = isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)
    return str(value) if bare else repr(value)


def _stage_labels(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Prefixes of parameter names: the stages' names, preceded by their numbers if the names would be ambiguous."""
    names = tuple(stage.name for stage in stages)
    if len(set(names)) == len(names) and not any("." in name for name in names):
        return names
    return tuple(f"{number}:{name}" for number, name in enumerate(names))


def _depth_place(label: str) -> str:
    return f"{label}.depth"


def _feature_place(stage: Stage, label: str, position: int, feature: str) -> str:
    """``stage.layer.feature``, with layers from 1; ``stage.feature`` if one choice holds for the whole stage."""
    if feature in stage.once or stage.depths == (1,):
        return f"{label}.{feature}"
    return f"{label}.{position + 1}.{feature}"


def parameters(space: SearchSpace, grain: str = "layer") -> Parameters:
    """The parameters of a space, cached per grain; raises as :class:`Parameters` does."""
    made: dict[str, Parameters] = space.__dict__.setdefault("_parameters", {})
    if grain not in made:
        made[grain] = Parameters(space, grain)
    return made[grain]


def default_grain(space: SearchSpace) -> str:
    """``"unit"`` if every unit has at most 64 candidates, few enough to learn each one; otherwise ``"layer"``."""
    return "unit" if all(unit.size <= 64 for unit in space.units) else "layer"
