"""``fit``: fit a predictor of any family on labelled architectures."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autobuild._moved import renamed_arguments
from autobuild._progress import shown
from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT
from autobuild.cost.space_costs import SpaceCosts
from autobuild.encode import EncoderConfig
from autobuild.errors import ConfigError, FitWarning, LabelWarning
from autobuild.expressions import TargetExpression
from autobuild.labels import LabelledSet, TargetValues
from autobuild.labels.labelled_set import check_labels, warn
from autobuild.models.config import FitConfig, check_seed
from autobuild.models.cost_terms import CostedModel, split_cost_terms
from autobuild.models.ensemble import EnsembleModel
from autobuild.models.ensemble_fit import fit_ensemble
from autobuild.models.graph_fit import check_device, fit_graph
from autobuild.models.graph_model import GraphModel
from autobuild.models.known import Column, SourceColumn, feature_columns, source_values
from autobuild.models.members import Settings
from autobuild.models.memory import memory_errors
from autobuild.models.model import FittedModel, FloatArray
from autobuild.models.threads import one_blas_thread, torch_threads
from autobuild.models.views import describer_for
from autobuild.registry import FAMILIES
from autobuild.settings.option import integer

OnProgress = Callable[[str, int, int], None]

FEW_VALUES = 6  # labels with fewer distinct values than this give a warning
SOURCE_ROWS = 400  # from which a model of a source is fitted at most
LEAST_SRCC = 0.1  # a held-out SRCC below this, or below the 95 % quantile of random rankings, gives a warning


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """Suppress FitWarning and LabelWarning, for models that a search or a limit fits for its own use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        warnings.simplefilter("ignore", LabelWarning)
        yield


@renamed_arguments({"holdout": "config.holdout", "refit": "config.refit"}, config=FitConfig)
def fit(
    labels: LabelledSet,
    target: str = "acc",
    *,
    model: str = "auto",
    seed: int = 0,
    folds: int | None = None,
    encoder: EncoderConfig | None = None,
    config: FitConfig | None = None,
    costs: Mapping[str, Any] | None = None,
    hardware: str | Path | Hardware = DEFAULT,
    checkpoint: Path | None = None,
    on_progress: OnProgress | None = None,
    device: str = "cpu",
    equal: str = "auto",
    sources: Sequence[Any] | None = None,
    features: Sequence[Any] | None = None,
) -> FittedModel:
    """Fit a predictor of ``target`` on labelled architectures.

    Args:
        labels: The labelled set. The fit uses no other labels.
        target: Expression over its metrics, maximised, e.g. ``"acc - 0.01*latency_gpu"``. Terms of a sum that name only
            costs, as in ``"acc - 1e-9*dram_bytes"``, are computed exactly instead of learned (a
            :class:`~autobuild.models.cost_terms.CostedModel`), except by ``"graph"``, which learns the whole target.
        model: ``"auto"`` combines a Gaussian process, a linear model, boosted trees and the graph encoder, with weights
            from cross-validation on these labels; ``report["picked"]`` says which were chosen, and
            ``report["members"]`` what each contributes. ``"gp"``, ``"linear"`` and ``"trees"`` fit one of them alone.
            ``"graph"`` fits the hop encoder of the AutoBuild paper, whose norms the scorer ``hopnorm`` reads. Other
            names are those of registered families (:func:`autobuild.register_family`).
        seed: Seed of everything random in the fit.
        folds: Number of cross-validation folds, by which the model is judged on all rows. Equal networks stay in one
            fold. Default: 5, or 3 from 1,500 rows on. ``"graph"``, which takes longest, is by default not
            cross-validated, but judged on the rows that ``config.holdout`` keeps back.
        encoder: Settings of the graph encoder.
        config: Settings of its training, with ``holdout`` and ``refit`` of ``"graph"``.
        costs: Cost name -> function from ``n`` architectures to values of shape ``(n,)``, for targets that name costs
            (default: all costs of the space).
        hardware: Hardware for the default costs: the name of a preset, a YAML file, or a
            :class:`~autobuild.cost.Hardware`.
        checkpoint: Folder for checkpoints of the graph encoder. If the fit is interrupted, the same call continues
            from there.
        on_progress: Called with ``(phase, percent done, 100)``. Without it, a bar is shown on a terminal and in a
            notebook, unless the environment sets ``AUTOBUILD_PROGRESS=0``.
        device: Device on which the graph encoder is trained: ``"cpu"`` or ``"cuda"``.
        equal: What equal networks share: ``"function"`` (they have the same target, as an accuracy), ``"execution"``
            (they need not, as a latency), or ``"auto"``, see :meth:`LabelledSet.target`. ``report["equal"]`` says what
            was chosen and why, ``report["views"]`` how networks are described.
        sources: What is known from elsewhere about other devices, tasks, epochs or spaces: labelled sets with a column
            of the target, pairs (labelled set, expression), expressions over other columns of ``labels``, or fitted
            models. Their predictions become features of the process. ``report["sources"]`` says by how much each
            increases the likelihood of the labels; the others are dropped. Not for ``"graph"``.
        features: Numbers that are known without training, such as zero-cost proxies: columns of ``labels``, functions
            from a list of architectures to their numbers, or names ``package.module:function``. What predicts
            architectures without a value in a column needs a function. Not for ``"graph"``.

    Returns:
        The fitted model, with its held-out predictions and a report.

    Raises:
        TargetError: The target cannot be read, or names something unknown.
        LabelError: Fewer than 5 rows are usable, or too few are left after the holdout.
        ConfigError: The family, seed, device, number of folds, a source or a feature is unusable, or the fit diverges.
        RunError: There is too little memory.

    Warns:
        FitWarning: The model ranks held-out rows no better than chance could, or most labels have the same value. The
            texts are also in ``report["warnings"]``.
    """
    FAMILIES.check(model)
    check_labels(labels)
    check_device(device)
    for name, value, kind in (("encoder", encoder, EncoderConfig), ("config", config, FitConfig)):
        if not isinstance(value, kind | None):
            raise ConfigError(f"{name}={value!r}: accepted is ab.{kind.__name__}(...)")
    settings = Settings(encoder or EncoderConfig(), config or FitConfig(), check_seed(seed), device, checkpoint)
    known = _listed(sources, "sources"), _listed(features, "features")
    with shown(on_progress) as report:
        percent = _in_percent(report) if report else None
        return _fit(labels, target, model, settings, folds, costs, hardware, percent, equal, *known)


