"""Build networks of torchvision and timm without trained weights; only this module imports these libraries."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, nearest

if TYPE_CHECKING:
    import torch
    from torch import nn

LIBRARIES = ("torchvision", "timm")
# torchvision checks for these operators at import; its architectures do not call them. qnms was added in 0.28.
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_log = logging.getLogger(__name__)
_defined: list[torch.library.Library] = []  # schemas exist as long as their library object


def load_zoo(name: str, **options: Any) -> nn.Module:
    """Build a network of torchvision or timm with random weights; nothing is downloaded.

    >>> load_zoo("efficientnet_b3")
    >>> load_zoo("timm/mobilenetv3_large_100", num_classes=10)  # or "timm:mobilenetv3_large_100"

    Args:
        name: Name of the model in its library. Without the prefix ``torchvision/`` or ``timm/`` (or ``torchvision:``,
            ``timm:``), the name is looked up in torchvision first, then in timm.
        **options: Arguments of the library's model function, e.g. ``num_classes=10``.

    Returns:
        The network, with weights drawn from torch's generator.

    Raises:
        ConfigError: Neither library is installed, or none has a model of this name.
    """
    library, _, model = name.replace(":", "/", 1).rpartition("/")
    if library and library not in LIBRARIES:
        raise ConfigError(f"{name!r}: the zoo {library!r} is unknown: {nearest(library, LIBRARIES)}")
    known: list[str] = []
    missing = []
    for place in [library] if library else LIBRARIES:
        if (found := _zoo(place)) is None:
            missing.append(place)
            continue
        names, build = found
        if model in names:
            network: nn.Module = build(model, **options)
            return network
        known += names
    if not known:
        raise ConfigError(f"{name!r} needs {' or '.join(missing)}: pip install 'autobuild-nas[zoo]'")
    absent = f"; {missing[0]} is not installed" if missing else ""
    raise ConfigError(f"no model {model!r} in the zoo{absent}: {nearest(model, known)}")


def _zoo(library: str) -> tuple[list[str], Callable[..., Any]] | None:
    """Model names and builder of a library; None if it is not installed."""
    try:
        if library == "torchvision":
            models = import_torchvision().models

            def build(model: str, **options: Any) -> nn.Module:
                # Segmentation and detection models would otherwise download trained weights for their backbone.
                inside = "weights_backbone" in inspect.signature(models.get_model_builder(model)).parameters
                weights = {"weights": None, **({"weights_backbone": None} if inside else {})}
                network: nn.Module = models.get_model(model, **{**weights, **options})
                return network

            return models.list_models(), build
        import_torchvision(required=False)  # timm imports it
        timm = importlib.import_module("timm")
        return timm.list_models(), lambda model, **options: timm.create_model(model, pretrained=False, **options)
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        return None


def import_torchvision(required: bool = True) -> ModuleType:
    """Import torchvision, even if its compiled operators do not match the installed torch.

    In that case its import fails, although its architectures do not use these operators. The schemas of the operators
    that it checks for are then defined, the import is repeated, and a warning is issued. Non-maximum suppression cannot
    be run.

    Raises:
        ModuleNotFoundError: torchvision is not installed and ``required`` is true.
    """
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if required or error.name != "torchvision":
            raise
        return sys
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        _defined.append(library)
        for operator, schema in SCHEMAS.items():
            if not hasattr(torch.ops.torchvision, operator):
                library.define(schema)  # type: ignore[no-untyped-call]
        for part in [part for part in sys.modules if part.partition(".")[0] == "torchvision"]:
            del sys.modules[part]
        module = importlib.import_module("torchvision")
        _log.warning(
            "torchvision %s has no compiled operators for torch %s (%s): their schemas were defined, so that its "
            "architectures can be built; detection operators cannot be run",
            module.__version__, torch.__version__, error,
        )  # fmt: skip
        return module
