"""A space as named choices, one after another: what a search engine such as Optuna tunes.

Two grains. ``"layer"``: of every stage its depth, then what is chosen once for its layers, then every other feature of
each layer that exists, so which choices there are depends on those before. ``"unit"``: one choice a unit, among its
candidates' texts. Both only ever ask for what the space still holds, so whatever is answered is an architecture of the
space: no answer has to be thrown away.

Names are stable. Where a narrowed unit leaves some of the declared values only, the name lists them, as in
``stage1.2.kernel[3|5]``: one name always stands for one set of choices, which is what Optuna asks of a categorical.
"""

from __future__ import annotations

import hashlib
import keyword
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from autobuild.errors import SpaceError, nearest
from autobuild.spaces.stage import Digits, Feature, Stage, Value
from autobuild.spaces.unit import Unit

if TYPE_CHECKING:
    from autobuild.spaces.space import Architecture, SearchSpace

GRAINS = ("layer", "unit")
MAX_CHOICES = 512  # of one unit-wise choice: a trial stores and scans them all
MAX_NAME = 200  # characters of a name that lists what remains; databases index names

Chosen = Value | None


class Choice(NamedTuple):
    """One question.

    Attributes:
        name: Stable name; it stands for this set of values.
        values: The values to choose from, at least two, in declared order.
        place: The name without what remains: the same for every set of values at this place.
    """

    name: str
    values: tuple[Chosen, ...]
    place: str


class Trial(Protocol):
    """What is asked of a trial; Optuna's trials give it."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of the choices."""
        ...


Pick = Callable[[Choice], Chosen]
Option = tuple[Chosen, int, int]  # a value, and the range [first, last) of full candidate numbers that have it


class Parameters:
    """The choices of one space at one grain.

    Args:
        space: The space.
        grain: ``"layer"`` or ``"unit"``.

    Raises:
        SpaceError: An unknown grain, or at grain ``"unit"`` a unit with more than 512 candidates.
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
        """Ask ``pick`` for every choice that there is, and return the architecture that it comes to."""
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
        """The architecture that a trial's suggestions come to."""
        if not hasattr(trial, "suggest_categorical"):
            raise SpaceError(f"trial={trial!r}: a trial of Optuna is accepted, as an objective is given and ask gives")
        return self.walk(lambda choice: trial.suggest_categorical(choice.name, choice.values))

    def items(self, arch: Architecture | str) -> list[tuple[Choice, Chosen]]:
        """Every choice that this architecture has, in order, and what it has there.

        Raises:
            SpaceError: It, or its text, is not in the space.
        """
        from autobuild.spaces.space import Architecture

        known = arch if isinstance(arch, Architecture) else self.space.parse(arch)
        made: list[tuple[Choice, Chosen]] = []
        if self.grain == "unit":
            for unit, index, texts in zip(self.space.units, self.space.indices(known), self._texts, strict=True):
                if len(texts) > 1:
                    made.append((Choice(unit.name, texts, unit.name), texts[index]))
            return made
        own = self._values(known)

        def pick(choice: Choice) -> Chosen:
            value = own[choice.place]
            made.append((choice, value))
            return value

        self.walk(pick)
        return made

    def read(self, params: Mapping[str, Any]) -> Architecture:
        """The architecture of these parameters; names that are none of the space's are passed over.

        Raises:
            SpaceError: A parameter is missing, or has a value that is none of its choices.
        """
        if not isinstance(params, Mapping):
            raise SpaceError(f"params={params!r}: a mapping of names is accepted, such as params(arch) gives")

        def pick(choice: Choice) -> Chosen:
            if choice.name not in params:
                raise SpaceError(f"parameter {choice.name!r} is missing: {nearest(choice.name, params)}")
            value: Chosen = params[choice.name]
            return value

        return self.walk(pick)

    def places(self) -> list[str]:
        """Every place at which some architecture of the declared stages has a choice, each once."""
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
        """Place -> what this architecture has there, choices of one value included."""
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
    """Choose one candidate of a unit. Full candidates are numbered in the order of the choices, so those that agree
    with the choices made so far always are a range of numbers, and what a narrowed unit keeps of it is cut out fast.
    """
    low, width, runs = 0, unit.full_size, []
    for stage, label in zip(unit.stages, labels, strict=True):
        width //= stage.size
        depth, low, high = _choose(unit, _depth_place(label), _depth_options(stage, low, width), pick)
        run, chosen = [], {}
        for position in range(-1, depth):  # first what is chosen once, then what every layer chooses
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
    """The features that are chosen once for all layers, or those that every layer chooses."""
    return [feature for feature in stage.features if (feature.name in stage.once) == once]


def _depth_options(stage: Stage, low: int, width: int) -> list[Option]:
    starts = stage._starts
    return [(depth, low + width * starts[i], low + width * starts[i + 1]) for i, depth in enumerate(stage.depths)]


def _choose(unit: Unit, place: str, options: list[Option], pick: Pick) -> tuple[Any, int, int]:
    """One of those options that still hold a candidate; asked for where there are two or more."""
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
    """What remains, in words; no two sets of values of one feature are written alike."""
    text = "|".join(_word(value) for value in values)
    if len(text) <= MAX_NAME:
        return text
    return f"{len(values)} of {declared}: {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _word(value: Chosen) -> str:
    bare = isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)
    return str(value) if bare else repr(value)


def _stage_labels(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Names of stages as names of parameters begin; numbered where they would not be told apart."""
    names = tuple(stage.name for stage in stages)
    if len(set(names)) == len(names) and not any("." in name for name in names):
        return names
    return tuple(f"{number}:{name}" for number, name in enumerate(names))


def _depth_place(label: str) -> str:
    return f"{label}.depth"


def _feature_place(stage: Stage, label: str, position: int, feature: str) -> str:
    """``stage.layer.feature``, layers from 1; ``stage.feature`` where one choice is for the whole stage."""
    if feature in stage.once or stage.depths == (1,):
        return f"{label}.{feature}"
    return f"{label}.{position + 1}.{feature}"


def parameters(space: SearchSpace, grain: str = "layer") -> Parameters:
    """The parameters of a space; made once for each grain. Errors as of :class:`Parameters`."""
    made: dict[str, Parameters] = space.__dict__.setdefault("_parameters", {})
    if grain not in made:
        made[grain] = Parameters(space, grain)
    return made[grain]


def default_grain(space: SearchSpace) -> str:
    """``"unit"`` where every unit has at most 64 candidates: so few can be learned one by one; else ``"layer"``."""
    return "unit" if all(unit.size <= 64 for unit in space.units) else "layer"
