"""The base class of fitted models: predictions with intervals, the rows fitted, and the held-out errors."""

from __future__ import annotations

import html
import itertools
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autobuild.errors import ConfigError, SpaceError
from autobuild.settings.names import INTERVAL_LEVEL
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from pathlib import Path

    from autobuild.importance import Scorer, Scores
    from autobuild.labels import LabelledSet

FloatArray = NDArray[np.float64]

CHUNK = 4096  # architectures that are predicted at a time


@dataclass(kw_only=True)
class FittedModel:
    """A fitted predictor of a target; :func:`autobuild.fit` returns one, whatever the family of models.

    >>> labels = ab.LabelledSet.read("tiny_mbconv", ab.space("tiny_mbconv"), n=60)
    >>> model = ab.fit(labels, "acc", model="linear")
    >>> frame = model.predict(labels.archs[:3], level=0.8)
    >>> list(frame), len(frame)
    (['arch', 'predicted', 'lower', 'upper'], 3)
    >>> model.predict_mean(labels.archs[:3]).shape
    (3,)

    Attributes:
        space: The search space of the labels.
        target: The target expression, maximised.
        family: ``graph``, or the family of an :class:`~autobuild.models.ensemble.EnsembleModel`.
        training: The rows fitted. Columns ``arch, target``.
        heldout: Predictions of rows by models that were not fitted on them. Columns ``arch, measured, predicted, ...``.
        report: Numbers and notes about the fit, JSON-ready; ``test_srcc`` is the rank correlation on held-out rows.
        seed: Seed of the fit.
        labels: The labelled set that the model was fitted on; limits may name its other columns. None for a model read
            from disk.
    """

    space: SearchSpace
    target: str
    family: str
    training: pd.DataFrame
    heldout: pd.DataFrame
    report: dict[str, Any]
    seed: int
    labels: LabelledSet | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: the fields, without the values that are computed from them on first use."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def explain(self, space: SearchSpace | None = None, scorer: str | Scorer = "auto") -> Scores:
        """Compute importance scores of this model; the same as :func:`autobuild.explain`.

        Args:
            space: The space whose candidates are scored: the model's space (default), or one narrowed or joined from
                it.
            scorer: ``"additive"`` (the same as ``"auto"``), ``"hopnorm"`` for ``model="graph"``, another registered
                name, or a callable :class:`~autobuild.importance.Scorer`.

        Returns:
            Scores of features, operations, layers and candidates, in units of the target.

        Raises:
            ConfigError: For an unknown scorer, one that cannot read this model, or a space of another family.
        """
        from autobuild.importance import explain

        return explain(self, space, scorer)

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder; the same as :func:`autobuild.save_model`.

        Args:
            folder: The folder; it is made if missing.

        Returns:
            The folder.

        Raises:
            RunError: The folder cannot be written.
        """
        from autobuild.models.store import save_model

        return save_model(self, folder)

    @staticmethod
    def load(folder: str | Path, *, features: Iterable[str | Callable[..., Any]] = ()) -> FittedModel:
        """Read a model that :meth:`save` wrote; the same as :func:`autobuild.load_model`.

        Args:
            folder: The model's folder, or the folder of a run, which contains ``model/``.
            features: The functions that it was fitted with, or their names.

        Returns:
            The model; its :attr:`labels` are None.

        Raises:
            ModelError: There is no model, or a file of it is missing or damaged.
        """
        from autobuild.models.store import load_model

        return load_model(folder, features=features)

    def _repr_html_(self) -> str:
        report = self.report
        text = f"<p><b>{self.target}</b> on {self.space.name}: {report['n_train']:,} rows"
        if report["test_srcc"] is not None:
            how = "cross-validated" if report.get("folds") else "held-out"
            text += f"; {how} SRCC <b>{report['test_srcc']:.3f}</b> ({report['n_test']:,} rows)"
        if report.get("hop_srcc"):
            text += f", by hop: {', '.join(f'{value:.3f}' for value in report['hop_srcc'])}"
        if report.get("picked"):
            text += f"<br>models, by weight: {report['picked']}"
        text += "".join(f"<br><b>warning:</b> {html.escape(warning)}" for warning in report.get("warnings", ()))
        return text + "</p>"

    def __repr__(self) -> str:
        srcc = self.report.get("test_srcc")
        held = f", held-out SRCC {srcc:.3f}" if isinstance(srcc, float) else ""
        warned = len(self.report.get("warnings", ()))
        also = f", {warned} warning{'s' if warned > 1 else ''}" if warned else ""
        return f"{type(self).__name__}({self.target!r} on {self.space.name}, {len(self.training):,} rows{held}{also})"

    @cached_property
    def training_archs(self) -> list[Architecture]:
        """The architectures of :attr:`training`. Length ``(len(training),)``."""
        return [self.space.parse(text) for text in self.training["arch"]]

    def predict_mean(self, archs: Iterable[Architecture | str]) -> FloatArray:
        """Predict the target.

        Architectures are read and predicted a few thousand at a time, so that an iterator of millions needs little
        memory.

        Args:
            archs: Architectures of the model's space, or their texts.

        Returns:
            Predictions in units of the target. Shape ``(len(archs),)``.
        """
        raise NotImplementedError

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Predict the target with intervals.

        Args:
            archs: Architectures of the model's space.
            level: Share of true values that should lie in the interval, between 0 and 1.

        Returns:
            Predictions, lower bounds and upper bounds in units of the target. Each has the shape ``(len(archs),)``.
        """
        raise NotImplementedError

    def reported_intervals(
        self, archs: Sequence[Architecture], level: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """:meth:`intervals` for people to read: wider for networks that are predicted beyond all labels.

        How much of a gain beyond the labels is true is not known, and is nearly the same for all networks that promise
        one. So it belongs to what is stated of a network, and not to what networks are ranked by.

        Args:
            archs: Architectures of the model's space.
            level: Share of true values that an interval should contain.

        Returns:
            Predictions, lower bounds and upper bounds, each of the shape ``(len(archs),)``.
        """
        return self.intervals(archs, level)

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray | None:
        """Draw from the joint distribution of the target at several architectures.

        Args:
            archs: Architectures of the model's space.
            count: Number of draws.
            seed: Seed of the draws.

        Returns:
            Draws in units of the target, shape ``(count, len(archs))``; None if this family of models has no joint
            distribution.
        """
        return None

    def predict(
        self, archs: Sequence[Architecture | str] | Architecture | str, level: float = INTERVAL_LEVEL
    ) -> pd.DataFrame:
        """Predict the target with intervals, as a table.

        Args:
            archs: Architectures of the model's space or their texts, or a single one.
            level: Share of true values that should lie in the interval, between 0 and 1.

        Returns:
            One row per architecture, in the order given. Columns ``arch, predicted, lower, upper``, in units of the
            target; the bounds are NaN if too few rows were held out for this level.

        Raises:
            SpaceError: If an architecture is not in the model's space.
            ConfigError: If ``level`` is not between 0 and 1, or ``archs`` is something else.
        """
        if not isinstance(level, numbers.Real) or not 0 < level < 1:
            raise ConfigError(f"level={level!r}: a number between 0 and 1 is accepted, e.g. 0.9")
        if not isinstance(archs, Architecture | Iterable):
            raise ConfigError(f"archs={archs!r}: an architecture, its text, or a list of them is accepted")
        listed = [archs] if isinstance(archs, Architecture | str) else list(archs)
        parsed = [self._parse(row, arch) for row, arch in enumerate(listed)]
        predicted, lower, upper = self.reported_intervals(parsed, level)
        texts = [arch.text for arch in parsed]
        return pd.DataFrame({"arch": texts, "predicted": predicted, "lower": lower, "upper": upper})

    def _parse(self, row: int, arch: Architecture | str) -> Architecture:
        if isinstance(arch, Architecture):
            if arch.family != self.space.family:
                raise SpaceError(
                    f"architecture {row + 1}: {arch.text!r} is of {arch.family!r}, not {self.space.family!r}"
                )
            return arch
        try:
            return self.space.parse(arch)
        except SpaceError as error:
            raise SpaceError(f"architecture {row + 1}: {error}") from None

    def _parsed(self, archs: Iterable[Architecture | str]) -> list[Architecture]:
        return [self.space.parse(arch) if isinstance(arch, str) else arch for arch in archs]

    def _chunks(self, archs: Iterable[Architecture | str]) -> Iterator[list[Architecture]]:
        """The architectures, :data:`CHUNK` at a time; one empty chunk if there are none."""
        given = iter(archs)
        chunk = self._parsed(itertools.islice(given, CHUNK))
        yield chunk
        while chunk := self._parsed(itertools.islice(given, CHUNK)):
            yield chunk
