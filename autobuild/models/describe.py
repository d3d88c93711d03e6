"""Numeric descriptions of architectures that need no training: choices, amounts, costs and walks.

An architecture is described from one or several views (:data:`VIEWS`). From that of its function, architectures of the
same function have equal descriptions: identity layers are moved to the end of their stage, and operations that do not
affect a cell's output are set to zero operations. From the others they differ, as they do when they are executed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autobuild.cost import known_costs
from autobuild.models._graph_walks import walks_and_paths
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.isomorphism import live_cell
from autobuild.spaces.stage import Digits, Stage, distinct

FloatArray = NDArray[np.float64]
Runs = tuple[Digits, ...]
Known = Callable[[Sequence[Architecture]], FloatArray]
Place = tuple[str, int, str, object]  # unit, layer (0: the whole run), feature, value

# As a function of the input; as a compiler leaves it, which removes what does not lead to the output; as it is written.
VIEWS = ("function", "pruned", "written")
# Logarithm of the share of the labels' deviation that costs, or sources, are expected to leave over.
COSTS, SOURCES = -1.2, -2.0


@dataclass(frozen=True)
class Description:
    """Numbers that describe n architectures.

    Attributes:
        choices: For every stage, the feature values of each layer, one-hot. Shapes ``(n, C_s)``.
        amounts: For every stage, its depth, sums over layers of numeric features and of their pairwise products, and
            logarithms of its costs. Shapes ``(n, A_s)``.
        whole: For the whole network, logarithms of summed costs, number of layers and sums of numeric features; also
            statistics of its paths, unless the stages form a chain. Shape ``(n, W)``.
        walks: For each architecture, walk of up to three hops -> how often it occurs in the graph. Empty if the stages
            form a chain, or without the view of the function.
        known: Numbers that are known without training (:mod:`autobuild.models.known`). Shape ``(n, K)``.

    With several views, their stages and columns follow one another.
    """

    choices: list[FloatArray]
    amounts: list[FloatArray]
    whole: FloatArray
    walks: list[Counter[str]]
    known: FloatArray

    def __len__(self) -> int:
        return len(self.whole)

    def take(self, rows: NDArray[np.int64]) -> Description:
        """Descriptions of some of the architectures, in the order given."""
        return Description(
            [part[rows] for part in self.choices],
            [part[rows] for part in self.amounts],
            self.whole[rows],
            [self.walks[row] for row in rows] if self.walks else [],
            self.known[rows],
        )


class Describer:
    """Describes architectures of one space.

    Args:
        space: The search space. A narrowed space gives the same descriptions as its full space.
        costs: Whether descriptions include costs, if the space has cost tables.
        views: What is described, of :data:`VIEWS`.
        known: Functions from n architectures to numbers of shape ``(n,)``, which join the description.
        trend: Whether logarithms of the network's costs are among the known numbers, if the space has cost tables.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        costs: bool = True,
        views: Sequence[str] = ("function",),
        known: Sequence[Known] = (),
        trend: bool = False,
    ) -> None:
        self.space, self.views = space, tuple(views)
        self.known: tuple[Any, ...] = tuple(known)
        self.tables = known_costs(space) if costs else None
        self.trend = trend and self.tables is not None
        chain = tuple((i, i + 1) for i in range(len(space.stages) - 1))
        varied = "tables" not in space.options  # those spaces have one graph for all architectures
        self.walks = space.joins != chain and varied and "function" in self.views
        self._texts = [["_".join(map(str, layer)) for layer in stage.layers] for stage in space.stages]
        self._digits = [_digit_tables(stage) for stage in space.stages]

    @property
    def residual(self) -> float:
        """Logarithm of the share of the labels' deviation that is expected beside the known numbers."""
        return min([COSTS if self.trend else 0.0, *(getattr(column, "residual", 0.0) for column in self.known)])

    def __call__(self, archs: Sequence[Architecture]) -> Description:
        """Describe ``archs``, which must be of this space's family."""
        parts = [self._seen(archs, view) for view in self.views]
        return Description(
            [choices for part in parts for choices in part.choices],
            [amounts for part in parts for amounts in part.amounts],
            np.column_stack([part.whole for part in parts]),
            next((part.walks for part in parts if part.walks), []),
            np.column_stack([parts[-1].known, *(column(archs) for column in self.known)]),
        )

    def _seen(self, archs: Sequence[Architecture], view: str) -> Description:
        runs = [self.simplified(arch, view) for arch in archs]
        digits = [stage.padded([run[number] for run in runs]) for number, stage in enumerate(self.space.stages)]
        costs: dict[str, FloatArray] = (
            {part: counts.astype(np.float64) for part, counts in self.tables.by_part(digits).items()}
            if self.tables
            else {}
        )
        choices, amounts, layers = [], [], np.zeros(len(archs))
        sums: dict[str, FloatArray] = {}
        for number, stage in enumerate(self.space.stages):
            first, same = distinct(digits[number])  # what equal runs share is computed once
            own = digits[number][first]
            depth = (own >= 0).sum(axis=1)
            layers += depth[same]
            for name, column in self._sums(number, own).items():
                sums[name] = sums.get(name, 0.0) + column[same]
            choices.append(self._choices(number, own, depth)[same])
            amounts.append(np.column_stack([self._amounts(number, own, depth)[same], *_logarithms(costs, stage.name)]))
        total = np.sum(list(costs.values()), axis=0) if costs else np.zeros((len(archs), 0))
        logarithms = np.log1p(total)
        whole = np.column_stack([logarithms, layers, *sums.values()])
        walks: list[Counter[str]] = []
        if view != "function":
            whole = np.column_stack([whole, self._layer_counts(runs)])
        elif self.walks:
            graphs = [walks_and_paths(self.space, run) for run in runs]
            walks = [own for own, _ in graphs]
            whole = np.column_stack([whole, np.array([numbers for _, numbers in graphs]).reshape(len(archs), -1)])
        return Description(choices, amounts, whole, walks, logarithms if self.trend else np.zeros((len(archs), 0)))

    def _layer_counts(self, runs: Sequence[Runs]) -> FloatArray:
        """How often every kind of layer occurs in cells with one layer per stage. Shape ``(n, kinds)``."""
        kinds = sorted({text for texts in self._texts for text in texts})
        out = np.zeros((len(runs), len(kinds)))
        for number, texts in enumerate(self._texts):
            columns = np.array([kinds.index(text) for text in texts])
            np.add.at(out, (np.arange(len(runs)), columns[[run[number][0] for run in runs]]), 1.0)
        return out

    def simplified(self, arch: Architecture, view: str = "function") -> Runs:
        """Runs of a network that is equal in this view: identity layers last, layers without effect set to zero."""
        identity = self.space.identity
        if identity is None or view == "written":
            return arch.runs
        idle, cut = self.space._special_digits
        if identity.cut is not None:
            live = live_cell(self.space, arch.runs, fed=view == "function")
            return tuple(
                run if number in live or run[0] in cut[number] else (min(cut[number]),)
                for number, run in enumerate(arch.runs)
            )
        fixed = 1 if identity.first_layer_counts else 0
        out = []
        for run, identities in zip(arch.runs, idle, strict=True):
            free = run[fixed:]
            kept = (d for d in free if d not in identities)
            out.append((*run[:fixed], *kept, *(d for d in free if d in identities)))
        return tuple(out)

    def stage_columns(self, number: int, digits: NDArray[np.int64]) -> FloatArray:
        """Choices and amounts of a stage, without costs. Shapes: ``(n, depth)``, -1 = no layer -> ``(n, columns)``."""
        depth = (digits >= 0).sum(axis=1)
        return np.concatenate([self._choices(number, digits, depth), self._amounts(number, digits, depth)], axis=1)

    def _choices(self, number: int, digits: NDArray[np.int64], depth: NDArray[np.int64]) -> FloatArray:
        stage, (onehot, _) = self.space.stages[number], self._digits[number]
        columns = [depth == d for d in stage.depths] if len(stage.depths) > 1 else []
        table = np.vstack([onehot, np.zeros(onehot.shape[1])])  # the last row (digit -1) stands for no layer
        once = np.array([feature.name in stage.once for feature in stage.features for _ in feature.values], dtype=bool)
        parts = [np.array(columns, dtype=np.float64).T.reshape(len(digits), len(columns)), table[digits[:, 0]][:, once]]
        parts += [table[digits[:, place]][:, ~once] for place in range(0 if once.all() else digits.shape[1])]
        return np.concatenate(parts, axis=1)

    def _amounts(self, number: int, digits: NDArray[np.int64], depth: NDArray[np.int64]) -> FloatArray:
        stage, (_, values) = self.space.stages[number], self._digits[number]
        columns = [depth.astype(np.float64)] if len(stage.depths) > 1 else []
        table = np.vstack([values, np.zeros(values.shape[1])])[digits]
        columns += list(table.sum(axis=1).T)
        for a, b in itertools.combinations_with_replacement(range(values.shape[1]), 2):
            columns.append((table[..., a] * table[..., b]).sum(axis=1))
        return np.array(columns, dtype=np.float64).T.reshape(len(digits), len(columns))

    def _sums(self, number: int, digits: NDArray[np.int64]) -> dict[str, FloatArray]:
        """Numeric feature -> its sum over the layers of a stage. Shapes ``(n,)``."""
        stage, (_, values) = self.space.stages[number], self._digits[number]
        totals = np.vstack([values, np.zeros(values.shape[1])])[digits].sum(axis=1)
        return dict(zip(_numeric(stage), totals.T, strict=True))


