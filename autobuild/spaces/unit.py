"""A unit: one slot of the macro structure, and its candidates, which are built only when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autobuild._typing import IntArray
from autobuild._words import counted
from autobuild.errors import SpaceError
from autobuild.spaces.stage import _INT64_LIMIT, Digits, Stage, Value


@dataclass(frozen=True)
class Candidate:
    """One concrete filling of a unit: a short chain of layers.

    Attributes:
        text: Canonical text, the same as in the text form of an architecture.
        digits: For each stage of the unit, one index into ``stage.layers`` per layer.
    """

    text: str
    digits: tuple[Digits, ...]

    @property
    def depth(self) -> int:
        """Number of layers, over all stages of the unit."""
        return sum(len(run) for run in self.digits)

    def __str__(self) -> str:
        return self.text


class Unit:
    """One slot of a search space, and the candidates that may fill it.

    A unit usually has one :class:`Stage`. :meth:`SearchSpace.join_units` makes units of several stages, whose
    candidates are all combinations. Candidates are numbered from 0 and are built only when asked for.

    >>> space = ab.sequence_space("tiny", {"stage1": [1, 2]}, {"kernel": [3, 5]}, text="k{kernel}")
    >>> unit = space.units[0]
    >>> unit
    Unit('stage1', 6 candidates, depths [1, 2])
    >>> print(*unit)
    k3 k5 k3-k3 k3-k5 k5-k3 k5-k5
    >>> unit.index("k5-k3")
    4

    Args:
        name: Name of the unit, unique in the space.
        stages: The stages that one candidate fills, in order.
        kept: Indices of the candidates that are kept, in the numbering of the unrestricted unit; None keeps all.
            Shape ``(size,)``.
        joiner: Text between the stages' texts (the space's unit separator).

    Raises:
        SpaceError: ``kept`` is empty.
    """

    def __init__(self, name: str, stages: Sequence[Stage], kept: IntArray | None = None, joiner: str = "|") -> None:
        if kept is not None and len(kept) == 0:
            raise SpaceError(f"unit {name!r} would have no candidate left: keep at least one")
        self.name = name
        self.stages = tuple(stages)
        self.kept = None if kept is None else np.unique(np.asarray(kept, dtype=np.int64))
        self.joiner = joiner

    def __repr__(self) -> str:
        return f"Unit({self.name!r}, {counted(self.size, 'candidate')}, depths {list(self.depths)})"

    @cached_property
    def full_size(self) -> int:
        """Number of candidates before any restriction, as an exact Python integer."""
        size = 1
        for stage in self.stages:
            size *= stage.size
        return size

    @property
    def size(self) -> int:
        """Number of candidates, as an exact Python integer."""
        return self.full_size if self.kept is None else len(self.kept)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Candidate]:
        """Every candidate, built one by one."""
        return (self.candidate(i) for i in range(self.size))

    def __contains__(self, candidate: object) -> bool:
        if not isinstance(candidate, Candidate | str):
            return False
        try:
            self.index(candidate)
        except SpaceError:
            return False
        return True

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Total numbers of layers that occur among the candidates, ascending."""
        if self.kept is None:
            totals = {0}
            for stage in self.stages:
                totals = {total + depth for total in totals for depth in stage.depths}
            return tuple(sorted(totals))
        return tuple(int(depth) for depth in np.unique(self.depth_of(np.arange(self.size))))

    def candidate(self, index: int) -> Candidate:
        """Candidate by its index.

        Args:
            index: Number from 0 to ``size - 1``.

        Raises:
            IndexError: There is no such candidate.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"unit {self.name!r} has {counted(self.size, 'candidate')}; {index} is not one of them")
        base = int(index) if self.kept is None else int(self.kept[index])
        runs = []
        for stage in reversed(self.stages):
            base, number = divmod(base, stage.size)
            runs.append(stage.run(number))
        return self._candidate(tuple(reversed(runs)))

    def _candidate(self, digits: tuple[Digits, ...]) -> Candidate:
        texts = [stage.format(run) for stage, run in zip(self.stages, digits, strict=True)]
        return Candidate(self.joiner.join(texts), digits)

    def parse(self, text: str) -> Candidate:
        """Read a candidate from its text. A narrowed unit also reads candidates that it no longer holds.

        Args:
            text: Text of the candidate, such as ``"e3k3-e6k5"``.

        Raises:
            SpaceError: The text cannot be read; the message names the layer and the values accepted.
        """
        parts = text.split(self.joiner) if self.joiner and len(self.stages) > 1 else [text]
        if len(parts) != len(self.stages):
            raise SpaceError(f"unit {self.name!r} joins {len(self.stages)} stages; {text!r} has {len(parts)}")
        return self._candidate(tuple(stage.parse(part) for stage, part in zip(self.stages, parts, strict=True)))

    def index_of_runs(self, digits: Sequence[Digits]) -> int:
        """Index of the candidate with these digits.

        Args:
            digits: For each stage of the unit, one index into ``stage.layers`` per layer.

        Raises:
            SpaceError: The digits are not a candidate, or a narrowed unit no longer holds it.
        """
        base = 0
        for stage, run in zip(self.stages, digits, strict=True):
            base = base * stage.size + stage.index(run)
        if self.kept is None:
            return base
        position = int(np.searchsorted(self.kept, base)) if base < _INT64_LIMIT else len(self.kept)
        if position == len(self.kept) or self.kept[position] != base:
            text = self._candidate(tuple(digits)).text
            raise SpaceError(f"unit {self.name!r}: {text!r} is not among the {self.size:,} candidates kept here")
        return position

    def index(self, candidate: Candidate | str) -> int:
        """Index of a candidate; :meth:`candidate` is the inverse.

        Args:
            candidate: A candidate, or its text.

        Raises:
            SpaceError: The text cannot be read, or a narrowed unit no longer holds the candidate.
        """
        digits = self.parse(candidate).digits if isinstance(candidate, str) else candidate.digits
        return self.index_of_runs(digits)

    def base_indices(self, indices: IntArray) -> IntArray:
        """Map candidate indices of this unit to indices of the unrestricted unit.

        Args:
            indices: Indices below ``size``. Shape ``(n,)``.

        Returns:
            Indices below ``full_size``. Shape ``(n,)``.
        """
        indices = np.asarray(indices, dtype=np.int64)
        return indices if self.kept is None else self.kept[indices]

    def runs(self, indices: IntArray) -> list[IntArray]:
        """Digits of many candidates at once.

        Args:
            indices: Candidate indices. Shape ``(n,)``.

        Returns:
            For each stage an array of shape ``(n, max depth of the stage)``: one index into ``stage.layers`` per layer,
            and -1 behind the last layer.

        Raises:
            SpaceError: The unrestricted unit has more than 2**62 candidates.
        """
        if self.full_size > _INT64_LIMIT:
            raise SpaceError(f"unit {self.name!r} has {self.full_size:,} candidates: too many to enumerate")
        base, out = self.base_indices(indices), []
        for stage in reversed(self.stages):
            base, number = np.divmod(base, stage.size)
            out.append(stage.runs(number))
        return out[::-1]

    def depth_of(self, indices: IntArray) -> IntArray:
        """Total number of layers of many candidates.

        Args:
            indices: Candidate indices. Shape ``(n,)``.

        Returns:
            Depths. Shape ``(n,)``.
        """
        depth = np.zeros(len(indices), dtype=np.int64)
        for run in self.runs(indices):
            depth += (run >= 0).sum(axis=1)
        return depth

    def texts(self, indices: IntArray) -> list[str]:
        """Texts of many candidates, faster than one by one.

        Args:
            indices: Candidate indices. Shape ``(n,)``.

        Returns:
            Texts. Length ``(n,)``.
        """
        columns = [stage.texts(runs) for stage, runs in zip(self.stages, self.runs(indices), strict=True)]
        return [self.joiner.join(row) for row in zip(*columns, strict=True)]

    def layers(self, candidate: Candidate) -> list[list[dict[str, Value | None]]]:
        """Feature values of every layer of a candidate.

        Args:
            candidate: A candidate of this unit.

        Returns:
            For each stage of the unit a list with one ``{feature: value}`` per layer.
        """
        return [
            [stage.layer_dict(digit) for digit in run] for stage, run in zip(self.stages, candidate.digits, strict=True)
        ]

    def restricted(self, indices: IntArray) -> Unit:
        """Copy the unit, keeping only some candidates.

        Args:
            indices: Indices of the candidates to keep, in the numbering of this unit. Shape ``(n,)``.

        Returns:
            The narrowed unit; its candidates are numbered anew, in the same order.

        Raises:
            SpaceError: ``indices`` is empty.
        """
        return Unit(self.name, self.stages, self.base_indices(np.asarray(indices, dtype=np.int64)), self.joiner)
