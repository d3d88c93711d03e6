"""Evaluate an architecture by training its network on the embedded digit task."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autobuild.cost.count import count_params
from autobuild.cost.layer_tables import costs_of
from autobuild.errors import CostError, EvaluationError, QuantisationError, SpaceError
from autobuild.evaluate.digits import DigitTask, digit_pictures

if TYPE_CHECKING:
    from torch import Tensor, nn

    from autobuild.evaluate.evaluator import Report
    from autobuild.spaces import Architecture, SearchSpace

CLASSES = 10  # digits


@dataclass(frozen=True)
class TrainingEvaluator:
    """Trains a network on the digit pictures and tests it on pictures of held-out digits.

    AdamW, cross-entropy, one cosine cycle of the learning rate (Smith & Topin, 2018). The pictures are the same for
    every architecture and seed; the seed determines the initial weights and the order of the batches.

    Args:
        task: The pictures.
        epochs: Passes over the training pictures.
        batch_size: Number of pictures in a step.
        learning_rate: Largest learning rate of the cycle.
        weight_decay: Weight decay of AdamW.
        warm_up: Share of the steps in which the learning rate rises.
        threads: Torch threads; the default is one, because parallel processes use the other cores.
    """

    task: DigitTask = field(default_factory=DigitTask)
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 0.01
    weight_decay: float = 0.02
    warm_up: float = 0.25
    threads: int = 1

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one picture."""
        return (1, self.task.canvas, self.task.canvas)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics."""
        return ("acc", "params", "macs", "train_seconds")

    def network(self, space: SearchSpace, arch: Architecture | str, seed: int = 0) -> nn.Module:
        """The freshly initialised network, the same for the same seed.

        Raises:
            EvaluationError: The space builds no networks, or the architecture is not in it.
        """
        import torch

        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return space.realise(arch, num_classes=CLASSES, in_channels=1)
        except SpaceError as error:
            raise EvaluationError(f"{arch} cannot be trained: {error}") from error

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """Train ``arch`` once.

        Returns:
            ``acc`` (percent of the test pictures), ``params`` and ``macs`` (counts of the network that was trained),
            ``train_seconds`` (wall time of training and testing).

        Raises:
            EvaluationError: The network cannot be built, or its loss is not finite.
        """
        return self._evaluate(space, arch, seed, None)

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> dict[str, float]:
        """Train ``arch`` once, with the same results as a direct call, and report ``acc`` after each epoch.

        The last epoch is not reported, because a finished evaluation cannot be pruned. The time of the tests after each
        epoch is not part of ``train_seconds``.
        """
        return self._evaluate(space, arch, seed, report)

    def _evaluate(
        self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report | None
    ) -> dict[str, float]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            net = self.network(space, arch, seed)
            params, macs = count_params(net), self._macs(space, arch)
            digit_pictures(self.task)  # before the time is measured, once in a process
            acc, seconds = self._train_and_test(net, arch, seed, report)
            found = {"acc": acc, "params": params, "macs": macs, "train_seconds": seconds}
            return found | self._after(space, arch, net, acc)
        finally:
            torch.set_num_threads(before)

    def _after(self, space: SearchSpace, arch: Architecture | str, net: nn.Module, acc: float) -> dict[str, float]:
        """Further metrics of the trained network, whose accuracy is ``acc``."""
        return {}

    def _macs(self, space: SearchSpace, arch: Architecture | str) -> float:
        """Multiply-accumulates; NaN if they cannot be counted, so that the accuracy is kept."""
        try:
            return int(costs_of(space, CLASSES, self.input_shape)["macs"]([arch])[0])
        except CostError:
            return math.nan

    def _train_and_test(
        self, net: nn.Module, arch: Architecture | str, seed: int, report: Report | None
    ) -> tuple[float, float]:
        """Accuracy in percent, and the seconds of training and one test."""
        import torch
        from torch.nn.functional import cross_entropy

        train, test = digit_pictures(self.task)
        seconds, start = 0.0, time.perf_counter()
        images, classes = _tensors(train.images, train.classes)
        steps = len(images) // self.batch_size
        if steps < 1:
            raise EvaluationError(f"batch_size={self.batch_size} exceeds the {len(images)} training pictures")
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(
            net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.learning_rate, total_steps=max(2, self.epochs * steps), pct_start=self.warm_up
        )
        order = torch.Generator().manual_seed(seed)
        for epoch in range(self.epochs):
            net.train()
            rows = torch.randperm(len(images), generator=order)[: steps * self.batch_size].view(steps, -1)
            for batch in rows:
                x = images[batch].contiguous(memory_format=torch.channels_last)
                loss = cross_entropy(net(x), classes[batch])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                cycle.step()
            if not math.isfinite(float(loss.detach())):
                raise EvaluationError(f"{arch}, seed {seed}: the loss is not finite after epoch {epoch + 1}")
            if report is not None and epoch + 1 < self.epochs:
                seconds += time.perf_counter() - start
                report(epoch + 1, {"acc": _accuracy(net, *_tensors(test.images, test.classes))})
                start = time.perf_counter()
        acc = _accuracy(net, *_tensors(test.images, test.classes))
        seconds += time.perf_counter() - start
        return acc, seconds


@dataclass(frozen=True)
class JointEvaluator(TrainingEvaluator):
    """Trains the network of an architecture of a joint space (:func:`autobuild.joint_space`), then quantises it.

    ``acc`` is that of the quantised network, ``acc_plain`` that before; ``size_bytes``, ``avg_bits`` and
    ``quant_error`` are those of the weights as they would be written.
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics."""
        return (*super().metrics, "acc_plain", "size_bytes", "avg_bits", "quant_error")

    def _after(self, space: SearchSpace, arch: Architecture | str, net: nn.Module, acc: float) -> dict[str, float]:
        from autobuild.quant import quantised_network

        try:
            quantised = quantised_network(space, arch, net)
        except (QuantisationError, SpaceError) as error:
            raise EvaluationError(f"{arch} cannot be quantised: {error}") from error
        test = digit_pictures(self.task)[1]
        after = _accuracy(quantised.model, *_tensors(test.images, test.classes))
        names = ("size_bytes", "avg_bits", "quant_error")
        return {"acc": after, "acc_plain": acc} | {name: getattr(quantised, name) for name in names}


def _tensors(images: object, classes: object) -> tuple[Tensor, Tensor]:
    import torch

    return torch.tensor(images), torch.tensor(classes)


def _accuracy(net: nn.Module, images: Tensor, classes: Tensor) -> float:
    """Percent of ``images (n, 1, h, w)`` that ``net`` puts in their class."""
    import torch

    net.eval()
    hits = 0
    with torch.inference_mode():
        for start in range(0, len(images), 500):
            x = images[start : start + 500].contiguous(memory_format=torch.channels_last)
            hits += int((net(x).argmax(dim=1) == classes[start : start + 500]).sum())
    return 100.0 * hits / len(images)
