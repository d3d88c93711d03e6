"""What ``model=`` may say: a family to fit, or the folder of a model that is fitted already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobuild.registry import FAMILIES


def saved_model(config: Mapping[str, Any]) -> str | None:
    """The folder that ``model=`` names; None where it names a family, or the job has no such key."""
    model = config.get("model")
    return None if model is None or model in FAMILIES.choices else str(model)


def family(config: Mapping[str, Any]) -> str:
    """The family to fit: the paper's scorer reads the graph encoder, so ``model=auto`` with it is that one."""
    model = str(config.get("model", "auto"))
    return "graph" if model == "auto" and config.get("scorer") == "hopnorm" else model
