"""Evaluators that measure nothing: a table of labels, and a fitted model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from autobuild.errors import EvaluationError, SpaceError
from autobuild.spaces import Unit

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.labels import LabelledSet
    from autobuild.spaces import Architecture, SearchSpace


@dataclass(frozen=True)
class TableEvaluator:
    """Looks an architecture up among labelled ones; equal networks count as one.

    Args:
        rows: Key of a network (``space.key``) -> its metrics.
        source: What messages call the table.
    """

    rows: Mapping[str, Mapping[str, float]] = field(repr=False)
    source: str

    @classmethod
    def of(cls, labels: LabelledSet) -> TableEvaluator:
        """All rows of a labelled set; of several rows of equal networks the first."""
        rows: dict[str, dict[str, float]] = {}
        for key, row in zip(labels.keys, labels.frame.drop(columns="arch").to_dict("records"), strict=True):
            rows.setdefault(key, {str(name): float(value) for name, value in row.items()})
        return cls(rows, labels.source)

    @classmethod
    def read(cls, path: str, space: SearchSpace) -> TableEvaluator:
        """All rows of a file, also those of networks that a narrowed ``space`` no longer holds.

        Raises:
            LabelError: As :meth:`autobuild.labels.LabelledSet.read`.
        """
        from autobuild.labels import LabelledSet

        whole = space.replaced([Unit(unit.name, unit.stages, joiner=unit.joiner) for unit in space.units])
        return cls.of(LabelledSet.read(path, whole))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that rows have."""
        return tuple(next(iter(self.rows.values()), {}))

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """The row of ``arch``; missing measurements are NaN.

        Raises:
            EvaluationError: There is no such row.
        """
        row = self.rows.get(space.key(space.parse(str(arch))))
        if row is None:
            raise EvaluationError(f"{arch} is not among the {len(self.rows):,} networks of {self.source}")
        return dict(row)

    def recipe(self) -> dict[str, Any]:
        """What its labels come from, for the file that they are written to."""
        return {"evaluator": "table", "settings": {"source": self.source, "networks": len(self.rows)}}


class Model(Protocol):
    """What a surrogate is made of; every fitted model is one."""

    @property
    def target(self) -> str:
        """The expression that it predicts."""
        ...

    def predict(self, archs: Sequence[Architecture | str], /) -> pd.DataFrame:
        """A frame with a column ``predicted``."""
        ...


@dataclass(frozen=True)
class SurrogateEvaluator:
    """Predictions of fitted models in place of measurements.

    A model whose target is a name gives that metric; one whose target is ``-name`` gives ``name``; that of any other
    expression is called ``predicted``.

    Args:
        models: The models, of different metrics.
        sources: What messages call them.
    """

    models: tuple[Model, ...] = field(repr=False)
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        names = self.metrics
        for name in names:
            if names.count(name) > 1:
                raise EvaluationError(
                    f"surrogates {', '.join(self.sources)}: {names.count(name)} of them predict {name!r} (targets: "
                    f"{', '.join(model.target for model in self.models)}); give one for each metric"
                )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics predicted."""
        return tuple(_metric(model.target)[0] for model in self.models)

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """The predicted metrics.

        Raises:
            EvaluationError: A model belongs to another space.
        """
        values: dict[str, float] = {}
        for model, source in zip(self.models, self.sources, strict=True):
            name, sign = _metric(model.target)
            try:
                values[name] = sign * float(model.predict([str(arch)])["predicted"].iloc[0])
            except SpaceError as error:
                raise EvaluationError(f"surrogate {source}: {error}") from error
        return values

    def recipe(self) -> dict[str, Any]:
        """What its labels come from, for the file that they are written to."""
        targets = [model.target for model in self.models]
        return {"evaluator": "surrogate", "settings": {"sources": list(self.sources), "targets": targets}}


def surrogate(folders: str, load_model: Callable[[str], Any] | None) -> SurrogateEvaluator:
    """The surrogate of models in ``folders`` (several are separated by commas), read by ``load_model``.

    Raises:
        EvaluationError: There is no way to read models here, or two predict the same metric.
        ModelError: As ``load_model`` raises it.
    """
    if load_model is None:
        raise EvaluationError(f"surrogate:{folders}: no function to read models was given (load_model)")
    names = tuple(name.strip() for name in folders.split(",") if name.strip())
    if not names:
        raise EvaluationError("surrogate: names no model; write surrogate:FOLDER, the folder model/ of a run")
    return SurrogateEvaluator(tuple(load_model(name) for name in names), names)


def _metric(target: str) -> tuple[str, float]:
    """Name and sign of the metric that a model of ``target`` predicts."""
    found = re.fullmatch(r"\s*(-?)\s*(?:label\.)?([A-Za-z_]\w*)\s*", target)
    return (found[2], -1.0 if found[1] else 1.0) if found else ("predicted", 1.0)
