"""Inputs of figures: scores from a fitted model, and tables of target values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from autobuild.cost.space_costs import SpaceCosts
from autobuild.errors import ConfigError
from autobuild.labels import LabelledSet
from autobuild.models import FittedModel
from autobuild.plot._style import shorten


def scores_of(given: Any, figure: str, *, frames: bool = True) -> Any:
    """Return the scores given, those of a fitted model, or a frame of scores (if ``frames`` is true).

    Raises:
        ConfigError: For anything else.
    """
    if isinstance(given, FittedModel):
        return given.explain()
    if hasattr(given, "node_scores") or (frames and isinstance(given, pd.DataFrame)):
        return given
    accepted = "scores, a fitted model, or a frame of scores" if frames else "scores or a fitted model"
    raise ConfigError(f"plot.{figure} takes {accepted}; given: {type(given).__name__} {shorten(repr(given), 60)}")


def target_table(labels: LabelledSet, targets: Sequence[str]) -> pd.DataFrame:
    """Values of target expressions over a labelled set: ``arch`` and one column a target, rows that have them all.

    Raises:
        TargetError: For an expression that cannot be read, or a name that is neither a metric nor a cost.
    """
    tables = []
    for target in targets:
        usable = labels.target(target, SpaceCosts(labels.space))
        tables.append(pd.Series(usable.values, index=[arch.text for arch in usable.labels.archs], name=target))
    return pd.concat(tables, axis=1, join="inner").rename_axis("arch").reset_index()
