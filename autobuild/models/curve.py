"""The learning curve: how held-out accuracy grows with the number of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autobuild._typing import FloatArray
from autobuild._typing import IntArray as Rows
from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT
from autobuild.cost.space_costs import SpaceCosts
from autobuild.encode import EncoderConfig
from autobuild.graphs import pack_architectures
from autobuild.labels import LabelledSet, TargetValues
from autobuild.labels.labelled_set import check_labels
from autobuild.models.config import FitConfig
from autobuild.models.cost_terms import split_cost_terms
from autobuild.models.gp_family import GPMember
from autobuild.models.graph_fit import MIN_TRAIN_ROWS, evaluation, fit_networks
from autobuild.models.members import Inputs, Settings
from autobuild.models.process import fit_process
from autobuild.models.views import describer_for
from autobuild.rank import mae, srcc

FRACTIONS = (0.125, 0.25, 0.5, 1.0)


def learning_curve(
    labels: LabelledSet,
    target: str = "acc",
    *,
    model: str = "auto",
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    holdout: float | int = 0.1,
    encoder: EncoderConfig | None = None,
    config: FitConfig | None = None,
    costs: Mapping[str, Any] | None = None,
    hardware: str | Path | Hardware = DEFAULT,
    on_point: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Fit on growing parts of the rows and test every fit on the same held-out rows.

    Args:
        labels: The labelled set, ``n`` rows.
        target: Expression over its metrics, maximised, as in :func:`autobuild.fit`.
        model: ``"graph"`` fits the graph encoder. For every other family the curve of a Gaussian process is computed,
            because it is fitted within seconds.
        fractions: Fractions of the training rows, each in (0, 1]. Parts with too few rows for a fit are left out.
        seed: Seed of the split, of the parts (each contains the smaller ones) and of the fits.
        holdout: Fraction or number of rows held out; must not be 0, because the curve is computed on these rows.
        encoder: Settings of the graph encoder.
        config: Settings of its training.
        costs: Cost name -> function from architectures to values (default: all costs of the space).
        hardware: Hardware for the default costs, as in :func:`autobuild.fit`.
        on_point: Called after every fit with ``(fits done, fits in all)``.

    Returns:
        One row per fit. Columns ``n`` (training rows), ``test_srcc`` (Spearman correlation on held-out rows),
        ``test_mae`` (mean absolute error, in units of the target) and ``n_test`` (held-out rows).
    """
    costs = SpaceCosts(check_labels(labels).space, hardware) if costs is None else costs
    usable = labels.target(target, costs)
    train_rows, test_rows = usable.labels.split(holdout, seed)
    order = np.random.default_rng(seed).permutation(train_rows)
    sizes = sorted({round(len(order) * fraction) for fraction in fractions})
    sizes = [size for size in sizes if size >= MIN_TRAIN_ROWS]
    if model == "graph":
        judge = _graph(usable.labels, usable.values, test_rows, seed, encoder, config)
    else:
        exact = split_cost_terms(usable.expression, labels.names(costs), costs)[1]
        computed = np.zeros(len(usable.values)) if exact is None else exact.values(usable.labels.archs)
        judge = _process(usable, computed, test_rows, seed)
    points = []
    for done, size in enumerate(sizes, start=1):
        points.append({"n": size, **judge(np.sort(order[:size])), "n_test": len(test_rows)})
        if on_point:
            on_point(done, len(sizes))
    return pd.DataFrame(points, columns=["n", "test_srcc", "test_mae", "n_test"])


def _graph(
    labels: LabelledSet,
    values: FloatArray,
    test: Rows,
    seed: int,
    encoder: EncoderConfig | None,
    config: FitConfig | None,
) -> Callable[[Rows], dict[str, float]]:
    graphs = pack_architectures(labels.space, labels.archs)
    settings = Settings(encoder or EncoderConfig(), config or FitConfig(), seed)

    def judge(rows: Rows) -> dict[str, float]:
        fit = fit_networks(labels, values, [rows], settings, graphs=graphs)[0]
        scores = evaluation(fit.heldout(graphs, labels, values, test))
        return {"test_srcc": scores["test_srcc"], "test_mae": scores["test_mae"]}

    return judge


def _process(usable: TargetValues, computed: FloatArray, test: Rows, seed: int) -> Callable[[Rows], dict[str, float]]:
    labels, values = usable.labels, usable.values
    rest = np.setdiff1d(np.arange(len(values)), test)
    learned = (values - computed)[rest]
    part = replace(usable, labels=labels.subset(rest), values=learned)
    describer, _ = describer_for(part, (), seed)
    inputs = Inputs(labels.space, labels.archs, describer)
    description, parts = inputs.description, GPMember.parts_of(inputs)

    def judge(rows: Rows) -> dict[str, float]:
        learned = (values - computed)[rows]
        process = fit_process(description.take(rows), learned, parts, seed=seed, residual=describer.residual)
        predicted = process.warp.label(process.predict_mean(description.take(test))) + computed[test]
        return {"test_srcc": srcc(predicted, values[test]), "test_mae": mae(predicted, values[test])}

    return judge
