"""Measuring how long a network takes on this machine's CPU, as a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autobuild.cost.latency.runtimes import prepare, torch_threads
from autobuild.cost.latency.timing import steady_call
from autobuild.errors import CostError, EvaluationError, SpaceError

if TYPE_CHECKING:
    from torch import nn

    from autobuild.evaluate.protocol import Evaluator, NetworkEvaluator
    from autobuild.spaces import Architecture, SearchSpace

BATCH, REPEATS, WARM_UP = 64, 40, 10
SMALL = 32  # pixels; of such inputs a batch is measured, so that arithmetic outweighs the launching of operations


def measure_latency(
    net: nn.Module,
    input_shape: tuple[int, ...],
    batch: int = BATCH,
    repeats: int = REPEATS,
    warmup: int = WARM_UP,
) -> dict[str, float]:
    """Time of a forward pass, in milliseconds.

    What is timed: ``net(x)`` in PyTorch eager mode under ``inference_mode``, one thread, batch norms folded into the
    convolutions before them, float32, channels-last memory, ``x`` a fixed random batch of ``batch`` inputs; each pass
    is timed on its own after ``warmup`` passes that are not, and those that were preempted are left out; where times
    drift, or most were disturbed, all is timed again (:func:`autobuild.cost.latency.timing.steady_call`). With the
    default batch of 64 small pictures the arithmetic outweighs the cost of launching operations, so the number tells
    architectures apart. It is the time of the whole batch, and it belongs to the machine that measured it.

    Args:
        net: The network; it is left as it is.
        input_shape: Shape of one input without the batch.
        batch: Inputs in a pass.
        repeats: Timed passes.
        warmup: Passes before the clock runs.

    Returns:
        ``latency_ms`` (median), ``latency_ms_q10`` and ``latency_ms_q90`` (quantiles of the passes).

    Raises:
        EvaluationError: If the network does not accept such inputs, or a number is not positive.
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
    """An evaluator of one metric, ``latency_ms``, for the networks of another evaluator."""

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
    """An evaluator of one metric, ``latency_ms``, for the networks that a space's file declares, with fresh weights.

    Args:
        input_shape: Channels, height and width of an input, where the space does not choose its size.
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
    """What measures the latency of a space's networks: those of its own evaluator, else as its file declares them.

    Inputs come in batches of 64 where they are small (up to 32 pixels high), else one at a time.

    Raises:
        EvaluationError: The space builds no networks, or does not say how large their inputs are.
    """
    from autobuild.evaluate.protocol import EVALUATORS, NetworkEvaluator, evaluator_for
    from autobuild.spaces.registry import declared_by, realiser

    if space.family in EVALUATORS and isinstance(own := evaluator_for(space), NetworkEvaluator):
        return LatencyMeter(own)
    try:
        realiser(space)
    except SpaceError as error:
        raise EvaluationError(f"latency: {error}") from error
    shape = getattr(declared_by(space), "INPUT_SHAPE", None)
    if shape is None:
        raise EvaluationError(f"latency: space {space.name!r} does not say how large the inputs of its networks are")
    channels, height, width = map(int, shape)
    return DeclaredLatency((channels, height, width), BATCH if height <= SMALL else 1)
