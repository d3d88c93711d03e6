"""The key ``model``: a family to fit, or the folder of a fitted model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobuild.registry import FAMILIES


def saved_model(config: Mapping[str, Any]) -> str | None:
    """The folder that ``model=`` names; None if it names a family, or the job has no such key."""
    model = config.get("model")
    return None if model is None or model in FAMILIES.choices else str(model)


def family(config: Mapping[str, Any]) -> str:
    """The family to fit; with ``scorer=hopnorm``, which needs a graph encoder, ``auto`` means ``graph``."""
    model = str(config.get("model", "auto"))
    return "graph" if model == "auto" and config.get("scorer") == "hopnorm" else model
