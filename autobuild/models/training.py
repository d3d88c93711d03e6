"""Training of the predictor: of one, or of several side by side; checkpoints allow resuming."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autobuild.encode import EncoderConfig
from autobuild.errors import ConfigError, RunError
from autobuild.graphs import PackedGraphs, StackedGraphs, stacked_batches
from autobuild.models.config import FitConfig
from autobuild.models.network import Predictor, stacked
from autobuild.models.threads import torch_threads
from autobuild.rank import ranking_loss
from autobuild.registry import LOSSES

CHECKPOINT_SECONDS = 3.0
SIDE_BY_SIDE_ROWS = 3000  # with more rows the batches are so large that networks side by side save no time
SQUARES_DECAY = 0.999  # of the mean of squared gradients
STEPS_AT_A_TIME = 16  # batches that are prepared together
OnEpoch = Callable[[int, int], None]
History = list[dict[str, float]]


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
) -> tuple[Predictor, History]:
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
    how: dict[str, Any] = {"checkpoint": checkpoint, "on_epoch": on_epoch, "device": device}
    return train_side_by_side([(graphs, target)], vocabulary, encoder, config, seed, **how)[0]


def train_side_by_side(
    sets: Sequence[tuple[PackedGraphs, Tensor]],
    vocabulary: Sequence[int],
    encoder: EncoderConfig,
    config: FitConfig,
    seed: int,
    *,
    steps: int | None = None,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    device: str | torch.device = "cpu",
) -> list[tuple[Predictor, History]]:
    """Train one predictor on each of several sets, such as the folds of a cross-validation, in one pass.

    A step on a small batch takes as long as its operations take to start. Networks whose tensors are stacked share
    them, which is up to three times as fast as one training after another, with the same result up to rounding. Sets
    with batches of different sizes or many rows, and layers that cannot be stacked, are trained one after another.

    Args:
        sets: Packed graphs and standardised targets of every set, as for :func:`train`.
        vocabulary, encoder, config, seed, checkpoint, on_epoch, device: See :func:`train`.
        steps: Number of training steps from which the number of epochs follows, unless ``config`` gives that; None
            leaves it to ``config``.

    Returns:
        For every set the predictor in evaluation mode on the CPU, and the losses of every epoch.

    Raises:
        ConfigError: A loss became infinite or NaN.
        RunError: The checkpoint cannot be written.
    """
    context = 0 if sets[0][0].context is None else sets[0][0].context.shape[1]
    with torch_threads(config.threads), torch.random.fork_rng(devices=[]):
        networks = []
        for _ in sets:
            torch.manual_seed(seed)
            networks.append(Predictor(vocabulary, encoder, context))
        sizes = {config.batch_size_for(len(target)) for _, target in sets}
        if len(sets) > 1 and (
            len(sizes) > 1 or not networks[0].stackable or max(len(target) for _, target in sets) > SIDE_BY_SIDE_ROWS
        ):
            out = []
            for number, one in enumerate(sets):

                def say(done: int, total: int, number: int = number) -> None:
                    if on_epoch:
                        on_epoch(number * total + done, len(sets) * total)

                own = checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-{number}")
                how: dict[str, Any] = {"steps": steps, "checkpoint": own, "on_epoch": say, "device": device}
                out += train_side_by_side([one], vocabulary, encoder, config, seed, **how)
            return out
        state = _Training(networks, _plans([len(target) for _, target in sets], config, steps), config, device)
        state.open(checkpoint, _fingerprint(sets, encoder, config, [seed, steps]))
        graphs = PackedGraphs.concatenate([graphs for graphs, _ in sets]).to(device)
        target = torch.cat([target for _, target in sets]).to(device)
        streams = [itertools.islice(_batches(plan, seed), state.done, None) for plan in state.plans]
        longest = max(state.plans, key=lambda plan: plan.total)
        loss_of = _loss(config)
        while state.done < longest.total:
            steps = min(STEPS_AT_A_TIME, longest.steps - state.done % longest.steps)
            rows = torch.stack([torch.stack(list(itertools.islice(stream, steps))) for stream in streams], 1).to(device)
            batches = state.batches(graphs, rows)
            for batch, wanted in zip(batches, target[rows], strict=True):
                predicted, encoding = state.network(batch)
                norms = encoding.graph_norms().reshape(-1, *wanted.shape)
                regression, ranking = loss_of(predicted.view_as(wanted), norms, wanted)
                state.step(regression, ranking)
            if state.done % longest.steps == 0:
                state.check()
                if state.done < longest.total:
                    state.save()
                if on_epoch:
                    on_epoch(state.done // longest.steps, longest.epochs)
    state.clear()
    return [(network.to("cpu").eval(), history) for network, history in zip(networks, state.histories(), strict=True)]


@dataclass(frozen=True)
class _Plan:
    """Steps of the training of one network; its rows are ``first:first + rows`` of the concatenated sets."""

    first: int
    rows: int
    batch: int
    epochs: int

    @property
    def steps(self) -> int:
        """Steps of an epoch; rows that do not fill a batch wait for another epoch."""
        return max(1, self.rows // self.batch)

    @property
    def total(self) -> int:
        return self.steps * self.epochs


def _plans(rows: Sequence[int], config: FitConfig, steps: int | None) -> list[_Plan]:
    plans = []
    for first, count in zip([0, *itertools.accumulate(rows)], rows, strict=False):
        batch, epochs = config.batch_size_for(count), config.epochs_for(count)
        if steps is not None and config.epochs is None:
            share = steps / 600
            epochs = max(1, round(min(150 * share, max(20 * share, steps / max(1, count // batch)))))
        plans.append(_Plan(first, count, batch, epochs))
    return plans


def _batches(plan: _Plan, seed: int) -> Iterator[Tensor]:
    """Rows of one step after another, without end. Shape ``(batch,)`` each."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(plan.rows, generator=generator)[: plan.steps * plan.batch]
        yield from (order + plan.first).view(plan.steps, plan.batch)


