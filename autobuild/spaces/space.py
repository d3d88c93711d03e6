"""The search space: units in order, the joins between them, and the canonical text of its architectures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild._words import counted
from autobuild.errors import SpaceError, nearest
from autobuild.spaces.parameters import Trial, parameters
from autobuild.spaces.sizes import readable_count
from autobuild.spaces.stage import Digits, Feature, Stage, Value
from autobuild.spaces.unit import Candidate, Unit

if TYPE_CHECKING:
    import torch

    from autobuild.spaces.graph import ArchitectureGraph

CANDIDATES_KEPT = 10_000  # of all units, and runs of every stage
KEPT = ("_candidates", "_parsers", "_formatters")  # attributes that speed up reading and writing; not pickled
EQUAL = ("function", "execution")  # what equal networks share
MAX_DIGITS = 4000  # Python refuses to print counts that are much longer
MAX_UNIT_DIGITS = 300  # of the candidates of one unit, whose larger counts overflow float64


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """One candidate for every unit. Immutable and hashable; equal if the family and the text are equal.

    Attributes:
        text: Canonical text form.
        runs: For each stage of the space, one index into ``stage.layers`` per layer.
        family: Name of the full space that it belongs to.
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
    """Which layers do nothing. Networks that differ only in such layers are the same network.

    Args:
        values: A layer with all these feature values is an identity.
        first_layer_counts: True if the first layer of a stage is never an identity, because it changes the shape.
        cut: For cell spaces (one layer per stage; a layer's inputs are summed): a layer with all these values outputs
            zero. If given, ``space.key`` is computed on the simplified graph of the cell; see
            :mod:`autobuild.spaces.isomorphism`.
        stages: Names of the stages whose layers may be identities (default: all).
    """

    values: Mapping[str, Value]
    first_layer_counts: bool = False
    cut: Mapping[str, Value] | None = None
    stages: Sequence[str] | None = None


