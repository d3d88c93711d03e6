"""One predictor for several families of networks, on operation graphs; it can also rank unseen families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from autobuild.encode import EncoderConfig
from autobuild.errors import LabelError
from autobuild.graphs.operation_tensors import OPERATION_FEATURES, pack_operations, seen_values, snap_to_seen
from autobuild.graphs.operations import OperationGraph
from autobuild.graphs.packed import PackedGraphs
from autobuild.models.config import FitConfig
from autobuild.models.network import Predictor
from autobuild.models.training import OnEpoch, train

Floats = NDArray[np.float64]
RIDGES = tuple(10.0**power for power in np.arange(-3, 4, 0.5))
CHUNK = 256  # graphs per forward pass, which bounds the memory


@dataclass(frozen=True)
class FamilyModel:
    """A predictor for several families of networks; :func:`fit_families` returns it.

    Attributes:
        network: The predictor, in evaluation mode.
        seen: For each feature the values that occur in the training graphs.
        families: Name of each training family -> mean and standard deviation of its target.
        correction: Weights of the columns of :meth:`embed` after few-shot adaptation; None before. See :meth:`adapt`.
        scale: Mean and standard deviation of the target of the family that the model was adapted to.
    """

    network: Predictor
    seen: tuple[tuple[int, ...], ...]
    families: dict[str, tuple[float, float]]
    correction: Floats | None = None
    scale: tuple[float, float] = (0.0, 1.0)

    def embed(self, graphs: Sequence[OperationGraph]) -> Floats:
        """Zero-shot prediction, graph embeddings of all hops, and number of nodes with each feature value.

        Shape ``(G, 1 + F + hops * D + values of all features)``. The numbers of nodes include feature values that the
        encoder was not trained on, so that :meth:`adapt` can learn weights for them.
        """
        exact = pack_operations(graphs)
        packed = snap_to_seen(exact, self.seen)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(packed), CHUNK):
                predicted, encoding = self.network(packed.slice(start, min(start + CHUNK, len(packed))))
                parts.append(torch.cat([predicted[:, None], *encoding.graphs], dim=1).double().numpy())
        encoded = np.concatenate(parts) if parts else np.zeros((0, 1))
        return np.concatenate([encoded, _occurrences(exact)], axis=1)

    def predict(self, graphs: Sequence[OperationGraph]) -> Floats:
        """Predicted target; larger is better. Shape ``(G,)``.

        Without adaptation, predictions are standardised (mean 0, standard deviation 1 over each training family) and
        useful only for ranking within one family. After :meth:`adapt` they are in units of the labels given there.
        """
        columns = self.embed(graphs)
        if self.correction is None:
            prediction: Floats = columns[:, 0]
            return prediction
        mean, sd = self.scale
        adapted: Floats = mean + sd * (_with_one(columns) @ self.correction)
        return adapted

    def adapt(self, graphs: Sequence[OperationGraph], values: ArrayLike) -> FamilyModel:
        """Few-shot adaptation to a family that was not trained on, without changing the encoder.

        The columns of :meth:`embed` are combined by ridge regression, in which the zero-shot prediction is penalised
        least; the strength of the penalty minimises the leave-one-out error (closed form). With more than some tens of
        labels, it is better to include the family in :func:`fit_families`.

        Args:
            graphs: Labelled networks, at least 4.
            values: Their target. Shape ``(G,)``.

        Returns:
            The adapted model.

        Raises:
            LabelError: There are too few labels, or their number differs from that of the graphs.
        """
        y = _values("the new family", graphs, values, 4)
        mean, sd = float(y.mean()), float(y.std()) or 1.0
        columns = _with_one(self.embed(graphs))
        centre, spread = columns.mean(axis=0), columns.std(axis=0)
        spread[spread < 1e-9] = np.inf  # a constant column gets no weight
        scaled = (columns - centre) / spread
        target = (y - mean) / sd
        occurrences = sum(OPERATION_FEATURES.values())
        groups = (1, columns.shape[1] - 2 - occurrences, occurrences, 1)
        # each group of columns has the prior of one column; the zero-shot prediction is penalised least
        prior = np.concatenate([np.full(n, p / np.sqrt(n)) for n, p in zip(groups, (3.0, 1.0, 1.0, 1.0), strict=True)])
        weights = _ridge(scaled * prior, target) * prior / spread
        weights[-1] -= centre @ weights
        return replace(self, correction=weights, scale=(mean, sd))


def fit_families(
    families: Mapping[str, tuple[Sequence[OperationGraph], ArrayLike]],
    *,
    seed: int = 0,
    encoder: EncoderConfig | None = None,
    config: FitConfig | None = None,
    on_epoch: OnEpoch | None = None,
) -> FamilyModel:
    """Fit one predictor on labelled networks of several families.

    The target of every family is standardised separately. Labels of different tasks or devices need not be comparable,
    because the predictor learns the order within families.

    Args:
        families: Name -> (operation graphs, target values of shape ``(G,)``); larger values are better.
        seed: Seed of everything random in the fit.
        encoder: Settings of the encoder.
        config: Settings of its training.
        on_epoch: Called with ``(epochs done, epochs in all)``.

    Returns:
        The fitted predictor.

    Raises:
        LabelError: There is no family, a family has fewer than 16 labels, or its values do not match its graphs.
    """
    if not families:
        raise LabelError("fit_families: given no family, accepted: at least one")
    graphs: list[OperationGraph] = []
    targets, scales = [], {}
    for name, (nets, values) in families.items():
        y = _values(name, nets, values, 16)
        scales[name] = (float(y.mean()), float(y.std()) or 1.0)
        targets.append((y - scales[name][0]) / scales[name][1])
        graphs += nets
    packed = pack_operations(graphs)
    target = torch.from_numpy(np.concatenate(targets)).float()
    network, _ = train(packed, target, tuple(OPERATION_FEATURES.values()), encoder or EncoderConfig(),
                       config or FitConfig(), seed, on_epoch=on_epoch)  # fmt: skip
    return FamilyModel(network, seen_values(packed), scales)


def _values(name: str, graphs: Sequence[OperationGraph], values: ArrayLike, least: int) -> Floats:
    y = np.asarray(values, dtype=np.float64)
    if y.shape != (len(graphs),) or len(y) < least or not np.isfinite(y).all():
        raise LabelError(
            f"{name}: given {len(graphs)} graphs and values of shape {y.shape}; accepted: one finite value a graph, at "
            f"least {least}"
        )
    return y


def _occurrences(graphs: PackedGraphs) -> Floats:
    """Number of nodes of each graph with each feature value. Shape ``(G, values of all features)``."""
    sizes = torch.tensor([0, *OPERATION_FEATURES.values()])
    places = graphs.x + sizes[:-1].cumsum(0)
    counts = torch.zeros(len(graphs), int(sizes.sum()), dtype=torch.float64)
    rows = graphs.graph_of_node[:, None].expand_as(places)
    counts.index_put_((rows, places), torch.ones((), dtype=torch.float64), accumulate=True)
    numbers: Floats = counts.numpy()
    return numbers


def _with_one(columns: Floats) -> Floats:
    return np.concatenate([columns, np.ones((len(columns), 1))], axis=1)


def _ridge(x: Floats, y: Floats) -> Floats:
    """Ridge regression weights with the penalty of :data:`RIDGES` that minimises the leave-one-out error.

    The leave-one-out residual of row i is ``a_i / (K^-1)_ii``, where ``a = K^-1 y`` and K is the regularised Gram
    matrix. Shapes: ``(n, d)``, ``(n,)`` -> ``(d,)``.
    """
    gram = x @ x.T
    best, chosen = np.inf, np.zeros(len(y))
    for ridge in RIDGES:
        inverse = np.linalg.inv(gram + ridge * np.eye(len(y)))
        dual = inverse @ y
        error = float(np.mean((dual / np.diag(inverse)) ** 2))
        if error < best:
            best, chosen = error, dual
    weights: Floats = x.T @ chosen
    return weights
