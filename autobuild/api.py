"""The public face: nouns are few, verbs read as the paper reads. Convenience methods are bound here to plain functions.

>>> import autobuild as ab
>>> space = ab.space("ofa_mbv3")
>>> labels = ab.LabelledSet.read("labels.csv", space)
>>> model = ab.fit(labels, target="acc")
>>> scores = model.explain()
>>> built = scores.build(top=10)
>>> small = scores.narrow(top=5)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autobuild.construct import Built, narrowing_note
from autobuild.construct import build as _build
from autobuild.construct import narrow as _narrow
from autobuild.cost import Cost, costs_of
from autobuild.errors import ConfigError, SpaceError
from autobuild.explain import Scores, explain
from autobuild.fit import FittedModel, load_model, save_model
from autobuild.fit import fit as _fit
from autobuild.fit import learning_curve as _learning_curve
from autobuild.labels import LabelledSet, sample_design
from autobuild.spaces import Architecture, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Built",
    "FittedModel",
    "LabelledSet",
    "Scores",
    "build",
    "costs",
    "explain",
    "fit",
    "learning_curve",
    "load_model",
    "narrow",
    "sample_design",
    "save_model",
]


def costs(space: SearchSpace) -> dict[str, Cost]:
    """Costs that a target may name: name -> function of architectures; none where the space builds no networks."""
    try:
        return dict(costs_of(space))
    except SpaceError:
        return {}


@functools.wraps(_fit)
def fit(labels: LabelledSet, target: str = "acc", **options: Any) -> FittedModel:
    """See :func:`autobuild.fit.fit`; costs of the space (``cost.macs``...) may be named in the target."""
    return _fit(labels, target, **{"costs": costs(labels.space), **options})


@functools.wraps(_learning_curve)
def learning_curve(labels: LabelledSet, target: str = "acc", **options: Any) -> pd.DataFrame:
    """See :func:`autobuild.fit.learning_curve`; costs as in :func:`fit`."""
    return _learning_curve(labels, target, **{"costs": costs(labels.space), **options})


def build(scores: Scores, top: int = 10) -> Built:
    """Build the ``top`` best networks by summed candidate scores (exact k best, deterministic ties).

    Args:
        scores: Candidate scores.
        top: How many.

    Returns:
        A sequence of architectures; ``.frame`` has ``rank, arch, score, predicted``.
    """

    def predict(archs: Sequence[Architecture]) -> NDArray[np.float64]:
        return scores.model.predict_mean(archs)

    built = _build(scores.space, scores.unit_scores, top, predict)
    # a candidate score is on the scale of the target, so a network's is the mean over its units: the order is the sum's
    return Built(built.archs, built.scores / len(scores.space.units), built.predicted)


def narrow(
    scores: Scores, top: int | None = None, threshold: float | None = None, mass: float | None = None
) -> SearchSpace:
    """Keep only the best candidates of every unit; the result is a search space, and its ``note`` tells both sizes.

    Args:
        scores: Candidate scores.
        top: Keep this many of each unit.
        threshold: Keep candidates scored at least this much (at least one a unit stays).
        mass: Keep the best fraction of each unit's candidates, 0 < mass <= 1.

    Raises:
        ConfigError: Unless exactly one of the three is given.
    """
    given = {"top": top, "threshold": threshold, "mass": mass}
    if sum(value is not None for value in given.values()) != 1:
        raise ConfigError(f"narrow takes exactly one of top, threshold and mass; given: {given}")
    if mass is not None:
        if not 0 < mass <= 1:
            raise ConfigError(f"mass={mass!r}: a fraction above 0 and up to 1 is accepted")
        kept = {
            name: np.argsort(-values, kind="stable")[: max(1, math.ceil(mass * len(values)))]
            for name, values in scores.unit_scores.items()
        }
        small = scores.space.restrict({name: np.sort(indices) for name, indices in kept.items()})
    else:
        small = _narrow(scores.space, scores.unit_scores, top=top, threshold=threshold)
    small.note = narrowing_note(scores.space, small)
    return small


def _html_model(model: FittedModel) -> str:
    report = model.report
    said = f"<p><b>{model.target}</b> on {model.space.name}: {report['n_train']:,} rows"
    if report["test_srcc"] is not None:
        hops = ", ".join(f"{value:.3f}" for value in report["hop_srcc"])
        said += f"; held-out SRCC <b>{report['test_srcc']:.3f}</b> ({report['n_test']:,} rows), by hop: {hops}"
    return said + "</p>"


def _html_scores(scores: Scores) -> str:
    best = scores.candidates.groupby("unit", sort=False).head(3)
    return f"<p>{scores!r}</p>{scores.features.to_html(index=False)}{best.to_html(index=False)}"


def _html_built(built: Built) -> str:
    table: str = built.frame.to_html(index=False)
    return table


def _html_space(space: SearchSpace) -> str:
    import pandas as pd

    from autobuild.spaces import readable_count

    rows = [(unit.name, ", ".join(map(str, unit.depths)), unit.size) for unit in space.units]
    table = pd.DataFrame(rows, columns=["unit", "depths", "candidates"]).to_html(index=False)
    features = "; ".join(f"{f.name}: {', '.join(map(str, f.values))}" for f in space.features)
    about = f"{space.about}<br>" if space.about else ""
    note = f"<br>{space.note}" if space.note else ""
    return f"<p><b>{space.name}</b>: {readable_count(space.size)} architectures<br>{about}{features}{note}</p>{table}"


def _bind() -> None:
    """Bind the functions above to the nouns they belong to, so that rooms below need not know rooms above."""

    def load(folder: str | Path) -> FittedModel:
        return load_model(folder)

    # The classes declare these methods for type checkers; tests/api compares the declarations with what is bound.
    bound: dict[type, dict[str, Any]] = {
        FittedModel: {"explain": explain, "save": save_model, "load": staticmethod(load), "_repr_html_": _html_model},
        Scores: {"build": build, "narrow": narrow, "_repr_html_": _html_scores},
        Built: {"_repr_html_": _html_built},
        SearchSpace: {"_repr_html_": _html_space},
    }
    for noun, methods in bound.items():
        for name, method in methods.items():
            setattr(noun, name, method)


_bind()
