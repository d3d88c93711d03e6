"""A stage: a run of layers, each with one value of every feature. Units consist of stages."""

from __future__ import annotations

import itertools
import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autobuild._typing import IntArray
from autobuild._words import counted
from autobuild.errors import SpaceError, nearest

Value = int | float | str | bool
Digits = tuple[int, ...]

MAX_LAYER_CHOICES = 100_000
MAX_DEPTH = 1_000
_INT64_LIMIT = 2**62


@dataclass(frozen=True)
class Feature:
    """A named property of an operation, and the values that it may have, in declared order."""

    name: str
    values: tuple[Value | None, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SpaceError(f"feature {self.name!r} has no values: give at least one")
        if len(set(self.values)) != len(self.values):
            raise SpaceError(f"feature {self.name!r} lists a value twice: {list(self.values)}")
        if any(isinstance(value, float) and not math.isfinite(value) for value in self.values):
            raise SpaceError(f"feature {self.name!r}: {list(self.values)}: numbers must be finite")


@dataclass(frozen=True)
class Stage:
    """The set of all runs of layers whose length is in ``depths`` and whose layers combine values of ``features``.

    A run is represented by its *digits*: one index into :attr:`layers` per layer. Runs are numbered from 0 to ``size -
    1``, ordered by depth, then by the features that are chosen once, then lexicographically.

    Args:
        name: Name of the stage, unique in its space.
        depths: Allowed numbers of layers, at least 1 each.
        features: The features of a layer.
        template: Text of one layer, e.g. ``"e{expand}k{kernel}"``. Features that have one value only may be left out.
        separator: Text between layers; may be empty if the texts of all layers have the same length.
        tied: Whether all layers of a run are equal, as in MnasNet's blocks. The text is then written once for the whole
            run, and ``template`` may name ``{depth}``, e.g. ``"e{expand}k{kernel}l{depth}"``.
        once: Names of the features whose value all layers of a run share, such as a stage's width. Every layer's text
            still names them. If ``tied``, these are all features.

    Raises:
        SpaceError: An argument is not usable. The message names the unit, the value given and the values accepted.
    """

    name: str
    depths: tuple[int, ...]
    features: tuple[Feature, ...]
    template: str
    separator: str = "-"
    tied: bool = False
    once: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        depths = tuple(sorted(set(self.depths)))
        if not depths or depths[0] < 1:
            raise SpaceError(
                f"unit {self.name!r}: depths {list(self.depths)} are not usable; give integers of at least 1 "
                "(a layer that may be absent is a feature value declared as identity)"
            )
        if depths[-1] > MAX_DEPTH:
            raise SpaceError(f"unit {self.name!r}: depth {depths[-1]:,}; at most {MAX_DEPTH:,} layers are accepted")
        object.__setattr__(self, "depths", depths)
        choices = 1
        for feature in self.features:
            choices *= len(feature.values)
        if choices > MAX_LAYER_CHOICES:
            raise SpaceError(
                f"unit {self.name!r}: {choices:,} choices for one layer; at most {MAX_LAYER_CHOICES:,} are accepted "
                "(split the features over several units)"
            )
        names = [feature.name for feature in self.features]
        for place, name in enumerate(self.once):
            if name not in names or name in self.once[:place]:
                raise SpaceError(
                    f"unit {self.name!r}: tied names {name!r}{' twice' if name in names else ''}: a unit's features, "
                    f"each once: {nearest(name, names)}"
                )
        if self.tied:
            object.__setattr__(self, "once", tuple(names))
        self._check_text()

    def _check_text(self) -> None:
        fields = _fields(self.name, self.template)
        names = sorted(feature.name for feature in self.features)
        known = {feature.name for feature in self.features if len(feature.values) == 1} - set(fields)
        if sorted(field for field in fields if not (self.tied and field == "depth")) != sorted(set(names) - known):
            raise SpaceError(
                f"unit {self.name!r}: the layer text {self.template!r} must name each feature once; "
                f"features are {names}, the text names {sorted(fields)}"
            )
        if self.tied and len(self.depths) > 1 and "depth" not in fields:
            raise SpaceError(
                f"unit {self.name!r}: the text {self.template!r} of a tied unit with the depths {list(self.depths)} "
                "must name {depth}"
            )
        if len(self.token_index) != len(self.tokens) or len(self._tied_index) != self._tied_count:
            raise SpaceError(
                f"unit {self.name!r}: the layer text {self.template!r} gives two different layers the same text"
            )
        for token in self.tokens:  # blanks around a text are removed when it is read
            if token != token.strip() or not token:
                raise SpaceError(f"unit {self.name!r}: a layer is written {token!r}: empty, or with blanks at its ends")
        if self.separator and (parted := [token for token in self.tokens if self.separator in token]):
            raise SpaceError(
                f"unit {self.name!r}: a layer's text {parted[0]!r} contains the separator {self.separator!r}; "
                "another is given as layer_separator"
            )
        if not self.separator and len({len(token) for token in self.tokens}) > 1:
            raise SpaceError(f"unit {self.name!r}: without a separator all layers must be written equally long")

    @cached_property
    def layers(self) -> tuple[tuple[Value | None, ...], ...]:
        """Every possible layer: its values in the order of :attr:`features`."""
        return tuple(itertools.product(*(feature.values for feature in self.features)))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Text of every possible layer; for a tied stage, without the depth."""
        template = re.sub(r"[A-Za-z]*{depth}", "", self.template) if self.tied else self.template
        return tuple(template.format(**self.layer_dict(digit)) for digit in range(len(self.layers)))

    @property
    def _tied_count(self) -> int:
        return len(self.depths) * len(self.layers) if self.tied else 0

    @cached_property
    def _tied_texts(self) -> tuple[str, ...]:
        """Text of every run of a tied stage, in the order of the runs."""
        if not self.tied:
            return ()
        return tuple(
            self.template.format(**self.layer_dict(digit), depth=depth)
            for depth in self.depths
            for digit in range(len(self.layers))
        )

    @cached_property
    def _tied_index(self) -> dict[str, int]:
        return {text: number for number, text in enumerate(self._tied_texts)}

    @cached_property
    def token_index(self) -> dict[str, int]:
        """Text of a layer -> its digit."""
        return {token: digit for digit, token in enumerate(self.tokens)}

    @cached_property
    def size(self) -> int:
        """Number of runs, as an exact Python integer."""
        return self._starts[-1]

    @cached_property
    def _starts(self) -> list[int]:
        """For each depth the number of its first run; the last entry is the number of all runs."""
        shared, free = self._layer_of.shape
        return list(itertools.accumulate((shared * free**depth for depth in self.depths), initial=0))

    def first_of(self, depth: int) -> int:
        """Number of the first run of this depth."""
        return self._starts[self.depths.index(depth)]

    @cached_property
    def _layer_of(self) -> IntArray:
        """Digit of a layer, by its shared features (row) and its own features (column). Shape ``(shared, own)``."""
        digits = np.arange(len(self.layers)).reshape([len(feature.values) for feature in self.features] or [1])
        places = [place for place, feature in enumerate(self.features) if feature.name in self.once]
        others = [place for place in range(len(self.features)) if place not in places]
        shared = math.prod(len(self.features[place].values) for place in places)
        table: IntArray = digits.transpose([*places, *others] or [0]).reshape(shared, -1)
        return table

    @cached_property
    def _parts(self) -> tuple[list[int], list[int]]:
        """Row and column of every digit in :attr:`_layer_of`."""
        place = np.argsort(self._layer_of, axis=None)
        shared, free = np.divmod(place, self._layer_of.shape[1])
        return shared.tolist(), free.tolist()

    def sharing(self, digits: IntArray, layer: int) -> IntArray:
        """Change layers so that they have the same values as ``layer`` in the features that are chosen once."""
        shared, free = self._parts
        beside: IntArray = self._layer_of[shared[layer], np.asarray(free)[digits]]
        return beside

    def layer_dict(self, digit: int) -> dict[str, Value | None]:
        """The layer with this digit as ``{feature: value}``."""
        return dict(zip((feature.name for feature in self.features), self.layers[digit], strict=True))

    def index(self, digits: Digits) -> int:
        """Number of a run, from its digits; the inverse of :meth:`run`."""
        if len(digits) not in self.depths:
            raise SpaceError(
                f"unit {self.name!r}: {counted(len(digits), 'layer')}; accepted depths: {list(self.depths)}"
            )
        shared, free = self._parts
        if self.once and len({shared[digit] for digit in digits}) > 1:
            raise SpaceError(f"unit {self.name!r}: {self._differing(digits)}")
        number = shared[digits[0]]
        for digit in digits:
            number = number * self._layer_of.shape[1] + free[digit]
        return self._starts[self.depths.index(len(digits))] + number

    def _differing(self, digits: Digits) -> str:
        if self.tied:
            return f"all layers are the same here; {digits} differ"
        layers = [self.layer_dict(digit) for digit in digits]
        for name in self.once:
            if len(found := list(dict.fromkeys(layer[name] for layer in layers))) > 1:
                return f"{name} is chosen once here, for all layers; given {', '.join(f'{name}={v}' for v in found)}"
        raise AssertionError(f"{digits} agree")

    def run(self, index: int) -> Digits:
        """Digits of a run, from its number."""
        if not 0 <= index < self.size:
            raise IndexError(f"unit {self.name!r} has {counted(self.size, 'candidate')}; {index} is not one of them")
        block = max(b for b, start in enumerate(self._starts[:-1]) if start <= index)
        number, places = index - self._starts[block], []
        for _ in range(self.depths[block]):
            number, place = divmod(number, self._layer_of.shape[1])
            places.append(place)
        return tuple(int(self._layer_of[number, place]) for place in reversed(places))

    def runs(self, indices: IntArray) -> IntArray:
        """Digits of many runs at once.

        Shapes: ``indices (n,)`` -> ``(n, max(depths))``, padded with -1 after the last layer.
        """
        if self.size > _INT64_LIMIT:
            raise SpaceError(f"unit {self.name!r} has {self.size:,} candidates: too many to enumerate")
        digits = self.padded([()] * len(indices))
        block = np.searchsorted(np.asarray(self._starts[1:], dtype=np.int64), indices, side="right")
        for b, depth in enumerate(self.depths):
            rows = np.flatnonzero(block == b)
            number = indices[rows] - self._starts[b]
            for position in range(depth - 1, -1, -1):
                number, digits[rows, position] = np.divmod(number, self._layer_of.shape[1])
            digits[rows, :depth] = self._layer_of[number[:, None], digits[rows, :depth]]
        return digits

    def padded(self, runs: Sequence[Sequence[int] | IntArray]) -> IntArray:
        """Digits of runs as rows of one array.

        Shapes: n runs -> ``(n, max(depths))``, padded with -1 after the last layer.
        """
        digits = np.full((len(runs), self.depths[-1]), -1, dtype=np.int64)
        lengths = np.fromiter(map(len, runs), np.int64, len(runs))
        layers = np.fromiter(itertools.chain.from_iterable(runs), np.int64, lengths.sum())
        digits[np.arange(digits.shape[1]) < lengths[:, None]] = layers
        return digits

    def parse(self, text: str) -> Digits:
        """Read a run from its text; errors name the layer and what is accepted."""
        if self.tied:
            number = self._tied_index.get(text)
            if number is None:
                raise SpaceError(f"unit {self.name!r}: {self._explain(text)}")
            return self.run(number)
        tokens = text.split(self.separator) if self.separator else self._cut(text)
        digits = []
        for position, token in enumerate(tokens, start=1):
            digit = self.token_index.get(token)
            if digit is None:
                raise SpaceError(f"unit {self.name!r}, layer {position}: {self._explain(token)}")
            digits.append(digit)
        if len(digits) not in self.depths:
            raise SpaceError(
                f"unit {self.name!r}: {counted(len(digits), 'layer')} in {text!r}; accepted: {list(self.depths)}"
            )
        if self.once:
            self.index(tuple(digits))  # raises if layers differ in a feature that is chosen once
        return tuple(digits)

    def _cut(self, text: str) -> list[str]:
        width = len(self.tokens[0])
        return [text[i : i + width] for i in range(0, len(text), width)]

    def format(self, digits: Digits) -> str:
        """Text of a run, from its digits."""
        if self.tied:
            return self._tied_texts[self.index(digits)]
        return self.separator.join([self.tokens[digit] for digit in digits])

    def texts(self, runs: IntArray) -> NDArray[np.object_]:
        """Text of many runs, faster than one by one. Shapes: ``(n, max(depths))``, padded with -1 -> ``(n,)``."""
        if self.tied:
            block = np.searchsorted(np.asarray(self.depths), (runs >= 0).sum(axis=1))
            whole: NDArray[np.object_] = np.array(self._tied_texts, dtype=object)[block * len(self.layers) + runs[:, 0]]
            return whole
        table = np.array([*self.tokens, ""], dtype=object)
        text: NDArray[np.object_] = table[runs[:, 0]]
        for position in range(1, runs.shape[1]):
            there = runs[:, position] >= 0
            text[there] = text[there] + self.separator + table[runs[there, position]]
        return text

    def draw(self, n: int, rng: np.random.Generator) -> IntArray:
        """Draw a run of ``n`` layers uniformly among the runs of this depth. Returns its digits, shape ``(n,)``."""
        shared, free = self._layer_of.shape
        row = rng.integers(shared) if self.once else 0
        layers: IntArray = self._layer_of[row, np.zeros(n, dtype=np.int64) if self.tied else rng.integers(free, size=n)]
        return layers

    def _explain(self, token: str) -> str:
        choices = (*self.features, *([Feature("depth", self.depths)] if "{depth}" in self.template else []))
        accepted = "; ".join(f"{f.name} takes {', '.join(map(str, f.values))}" for f in choices)
        pattern = re.escape(self.template)
        for feature in choices:
            pattern = pattern.replace(re.escape("{" + feature.name + "}"), f"(?P<{feature.name}>.+?)", 1)
        match = re.fullmatch(pattern, token)
        if match is None:
            return f"{token!r} does not have the form {self.template!r} ({accepted})"
        wrong = [
            f"{name}={given}"
            for name, given in match.groupdict().items()
            if given not in {str(v) for f in choices if f.name == name for v in f.values}
        ]
        return f"{token!r} is not in the space: {', '.join(wrong) or 'unknown combination'} ({accepted})"


def distinct(digits: IntArray) -> tuple[IntArray, IntArray]:
    """Find equal rows of digits.

    Args:
        digits: Digits of n runs, -1 after the last layer. Shape ``(n, layers)``.

    Returns:
        The first row of every distinct run, shape ``(d,)``, and for each run which of them it equals, shape ``(n,)``.
    """
    key, size, choices = np.zeros(len(digits), dtype=np.int64), 1, int(digits.max(initial=0)) + 2
    for column in digits.T:
        if size > _INT64_LIMIT // choices:
            key = np.unique(key, return_inverse=True)[1]
            size = len(key)
        key = key * choices + column + 1
        size *= choices
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return first, number


def tied_of(unit: str, given: object) -> tuple[bool, tuple[str, ...]]:
    """``tied`` and ``once`` of a :class:`Stage`, from true, false or a list of feature names.

    Raises:
        SpaceError: The value has another form.
    """
    if isinstance(given, bool):
        return given, ()
    if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
        return False, tuple(given)
    raise SpaceError(
        f"unit {unit!r}: tied={given!r}; accepted: true (all layers are the same), false, or a list of the features "
        "that are chosen once for all layers, such as [width]"
    )


def _fields(unit: str, template: str) -> list[str]:
    """Names in braces in a layer's text. Only ``{name}`` is accepted, no format such as ``{name:03d}``."""
    if not isinstance(template, str):
        raise SpaceError(
            f"unit {unit!r}: the layer text must be a text such as 'e{{expand}}k{{kernel}}', not {template!r}"
        )
    try:
        parts = [(name, form, conversion) for _, name, form, conversion in string.Formatter().parse(template)]
    except ValueError as error:
        raise SpaceError(f"unit {unit!r}: the layer text {template!r} cannot be read: {error}") from None
    for name, form, conversion in parts:
        if name is not None and (form or conversion or not name.isidentifier()):
            raise SpaceError(
                f"unit {unit!r}: the layer text {template!r}: only the name of a feature is accepted between braces"
            )
    return [name for name, _, _ in parts if name is not None]