def _in_percent(on_progress: OnProgress) -> OnProgress:
    """Report in percent: the pieces of a phase, such as steps within folds, are counted anew in each of them."""
    return lambda phase, done, total: on_progress(phase, 100 * done // max(1, total), 100)


def fit_again(labels: LabelledSet, target: str, model: str, seed: int, equal: str = "auto") -> FittedModel:
    """Fit as :func:`fit`, for a search that fits again and again: a process is not fitted in every fold.

    Its held-out predictions follow from the fit on all rows. With few labels they look a little better than they are,
    which only scales the intervals.
    """
    settings = Settings(EncoderConfig(), FitConfig(), check_seed(seed), closed_form_rows=0)
    return _fit(labels, target, model, settings, None, None, DEFAULT, None, equal)


def _fit(
    labels: LabelledSet,
    target: str,
    model: str,
    settings: Settings,
    folds: int | None,
    costs: Mapping[str, Any] | None,
    hardware: str | Path | Hardware,
    on_progress: OnProgress | None,
    equal: str,
    sources: Sequence[Any] = (),
    features: Sequence[Any] = (),
) -> FittedModel:
    folds = None if folds is None else integer("folds", folds, 2)
    costs = SpaceCosts(labels.space, hardware) if costs is None else costs
    started = time.perf_counter()
    # Folds, samples of trees and batches are drawn by place: in one order, that of the rows changes nothing.
    given, labels = labels, labels.subset(np.argsort(labels.frame["arch"].to_numpy(dtype=str), kind="stable"))
    usable = labels.target(target, costs, equal)
    target = usable.expression.text  # with backticks around the name of a column, if it needs them
    warn(usable.warnings, stacklevel=5)
    fitted: FittedModel
    if model == "graph" and (sources or features):
        raise ConfigError("sources and features are not for model=graph: auto, gp, trees or another family takes them")
    with memory_errors(f"the fit on {len(usable.values):,} rows", 'labels.head(n), or model="trees", needs less'):
        if model == "graph":
            fitted = fit_graph(usable, target, settings, folds=folds, on_progress=on_progress)
        else:
            known = [*feature_columns(labels, features), *_source_columns(labels, usable.expression, sources, settings)]
            fitted = _fit_learned(labels, usable, target, costs, equal, known, model, settings, folds, on_progress)
    _put_in_order(fitted, given)
    fitted.labels = given
    fitted.report |= {
        "target": target,
        "model": model,
        "seed": settings.seed,
        "dropped": usable.dropped,
        "equal": asdict(usable.equality),
        "notes": [*labels.notes, *([usable.note] if usable.note else [])],
        "label_warnings": list(usable.warnings),
        "warnings": [
            *doubts(usable.values, fitted.report["test_srcc"], fitted.report["n_test"]),
            *_labels_in_disguise(labels, features, usable),
        ],
        "fit_seconds": time.perf_counter() - started,
        "label_hash": given.content_hash,
    }
    if fitted.report["warnings"]:
        warnings.warn("\n  ".join([f"{fitted!r}:", *fitted.report["warnings"]]), FitWarning, stacklevel=4)
    return fitted


def _put_in_order(fitted: FittedModel, labels: LabelledSet) -> None:
    """Put the rows of a model's tables into the order of the labels that were given."""
    place = {arch.text: row for row, arch in enumerate(labels.archs)}
    for model in [fitted, *([fitted.learned] if isinstance(fitted, CostedModel) else [])]:
        order = np.argsort(model.training["arch"].map(place).to_numpy(), kind="stable")
        moved_to = np.argsort(order)
        archs = model.training_archs
        model.training = model.training.iloc[order].set_axis(model.training.index)
        model.__dict__["training_archs"] = [archs[row] for row in order]
        if isinstance(model, EnsembleModel):
            model.rows = {kind: moved_to[rows] for kind, rows in model.rows.items()}
        if isinstance(model, GraphModel):  # its held-out rows are not those that it was fitted on
            by_place = np.argsort(model.heldout["arch"].map(place).to_numpy(), kind="stable")
            model.heldout = model.heldout.iloc[by_place].reset_index(drop=True)
        else:
            model.heldout = model.heldout.set_axis(moved_to[model.heldout.index]).sort_index()


def doubts(values: FloatArray, srcc: float | None, judged: int) -> list[str]:
    """Reasons not to trust a model, as text; empty if there are none.

    Args:
        values: The target of the training rows. Shape ``(n,)``.
        srcc: Rank correlation on held-out rows; None if there were none.
        judged: Number of held-out rows.
    """
    reasons = []
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < FEW_VALUES:
        listed = ", ".join(f"{count:,} of {value:.6g}" for value, count in zip(distinct, counts, strict=True))
        reasons.append(
            f"the {len(values):,} labels have only {len(distinct)} different values ({listed}): a ranking of networks "
            "can hardly be learned from them"
        )
    elif counts.max() > len(values) / 2:
        usual = distinct[counts.argmax()]
        reasons.append(
            f"{counts.max():,} of the {len(values):,} labels are {usual:.6g}: check whether that is a measured value, "
            "or one that stands for a missing or failed measurement"
        )
    if srcc is not None and not srcc > max(LEAST_SRCC, 1.645 / max(1, judged - 1) ** 0.5):
        how = "cannot be computed, as all predictions are equal" if math.isnan(srcc) else f"is {srcc:.2f}"
        reasons.append(
            f"the rank correlation on {judged:,} held-out rows {how}, no better than chance may give: do not trust "
            "predictions, scores and built networks; look for wrong labels, or label more architectures"
        )
    return reasons


def _fit_learned(
    labels: LabelledSet,
    usable: TargetValues,
    target: str,
    costs: Mapping[str, Any],
    equal: str,
    known: Sequence[Column],
    family: str,
    settings: Settings,
    folds: int | None,
    on_progress: OnProgress | None,
) -> FittedModel:
    """Fit a model of the target, in which terms with costs only are computed instead of learned."""
    learned, exact = split_cost_terms(usable.expression, usable.labels.names(costs), costs)
    part = usable if exact is None else labels.subset(usable.rows).target(learned, costs, equal)
    with torch_threads(settings.config.threads), one_blas_thread():
        describer, kept = describer_for(part, known, settings.seed)
    model = fit_ensemble(
        part.labels, part.values, part.expression.text, family, settings,
        folds=folds, describer=describer, on_progress=on_progress,
    )  # fmt: skip
    model.report["sources"] = kept
    if exact is None:
        return model
    model.training["exact"] = exact.values(usable.labels.archs)
    model.heldout["exact"] = model.training["exact"]  # of the rows that were judged
    return CostedModel.of(model, exact, target)


def _listed(given: Sequence[Any] | None, what: str) -> list[Any]:
    """What is given as a list. Raises ConfigError if it is something else."""
    if given is None or isinstance(given, list | tuple):
        return list(given or ())
    raise ConfigError(f"{what}={given!r}: a list is accepted")


def _source_columns(
    labels: LabelledSet, target: TargetExpression, sources: Sequence[Any], settings: Settings
) -> list[Column]:
    """Models of the sources, each fitted on at most :data:`SOURCE_ROWS` rows, as columns."""
    found: list[Column] = []
    for place, source in enumerate(sources):
        name, given, text = source_values(labels, source, target)
        if isinstance(given, LabelledSet):
            order = np.random.default_rng([settings.seed, place]).permutation(len(given))
            part = given.subset(np.sort(order[:SOURCE_ROWS])).target(text)
            with torch_threads(settings.config.threads), one_blas_thread():
                describer, _ = describer_for(part, (), settings.seed)
            given = fit_ensemble(part.labels, part.values, text, "gp", settings, folds=2, describer=describer)
        found.append(SourceColumn(name, given))
    return found


def _labels_in_disguise(labels: LabelledSet, features: Sequence[Any], usable: TargetValues) -> list[str]:
    """Features that order the rows exactly as the target does, which hardly is known without training."""
    ranks = pd.Series(usable.values).rank().to_numpy()
    found = []
    for name in (one for one in features if isinstance(one, str) and one in labels.metrics):
        own = labels.frame[name].iloc[usable.rows].rank().to_numpy()
        if np.array_equal(own, ranks) or np.array_equal(own, len(own) + 1 - ranks):
            found.append(f"the feature {name!r} orders the labels exactly as the target does: is it a label itself?")
    return found
