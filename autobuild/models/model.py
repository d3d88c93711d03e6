"""What every fitted model can do: predict with intervals, say what it was fitted on and how well it did."""

from __future__ import annotations

import html
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autobuild.errors import ConfigError, SpaceError
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    from pathlib import Path

    from autobuild.importance import Scorer, Scores
    from autobuild.labels import LabelledSet

FloatArray = NDArray[np.float64]


@dataclass(kw_only=True)
class FittedModel:
    """What :func:`autobuild.fit` returns, of whatever family.

    Attributes:
        space: The space the labels belong to.
        target: The target expression, maximised.
        family: ``graph``, or the family of an :class:`~autobuild.models.ensemble.EnsembleModel`.
        training: The rows fitted: ``arch`` and ``target``.
        heldout: ``arch, measured, predicted, ...``: predictions by models that did not see these rows.
        report: Numbers and notes, JSON-ready.
        seed: The seed.
        labels: The labelled set it was fitted on, for limits over its other columns; None for a model read from disk.
    """

    space: SearchSpace
    target: str
    family: str
    training: pd.DataFrame
    heldout: pd.DataFrame
    report: dict[str, Any]
    seed: int
    labels: LabelledSet | None = field(default=None, repr=False)
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def explain(self, space: SearchSpace | None = None, scorer: str | Scorer = "auto") -> Scores:
        """Score what the model has learned; :func:`autobuild.explain` of this model.

        Args:
            space: Whose candidates to score; the model's space by default, or one narrowed or joined from it.
            scorer: ``"additive"`` (what ``"auto"`` means), ``"hopnorm"`` for ``model="graph"``, another registered
                name, or a callable of that protocol.

        Raises:
            ConfigError: For an unknown scorer, one that cannot read this model, or a space of another family.
        """
        from autobuild.importance import explain

        return explain(self, space, scorer)

    def save(self, folder: str | Path) -> Path:
        """Write the model into ``folder``, which is made if missing; :func:`autobuild.save_model` of this model.

        Raises:
            RunError: If the folder cannot be written.
        """
        from autobuild.models.store import save_model

        return save_model(self, folder)

    @staticmethod
    def load(folder: str | Path) -> FittedModel:
        """Read a model that :meth:`save` wrote; as :func:`autobuild.load_model`.

        Args:
            folder: The model's folder, or a run's folder that holds ``model/``.

        Raises:
            ModelError: If there is none, or it is damaged.
        """
        from autobuild.models.store import load_model

        return load_model(folder)

    def _repr_html_(self) -> str:
        report = self.report
        text = f"<p><b>{self.target}</b> on {self.space.name}: {report['n_train']:,} rows"
        if report["test_srcc"] is not None:
            how = "cross-validated" if report.get("folds") else "held-out"
            text += f"; {how} SRCC <b>{report['test_srcc']:.3f}</b> ({report['n_test']:,} rows)"
        if report.get("hop_srcc"):
            text += f", by hop: {', '.join(f'{value:.3f}' for value in report['hop_srcc'])}"
        if report.get("picked"):
            text += f"<br>made of {report['picked']}"
        text += "".join(f"<br><b>warning:</b> {html.escape(told)}" for told in report.get("warnings", ()))
        return text + "</p>"

    def __repr__(self) -> str:
        srcc = self.report.get("test_srcc")
        held = f", held-out SRCC {srcc:.3f}" if isinstance(srcc, float) else ""
        warned = len(self.report.get("warnings", ()))
        told = f", {warned} warning{'s' if warned > 1 else ''}" if warned else ""
        return f"{type(self).__name__}({self.target!r} on {self.space.name}, {len(self.training):,} rows{held}{told})"

    @property
    def training_archs(self) -> list[Architecture]:
        """The architectures fitted."""
        if "archs" not in self._cache:
            self._cache["archs"] = [self.space.parse(text) for text in self.training["arch"]]
        archs: list[Architecture] = self._cache["archs"]
        return archs

    def predict_mean(self, archs: Sequence[Architecture | str]) -> FloatArray:
        """Predicted target. Shape ``(len(archs),)``, in units of the target."""
        raise NotImplementedError

    def intervals(self, archs: Sequence[Architecture], level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Predicted target and the bounds of an interval that holds a share ``level`` of true values.

        Shapes: three times ``(len(archs),)``, in units of the target.
        """
        raise NotImplementedError

    def draw(self, archs: Sequence[Architecture], count: int, seed: int) -> FloatArray | None:
        """Draws of what the target may be at ``archs``, jointly; None where the family knows no such thing.

        Shape ``(count, len(archs))``, in units of the target.
        """
        return None

    def predict(self, archs: Sequence[Architecture | str] | Architecture | str, level: float = 0.9) -> pd.DataFrame:
        """Predict with intervals.

        Args:
            archs: Architectures, or their texts.
            level: Coverage of the interval. Bounds are NaN where too few rows were held out for the level.

        Returns:
            ``arch, predicted, lower, upper`` in units of the target, in the order given.

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
        predicted, lower, upper = self.intervals(parsed, level)
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

    def _parsed(self, archs: Sequence[Architecture | str]) -> list[Architecture]:
        return [self.space.parse(arch) if isinstance(arch, str) else arch for arch in archs]
