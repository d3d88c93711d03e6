"""The search space: units in order, the joins between them, and the canonical text of its architectures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild.errors import SpaceError, nearest
from autobuild.spaces.parameters import Trial, parameters
from autobuild.spaces.sizes import readable_count
from autobuild.spaces.stage import Digits, Feature, Stage, Value
from autobuild.spaces.unit import Candidate, Unit

if TYPE_CHECKING:
    import torch

    from autobuild.spaces.graph import ArchitectureGraph

MAX_DIGITS = 300  # larger counts are no floats any more, and Python refuses to print them


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """One candidate for every unit; immutable, hashable, equal to another of its family with the same text.

    Attributes:
        text: Canonical text form.
        runs: For each stage of the space, the layer choices (indices into ``stage.layers``).
        family: Name of the full space it belongs to.
    """

    text: str
    runs: tuple[Digits, ...]
    family: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Architecture({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and (self.text, self.family) == (other.text, other.family)

    def __hash__(self) -> int:
        return hash((self.text, self.family))


@dataclass(frozen=True)
class Identity:
    """Which layers do nothing, so that networks which differ only in them are equal.

    Args:
        values: A layer with all these feature values is an identity.
        first_layer_counts: True where the first layer of a stage changes shape and so never is one.
        cut: In a cell space (one layer a stage; what feeds a layer is summed), a layer with all these values passes
            zero on. Given, keys are those of the cells' simplified graphs: see :mod:`autobuild.spaces.isomorphism`.
    """

    values: Mapping[str, Value]
    first_layer_counts: bool = False
    cut: Mapping[str, Value] | None = None


class SearchSpace:
    """The set of architectures that fill every unit with one of its candidates.

    Args:
        name: Name of this space.
        units: The units, in order.
        joins: Edges between stages, as pairs of stage numbers; the default is a chain. The last layer of
            the first stage feeds the first layer of the second.
        family: Name of the full space it was narrowed or joined from (default: its own name).
        about: One sentence for people.
        separator: What joins units in the text form.
        identity: Which layers do nothing.
        note: How this space came about (``narrow`` writes the sizes before and after).
        pattern: Text form where units are not simply joined by ``separator``: a template with one ``{}`` for each
            stage, such as ``"|{}|+|{}|{}|"``.
        options: What a space with parameters was made with, by name; ``realise`` receives them.
    """

    def __init__(
        self,
        name: str,
        units: Sequence[Unit],
        *,
        joins: Sequence[tuple[int, int]] | None = None,
        family: str | None = None,
        about: str = "",
        separator: str = "|",
        identity: Identity | None = None,
        note: str = "",
        pattern: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not units:
            raise SpaceError(f"search space {name!r} has no units")
        names = [unit.name for unit in units]
        if len(set(names)) != len(names):
            raise SpaceError(f"search space {name!r} names a unit twice: {names}")
        self.name = name
        self.units = tuple(units)
        self.family = family or name
        self.about = about
        self.separator = separator
        self.identity = identity
        self.note = note
        digits = sum(math.log10(unit.size) for unit in units)
        if digits > MAX_DIGITS:
            raise SpaceError(
                f"search space {name!r} has about 1e{digits:.0f} architectures; accepted: up to 1e{MAX_DIGITS}"
            )
        self.pattern = pattern
        self.options = dict(options or {})
        self.stages: tuple[Stage, ...] = tuple(stage for unit in units for stage in unit.stages)
        chain = tuple((i, i + 1) for i in range(len(self.stages) - 1))
        self.joins = chain if joins is None else tuple((int(a), int(b)) for a, b in joins)
        if pattern is not None and pattern.count("{}") != len(self.stages):
            raise SpaceError(f"search space {name!r}: the text {pattern!r} needs one {{}} for each of its stages")
        for source, target in self.joins:
            if not 0 <= source < target < len(self.stages):
                raise SpaceError(f"search space {name!r}: join ({source}, {target}) must run forward between stages")

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {len(self.units)} units, {readable_count(self.size)} architectures)"

    # --- size and words ---------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of architectures (texts), exact: a Python int."""
        return math.prod(unit.size for unit in self.units)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The declared features, each with all values that occur in some stage (None where a stage lacks it)."""
        names = list(dict.fromkeys(feature.name for stage in self.stages for feature in stage.features))
        table: dict[str, dict[Value | None, None]] = {name: {} for name in names}
        for stage in self.stages:
            own = {feature.name: feature.values for feature in stage.features}
            for name in names:
                table[name].update(dict.fromkeys(own.get(name, (None,))))
        return tuple(Feature(name, _in_order(values)) for name, values in table.items())

    @cached_property
    def node_features(self) -> tuple[Feature, ...]:
        """The features of a graph node: the declared ones, then ``unit`` (stage number) and ``layer`` (position)."""
        depth = max(stage.depths[-1] for stage in self.stages)
        return (
            *self.features,
            Feature("unit", tuple(stage.name for stage in self.stages)),
            Feature("layer", tuple(range(1, depth + 1))),
        )

    def unit_number(self, unit: str | int) -> int:
        """Position of a unit given by name or number."""
        names = [u.name for u in self.units]
        if isinstance(unit, int) and not isinstance(unit, bool) and 0 <= unit < len(names):
            return unit
        if unit in names:
            return names.index(str(unit))
        raise SpaceError(f"search space {self.name!r} has no unit {unit!r}: {nearest(unit, names)}")

    @cached_property
    def _unit_stages(self) -> tuple[slice, ...]:
        slices, start = [], 0
        for unit in self.units:
            slices.append(slice(start, start + len(unit.stages)))
            start += len(unit.stages)
        return tuple(slices)

    # --- text -------------------------------------------------------------------------------------------------

    def parse(self, text: str) -> Architecture:
        """Read an architecture from its canonical text.

        Raises:
            SpaceError: Naming the unit, the layer, what was given and what is accepted.
        """
        if not isinstance(text, str):
            raise SpaceError(f"an architecture is a text such as {self.example!r}, not {text!r}")
        runs = self._parse_runs(text.strip())
        for unit, part in zip(self.units, self._unit_stages, strict=True):
            if unit.kept is not None:
                unit.index_of_runs(runs[part])
        return Architecture(self._format(runs), runs, self.family)

    def _parse_runs(self, text: str) -> tuple[Digits, ...]:
        if self.pattern is not None:
            parts = self._match(text)
        else:
            parts = text.split(self.separator) if self.separator else self._cut(text)
        if len(parts) != len(self.stages):
            raise SpaceError(
                f"{text!r} has {len(parts)} units; {self.name} has {len(self.stages)}, as in {self.example!r}"
            )
        return tuple(stage.parse(part) for stage, part in zip(self.stages, parts, strict=True))

    def _match(self, text: str) -> list[str]:
        """Cut a text by the pattern."""
        found = self._pattern.fullmatch(text)
        if found is None:
            form = (self.pattern or "").replace("{}", "...")
            raise SpaceError(f"{text!r} does not read as {form!r} of {self.name}, as in {self.example!r}")
        return list(found.groups())

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        fixed = (self.pattern or "").split("{}")
        stops = "".join(sorted({character for part in fixed for character in part}))
        return re.compile(f"([^{re.escape(stops)}]+)".join(re.escape(part) for part in fixed))

    def _cut(self, text: str) -> list[str]:
        """Cut a text without separators: every stage then has one depth and layers of one width."""
        parts, start = [], 0
        for stage in self.stages:
            width = len(stage.format(stage.run(0)))
            parts.append(text[start : start + width])
            start += width
        if len(text) != start:
            raise SpaceError(f"{text!r} has {len(text)} characters; {self.name} takes {start}, as in {self.example!r}")
        return parts

    def _format(self, runs: Iterable[Digits]) -> str:
        texts = [stage.format(run) for stage, run in zip(self.stages, runs, strict=True)]
        return self.separator.join(texts) if self.pattern is None else self.pattern.format(*texts)

    def format(self, arch: Architecture | str) -> str:
        """Canonical text of an architecture (``parse`` reads it back exactly)."""
        return self._format(self._own(arch).runs)

    @cached_property
    def example(self) -> str:
        """Text of one architecture of the space."""
        return self._format([run for unit in self.units for run in unit.candidate(unit.size // 2).digits])

    def _own(self, arch: Architecture | str) -> Architecture:
        """An architecture of this space's family, from itself or its text."""
        if isinstance(arch, str):
            return self.parse(arch)
        if not isinstance(arch, Architecture):
            raise SpaceError(f"{arch!r}: an architecture of {self.name}, or its text, is accepted")
        if arch.family != self.family:
            raise SpaceError(f"{arch.text!r} is of {arch.family!r}, not of {self.family!r}")
        return arch

    # --- candidates and architectures -------------------------------------------------------------------------

    def candidate(self, arch: Architecture | str, unit: str | int) -> Candidate:
        """The candidate that fills ``unit`` in ``arch``."""
        number = self.unit_number(unit)
        return self.units[number]._candidate(self._own(arch).runs[self._unit_stages[number]])

    def indices(self, arch: Architecture | str) -> tuple[int, ...]:
        """For every unit, the index of the candidate that fills it."""
        arch = self._own(arch)
        return tuple(
            unit.index_of_runs(arch.runs[part]) for unit, part in zip(self.units, self._unit_stages, strict=True)
        )

    def assemble(self, indices: Sequence[int]) -> Architecture:
        """The architecture with candidate ``indices[u]`` in unit u."""
        if len(indices) != len(self.units):
            raise SpaceError(f"{self.name} has {len(self.units)} units; {len(indices)} candidates were given")
        runs = tuple(run for unit, i in zip(self.units, indices, strict=True) for run in unit.candidate(int(i)).digits)
        return Architecture(self._format(runs), runs, self.family)

    def __contains__(self, arch: object) -> bool:
        try:
            if isinstance(arch, str):
                self.parse(arch)
            elif isinstance(arch, Architecture) and arch.family == self.family:
                self.indices(arch)
            else:
                return False
        except SpaceError:
            return False
        return True

    def layers(self, arch: Architecture | str) -> list[list[dict[str, Value | None]]]:
        """For each stage, its layers as ``{feature: value}``."""
        return [
            [stage.layer_dict(d) for d in run] for stage, run in zip(self.stages, self._own(arch).runs, strict=True)
        ]

    def key(self, arch: Architecture | str) -> str:
        """A text that is equal exactly for networks that are the same once identity layers are removed."""
        arch = self._own(arch)
        if self.identity is None:
            return arch.text
        if self.identity.cut is not None:
            from autobuild.spaces.isomorphism import cell_key

            return cell_key(self, arch.runs)
        keep = []
        fixed = 1 if self.identity.first_layer_counts else 0
        for run, idle in zip(arch.runs, self._special_digits[0], strict=True):
            keep.append(tuple(d for i, d in enumerate(run) if i < fixed or d not in idle))
        return "|".join("-".join(stage.tokens[d] for d in run) for stage, run in zip(self.stages, keep, strict=True))

    @cached_property
    def _special_digits(self) -> tuple[list[set[int]], list[set[int]]]:
        """For every stage, the layers that are identities, and those that pass zero on."""
        values, cut = (self.identity.values, self.identity.cut) if self.identity else ({}, None)
        idle = [self._digits_with(stage, values) for stage in self.stages]
        return idle, [self._digits_with(stage, cut) if cut else set() for stage in self.stages]

    @staticmethod
    def _digits_with(stage: Stage, wanted: Mapping[str, Value]) -> set[int]:
        return {d for d in range(len(stage.layers)) if wanted.items() <= stage.layer_dict(d).items()}

    def graph(self, arch: Architecture | str) -> ArchitectureGraph:
        """The architecture as a directed acyclic graph whose nodes are layers with named features."""
        from autobuild.spaces.graph import architecture_graph

        return architecture_graph(self, self._own(arch))

    # --- drawing, moving, narrowing ---------------------------------------------------------------------------

    def sample(self, n: int, seed: int | np.random.Generator = 0, design: str = "uniform") -> list[Architecture]:
        """Draw architectures independently; see :func:`autobuild.spaces.sampling.sample`."""
        from autobuild.spaces.sampling import sample

        return sample(self, n, seed, design)

    def neighbours(self, arch: Architecture | str) -> Iterator[Architecture]:
        """Every architecture one step away; see :func:`autobuild.spaces.moves.neighbours`."""
        from autobuild.spaces.moves import neighbours

        return neighbours(self, self._own(arch))

    def mutate(
        self, arch: Architecture | str, seed: int | np.random.Generator = 0, level: str = "layer"
    ) -> Architecture:
        """One random change; see :func:`autobuild.spaces.moves.mutate`."""
        from autobuild.spaces.moves import mutate

        return mutate(self, self._own(arch), seed, level)

    def restrict(
        self, units: Mapping[Any, Any] | None = None, *, name: str | None = None, note: str = "", **values: Any
    ) -> SearchSpace:
        """A narrowed space; see :func:`autobuild.spaces.narrowing.restrict`."""
        from autobuild.spaces.narrowing import restrict

        return restrict(self, units, name=name, note=note, **values)

    def join_units(self, *units: str | int) -> SearchSpace:
        """Make neighbouring units one; see :func:`autobuild.spaces.narrowing.join_units`."""
        from autobuild.spaces.narrowing import join_units

        return join_units(self, *units)

    def replaced(self, units: Sequence[Unit], *, name: str | None = None, note: str = "") -> SearchSpace:
        """A space over the same stages with other units (restricted or joined ones)."""
        return SearchSpace(
            name or self.name,
            units,
            joins=self.joins,
            family=self.family,
            about=self.about,
            separator=self.separator,
            identity=self.identity,
            note=note,
            pattern=self.pattern,
            options=self.options,
        )

    # --- parameters of a search engine ------------------------------------------------------------------------

    def suggest(self, trial: Trial, grain: str = "layer") -> Architecture:
        """The architecture that an Optuna trial suggests; always one of the space.

        Args:
            trial: Anything with ``suggest_categorical(name, choices)``.
            grain: ``"layer"`` or ``"unit"``: see :mod:`autobuild.spaces.parameters`.

        Raises:
            SpaceError: An unknown grain, or a unit of more than 512 candidates at grain ``"unit"``.
        """
        return parameters(self, grain).suggest(trial)

    def params(self, arch: Architecture | str, grain: str = "layer") -> dict[str, Value | None]:
        """The parameters that ``suggest`` would have to be given to come to ``arch``, in its order."""
        return {choice.name: value for choice, value in parameters(self, grain).items(arch)}

    def from_params(self, params: Mapping[str, Any], grain: str = "layer") -> Architecture:
        """The architecture of these parameters: the inverse of :meth:`params`. Names of others are passed over.

        Raises:
            SpaceError: A parameter is missing, or its value is none of its choices.
        """
        return parameters(self, grain).read(params)

    def choices(self, arch: Architecture | str, grain: str = "layer") -> dict[str, tuple[Value | None, ...]]:
        """What each of ``params(arch)`` was chosen from."""
        return {choice.name: choice.values for choice, _ in parameters(self, grain).items(arch)}

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{unit.name}</td><td>{', '.join(map(str, unit.depths))}</td><td>{unit.size:,}</td></tr>"
            for unit in self.units
        )
        features = "; ".join(f"{f.name}: {', '.join(map(str, f.values))}" for f in self.features)
        about, note = (f"{text}<br>" if text else "" for text in (self.about, self.note))
        return (
            f"<p><b>{self.name}</b>: {readable_count(self.size)} architectures<br>{about}{note}{features}</p>"
            f"<table><thead><tr><th>unit</th><th>depths</th><th>candidates</th></tr></thead><tbody>{rows}</tbody></table>"
        )

    # --- storage and networks ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The whole declaration as JSON-ready data; ``SearchSpace.from_dict`` reads it back."""
        from autobuild.spaces.serialise import to_dict

        return to_dict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> SearchSpace:
        """Read what :meth:`to_dict` wrote."""
        from autobuild.spaces.serialise import from_dict

        return from_dict(data)

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON text."""
        from autobuild.spaces.serialise import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> SearchSpace:
        """Read what :meth:`to_json` wrote."""
        from autobuild.spaces.serialise import from_json

        return from_json(text)

    def realise(
        self, arch: Architecture | str, num_classes: int | None = None, in_channels: int | None = None
    ) -> torch.nn.Module:
        """Build the network as a plain ``torch.nn.Module``, with fresh weights from torch's generator.

        The function ``realise`` of the space's file, or of what :func:`~autobuild.spaces.register_space` was given,
        receives the layers and the space's options.

        Raises:
            SpaceError: If the space declares graphs only.
        """
        from autobuild.spaces.registry import realiser

        build = realiser(self)
        network: torch.nn.Module = build(
            self.layers(arch), num_classes=num_classes, in_channels=in_channels, **self.options
        )
        return network


def _in_order(values: Iterable[Value | None]) -> tuple[Value | None, ...]:
    """Numbers ascending, everything else as declared, None last: one vocabulary however stages are ordered."""
    listed = list(values)
    rest = [value for value in listed if value is not None]
    if all(isinstance(value, int | float) for value in rest):
        rest.sort(key=float)
    return (*rest, *([None] if None in listed else []))
