"""What is known of every choice of every layer without an evaluation: bits, errors, and estimates of the loss."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autobuild.errors import QuantisationError
from autobuild.quant.apply import Quantised, layer_weights
from autobuild.quant.cache import VariantCache
from autobuild.quant.layer_graph import LayerGraph, run_example
from autobuild.quant.weights import Choice, QuantisedWeight, quantise_weight, stored_bits

Losses = Callable[[nn.Module], Iterable[Tensor]]


@dataclass
class Knowledge:
    """Numbers of choices.

    Attributes:
        choices: The choices, in the order of the numbers.
        numbers: ``(layer, metric)`` -> one number a choice; 0 for choices that a layer cannot have.
        other_bytes: Bytes of the model's tensors that are not quantised.
        half: Whether sizes are those of ``quantise(..., half=True)``, which do not depend on the weights.
        note: What is not known, and why; else empty.
    """

    choices: Sequence[Choice]
    numbers: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    other_bytes: int = 0
    half: bool = False
    note: str = ""

    def of(self, layer: str, metric: str) -> list[Any]:
        """Numbers of a layer, one a choice."""
        return self.numbers[layer, metric]

    def put(self, layer: str, metric: str, place: int, value: float) -> None:
        """Set the number of one choice of a layer."""
        self.numbers.setdefault((layer, metric), [0] * len(self.choices))[place] = value

    @property
    def estimates(self) -> list[str]:
        """Metrics beside those of size."""
        return [name for name in dict.fromkeys(metric for _, metric in self.numbers) if name != "stored_bits"]


def measure(
    model: nn.Module,
    graph: LayerGraph,
    choices: Sequence[Choice],
    example_input: Any,
    *,
    losses: Losses | None = None,
    probe: bool = False,
    exact: bool = False,
    cache: VariantCache | None = None,
) -> Knowledge:
    """Quantise every layer with every choice that it can have, one at a time; of weights without values sizes alone.

    Args: as for :func:`autobuild.quant_space`.

    Raises:
        QuantisationError: A weight or a loss is not finite, or weights without values are to be probed.
    """
    known, weights = Knowledge(choices), dict(layer_weights(model))
    if any(weight.is_meta for weight in weights.values()):
        if losses is not None or probe:
            raise QuantisationError("losses and probe run the model, whose weights have no values (meta device)")
        return _sizes(model, graph, known)
    gradients = _gradients(model, weights, losses) if losses is not None else {}
    with torch.inference_mode():
        plain = _flat(run_example(model, example_input)) if probe else None
    quantised_names = []
    for node in graph.nodes:
        weight, fits = weights[node.name], False
        for place, choice in enumerate(choices):
            if not choice.fits(node.shape):
                continue
            fits = True
            made = (cache.get if cache is not None else quantise_weight)(weight, choice, exact=exact, name=node.name)
            for metric, value in _numbers(made, weight, gradients.get(node.name)).items():
                known.put(node.name, metric, place, value)
            if plain is not None:
                known.put(node.name, "output_error", place, _probed(model, node.name, made, example_input, plain))
        if fits:
            quantised_names.append(node.name)
    known.other_bytes = unquantised_bytes(model, quantised_names)
    return known


def _sizes(model: nn.Module, graph: LayerGraph, known: Knowledge) -> Knowledge:
    """What shapes alone tell."""
    known.half = True
    known.note = (
        "weights have no values (meta device): errors are not known; sizes are exact for quantise(..., half=True), "
        "with 16 bits for each scale and each number of a codebook"
    )
    names = []
    for node in graph.nodes:
        for place, choice in enumerate(known.choices):
            if choice.fits(node.shape):
                known.put(node.name, "stored_bits", place, stored_bits(node.shape, choice))
                names.append(node.name)
    known.other_bytes = unquantised_bytes(model, set(names))
    return known


def _numbers(made: QuantisedWeight, weight: Tensor, gradient: tuple[Tensor, Tensor] | None) -> dict[str, float]:
    out = {"stored_bits": made.stored_bits, "quant_error": made.error}
    if gradient is not None:
        change = made.dequantised() - weight.detach().cpu().float()
        mean, squares = gradient
        out["first_order"] = abs(float((mean * change).double().sum()))
        out["fisher"] = float((squares * change**2).double().sum()) / 2
    return out


def _gradients(model: nn.Module, weights: dict[str, nn.Parameter], losses: Losses) -> dict[str, tuple[Tensor, Tensor]]:
    """For every weight the mean of its gradient over batches, and the mean of its square (the diagonal Fisher)."""
    sums = {name: (torch.zeros(w.shape), torch.zeros(w.shape)) for name, w in weights.items()}
    trained = [w.requires_grad for w in weights.values()]
    count = 0
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        for loss in losses(model):
            if not bool(torch.isfinite(loss)):
                raise QuantisationError(f"the loss of calibration batch {count} is {float(loss.detach())}")
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for (mean, squares), gradient in zip(sums.values(), found, strict=True):
                if gradient is not None:
                    mean += gradient.cpu()
                    squares += gradient.cpu() ** 2
            count += 1
    finally:
        for weight, before in zip(weights.values(), trained, strict=True):
            weight.requires_grad_(before)
    if not count:
        raise QuantisationError("losses gave no batch; accepted: a function of the model that gives scalar losses")
    return {name: (mean / count, squares / count) for name, (mean, squares) in sums.items()}


def _probed(model: nn.Module, name: str, made: QuantisedWeight, example_input: Any, plain: Tensor) -> float:
    with torch.inference_mode(), Quantised(model, {name: made}, None):
        changed = _flat(run_example(model, example_input))
    return float((changed - plain).double().square().sum() / plain.double().square().sum().clamp(min=1e-30))


def _flat(output: Any) -> Tensor:
    """All tensors of an output as one vector."""
    if isinstance(output, Tensor):
        return output.float().flatten()
    parts = output.values() if hasattr(output, "values") else output
    return torch.cat([_flat(part) for part in parts])


def unquantised_bytes(model: nn.Module, names: Collection[str]) -> int:
    """Bytes of the tensors of a model's state beside the weights of these layers, each counted once."""
    weights = {id(weight) for name, weight in layer_weights(model) if name in names}
    seen: dict[int, int] = {}
    for tensor in model.state_dict(keep_vars=True).values():
        if isinstance(tensor, Tensor) and id(tensor) not in weights:
            seen[id(tensor)] = tensor.nbytes
    return sum(seen.values())
