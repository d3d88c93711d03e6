"""Fit one graph encoder: first with held-out rows to measure its accuracy, then on all rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from autobuild.errors import ConfigError, LabelError, nearest
from autobuild.graphs import PackedGraphs, pack_architectures
from autobuild.labels import LabelledSet, TargetValues
from autobuild.models.graph_model import GraphModel
from autobuild.models.members import Settings
from autobuild.models.network import Predictor
from autobuild.models.training import train
from autobuild.rank import kendall_tau, mae, ndcg_at_k, per_hop, srcc
from autobuild.settings.names import DEVICES
from autobuild.spaces import SearchSpace

FloatArray = NDArray[np.float64]
Rows = NDArray[np.int64]
OnProgress = Callable[[str, int, int], None]
MIN_TRAIN_ROWS = 16


def fit_graph(
    usable: TargetValues,
    target: str,
    settings: Settings,
    *,
    folds: int | None = None,
    on_progress: OnProgress | None = None,
) -> GraphModel:
    """Fit the graph family; see :func:`autobuild.fit`, which adds the common entries of the report.

    Args:
        usable: The labels that have a target, with its values.
        target: Text of the target.
        settings: Settings of the encoder and its training, which say how many rows are held out. With a folder for
            checkpoints, an interrupted fit continues from there.
        folds: Number of cross-validation folds, which replace the held-out rows; the final model is then fitted on all
            rows.
        on_progress: Called with ``(phase, epochs done, epochs in all)``.

    Returns:
        The fitted model.

    Raises:
        LabelError: Too few rows are left to fit.
        ConfigError: The fit diverges, or there are more folds than networks.
    """
    started = time.perf_counter()
    labels, values, config = usable.labels, usable.values, settings.config
    rows = np.arange(len(values))
    parts = [(rows, rows[:0])]
    if folds or config.holdout:
        parts = labels.folds(folds, settings.seed) if folds else [labels.split(config.holdout, settings.seed)]
    fewest = min(len(train_rows) for train_rows, _ in parts)
    if fewest < MIN_TRAIN_ROWS:
        left_by = f"folds={folds}" if folds else f"holdout={config.holdout}"
        raise LabelError(f"{left_by} leaves {fewest} of {len(rows)} rows to fit; at least {MIN_TRAIN_ROWS} needed")
    step = GraphStep(labels.space, pack_architectures(labels.space, labels.archs), values, settings, on_progress)
    tables = []
    for number, (train_rows, test_rows) in enumerate(parts, start=1):
        network, mean, sd, history = step.run(f"fold {number} of {folds}" if folds else "fit", train_rows)
        tables.append(step.heldout(network, mean, sd, labels, test_rows))
    heldout = pd.concat(tables, ignore_index=True)
    judged_seconds = time.perf_counter() - started
    final_rows = rows if folds or config.refit else train_rows
    if len(final_rows) > len(train_rows):
        network, mean, sd, history = step.run("refit on all rows", rows)
    return GraphModel(
        space=labels.space,
        target=target,
        network=network,
        mean=mean,
        sd=sd,
        training=pd.DataFrame({"arch": [labels.archs[row].text for row in final_rows], "target": values[final_rows]}),
        heldout=heldout,
        history=pd.DataFrame(history),
        report={
            **evaluation(heldout),
            "n_test": len(heldout),
            **({"folds": folds} if folds else {}),
            "holdout_fit_seconds": judged_seconds,
            "n_train": len(final_rows),
            "n_fitted_for_test": len(rows) if folds else len(train_rows),
            "refit": len(final_rows) > len(train_rows),
        },
        encoder=settings.encoder,
        config=config,
        seed=settings.seed,
    )


def check_device(device: str) -> None:
    """Raise ConfigError if a device is unknown or not available."""
    if device not in DEVICES:
        raise ConfigError(f"fit.device={device}: {nearest(device, DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "fit.device=cuda: this torch finds no CUDA device; fit.device=cpu works everywhere "
            "(pytorch.org says how to install torch for a GPU)"
        )


class GraphStep:
    """Fits and predictions on some of the rows; :meth:`run` fits once."""

    def __init__(
        self,
        space: SearchSpace,
        graphs: PackedGraphs,
        values: FloatArray,
        settings: Settings,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.vocabulary = [len(feature.values) for feature in space.node_features]
        self.graphs, self.values, self.settings, self.on_progress = graphs, values, settings, on_progress

    def run(self, phase: str, rows: Rows) -> tuple[Predictor, float, float, list[dict[str, float]]]:
        """Fit on ``rows``; returns the predictor, mean and standard deviation of the target, and the history."""
        values, settings = self.values[rows], self.settings
        mean, sd = float(values.mean()), float(values.std()) or 1.0
        file = settings.checkpoint / f"_{phase.split()[0]}.pt" if settings.checkpoint else None
        report = self.on_progress
        network, history = train(
            self.graphs.take(torch.from_numpy(rows)),
            torch.from_numpy((values - mean) / sd).float(),
            self.vocabulary,
            settings.encoder,
            settings.config,
            settings.seed,
            checkpoint=file,
            on_epoch=(lambda done, total: report(phase, done, total)) if report else None,
            device=settings.device,
        )
        return network, mean, sd, history

    def heldout(self, network: Predictor, mean: float, sd: float, labels: LabelledSet, rows: Rows) -> pd.DataFrame:
        """Predictions and norms of held-out rows. Columns ``arch, measured, predicted, hop0, ...``."""
        graphs = self.graphs.take(torch.from_numpy(rows))
        frame = pd.DataFrame({"arch": [labels.archs[row].text for row in rows], "measured": self.values[rows]})
        hops = self.settings.encoder.hops + 1
        if not len(rows):
            return frame.assign(predicted=[], **{f"hop{hop}": [] for hop in range(hops)})
        with torch.inference_mode():
            predicted, encoding = network(graphs)
        norms = encoding.graph_norms().double().numpy()
        return frame.assign(
            predicted=predicted.double().numpy() * sd + mean, **{f"hop{hop}": norms[hop] for hop in range(hops)}
        )


def evaluation(heldout: pd.DataFrame) -> dict[str, Any]:
    """Metrics of held-out rows: of the predictions (``test_*``) and of the norms of every hop (``hop_*``, hop 0 first).

    NDCG is at k = 10. For ``hop_mae`` the norms are scaled to the mean and standard deviation of the measured target.
    """
    names = ("srcc", "tau", "ndcg", "mae")
    if heldout.empty:
        return {f"{kind}_{name}": None for kind in ("test", "hop") for name in names}
    measured, predicted = heldout["measured"].to_numpy(dtype=float), heldout["predicted"].to_numpy(dtype=float)
    norms = heldout[[name for name in heldout.columns if name.startswith("hop")]].to_numpy(dtype=float).T
    sd = norms.std(axis=1, keepdims=True)
    scaled = (norms - norms.mean(axis=1, keepdims=True)) / np.where(sd > 0, sd, 1) * measured.std() + measured.mean()
    metrics = {"srcc": srcc, "tau": kendall_tau, "ndcg": ndcg_at_k, "mae": mae}
    return {
        **{f"test_{name}": metric(predicted, measured) for name, metric in metrics.items()},
        **{f"hop_{name}": per_hop(scaled, measured, metric) for name, metric in metrics.items()},
    }
