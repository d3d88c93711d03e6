"""Numbers of architectures that are known without training: predictions of other models, proxies, simulated latencies.

They are columns of a description, and the process has a kernel of them: a linear function of them, and a smooth one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from autobuild._typing import FloatArray
from autobuild.errors import ConfigError, SpaceError
from autobuild.labels import LabelledSet
from autobuild.models.describe import SOURCES
from autobuild.models.model import FittedModel
from autobuild.named import imported
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from autobuild.expressions import TargetExpression

Function = Callable[[Sequence[Architecture]], Any]
FORM = "features=[package.module:function], a function from a list of architectures to their numbers"


@dataclass(frozen=True)
class SourceColumn:
    """What a model of another task, device or space predicts.

    Attributes:
        name: The source, in reports.
        model: The model, whose space can read the architectures' texts.
    """

    name: str
    model: FittedModel
    residual: ClassVar[float] = SOURCES

    def __call__(self, archs: Sequence[Architecture]) -> FloatArray:
        """Predictions on the model's latent scale, which is nearer to normal. Shape ``(len(archs),)``."""
        space = self.model.space
        own = [arch if arch.family == space.family else space.parse(arch.text) for arch in archs]
        predicted = self.model.predict_mean(own)
        warp = getattr(self.model, "warp", None)
        latent: FloatArray = predicted if warp is None else warp.latent(predicted)
        return latent


@dataclass(frozen=True)
class TableColumn:
    """A column of the labelled set.

    Attributes:
        name: The column.
        rows: Text of an architecture -> its number.
    """

    name: str
    rows: Mapping[str, float]

    def __call__(self, archs: Sequence[Architecture]) -> FloatArray:
        """The numbers. Shape ``(len(archs),)``. Raises ConfigError where one is missing."""
        for arch in archs:
            if not np.isfinite(self.rows.get(arch.text, np.nan)):
                raise ConfigError(
                    f"features={self.name!r}: no value of {arch.text!r}: give labels with one for every architecture "
                    "that is predicted, or a function, which is asked where whole spaces are scored"
                )
        return np.array([self.rows[arch.text] for arch in archs], dtype=np.float64)


@dataclass(frozen=True)
class FunctionColumn:
    """A function of the user.

    Attributes:
        name: ``package.module:function``, by which it is found again.
        function: Architectures -> their numbers.
    """

    name: str
    function: Function

    def __call__(self, archs: Sequence[Architecture]) -> FloatArray:
        """The numbers. Shape ``(len(archs),)``. Raises ConfigError where it gives something else."""
        try:
            given = np.asarray(self.function(list(archs)), dtype=np.float64)
        except Exception as error:  # whatever a function of the user raises
            raise ConfigError(f"features={self.name}: it raised {type(error).__name__}: {error}") from error
        if given.shape != (len(archs),) or not np.isfinite(given).all():
            raise ConfigError(
                f"features={self.name}: for {len(archs):,} architectures it gave an array of shape {given.shape}"
                f"{'' if np.isfinite(given).all() else ' with values that are not finite'}; accepted: one number each"
            )
        return given


Column = SourceColumn | TableColumn | FunctionColumn


def feature_columns(labels: LabelledSet, features: Sequence[str | Function]) -> list[Column]:
    """The columns that ``features=`` names: columns of the labels, functions, or their names.

    Raises:
        ConfigError: One is neither.
    """
    found: list[Column] = []
    for given in features:
        if isinstance(given, str) and given in labels.metrics:
            rows = dict(zip(labels.frame["arch"], labels.frame[given].tolist(), strict=True))
            found.append(TableColumn(given, rows))
        elif isinstance(given, str) and ":" in given:
            found.append(function_column(given))
        elif callable(given):
            found.append(_own_column(given))
        else:
            raise ConfigError(
                f"features={given!r}: accepted are columns of the labels ({', '.join(labels.metrics)}), functions of a "
                "list of architectures, and their names package.module:function"
            )
    return found


def feature_functions(features: Iterable[str | Function]) -> dict[str, Column]:
    """Those of ``features`` that are functions, by their names ``package.module:function``; raises ConfigError."""
    given = [features] if isinstance(features, str) else features
    functions = [one for one in given if callable(one) or ":" in one]
    columns = [_own_column(one) if callable(one) else function_column(one) for one in functions]
    return {column.name: column for column in columns}


def _own_column(function: Function) -> FunctionColumn:
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", type(function).__name__)
    return FunctionColumn(f"{module}:{name}", function)


def function_column(name: str) -> FunctionColumn:
    """A function by its name ``package.module:function``. Raises ConfigError if there is none."""
    return FunctionColumn(name, imported(name, ".", f"features={name}", FORM))


def source_values(
    labels: LabelledSet, source: object, target: TargetExpression
) -> tuple[str, FittedModel | LabelledSet, str]:
    """Name of a source, its model or its labels, and the target of a model of them.

    Args:
        labels: The labels of the target; a source may be another target over their columns.
        source: A fitted model; a labelled set, which has the same target; or an expression over columns of ``labels``;
            or a pair of labelled set and expression.
        target: The target.

    Raises:
        ConfigError: It is something else, or its space cannot read the architectures.
    """
    given, text = source if isinstance(source, tuple) and len(source) == 2 else (source, target.text)
    if isinstance(given, str):
        given, text = labels, given
    if not isinstance(given, FittedModel | LabelledSet) or not isinstance(text, str):
        raise ConfigError(
            f"sources={source!r}: accepted are a labelled set with a column of the target, a pair (labelled set, "
            "expression), an expression over other columns of these labels, and a fitted model"
        )
    _check_space(given.space, labels, target.text)
    if isinstance(given, FittedModel):
        return given.target, given, given.target
    where = "" if given is labels else f" of {given.source}"
    return f"{text}{where}", given, text


def _check_space(space: SearchSpace, labels: LabelledSet, target: str) -> None:
    if space.family == labels.space.family:
        return
    try:
        for arch in labels.archs[:20]:
            space.parse(arch.text)
    except SpaceError as error:
        raise ConfigError(
            f"sources: {space.name} has no features in common with {labels.space.name}, on which {target!r} is fitted: "
            f"it cannot read its architectures ({error})"
        ) from None