class SearchSpace:
    """The set of architectures that fill every unit with one of its candidates.

    >>> space = ab.sequence_space(
    ...     "tiny", {"stage1": [1, 2], "stage2": 1}, {"expand": [3, 6], "kernel": [3, 5]}, text="e{expand}k{kernel}"
    ... )
    >>> space
    SearchSpace('tiny', 2 units, 80 architectures)
    >>> arch = space.parse("e3k3-e6k5|e3k5")
    >>> space.layers(arch)
    [[{'expand': 3, 'kernel': 3}, {'expand': 6, 'kernel': 5}], [{'expand': 3, 'kernel': 5}]]
    >>> space.indices(arch), space.assemble((7, 1)) == arch
    ((7, 1), True)
    >>> space.restrict(kernel=3)
    SearchSpace('tiny', 2 units, 12 architectures)

    Args:
        name: Name of this space.
        units: The units, in order.
        joins: Edges between stages, as pairs ``(source, target)`` of stage numbers; the last layer of the source feeds
            the first layer of the target. Default: a chain of all stages.
        family: Name of the full space that this one was narrowed or joined from (default: its own name).
        about: One sentence of description for readers.
        separator: Text between units in the text form.
        identity: Which layers do nothing; None if none do.
        note: How this space was derived (``narrow`` writes the sizes before and after).
        pattern: Text form of spaces whose units are not simply joined by ``separator``: a template with one ``{}`` for
            each stage, such as ``"|{}|+|{}|{}|"``.
        options: Parameters that the space was made with, by name; they are passed to ``realise``.
        equal: What equal networks share: ``"function"``, or ``"execution"``, see :meth:`executed`.

    Raises:
        SpaceError: No units, two units of one name, more than 1e4000 architectures or 1e300 candidates of a unit, a
            pattern with the wrong number of places, or a join that does not run forward.
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
        equal: str = "function",
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
        if equal not in EQUAL:
            raise SpaceError(f"search space {name!r}: equal={equal!r}; accepted: {', '.join(EQUAL)}")
        self.equal = equal
        digits = [math.log10(unit.size) for unit in units]
        if sum(digits) > MAX_DIGITS or max(digits) > MAX_UNIT_DIGITS:
            raise SpaceError(
                f"search space {name!r} has about 1e{sum(digits):.0f} architectures, and its largest unit about "
                f"1e{max(digits):.0f} candidates; accepted: up to 1e{MAX_DIGITS}, and 1e{MAX_UNIT_DIGITS} of a unit"
            )
        self.pattern = pattern
        self.options = dict(options or {})
        self.source = ""  # "package.module:Class" if the space was loaded by that name; not stored on disk
        self.stages: tuple[Stage, ...] = tuple(stage for unit in units for stage in unit.stages)
        chain = tuple((i, i + 1) for i in range(len(self.stages) - 1))
        self.joins = chain if joins is None else tuple((int(a), int(b)) for a, b in joins)
        if pattern is not None and pattern.count("{}") != len(self.stages):
            raise SpaceError(f"search space {name!r}: the text {pattern!r} needs one {{}} for each of its stages")
        for source, target in self.joins:
            if not 0 <= source < target < len(self.stages):
                raise SpaceError(f"search space {name!r}: join ({source}, {target}) must run forward between stages")

    def __repr__(self) -> str:
        return (
            f"SearchSpace({self.name!r}, {counted(len(self.units), 'unit')}, {readable_count(self.size)} architectures)"
        )

    # --- size and words ---------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of architectures (distinct texts), as an exact Python integer."""
        return math.prod(unit.size for unit in self.units)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The declared features with the values of all stages; None is a value if some stage lacks the feature."""
        names = list(dict.fromkeys(feature.name for stage in self.stages for feature in stage.features))
        table: dict[str, dict[Value | None, None]] = {name: {} for name in names}
        for stage in self.stages:
            own = {feature.name: feature.values for feature in stage.features}
            for name in names:
                table[name].update(dict.fromkeys(own.get(name, (None,))))
        return tuple(Feature(name, _in_order(values)) for name, values in table.items())

    @cached_property
    def node_features(self) -> tuple[Feature, ...]:
        """Features of a graph node: the declared ones, then ``unit`` (stage name) and ``layer`` (position from 1)."""
        depth = max(stage.depths[-1] for stage in self.stages)
        return (
            *self.features,
            Feature("unit", tuple(stage.name for stage in self.stages)),
            Feature("layer", tuple(range(1, depth + 1))),
        )

    def unit_number(self, unit: str | int) -> int:
        """Position of a unit in :attr:`units`.

        Args:
            unit: Name of the unit, or its number from 0.

        Raises:
            SpaceError: The space has no such unit.
        """
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

        Args:
            text: Text such as :attr:`example`; blanks around it are ignored.

        Returns:
            The architecture, which is in this space.

        Raises:
            SpaceError: The text is not an architecture of this space. The message names the unit, the layer, the value
                given and the values accepted.
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
                f"{text!r} has {counted(len(parts), 'unit')}; {self.name} has {len(self.stages)}, "
                f"as in {self.example!r}"
            )
        return tuple([parse(part) for parse, part in zip(self._parsers, parts, strict=True)])

    @cached_property
    def _parsers(self) -> list[Callable[[str], Digits]]:
        """:meth:`Stage.parse` of every stage; architectures are made of few runs, so that those read last are kept."""
        return [lru_cache(CANDIDATES_KEPT)(stage.parse) for stage in self.stages]

    @cached_property
    def _formatters(self) -> list[Callable[[Digits], str]]:
        return [lru_cache(CANDIDATES_KEPT)(stage.format) for stage in self.stages]

    def _match(self, text: str) -> list[str]:
        """Split a text at the fixed parts of :attr:`pattern`."""
        found = self._pattern.fullmatch(text)
        if found is None:
            form = (self.pattern or "").replace("{}", "...")
            raise SpaceError(f"{text!r} does not have the form {form!r} of {self.name}, as in {self.example!r}")
        return list(found.groups())

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        fixed = (self.pattern or "").split("{}")
        stops = {character for part in fixed for character in part}
        if all(fixed[1:-1]) and not any(stops & set(token) for stage in self.stages for token in stage.tokens):
            groups = [f"([^{re.escape(''.join(sorted(stops)))}]+)"] * len(self.stages)
        else:  # layers have characters of the fixed parts, or follow each other: all are written equally long
            groups = [f"(.{{{len(s.tokens[0])}}})" if s.depths == (1,) else "(.+)" for s in self.stages]
        return re.compile("".join(map("".join, zip(map(re.escape, fixed), [*groups, ""], strict=True))))

    def _cut(self, text: str) -> list[str]:
        """Split a text without separators; every stage then has one depth and layer texts of one length."""
        parts, start = [], 0
        for stage in self.stages:
            width = len(stage.format(stage.run(0)))
            parts.append(text[start : start + width])
            start += width
        if len(text) != start:
            raise SpaceError(f"{text!r} has {len(text)} characters; {self.name} takes {start}, as in {self.example!r}")
        return parts

    def _format(self, runs: Iterable[Digits]) -> str:
        texts = [format_run(run) for format_run, run in zip(self._formatters, runs, strict=True)]
        return self.separator.join(texts) if self.pattern is None else self.pattern.format(*texts)

    def format(self, arch: Architecture | str) -> str:
        """Canonical text of an architecture; :meth:`parse` reads it back exactly.

        Args:
            arch: An architecture of this space's family, or its text.

        Raises:
            SpaceError: It belongs to another family, or the text cannot be read.
        """
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
        """The candidate that fills one unit of an architecture.

        Args:
            arch: An architecture of this space's family, or its text.
            unit: Name or number of the unit.

        Raises:
            SpaceError: The unit is unknown, or the architecture does not belong to this space.
        """
        number = self.unit_number(unit)
        return self.units[number]._candidate(self._own(arch).runs[self._unit_stages[number]])

    def indices(self, arch: Architecture | str) -> tuple[int, ...]:
        """Index of the candidate that fills each unit; :meth:`assemble` is the inverse.

        Args:
            arch: An architecture of this space's family, or its text.

        Returns:
            One index per unit, from 0 to ``unit.size - 1``. Length ``(len(units),)``.

        Raises:
            SpaceError: A narrowed unit no longer holds the candidate, or the architecture is of another family.
        """
        arch = self._own(arch)
        return tuple(
            unit.index_of_runs(arch.runs[part]) for unit, part in zip(self.units, self._unit_stages, strict=True)
        )

    def assemble(self, indices: Sequence[int]) -> Architecture:
        """Build the architecture that has candidate ``indices[u]`` in unit ``u``; the inverse of :meth:`indices`.

        Args:
            indices: One candidate index per unit. Length ``(len(units),)``.

        Returns:
            The architecture.

        Raises:
            SpaceError: The number of indices is not the number of units.
            IndexError: An index is negative or not below the unit's size.
        """
        if len(indices) != len(self.units):
            raise SpaceError(f"{self.name} has {counted(len(self.units), 'unit')}; {len(indices)} indices were given")
        runs: list[Digits] = []
        for place in enumerate(indices):
            digits = self._candidates.get(place)
            if digits is None:
                if len(self._candidates) >= CANDIDATES_KEPT:
                    self._candidates.clear()
                digits = self._candidates[place] = self.units[place[0]].candidate(int(place[1])).digits
            runs += digits
        return Architecture(self._format(tuple(runs)), tuple(runs), self.family)

    @cached_property
    def _candidates(self) -> dict[tuple[int, int], tuple[Digits, ...]]:
        """(unit, candidate) -> its runs, of those that were assembled last: proposals are made of few candidates."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in KEPT}

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
        """Feature values of every layer.

        Args:
            arch: An architecture of this space's family, or its text.

        Returns:
            For each stage a list with one ``{feature: value}`` per layer.

        Raises:
            SpaceError: It belongs to another family, or the text cannot be read.
        """
        return [
            [stage.layer_dict(d) for d in run] for stage, run in zip(self.stages, self._own(arch).runs, strict=True)
        ]

    def key(self, arch: Architecture | str) -> str:
        """A text that identifies the network: equal for architectures that differ only in identity layers.

        In cell spaces the key is computed on the simplified cell, see :func:`autobuild.spaces.isomorphism.cell_key`, or
        is the text itself if networks are told apart by their execution (:meth:`executed`).

        Args:
            arch: An architecture of this space's family, or its text.

        Raises:
            SpaceError: It belongs to another family, or the text cannot be read.
        """
        arch = self._own(arch)
        if self.identity is None or self.equal == "execution":
            return arch.text
        if self.identity.cut is not None:
            from autobuild.spaces.isomorphism import cell_key

            return cell_key(self, arch.runs)
        keep = []
        fixed = 1 if self.identity.first_layer_counts else 0
        for run, idle in zip(arch.runs, self._special_digits[0], strict=True):
            keep.append(tuple(d for i, d in enumerate(run) if i < fixed or d not in idle))
        return "|".join("-".join(stage.tokens[d] for d in run) for stage, run in zip(self.stages, keep, strict=True))

    def executed(self) -> SearchSpace:
        """The same space, whose networks are told apart by what is executed.

        An operation of a cell that does not affect the output is executed all the same: it takes time, energy and
        memory. Identity layers of sequences run nothing, so a space without zero operations is returned as it is.
        """
        return self.told_apart("execution")

    def function(self) -> SearchSpace:
        """The same space, whose networks are equal if they compute the same function; see :meth:`executed`."""
        return self.told_apart("function")

    def told_apart(self, equal: str) -> SearchSpace:
        """The same space with this attribute ``equal``.

        Args:
            equal: As the attribute of this name.
        """
        if self.equal == equal or self.identity is None or self.identity.cut is None:
            return self
        made = self.replaced(self.units, note=self.note)
        made.equal = equal
        return made

    @cached_property
    def _special_digits(self) -> tuple[list[set[int]], list[set[int]]]:
        """For every stage: the digits of identity layers, and the digits of layers that output zero."""
        values, cut = (self.identity.values, self.identity.cut) if self.identity else ({}, None)
        named = self.identity.stages if self.identity else None
        idle = [
            self._digits_with(stage, values) if named is None or stage.name in named else set() for stage in self.stages
        ]
        return idle, [self._digits_with(stage, cut) if cut else set() for stage in self.stages]

    @cached_property
    def _cell_texts(self) -> list[list[str]]:
        """Text of every layer of every stage of a cell. Raises SpaceError if a stage can have more than one layer."""
        for stage in self.stages:
            if stage.depths != (1,):
                raise SpaceError(f"search space {self.name!r}: a cell's stages have one layer; {stage.name!r} has more")
        return [["_".join(map(str, layer)) for layer in stage.layers] for stage in self.stages]

    @staticmethod
    def _digits_with(stage: Stage, wanted: Mapping[str, Value]) -> set[int]:
        return {d for d in range(len(stage.layers)) if wanted.items() <= stage.layer_dict(d).items()}

    def graph(self, arch: Architecture | str) -> ArchitectureGraph:
        """The architecture as a directed acyclic graph whose nodes are layers with named features.

        Args:
            arch: An architecture of this space's family, or its text.

        Returns:
            The graph: one node per layer, edges along the stages and between joined stages.

        Raises:
            SpaceError: It belongs to another family, or the text cannot be read.
        """
        from autobuild.spaces.graph import architecture_graph

        return architecture_graph(self, self._own(arch))

    # --- drawing, moving, narrowing ---------------------------------------------------------------------------

    def sample(self, n: int, seed: int | np.random.Generator = 0, design: str = "depth") -> list[Architecture]:
        """Draw architectures independently and with replacement.

        Args:
            n: Number of architectures.
            seed: Seed or generator; the same seed gives the same architectures.
            design: ``"depth"``: every depth of a stage is equally likely, then every run of layers of that depth.
                ``"uniform"``: every architecture is equally likely, so deep ones dominate.

        Returns:
            ``n`` architectures, possibly with repetitions. Length ``(n,)``.

        Raises:
            SpaceError: The design is unknown, or ``n`` is not a whole number from 0 to 10,000,000.
            ConfigError: The seed is neither a whole number of at least 0 nor a generator.
        """
        from autobuild.spaces.sampling import sample

        return sample(self, n, seed, design)

    def neighbours(self, arch: Architecture | str) -> Iterator[Architecture]:
        """Iterate over every architecture of this space that is one step away, each once, in a fixed order.

        A step changes one feature of one layer (of all layers, if the feature is shared by the stage), or adds or
        removes the last layer of a stage.

        Args:
            arch: An architecture of this space's family, or its text.

        Returns:
            A lazy iterator over the neighbours.

        Raises:
            SpaceError: It belongs to another family, or the text cannot be read.
        """
        from autobuild.spaces.sampling import neighbours

        return neighbours(self, self._own(arch))

    def mutate(
        self, arch: Architecture | str, seed: int | np.random.Generator = 0, level: str = "layer"
    ) -> Architecture:
        """Change an architecture at random; the result is in this space.

        Args:
            arch: An architecture of this space's family, or its text.
            seed: Seed or generator.
            level: ``"layer"``: a random neighbour. ``"unit"``: two or more random steps inside one unit.
                ``"candidate"``: another candidate in one unit. See :func:`autobuild.spaces.sampling.mutate`.

        Returns:
            An architecture that differs from ``arch``, unless the space has no other.

        Raises:
            SpaceError: The level is unknown, or the architecture does not belong to this space.
        """
        from autobuild.spaces.sampling import mutate

        return mutate(self, self._own(arch), seed, level)

    def restrict(
        self, units: Mapping[Any, Any] | None = None, *, name: str | None = None, note: str = "", **values: Any
    ) -> SearchSpace:
        """Narrow the space to some candidates; the result is a search space of the same family.

        Args:
            units: Unit (name or number) -> candidates to keep: indices, texts or :class:`Candidate` objects.
            name: Name of the new space (default: the name of this one).
            note: Text stored with the new space.
            **values: ``kernel=(3, 5)`` keeps candidates whose every layer has a listed value of that feature;
                ``depth=(2, 3)`` keeps candidates of a listed total depth, in units that have a choice of depth.

        Returns:
            The narrowed space.

        Raises:
            SpaceError: A unit, candidate, feature or value is unknown, or a unit would be left empty.
        """
        from autobuild.spaces.narrowing import restrict

        return restrict(self, units, name=name, note=note, **values)

    def join_units(self, *units: str | int) -> SearchSpace:
        """Merge neighbouring units into one, whose candidates are all combinations. Texts stay the same.

        Args:
            *units: Two or more neighbouring units, by name or number.

        Returns:
            A space of the same architectures with fewer, larger units.

        Raises:
            SpaceError: A unit is unknown, or the units are not neighbours.
        """
        from autobuild.spaces.narrowing import join_units

        return join_units(self, *units)

    def replaced(self, units: Sequence[Unit], *, name: str | None = None, note: str = "") -> SearchSpace:
        """Copy the space with other units over the same stages (restricted or joined ones).

        Args:
            units: The new units, in order; together they must have the stages of this space.
            name: Name of the new space (default: the name of this one).
            note: Text stored with the new space.

        Returns:
            The new space, of the same family.

        Raises:
            SpaceError: As for the constructor.
        """
        made = SearchSpace(
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
            equal=self.equal,
        )
        made.source = self.source
        return made

    # --- parameters of a search engine ------------------------------------------------------------------------

    def suggest(self, trial: Trial, grain: str = "layer") -> Architecture:
        """The architecture that an Optuna trial suggests; it is always in the space.

        Args:
            trial: An Optuna trial, or any object with ``suggest_categorical(name, choices)``.
            grain: ``"layer"``: one parameter per depth and layer feature. ``"unit"``: one parameter per unit, whose
                values are the texts of its candidates. See :mod:`autobuild.spaces.parameters`.

        Raises:
            SpaceError: The grain is unknown, or at grain ``"unit"`` a unit has more than 512 candidates.
        """
        return parameters(self, grain).suggest(trial)

    def params(self, arch: Architecture | str, grain: str = "layer") -> dict[str, Value | None]:
        """The parameter values with which :meth:`suggest` returns ``arch``, in the order in which it asks for them.

        Args:
            arch: An architecture of this space, or its text.
            grain: ``"layer"`` or ``"unit"``, as in :meth:`suggest`.

        Returns:
            Parameter name -> value. Places without a choice are left out.

        Raises:
            SpaceError: The architecture is not in the space, or as for :meth:`suggest`.
        """
        return {choice.name: value for choice, value in parameters(self, grain).items(arch)}

    def from_params(self, params: Mapping[str, Any], grain: str = "layer") -> Architecture:
        """The architecture of these parameter values; the inverse of :meth:`params`.

        Args:
            params: Parameter name -> value, such as ``params`` of a finished trial. Unknown names are ignored.
            grain: ``"layer"`` or ``"unit"``, as in :meth:`suggest`.

        Raises:
            SpaceError: A parameter is missing, or its value is not one of its choices.
        """
        return parameters(self, grain).read(params)

    def choices(self, arch: Architecture | str, grain: str = "layer") -> dict[str, tuple[Value | None, ...]]:
        """The values from which each parameter of ``arch`` was chosen.

        Args:
            arch: An architecture of this space, or its text.
            grain: ``"layer"`` or ``"unit"``, as in :meth:`suggest`.

        Returns:
            Parameter name -> its possible values, for the names of ``params(arch)`` in the same order.

        Raises:
            SpaceError: The architecture is not in the space, or as for :meth:`suggest`.
        """
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
        """Read what :meth:`to_dict` wrote.

        Args:
            data: The declaration.

        Raises:
            SpaceError: A key is missing or has a wrong value, or the format is unknown.
        """
        from autobuild.spaces.serialise import from_dict

        return from_dict(data)

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON text."""
        from autobuild.spaces.serialise import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> SearchSpace:
        """Read what :meth:`to_json` wrote.

        Args:
            text: JSON text.

        Raises:
            SpaceError: It is not JSON, or not a stored search space.
        """
        from autobuild.spaces.serialise import from_json

        return from_json(text)

    def realise(
        self, arch: Architecture | str, num_classes: int | None = None, in_channels: int | None = None
    ) -> torch.nn.Module:
        """Build the network as a plain ``torch.nn.Module``, with fresh weights from torch's generator.

        The layers and the space's options are passed to the function ``realise`` of the file that declares the space,
        or of the object given to :func:`~autobuild.spaces.register_space`.

        Args:
            arch: An architecture of this space, or its text.
            num_classes: Number of outputs of the classifier. Default: the space's option ``num_classes`` if it has one,
                otherwise the number that the space declares (1,000 for ImageNet spaces). Costs use the same number.
            in_channels: Channels of the input images. Default: the number that the space declares.

        Returns:
            The network; it takes images of shape ``(batch, in_channels, height, width)``.

        Raises:
            SpaceError: The space declares graphs only and builds no networks.
        """
        from autobuild.spaces.registry import realiser

        network: torch.nn.Module = realiser(self)(self.layers(arch), num_classes, in_channels)
        return network


def _in_order(values: Iterable[Value | None]) -> tuple[Value | None, ...]:
    """Sort values (numbers ascending, others as declared, None last), so that the order of stages is irrelevant."""
    listed = list(values)
    rest = [value for value in listed if value is not None]
    if all(isinstance(value, int | float) for value in rest):
        rest.sort(key=float)
    return (*rest, *([None] if None in listed else []))