def _loss(config: FitConfig) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Losses of M networks; shapes ``(M, B), (hops + 1, M, B), (M, B)`` -> ``(M,), (M,)``."""
    regress = nn.functional.huber_loss if config.regression == "huber" else nn.functional.mse_loss
    ranked = config.ranking != "none" and config.ranking_weight > 0
    rank = ranking_loss(config.ranking, **config.ranking_options) if ranked else None
    of_rows = getattr(LOSSES[config.ranking], "of_rows", None) if ranked else None

    def loss(predicted: Tensor, norms: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        regression = regress(predicted, wanted, reduction="none").mean(-1)
        if of_rows:
            return regression, of_rows(norms, wanted, **config.ranking_options).mean(0)
        if rank:
            return regression, torch.stack([rank(norms[:, m], wanted[m]) for m in range(len(wanted))])
        return regression, torch.zeros_like(regression)

    return loss


class _Training:
    """M networks that are trained side by side: their stacked tensors, optimisers, losses and checkpoint.

    A layer that cannot be stacked is trained alone (M = 1), with its own tensors.
    """

    def __init__(self, networks: list[Predictor], plans: list[_Plan], config: FitConfig, device: str | torch.device):
        self.networks, self.plans, self.config, self.done = networks, plans, config, 0
        self.alone = not networks[0].stackable
        self.network = (networks[0] if self.alone else stacked(networks)).to(device)
        # One tensor of all parameters of a network, of which the parameters are views: one call updates them all.
        self.parameters = list(self.network.parameters())
        self.flat = torch.cat([values.detach().reshape(len(networks), -1) for values in self.parameters], dim=1)
        self.gradients = torch.zeros_like(self.flat)
        self.gradient_of, start = [], 0
        for parameter in self.parameters:
            stop, shape = start + parameter.numel() // len(networks), parameter.shape
            parameter.data = self.flat[:, start:stop].view(shape)
            self.gradient_of.append(self.gradients[:, start:stop].view(shape))
            start = stop
        # Means of the gradients and of their squares, and for each step and network the rate and the first decay.
        self.means, self.squares = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        longest = max(plan.total for plan in plans)
        self.schedule = torch.stack([_one_cycle(plan.total, longest, config.lr) for plan in plans], 1).to(device)
        self.losses = torch.zeros(longest, 2, len(networks), device=device)
        self.path: Path | None = None

    def batches(self, graphs: PackedGraphs, rows: Tensor) -> Sequence[StackedGraphs | PackedGraphs]:
        """Batches of rows of shape ``(steps, M, B)``."""
        return [graphs.take(step[0]) for step in rows] if self.alone else stacked_batches(graphs, rows)

    def step(self, regression: Tensor, ranking: Tensor) -> None:
        """Update the networks by AdamW (Loshchilov & Hutter, 2019); losses have the shape ``(M,)``.

        All parameters are updated by a few operations. (The optimisers of torch import its compiler, which takes 2 s.)
        """
        loss = (regression + self.config.ranking_weight * ranking).sum()
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        for own, gradient in zip(self.gradient_of, gradients, strict=True):
            own.copy_(gradient)
        self.losses[self.done] = torch.stack([regression.detach(), ranking.detach()])
        rate, decay = self.schedule[self.done].unbind(-1)
        self.done += 1
        self.means.lerp_(self.gradients, 1 - decay)
        self.squares.lerp_(self.gradients.square_(), 1 - SQUARES_DECAY)
        size = (self.squares / (1 - SQUARES_DECAY**self.done)).sqrt_().add_(1e-8)
        self.flat.mul_(1 - rate * self.config.weight_decay)
        self.flat.sub_(self.means * (rate / (1 - decay**self.done)) / size)
        for number, plan in enumerate(self.plans):
            if self.done == plan.total:
                self._take(number)

    def _take(self, number: int) -> None:
        """Keep a network whose training has ended; it would change while the others are trained."""
        if not self.alone:
            state = self.network.state_dict()
            self.networks[number].load_state_dict({name: values[number] for name, values in state.items()})

    def histories(self) -> list[History]:
        """Losses of every network and epoch, up to the last whole epoch."""
        out: list[History] = []
        for number, plan in enumerate(self.plans):
            epochs = min(self.done, plan.total) // plan.steps
            means = self.losses[: epochs * plan.steps, :, number].view(epochs, plan.steps, 2).mean(1).double().tolist()
            weight = self.config.ranking_weight
            out.append(
                [
                    {"epoch": epoch, "loss": loss + weight * ranking, "regression": loss, "ranking": ranking}
                    for epoch, (loss, ranking) in enumerate(means, start=1)
                ]
            )
        return out

    def check(self) -> None:
        """Raise ConfigError if a loss or, at the end, a weight is not finite."""
        config, ended = self.config, self.done == len(self.losses)
        for network, plan, history in zip(self.networks, self.plans, self.histories(), strict=True):
            if not history:
                continue
            last = history[-1]
            if not math.isfinite(last["loss"]) or (ended and not _finite(network)):
                self.clear()
                raise ConfigError(
                    f"the fit diverged in epoch {last['epoch']} of {plan.epochs}: its loss is {last['loss']}; give a "
                    f"smaller fit.lr (here {config.lr:g}) or a smaller weight of the ranking loss (here "
                    f"{config.ranking_weight:g})"
                )

    # The checkpoint is written to a second file and renamed; it is read with ``weights_only``.

    def open(self, path: Path | None, fingerprint: str) -> None:
        """Restore a checkpoint of the same training; any other file is ignored and overwritten later."""
        self.path, self.fingerprint, self.saved = path, fingerprint, time.monotonic()
        if path is None or not path.is_file():
            return
        try:
            data = torch.load(path, weights_only=True, map_location=self.flat.device)
        except Exception:  # torch raises many types for a damaged file; start from scratch in all cases
            return
        if not isinstance(data, dict) or data.get("fingerprint") != fingerprint or "means" not in data:
            return
        with torch.no_grad():
            self.flat.copy_(data["flat"])
        for name, values in self.network.named_buffers():
            if name in data["buffers"]:
                values.copy_(data["buffers"][name])
        for network, state in zip([] if self.alone else self.networks, data["networks"], strict=True):
            network.load_state_dict(state)
        self.means.copy_(data["means"])
        self.squares.copy_(data["squares"])
        self.losses.copy_(data["losses"])
        self.done = int(data["done"])
        torch.set_rng_state(data["random"].cpu())
        if self.flat.is_cuda:
            torch.cuda.set_rng_state(data["device_random"].cpu(), self.flat.device)

    def save(self) -> None:
        """Write the checkpoint, unless one was written a moment ago."""
        if self.path is None or time.monotonic() - self.saved < CHECKPOINT_SECONDS:
            return
        data = {
            "flat": self.flat,
            "buffers": dict(self.network.named_buffers()),
            "networks": [] if self.alone else [network.state_dict() for network in self.networks],
            "means": self.means,
            "squares": self.squares,
            "losses": self.losses,
            "done": self.done,
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state(self.flat.device) if self.flat.is_cuda else None,
            "fingerprint": self.fingerprint,
        }
        beside = self.path.with_suffix(".part")
        try:  # torch.save raises RuntimeError if the disk is full
            torch.save(data, beside)
            os.replace(beside, self.path)
        except (OSError, RuntimeError) as error:
            raise RunError(f"{self.path}: the checkpoint cannot be written: {error}") from error
        self.saved = time.monotonic()

    def clear(self) -> None:
        """Remove the checkpoint."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _one_cycle(steps: int, length: int, peak: float) -> Tensor:
    """Learning rate and first decay of every step (the one-cycle policy, Smith & Topin, 2018), the last one repeated.

    The rate rises from ``peak / 25`` to ``peak`` in a fifth of the steps and then falls towards 0, in halves of a
    cosine; the decay falls from 0.95 to 0.85 meanwhile, and rises again. Shape ``(length, 1, 2)``.
    """
    total = max(6, steps + 1)
    top, last = 0.2 * total - 1, total - 1
    step = torch.arange(length, dtype=torch.float64).clamp(max=total - 1)
    rising = 0.5 - 0.5 * torch.cos(math.pi * (step / top).clamp(max=1))
    falling = 0.5 - 0.5 * torch.cos(math.pi * ((step - top) / (last - top)).clamp(min=0))
    rate = peak * (0.04 + 0.96 * rising - (1 - 4e-6) * falling)
    return torch.stack([rate, 0.95 - 0.1 * rising + 0.1 * falling], 1)[:, None].float()


def _finite(network: nn.Module) -> bool:
    return all(bool(values.isfinite().all()) for values in network.state_dict().values())


def _fingerprint(
    sets: Sequence[tuple[PackedGraphs, Tensor]], encoder: EncoderConfig, config: FitConfig, others: Sequence[int | None]
) -> str:
    """Hash of everything that determines a training: data, settings, seed, steps, torch version."""
    digest = hashlib.sha256()
    for graphs, target in sets:
        context = target[:0] if graphs.context is None else graphs.context
        for tensor in (graphs.x, graphs.neighbours, graphs.ptr, target, context):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    settings = [encoder.to_dict(), config.to_dict(), *others, torch.__version__]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()
