"""Evaluators without measurements: tabular (a table of labels) and surrogate (fitted models)."""

from __future__ import annotations

import math
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
    """Returns the labels of an architecture, or those of an equal network.

    Args:
        rows: Key of a network (``space.key``) -> its metrics.
        source: Name of the table in messages.
        twins: Text of an architecture -> its metrics, where those of equal networks may differ: in cells, by what is
            executed. An equal network's metrics of execution, such as ``latency_ms``, are never given for it.
    """

    rows: Mapping[str, Mapping[str, float]] = field(repr=False)
    source: str
    twins: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, labels: LabelledSet) -> TableEvaluator:
        """All rows of a labelled set; for rows of equal networks, the first of them."""
        rows: dict[str, dict[str, float]] = {}
        records = labels.frame.drop(columns="arch").to_dict("records")
        every = [{str(name): float(value) for name, value in row.items()} for row in records]
        for key, row in zip(labels.keys, every, strict=True):
            rows.setdefault(key, row)
        texts = [arch.text for arch in labels.archs]
        twins = dict(zip(texts, every, strict=True)) if labels.space.executed() is not labels.space else {}
        return cls(rows, labels.source, twins)

    @classmethod
    def read(cls, path: str, space: SearchSpace) -> TableEvaluator:
        """All rows of a file, also of architectures that a narrowed ``space`` does not contain.

        Raises:
            LabelError: As :meth:`autobuild.labels.LabelledSet.read`.
        """
        from autobuild.labels import LabelledSet

        whole = space.function().replaced([Unit(unit.name, unit.stages, joiner=unit.joiner) for unit in space.units])
        return cls.of(LabelledSet.read(path, whole))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(next(iter(self.rows.values()), {}))

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """The metrics of ``arch``; missing measurements are NaN.

        Raises:
            EvaluationError: The table has no such network.
        """
        from autobuild.labels import executed_names

        parsed = space.parse(str(arch))
        if parsed.text in self.twins:
            return dict(self.twins[parsed.text])
        row = self.rows.get(space.function().key(parsed))
        if row is None:
            raise EvaluationError(f"{arch} is not among the {len(self.rows):,} networks of {self.source}")
        return dict(row) if not self.twins else {**row, **dict.fromkeys(executed_names(row), math.nan)}

    def recipe(self) -> dict[str, Any]:
        """Origin of the labels: the table or the models."""
        return {"evaluator": "table", "settings": {"source": self.source, "networks": len(self.rows)}}


class Model(Protocol):
    """A fitted model, as far as a surrogate needs it."""

    @property
    def target(self) -> str:
        """The predicted expression."""
        ...

    def predict(self, archs: Sequence[Architecture | str], /) -> pd.DataFrame:
        """A frame with a column ``predicted``."""
        ...


@dataclass(frozen=True)
class SurrogateEvaluator:
    """Returns predictions of fitted models in place of measurements.

    A model of the target ``name`` or ``-name`` predicts the metric ``name``; the metric of any other target is called
    ``predicted``.

    Args:
        models: The models, each of another metric.
        sources: Their names in messages.
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
        """Names of the predicted metrics."""
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
        """Origin of the labels: the table or the models."""
        targets = [model.target for model in self.models]
        return {"evaluator": "surrogate", "settings": {"sources": list(self.sources), "targets": targets}}


def surrogate(folders: str, load_model: Callable[[str], Any] | None) -> SurrogateEvaluator:
    """The surrogate of the models in ``folders``, which are separated by commas.

    Raises:
        EvaluationError: No folder or no ``load_model`` is given, or two models predict the same metric.
        ModelError: A model cannot be read.
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
