"""Building: the k best assemblies as architectures, in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from autobuild.construct.assemblies import k_best
from autobuild.errors import ConfigError
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

Predict = Callable[[Sequence[Architecture]], NDArray[np.float64]]


@dataclass(frozen=True)
class Built:
    """Built architectures, best first; a sequence of :class:`Architecture`.

    Attributes:
        archs: The architectures.
        scores: Their scores, descending: sums over units from :func:`build`, and the means, which are on the target's
            scale, from ``Scores.build``. Shape ``(len(archs),)``.
        predicted: The predictor's opinion of each, or NaN. Shape ``(len(archs),)``.
    """

    archs: tuple[Architecture, ...]
    scores: NDArray[np.float64]
    predicted: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.archs)

    def __iter__(self) -> Iterator[Architecture]:
        return iter(self.archs)

    @overload
    def __getitem__(self, item: int) -> Architecture: ...
    @overload
    def __getitem__(self, item: slice) -> tuple[Architecture, ...]: ...
    def __getitem__(self, item: int | slice) -> Architecture | tuple[Architecture, ...]:
        return self.archs[item]

    @property
    def frame(self) -> pd.DataFrame:
        """``rank, arch, score, predicted``: rank 1 is the best by score."""
        import pandas as pd

        return pd.DataFrame(
            {
                "rank": np.arange(1, len(self) + 1),
                "arch": [arch.text for arch in self.archs],
                "score": self.scores,
                "predicted": self.predicted,
            }
        )


def build(
    space: SearchSpace,
    scores_by_unit: Mapping[str, NDArray[np.float64]],
    top: int = 10,
    predict: Predict | None = None,
) -> Built:
    """Build the ``top`` best architectures by summed candidate scores; exact, whatever the size of the space.

    Networks that are equal once identity layers are removed are built once.

    Args:
        space: The space.
        scores_by_unit: Unit name -> scores of its candidates by index, shape ``(unit.size,)``.
        top: How many to build; fewer come back where the space holds fewer distinct networks.
        predict: Architectures -> predicted target, for the ``predicted`` column.

    Raises:
        ConfigError: If ``top`` is below 1, or a unit's scores are missing or not numbers.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ConfigError(f"build.top={top!r}: an integer of at least 1 is accepted")
    for unit in space.units:
        if unit.name not in scores_by_unit or len(scores_by_unit[unit.name]) != unit.size:
            raise ConfigError(f"unit {unit.name!r} needs one score for each of its {unit.size:,} candidates")
    assemblies = _distinct(space, [scores_by_unit[unit.name] for unit in space.units])
    chosen = list(itertools.islice(assemblies, top))
    archs = tuple(arch for _, arch in chosen)
    predicted = predict(archs) if predict else np.full(len(archs), np.nan)
    return Built(archs, np.array([score for score, _ in chosen]), predicted)


def _distinct(space: SearchSpace, scores: list[NDArray[np.float64]]) -> Iterator[tuple[float, Architecture]]:
    seen: set[str] = set()
    for score, indices in k_best(scores):
        arch = space.assemble(indices)
        if space.identity is not None:
            key = space.key(arch)
            if key in seen:
                continue
            seen.add(key)
        yield score, arch
