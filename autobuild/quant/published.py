"""Models of diffusers, transformers, timm and torchvision, built from the configurations of ``published.yaml``."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from autobuild.errors import ConfigError, QuantisationError, nearest
from autobuild.graphs.zoo import import_torchvision, load_zoo


@lru_cache
def published() -> dict[str, dict[str, Any]]:
    """Name of a model -> its library, class, configuration and inputs."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text("utf-8"))
    return found


def load_published(name: str, checkpoint: str | Path | None = None) -> tuple[nn.Module, Any]:
    """A published model, and an example of its inputs.

    Args:
        name: One of :func:`published`.
        checkpoint: Folder that the library's ``save_pretrained`` wrote, of any size of the same class (diffusers,
            transformers), or a file of weights (timm, torchvision). Nothing is downloaded. Without one the weights have
            no values and need no memory (meta device).

    Returns:
        The model in evaluation mode, and its inputs: keyword arguments, of shapes and tensors of whole numbers.

    Raises:
        ConfigError: The model is unknown, its library is not installed, or the checkpoint does not exist.
        QuantisationError: The checkpoint's names or shapes are not those of the model.
    """
    if name not in published():
        raise ConfigError(f"model {name!r}: {nearest(name, published())}")
    about = published()[name]
    if checkpoint is not None and not Path(checkpoint).exists():
        raise ConfigError(f"model {name}: no such checkpoint: {checkpoint}")
    model = _built(about) if checkpoint is None else _loaded(about, Path(checkpoint))
    device = next(model.parameters()).device
    return model.eval(), _inputs(about["inputs"], device)


def _built(about: Mapping[str, Any]) -> nn.Module:
    config = about.get("config", {})
    with torch.device("meta"):
        if about["library"] == "diffusers":
            model: nn.Module = getattr(_library("diffusers"), about["model"]).from_config(config)
        elif about["library"] == "transformers":
            library = _library("transformers")
            made = library.AutoConfig.for_model(about["model"], **config)
            model = library.AutoModelForCausalLM.from_config(made)
        else:
            model = load_zoo(f"{about['library']}/{about['model']}", **config)
    tie = getattr(model, "tie_weights", None)
    if tie is not None:
        tie()
    return model


def _loaded(about: Mapping[str, Any], checkpoint: Path) -> nn.Module:
    """By the library's own code; names and shapes have to fit."""
    if about["library"] in ("timm", "torchvision"):
        model = load_zoo(f"{about['library']}/{about['model']}", **about.get("config", {}))
        if checkpoint.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(checkpoint)
        else:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise QuantisationError(f"{checkpoint}: {' '.join(str(error).split())[:400]}") from error
        return model
    library = _library(about["library"])
    loaded: nn.Module
    of_class = getattr(library, about["model"] if about["library"] == "diffusers" else "AutoModelForCausalLM")
    try:
        loaded, info = of_class.from_pretrained(checkpoint, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise QuantisationError(f"{checkpoint}: {' '.join(str(error).split())[:400]}") from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if wrong := sorted(map(str, info.get(what, ()))):
            raise QuantisationError(f"{checkpoint}: {len(wrong)} {what.replace('_', ' ')}, the first {wrong[0]}")
    return loaded


def _library(name: str) -> Any:
    with contextlib.suppress(ModuleNotFoundError):
        import_torchvision(required=False)  # which transformers imports where it is there
        return importlib.import_module(name)
    raise ConfigError(f"this model needs {name}: pip install 'autobuild-nas[diffusion]'")


def _inputs(given: Any, device: torch.device) -> Any:
    """Whole numbers as tensors of zeros; shapes stay."""
    if isinstance(given, Mapping):
        if set(given) == {"int64"}:
            return torch.zeros(given["int64"], dtype=torch.int64, device=device)
        return {key: _inputs(value, device) for key, value in given.items()}
    return given
