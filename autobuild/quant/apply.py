"""Quantise the weights of a model in place and reversibly, save them packed, and load them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autobuild.errors import QuantisationError, nearest
from autobuild.quant._files import write_tensors
from autobuild.quant.activations import quantised_inputs
from autobuild.quant.weights import Choice, QuantisedWeight, quantise_weight

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.quant.cache import VariantCache

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)
FORMAT = "autobuild.quantised/1"

Given = Choice | str | tuple[str, int]


def weight_layers(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The layers whose weights can be quantised.

    Args:
        model: Any module.

    Returns:
        Name -> layer, in the order of ``named_modules``, each weight once; and, for further layers that share a weight
        with one of these, name -> name of the first.
    """
    layers: dict[str, nn.Module] = {}
    shared: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        weight = module._parameters.get("weight") if isinstance(module, LAYERS) else None
        if weight is None:  # another module, or one whose weight is computed, as weight norm does
            continue
        if id(weight) in first:
            shared[name] = first[id(weight)]
        else:
            first[id(weight)], layers[name] = name, module
    return layers, shared


def weight_name(layer: str) -> str:
    """Name of the weight of a layer in the model's state; the model itself has the name ``""``."""
    return f"{layer}.weight" if layer else "weight"


def no_layers(model: nn.Module) -> QuantisationError:
    """The error of a model without layers that can be quantised."""
    said = f"{type(model).__name__} has no linear, convolutional or embedding layer"
    if computed := [name for name, module in model.named_modules() if isinstance(module, LAYERS)]:
        said += f" that stores its weight: that of {computed[0]!r} is computed, as by weight norm; remove this first"
    return QuantisationError(said)


