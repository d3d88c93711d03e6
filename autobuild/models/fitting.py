"""Fitting: one verb for all families of models."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT
from autobuild.cost.of_space import SpaceCosts
from autobuild.encode import EncoderConfig
from autobuild.errors import ConfigError, FitWarning, nearest
from autobuild.labels import LabelledSet, TargetValues
from autobuild.labels.frame import check_labels, warn
from autobuild.models.config import FitConfig, check_seed
from autobuild.models.costed import CostedModel
from autobuild.models.ensemble_fit import fit_ensemble
from autobuild.models.exact import taken_apart
from autobuild.models.graph_fit import check_device, fit_graph
from autobuild.models.members import Settings
from autobuild.models.model import FittedModel, FloatArray

OnProgress = Callable[[str, int, int], None]

FEW_VALUES = 6  # fewer different labels than that are said
LEAST_SRCC = 0.1  # or what one in twenty models without any knowledge reaches, if that is more

FAMILIES = ("auto", "gp", "linear", "trees", "graph")


def fit(
    labels: LabelledSet,
    target: str = "acc",
    *,
    model: str = "auto",
    seed: int = 0,
    folds: int | None = None,
    holdout: float | int = 0.1,
    refit: bool = True,
    encoder: EncoderConfig | None = None,
    config: FitConfig | None = None,
    costs: Mapping[str, Any] | None = None,
    hardware: str | Path | Hardware = DEFAULT,
    checkpoint: Path | None = None,
    on_progress: OnProgress | None = None,
    device: str = "cpu",
) -> FittedModel:
    """Fit a predictor of ``target`` on labelled architectures.

    Args:
        labels: The labelled set; no other label is ever seen.
        target: Expression over its metrics, maximised, e.g. ``"acc - 0.01*latency_gpu"``. Terms of a sum that name
            costs alone, as in ``"acc - 1e-9*dram_bytes"``, are not learned but computed (a
            :class:`~autobuild.models.costed.CostedModel`); ``"graph"`` learns all of it.
        model: ``"auto"`` weighs a Gaussian process, a linear one, boosted trees and the graph encoder by
            cross-validation inside these labels; ``report["picked"]`` says what came out, and ``report["members"]``
            what each adds. ``"gp"``, ``"linear"`` and ``"trees"`` are those members alone, ``"graph"`` the hop encoder
            of the AutoBuild paper, whose norms the scorer ``hopnorm`` reads.
        seed: Seed of everything random here.
        folds: Folds of the cross-validation (default: 5, and 3 from 1,500 rows on). Equal networks stay together.
        holdout: For ``"graph"`` alone: fraction or number of rows held out for the report and the intervals; 0 for
            none. The other families are judged on all rows, by cross-validation.
        refit: For ``"graph"`` alone: fit the final model on all rows, the held-out ones included; the report still is
            that of the model which did not see them.
        encoder: The graph encoder's settings.
        config: Its fit's settings.
        costs: Cost name -> function of architectures, for targets that name costs (default: all costs of the space).
        hardware: What those default costs are computed for: the name of a preset, a YAML file, or a
            :class:`~autobuild.cost.Hardware`.
        checkpoint: Folder for checkpoints of the graph encoder; a killed fit goes on from there.
        on_progress: Called with ``(phase, pieces done, pieces in all)``.
        device: Where the graph encoder is trained: ``"cpu"`` or ``"cuda"``.

    Raises:
        TargetError: For an unusable target.
        LabelError: For fewer than 20 usable rows, or a holdout that leaves too few.
        ConfigError: For an unusable family, seed, device or number of folds, or a fit that diverges.

    Warns:
        FitWarning: Where the model ranks held-out rows no better than chance may, or most labels are one value; the
            texts also stand in ``report["warnings"]``.
    """
    if model not in FAMILIES:
        raise ConfigError(f"model={model!r}: {nearest(model, FAMILIES)}")
    check_labels(labels)
    check_device(device)
    settings = Settings(encoder or EncoderConfig(), config or FitConfig(), check_seed(seed), device, checkpoint)
    if folds is not None and (isinstance(folds, bool) or not isinstance(folds, int) or folds < 2):
        raise ConfigError(f"folds={folds!r}: an integer of at least 2 is accepted")
    costs = SpaceCosts(labels.space, hardware) if costs is None else costs
    started = time.perf_counter()
    usable = labels.target(target, costs)
    target = usable.expression.text  # a column's exact name is in backticks there
    warn(usable.warnings)
    fitted: FittedModel
    if model == "graph":
        fitted = fit_graph(usable, target, settings, holdout=holdout, refit=refit, on_progress=on_progress)
    else:
        fitted = _fit_learned(usable, target, costs, model, settings, folds, on_progress)
        fitted.report |= {"n_fitted_for_test": len(usable.values), "refit": True}
    fitted.labels = labels
    fitted.report |= {
        "target": target,
        "model": model,
        "seed": settings.seed,
        "dropped": usable.dropped,
        "notes": [*labels.notes, *([usable.note] if usable.note else [])],
        "label_warnings": list(usable.warnings),
        "warnings": doubts(usable.values, fitted.report["test_srcc"], fitted.report["n_test"]),
        "fit_seconds": time.perf_counter() - started,
        "label_hash": labels.content_hash,
    }
    if fitted.report["warnings"]:
        warnings.warn("\n  ".join([f"{fitted!r}:", *fitted.report["warnings"]]), FitWarning, stacklevel=2)
    return fitted


def doubts(values: FloatArray, srcc: float | None, judged: int) -> list[str]:
    """Why a model should not be trusted, in plain words; empty where nothing speaks against it.

    Args:
        values: The target of the rows fitted, shape ``(n,)``.
        srcc: Rank correlation on held-out rows; None where there were none.
        judged: How many rows were held out.
    """
    said = []
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < FEW_VALUES:
        listed = ", ".join(f"{count:,} of {value:.6g}" for value, count in zip(distinct, counts, strict=True))
        said.append(
            f"the {len(values):,} labels have only {len(distinct)} different values ({listed}): a ranking of networks "
            "can hardly be learned from them"
        )
    elif counts.max() > len(values) / 2:
        usual = distinct[counts.argmax()]
        said.append(
            f"{counts.max():,} of the {len(values):,} labels are {usual:.6g}: check whether that is a measured value, "
            "or one that stands for a missing or failed measurement"
        )
    if srcc is not None and not srcc > max(LEAST_SRCC, 1.645 / max(1, judged - 1) ** 0.5):
        how = "cannot be computed, as all predictions are equal" if math.isnan(srcc) else f"is {srcc:.2f}"
        said.append(
            f"the rank correlation on {judged:,} held-out rows {how}, no better than chance may give: do not trust "
            "predictions, scores and built networks; look for wrong labels, or label more architectures"
        )
    return said


def _fit_learned(
    usable: TargetValues,
    target: str,
    costs: Mapping[str, Any],
    family: str,
    settings: Settings,
    folds: int | None,
    on_progress: OnProgress | None,
) -> FittedModel:
    """Learn the target, but for its terms that name costs alone: those are computed."""
    labels = usable.labels
    learned, exact = taken_apart(usable.expression, labels.names(costs), costs)
    if exact is None:
        return fit_ensemble(labels, usable.values, target, family, settings, folds=folds, on_progress=on_progress)
    values = labels.target(learned, costs).values
    model = fit_ensemble(labels, values, learned.text, family, settings, folds=folds, on_progress=on_progress)
    model.training["exact"] = model.heldout["exact"] = exact.values(labels.archs)
    return CostedModel.of(model, exact, target)
