"""The training loop of the predictor. Batches are slices of packed tensors; checkpoints allow resuming."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autobuild.encode import EncoderConfig
from autobuild.errors import ConfigError, RunError
from autobuild.graphs import PackedGraphs
from autobuild.models.config import FitConfig
from autobuild.models.network import Predictor
from autobuild.models.threads import torch_threads
from autobuild.rank import ranking_loss

CHECKPOINT_SECONDS = 3.0
OnEpoch = Callable[[int, int], None]


def train(
    graphs: PackedGraphs,
    target: Tensor,
    vocabulary: Sequence[int],
    encoder: EncoderConfig,
    config: FitConfig,
    seed: int,
    *,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    device: str | torch.device = "cpu",
) -> tuple[Predictor, list[dict[str, float]]]:
    """Train a predictor.

    Args:
        graphs: G packed graphs.
        target: Standardised target, float32. Shape ``(G,)``.
        vocabulary: Number of values of each node feature.
        encoder: Settings of the encoder.
        config: Settings of the training.
        seed: Seed of the weights and of the order of rows; the same seed gives the same weights on the same machine.
        checkpoint: File in which the state is saved every few seconds. If it holds the state of a training with the
            same data and settings, that training is continued, with the same result as without interruption. The file
            is removed at the end.
        on_epoch: Called with ``(epochs done, epochs in all)``.
        device: Device on which the network is trained.

    Returns:
        The predictor in evaluation mode on the CPU, and the losses of every epoch.

    Raises:
        ConfigError: The loss became infinite or NaN.
        RunError: The checkpoint cannot be written.
    """
    rows = len(graphs)
    batch, epochs = config.batch_size_for(rows), config.epochs_for(rows)
    steps = max(1, rows // batch)
    with torch_threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        context = 0 if graphs.context is None else graphs.context.shape[1]
        network = Predictor(vocabulary, encoder, context).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        total = max(6, steps * epochs + 1)  # with 5 steps the warm-up has length 0, by which torch would divide
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=total, pct_start=0.2)
        state = _State(network, optimiser, schedule, checkpoint, _fingerprint(graphs, target, encoder, config, seed))
        history = state.resume()
        graphs, target = graphs.to(device), target.to(device)
        loss_of = _loss(config)
        for epoch in range(len(history) + 1, epochs + 1):
            order = torch.randperm(rows).to(device)
            shuffled, wanted = graphs.take(order), target[order]
            sums = [0.0, 0.0]
            for start in range(0, steps * batch, batch):
                predicted, encoding = network(shuffled.slice(start, start + batch))
                regression, ranking = loss_of(predicted, encoding, wanted[start : start + batch])
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(regression + config.ranking_weight * ranking)
                optimiser.step()
                schedule.step()
                sums[0] += float(regression.detach())
                sums[1] += float(ranking.detach())
            regression_mean, ranking_mean = (value / steps for value in sums)
            loss = regression_mean + config.ranking_weight * ranking_mean
            if not math.isfinite(loss) or (epoch == epochs and not _finite(network)):
                state.clear()
                raise ConfigError(
                    f"the fit diverged in epoch {epoch} of {epochs}: its loss is {loss}; give a smaller fit.lr "
                    f"(here {config.lr:g}) or a smaller weight of the ranking loss (here {config.ranking_weight:g})"
                )
            history.append({"epoch": epoch, "loss": loss, "regression": regression_mean, "ranking": ranking_mean})
            if epoch < epochs:
                state.save(history)
            if on_epoch:
                on_epoch(epoch, epochs)
    state.clear()
    return network.to("cpu").eval(), history


def _finite(network: nn.Module) -> bool:
    return all(bool(values.isfinite().all()) for values in network.state_dict().values())


def _loss(config: FitConfig) -> Callable[..., tuple[Tensor, Tensor]]:
    regress = nn.functional.huber_loss if config.regression == "huber" else nn.functional.mse_loss
    ranked = config.ranking != "none" and config.ranking_weight > 0
    rank = ranking_loss(config.ranking, **config.ranking_options) if ranked else None

    def loss(predicted: Tensor, encoding: Any, wanted: Tensor) -> tuple[Tensor, Tensor]:
        ranking = rank(encoding.graph_norms(), wanted) if rank else predicted.new_zeros(())
        return regress(predicted, wanted), ranking

    return loss


class _State:
    """The state of a training on disk: written to a second file and renamed; read with ``weights_only``."""

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        path: Path | None,
        fingerprint: str,
    ) -> None:
        self.parts: dict[str, Any] = {"network": network, "optimiser": optimiser, "schedule": schedule}
        self.path, self.fingerprint, self.saved = path, fingerprint, time.monotonic()

    def save(self, history: list[dict[str, float]]) -> None:
        if self.path is None or time.monotonic() - self.saved < CHECKPOINT_SECONDS:
            return
        data = {name: part.state_dict() for name, part in self.parts.items()}
        data |= {"history": history, "random": torch.get_rng_state(), "fingerprint": self.fingerprint}
        beside = self.path.with_suffix(".part")
        try:  # torch.save raises RuntimeError if the disk is full
            torch.save(data, beside)
            os.replace(beside, self.path)
        except (OSError, RuntimeError) as error:
            raise RunError(f"{self.path}: the checkpoint cannot be written: {error}") from error
        self.saved = time.monotonic()

    def resume(self) -> list[dict[str, float]]:
        """Restore a checkpoint of the same training; any other file is ignored and overwritten later."""
        if self.path is None or not self.path.is_file():
            return []
        try:
            data = torch.load(self.path, weights_only=True)
        except Exception:  # torch raises many types for a damaged file; start from scratch in all cases
            return []
        if not isinstance(data, dict) or data.get("fingerprint") != self.fingerprint:
            return []
        for name, part in self.parts.items():
            part.load_state_dict(data[name])
        torch.set_rng_state(data["random"])
        history: list[dict[str, float]] = data["history"]
        return history

    def clear(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _fingerprint(graphs: PackedGraphs, target: Tensor, encoder: EncoderConfig, config: FitConfig, seed: int) -> str:
    """Hash of everything that determines a training: data, settings, seed, torch version."""
    digest = hashlib.sha256()
    context = target[:0] if graphs.context is None else graphs.context
    for tensor in (graphs.x, graphs.neighbours, graphs.ptr, target, context):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    settings = [encoder.to_dict(), config.to_dict(), seed, torch.__version__]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()