def _logarithms(costs: dict[str, FloatArray], part: str) -> list[FloatArray]:
    return [np.log1p(costs[part])] if part in costs else []


def stage_places(stage: Stage) -> list[Place]:
    """Meaning of each column of a stage's choices: unit, layer, feature and value."""
    depths: list[Place] = [(stage.name, 0, "depth", d) for d in stage.depths] if len(stage.depths) > 1 else []
    return depths + [
        (stage.name, layer, feature.name, value)
        for layer in range(stage.depths[-1] + 1)  # 0: features that are chosen once for all layers
        for feature in stage.features
        if (feature.name in stage.once) == (layer == 0)
        for value in feature.values
    ]


def feature_members(stage: Stage) -> FloatArray:
    """One-hot feature values of every layer choice. Shape ``(choices, values of all features)``."""
    onehot = [
        [float(layer[place] == value) for place, feature in enumerate(stage.features) for value in feature.values]
        for layer in stage.layers
    ]
    return np.array(onehot, dtype=np.float64).reshape(len(stage.layers), -1)


def _digit_tables(stage: Stage) -> tuple[FloatArray, FloatArray]:
    """One-hot and numeric feature values of every layer choice. Shapes ``(choices, C)``, ``(choices, F)``."""
    names = [feature.name for feature in stage.features]
    numeric = [names.index(name) for name in _numeric(stage)]
    values = [[float(layer[place]) for place in numeric] for layer in stage.layers]  # type: ignore[arg-type]
    return feature_members(stage), np.array(values).reshape(len(stage.layers), -1)


def _numeric(stage: Stage) -> list[str]:
    """Names of the features whose values are all numbers."""
    return [
        feature.name
        for feature in stage.features
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in feature.values)
    ]
