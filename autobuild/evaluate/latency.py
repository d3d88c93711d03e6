"""Measure the latency of networks on the CPU of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autobuild.cost.latency.runtimes import prepare, torch_threads
from autobuild.cost.latency.timing import steady_call
from autobuild.errors import CostError, EvaluationError, SpaceError

if TYPE_CHECKING:
    from torch import nn

    from autobuild.evaluate.evaluator import Evaluator, NetworkEvaluator
    from autobuild.spaces import Architecture, SearchSpace

BATCH, REPEATS, WARM_UP = 64, 40, 10
SMALL = 32  # pixels; inputs up to this height are measured in batches, so that arithmetic takes most of the time


def measure_latency(
    net: nn.Module,
    input_shape: tuple[int, ...],
    batch: int = BATCH,
    repeats: int = REPEATS,
    warmup: int = WARM_UP,
) -> dict[str, float]:
    """Measure the time of a forward pass, in milliseconds, for the whole batch.

    ``net(x)`` runs in PyTorch eager mode under ``inference_mode``, with one thread, float32, channels-last memory and
    batch norms folded into the convolutions; ``x`` is a fixed random batch. Each pass is timed on its own, and passes
    that were preempted are left out. If the times drift, or most were disturbed, all are measured again
    (:func:`autobuild.cost.latency.timing.steady_call`). With the default batch of 64 small images, arithmetic takes
    most of the time and not the launching of operations, so that the number distinguishes architectures.

    Args:
        net: The network; it is not changed.
        input_shape: Shape of one input without the batch.
        batch: Number of inputs in a pass.
        repeats: Number of timed passes.
        warmup: Number of passes before them.

    Returns:
        ``latency_ms`` (median), ``latency_ms_q10`` and ``latency_ms_q90`` (10 % and 90 % quantiles of the passes).

    Raises:
        EvaluationError: The network does not accept such inputs, or a number is not positive.
    """
    if batch < 1 or repeats < 1 or warmup < 0:
        raise EvaluationError(f"batch={batch}, repeats={repeats}, warmup={warmup}: at least 1, 1 and 0 are accepted")
    try:
        with torch_threads(1):
            timing = steady_call(prepare(net, (batch, *input_shape), "eager"), repeats, warmup)
    except CostError as error:
        raise EvaluationError(f"the network does not accept inputs of shape {tuple(input_shape)}: {error}") from error
    return {"latency_ms": timing.median, "latency_ms_q10": timing.q10, "latency_ms_q90": timing.q90}


@dataclass(frozen=True)
class LatencyMeter:
    """An evaluator of the metric ``latency_ms`` for the networks of another evaluator."""

    networks: NetworkEvaluator
    batch: int = BATCH
    repeats: int = REPEATS
    warmup: int = WARM_UP

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics."""
        return ("latency_ms",)

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """Median latency in milliseconds; see :func:`measure_latency`."""
        net = self.networks.network(space, arch, seed)
        measured = measure_latency(net, self.networks.input_shape, self.batch, self.repeats, self.warmup)
        return {"latency_ms": measured["latency_ms"]}


@dataclass(frozen=True)
class DeclaredLatency:
    """An evaluator of the metric ``latency_ms`` for the networks that a space declares, with random weights.

    Args:
        input_shape: Channels, height and width of an input; a space with a choice of input sizes overrides the size.
        batch, repeats, warmup: As in :func:`measure_latency`.
    """

    input_shape: tuple[int, int, int]
    batch: int = 1
    repeats: int = REPEATS
    warmup: int = WARM_UP

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics."""
        return ("latency_ms",)

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """Median latency in milliseconds; see :func:`measure_latency`."""
        import torch

        channels, *size = self.input_shape
        chosen = space.layers(space.parse(str(arch)))[0][0].get("resolution")
        shape = (channels, int(chosen), int(chosen)) if chosen else (channels, *size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = space.realise(arch, in_channels=channels)
        return {"latency_ms": measure_latency(net, shape, self.batch, self.repeats, self.warmup)["latency_ms"]}


def latency_meter(space: SearchSpace) -> Evaluator:
    """The evaluator of ``latency_ms`` for a space: of the networks of its own evaluator, else of those it declares.

    Inputs up to 32 pixels high are measured in batches of 64, larger ones one at a time.

    Raises:
        EvaluationError: The space builds no networks, or does not declare the size of their inputs.
    """
    from autobuild.evaluate.evaluator import EVALUATORS, NetworkEvaluator, evaluator_for
    from autobuild.spaces.registry import declared_by, kind_of, realiser

    if kind_of(space) in EVALUATORS and isinstance(evaluator := evaluator_for(space), NetworkEvaluator):
        return LatencyMeter(evaluator)
    try:
        realiser(space)
    except SpaceError as error:
        raise EvaluationError(f"latency: {error}") from error
    shape = getattr(declared_by(space), "INPUT_SHAPE", None)
    if shape is None:
        raise EvaluationError(f"latency: space {space.name!r} does not say how large the inputs of its networks are")
    channels, height, width = map(int, shape)
    return DeclaredLatency((channels, height, width), BATCH if height <= SMALL else 1)
