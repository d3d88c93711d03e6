"""Fit one graph encoder: first with held-out rows to measure its accuracy, then on all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from autobuild.models.training import History, train_side_by_side
from autobuild.rank import kendall_tau, mae, ndcg_at_k, per_hop, srcc
from autobuild.settings.names import DEVICES

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
    labels, values, config = usable.labels, usable.values, settings.config
    rows = np.arange(len(values))
    parts = [(rows, rows[:0])]
    if folds or config.holdout:
        parts = labels.folds(folds, settings.seed) if folds else [labels.split(config.holdout, settings.seed)]
    fewest = min(len(train_rows) for train_rows, _ in parts)
    if fewest < MIN_TRAIN_ROWS:
        left_by = f"folds={folds}" if folds else f"holdout={config.holdout}"
        raise LabelError(f"{left_by} leaves {fewest} of {len(rows)} rows to fit; at least {MIN_TRAIN_ROWS} needed")
    graphs = pack_architectures(labels.space, labels.archs)
    fitted_rows = [train_rows for train_rows, _ in parts]
    if (folds or config.refit) and len(fitted_rows[-1]) < len(rows):
        fitted_rows.append(rows)
    fits = fit_networks(labels, values, fitted_rows, settings, on_progress=on_progress, graphs=graphs)
    heldout = pd.concat(
        [fit.heldout(graphs, labels, values, test_rows) for fit, (_, test_rows) in zip(fits, parts, strict=False)],
        ignore_index=True,
    )
    final, final_rows = fits[-1], fitted_rows[-1]
    return GraphModel(
        space=labels.space,
        target=target,
        network=final.network,
        mean=final.mean,
        sd=final.sd,
        training=pd.DataFrame(
            {"arch": [arch.text for arch in labels.subset(final_rows).archs], "target": values[final_rows]}
        ),
        heldout=heldout,
        history=pd.DataFrame(final.history),
        report={
            **evaluation(heldout),
            "n_test": len(heldout),
            **({"folds": folds} if folds else {}),
            "n_train": len(final_rows),
            "n_fitted_for_test": len(rows) if folds else len(fitted_rows[0]),
            "refit": len(final_rows) > len(fitted_rows[0]),
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


@dataclass(frozen=True)
class NetworkFit:
    """A fitted network, the mean and standard deviation of the target over its training rows, and its losses."""

    network: Predictor
    mean: float
    sd: float
    history: History

    def heldout(self, graphs: PackedGraphs, labels: LabelledSet, values: FloatArray, rows: Rows) -> pd.DataFrame:
        """Predictions and norms of held-out rows. Columns ``arch, measured, predicted, hop0, ...``."""
        archs = labels.archs  # a copy of the list
        frame = pd.DataFrame({"arch": [archs[row].text for row in rows], "measured": values[rows]})
        hops = self.network.encoder.config.hops + 1
        if not len(rows):
            return frame.assign(predicted=[], **{f"hop{hop}": [] for hop in range(hops)})
        with torch.inference_mode():
            predicted, encoding = self.network(graphs.take(torch.from_numpy(rows)))
        norms = encoding.graph_norms().double().numpy()
        return frame.assign(
            predicted=predicted.double().numpy() * self.sd + self.mean,
            **{f"hop{hop}": norms[hop] for hop in range(hops)},
        )


def fit_networks(
    labels: LabelledSet,
    values: FloatArray,
    sets: Sequence[Rows],
    settings: Settings,
    *,
    graphs: PackedGraphs,
    on_progress: OnProgress | None = None,
) -> list[NetworkFit]:
    """Fit one network on each set of rows.

    Args:
        labels: The labelled set, ``n`` rows.
        values: The target of every row. Shape ``(n,)``.
        sets: Numbers of the rows of every fit.
        settings: Settings of the encoder and its training.
        graphs: The architectures of all rows.
        on_progress: Called with ``(phase, epochs done, epochs in all)``.

    Returns:
        One fit for each set.
    """
    standards = [(float(values[rows].mean()), float(values[rows].std()) or 1.0) for rows in sets]
    trained = train_side_by_side(
        [
            (graphs.take(torch.from_numpy(rows)), torch.from_numpy((values[rows] - mean) / sd).float())
            for rows, (mean, sd) in zip(sets, standards, strict=True)
        ],
        [len(feature.values) for feature in labels.space.node_features],
        settings.encoder,
        settings.config,
        settings.seed,
        checkpoint=settings.checkpoint / "_fit.pt" if settings.checkpoint else None,
        on_epoch=(lambda done, total: on_progress("fit", done, total)) if on_progress else None,
        device=settings.device,
    )
    return [
        NetworkFit(network, mean, sd, history)
        for (network, history), (mean, sd) in zip(trained, standards, strict=True)
    ]


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
