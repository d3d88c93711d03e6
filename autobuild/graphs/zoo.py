"""Architectures of torchvision and timm, without weights; the one place that imports them."""

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
# torchvision checks these at import; its architectures call none of them. qnms came with 0.28.
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_log = logging.getLogger(__name__)
_defined: list[torch.library.Library] = []  # schemas live as long as their library object


def load_zoo(name: str, **options: Any) -> nn.Module:
    """Build an architecture of torchvision or timm with fresh weights; nothing is downloaded.

    >>> load_zoo("efficientnet_b3")
    >>> load_zoo("timm/mobilenetv3_large_100", num_classes=10)  # or "timm:mobilenetv3_large_100"

    Args:
        name: The library's own name of the model. Without ``torchvision/`` or ``timm/`` (or ``torchvision:``,
            ``timm:``) before it, torchvision is asked first, then timm.
        **options: Arguments of the library's model function, e.g. ``num_classes=10``.

    Returns:
        The network, with weights drawn from torch's generator.

    Raises:
        ConfigError: If neither library is installed, or none has a model of this name.
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
        raise ConfigError(f"{name!r} needs {' or '.join(missing)}: pip install 'autobuild[zoo]'")
    absent = f"; {missing[0]} is not installed" if missing else ""
    raise ConfigError(f"no model {model!r} in the zoo{absent}: {nearest(model, known)}")


def _zoo(library: str) -> tuple[list[str], Callable[..., Any]] | None:
    """Names and builder of a library; None where it is not installed."""
    try:
        if library == "torchvision":
            models = import_torchvision().models

            def build(model: str, **options: Any) -> nn.Module:
                # Segmentation and detection would fetch trained weights for the network inside.
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
    """Import torchvision, also where it lacks compiled operators for this torch.

    Without them its import fails, although its architectures need none: then the schemas of the operators that it looks
    for are defined, the import is tried again, and a warning says so. Non-maximum suppression still cannot be *run*.

    Raises:
        ModuleNotFoundError: If it is not installed and ``required``.
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
