"""The key ``model``: a family to fit, or the folder of a fitted model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autobuild.errors import ConfigError, nearest
from autobuild.registry import FAMILIES


def saved_model(config: Mapping[str, Any]) -> str | None:
    """The folder that ``model=`` names; None if it names a family, or the job has no such key.

    Raises:
        ConfigError: It is a plain word that is neither a family nor a folder.
    """
    model = config.get("model")
    if model is None or model in FAMILIES.choices:
        return None
    if str(model).isidentifier() and not Path(str(model)).exists():
        known = nearest(model, FAMILIES.choices)
        raise ConfigError(f"model={model}: neither a family of models nor the folder of a fitted one: {known}")
    return str(model)


def family(config: Mapping[str, Any]) -> str:
    """The family to fit; with ``scorer=hopnorm``, which needs a graph encoder, ``auto`` means ``graph``."""
    model = str(config.get("model", "auto"))
    return "graph" if model == "auto" and config.get("scorer") == "hopnorm" else model