class Quantised:
    """A model whose weights are quantised, until :meth:`restore`. Made by :func:`quantise`; also a context manager.

    >>> with ab.quantise(model, "uaq4") as quantised:
    ...     outputs = model(inputs)
    >>> quantised.avg_bits
    4.0

    Attributes:
        model: The model, changed in place.
        weights: Name of a layer -> its quantised weight.
        shared: Name of a layer that shares its weight -> name of the layer under which it is in :attr:`weights`.
        activations: Bits of the inputs of quantised layers; None if they are not quantised.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, QuantisedWeight], activations: int | None) -> None:
        self.model, self.weights, self.activations = model, dict(weights), activations
        layers, shared = weight_layers(model)
        self.shared = {name: owner for name, owner in shared.items() if owner in self.weights}
        self._before: dict[str, tuple[nn.Parameter, Tensor]] = {}
        self._hooks = contextlib.ExitStack()
        if activations is not None:  # first, because wrong bits are refused before a weight is changed
            users = [layers[name] for name in self.weights]
            users += [model.get_submodule(name) for name in self.shared]
            self._hooks.enter_context(quantised_inputs(users, activations))
        with torch.no_grad():
            for name, quantised in self.weights.items():
                parameter = layers[name]._parameters["weight"]
                assert parameter is not None
                self._before[name] = parameter, parameter.data
                parameter.data = quantised.dequantised().to(parameter.device, parameter.dtype)

    def restore(self) -> nn.Module:
        """Put the original weights back; returns the model. A second call does nothing."""
        for parameter, data in self._before.values():
            parameter.data = data
        self._before = {}
        self._hooks.close()
        return self.model

    def __enter__(self) -> Quantised:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def __repr__(self) -> str:
        return (
            f"Quantised({type(self.model).__name__}: {len(self.weights)} weights, {self.avg_bits:.3f} bits, "
            f"{self.stored_bits / 8e6:.3f} MB stored)"
        )

    @property
    def avg_bits(self) -> float:
        """Bits of the codes for each quantised weight."""
        return sum(w.payload_bits for w in self.weights.values()) / self._count

    @property
    def stored_bits(self) -> int:
        """Bits of codes, scales, zero points and codebooks."""
        return sum(weight.stored_bits for weight in self.weights.values())

    @property
    def quant_error(self) -> float:
        """Sum of squared differences of all quantised weights."""
        return sum(weight.error for weight in self.weights.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors that :meth:`save` writes: quantised weights, and everything else as it is."""
        return self.stored_bits // 8 + sum(tensor.nbytes for tensor in self._others().values())

    @property
    def _count(self) -> int:
        return sum(torch.Size(weight.shape).numel() for weight in self.weights.values())

    def _others(self) -> dict[str, Tensor]:
        """Tensors of the model's state that are not quantised, each once."""
        left_out = {weight_name(name) for name in (*self.weights, *self.shared)}
        others: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if name not in left_out and isinstance(tensor, Tensor) and id(tensor) not in seen:
                seen.add(id(tensor))
                others[name] = tensor.detach()
        return others

    def table(self) -> pd.DataFrame:
        """One row a layer: ``layer, method, bits, weights, payload_bits, stored_bits, error``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "layer": name,
                "method": weight.choice.method,
                "bits": weight.choice.bits,
                "weights": torch.Size(weight.shape).numel(),
                "payload_bits": weight.payload_bits,
                "stored_bits": weight.stored_bits,
                "error": weight.error,
            }
            for name, weight in self.weights.items()
        )

    def save(self, path: str | Path) -> None:
        """Write the whole model to a safetensors file; :func:`load_quantised` reads it.

        The tensors of the file are :attr:`size_bytes` long; the file's header comes on top.

        Args:
            path: The file; one that is there is replaced.

        Raises:
            QuantisationError: It cannot be written; what was there stays.
        """

        tensors = {f"{n}.weight.{part}": t for n, w in self.weights.items() for part, t in w.tensors.items()}
        tensors |= {name: tensor.cpu().contiguous() for name, tensor in self._others().items()}
        about = {n: {"choice": str(w.choice), "shape": w.shape, "error": w.error} for n, w in self.weights.items()}
        metadata = {"format": FORMAT, "weights": json.dumps(about), "activations": json.dumps(self.activations)}
        write_tensors(Path(path), tensors, {"about": json.dumps(metadata)})


def quantise(
    model: nn.Module,
    config: Given | Mapping[str, Given],
    *,
    activations: int | None = None,
    exact: bool = False,
    half: bool = False,
    cache: VariantCache | None = None,
) -> Quantised:
    """Quantise weights of a model in place and reversibly.

    A weight that several layers share is quantised once, under the name of the first of them.

    Args:
        model: Any module with linear, convolutional or embedding layers.
        config: One choice for all layers that it fits, such as ``"uaq4"``, or name of a layer -> choice; layers that
            are not named keep their weights. :func:`config_of` gives that of an architecture of a quantisation space.
        activations: Bits (6 or 8) to which the inputs of quantised layers are rounded, online, with a range of its own
            for every token; None keeps them as they are.
        exact: Whether codebooks are those of least squared error (slower).
        half: Whether scales and codebooks have 16 bits in any case; see
            :func:`~autobuild.quant.weights.quantise_weight`.
        cache: Where quantised weights are kept on disk and looked up.

    Returns:
        The quantised model; :meth:`Quantised.restore`, or the end of its ``with`` block, gives the weights back.

    Raises:
        QuantisationError: A layer is unknown or has no weights, bits are outside 2-8, a weight is not finite, or a
            choice stores as much beside the codes as it encodes; ``model`` is no module of torch.
    """
    if not isinstance(model, nn.Module):
        raise QuantisationError(f"given a {type(model).__name__}, accepted: a module of torch")
    layers, shared = weight_layers(model)
    if not layers:
        raise no_layers(model)
    weights = {}
    for name, choice in _choices(config, layers, shared).items():
        weight = layers[name]._parameters["weight"]
        assert weight is not None
        if cache is None:
            weights[name] = quantise_weight(weight, choice, exact=exact, half=half, name=name)
        else:
            weights[name] = cache.get(weight, choice, exact=exact, half=half, name=name)
    return Quantised(model, weights, activations)


def _choices(
    config: Given | Mapping[str, Given], layers: Mapping[str, nn.Module], shared: Mapping[str, str]
) -> dict[str, Choice]:
    if not isinstance(config, Mapping):
        choice = Choice.of(config)
        fitting = [name for name, layer in layers.items() if choice.fits(layer.weight.shape)]  # type: ignore[arg-type]
        if not fitting:
            raise QuantisationError(f"{choice} fits no layer: it stores as many numbers as it encodes; give fewer bits")
        return dict.fromkeys(fitting, choice)
    out: dict[str, Choice] = {}
    for name, given in config.items():
        owner = shared.get(name, name)
        if owner not in layers:
            raise QuantisationError(f"the model has no weight layer {name!r}: {nearest(name, layers)}")
        choice = Choice.of(given)
        if out.setdefault(owner, choice) != choice:
            raise QuantisationError(f"{name} shares its weight with {owner}: {choice} and {out[owner]} were given")
    if not out:
        raise QuantisationError("the configuration names no layer; accepted: at least one")
    return out


def load_quantised(model: nn.Module, path: str | Path) -> Quantised:
    """Read a file that :meth:`Quantised.save` wrote into a model of the same architecture.

    Args:
        model: The model; all its weights and buffers are overwritten, unless an error is raised.
        path: The file.

    Returns:
        The quantised model. Its :meth:`~Quantised.restore` gives back the weights that quantised layers had before.

    Raises:
        QuantisationError: The file is damaged or not one of these, or its names or shapes are not those of the model.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
            metadata = dict(json.loads(found["about"])) if "about" in found else found  # older files have all beside
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise QuantisationError(f"{path}: cannot be read: {error}") from error
    if metadata.get("format") != FORMAT:
        raise QuantisationError(f"{path}: format {metadata.get('format')!r}; accepted: {FORMAT!r}")
    try:
        choices = {
            str(name): (Choice.of(about["choice"]), tuple(map(int, about["shape"])), float(about["error"]))
            for name, about in json.loads(metadata["weights"]).items()
        }
        activations = json.loads(metadata["activations"])
    except Exception as error:  # what is no header may raise anything
        raise QuantisationError(f"{path}: its header is damaged: {type(error).__name__} {error}") from error
    layers, shared = weight_layers(model)
    weights: dict[str, QuantisedWeight] = {}
    for name, (choice, shape, squared) in choices.items():
        if name not in layers:
            raise QuantisationError(f"{path}: the model has no weight layer {name!r}: {nearest(name, layers)}")
        in_model = tuple(layers[name].weight.shape)  # type: ignore[arg-type]
        if in_model != shape:
            raise QuantisationError(f"{path}: {name} has the shape {list(shape)}, in the model {in_model}")
        prefix = f"{name}.weight."
        parts = {key.removeprefix(prefix): tensors.pop(key) for key in list(tensors) if key.startswith(prefix)}
        weights[name] = QuantisedWeight(choice, shape, parts, squared)
        weights[name].check(f"{path}: {name}")
    _check_others(model, tensors, {weight_name(name) for name in (*weights, *shared)}, path)
    quantised = Quantised(model, weights, activations)
    model.load_state_dict(tensors, strict=False)
    return quantised


def _check_others(model: nn.Module, tensors: Mapping[str, Tensor], covered: set[str], path: str | Path) -> None:
    """Raise QuantisationError unless the tensors that are not quantised are the other ones of the model."""
    state = model.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        if name not in state:
            raise QuantisationError(f"{path}: the model has no {name!r}: {nearest(name, state)}")
        if state[name].shape != tensor.shape:
            raise QuantisationError(
                f"{path}: {name} has the shape {list(tensor.shape)}, in the model {tuple(state[name].shape)}"
            )
    known = {id(state[name]) for name in tensors}
    for name, tensor in state.items():
        if name not in covered and id(tensor) not in known:
            raise QuantisationError(f"{path}: the file lacks {name!r} of the model")


def layer_weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and weight of every layer that can be quantised, each weight once."""
    for name, layer in weight_layers(model)[0].items():
        weight = layer._parameters["weight"]
        assert weight is not None
        yield name, weight
