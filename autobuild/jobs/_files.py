"""Input files of a job; the run folder stores their hashes to detect changes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autobuild.registry import FAMILIES
from autobuild.resources import resource_dir

_KEYS = ("space", "labels", "table", "test", "model", "archs", "arch", "built", "path", "hardware")


def input_files(config: Mapping[str, Any]) -> dict[str, Path]:
    """The files and folders named by ``config`` that exist, by key.

    A space by name is the file that declares it; ``labels=null`` is the set embedded with the space.
    """
    inputs: dict[str, Path] = {}
    for key in _KEYS:
        value = config.get(key)
        if not isinstance(value, str) or (key == "model" and value in FAMILIES.choices):
            continue
        path = Path(value)
        if key == "space":
            shipped = [resource_dir("search_spaces") / f"{value}{suffix}" for suffix in (".py", ".yaml")]
            module = (
                sys.modules.get(value.partition(":")[0]) if ":" in value else None
            )  # a space that is a Python class
            path = next((file for file in shipped if file.is_file()), Path(getattr(module, "__file__", None) or path))
        within = {"model": "model", "built": "built.csv"}.get(key)  # both keys also accept a run folder
        if within is not None and _exists(path / within):
            path = path / within
        if key == "hardware" and not _exists(path):
            from autobuild.cost.hardware import PRESETS

            path = PRESETS / f"{value}.yaml"
        if _exists(path):
            inputs[key] = path
    evaluates = _evaluators_file(config.get("evaluator"))
    if evaluates is not None:
        inputs["evaluator"] = evaluates
    if config.get("labels", "") is None and isinstance(config.get("space"), str):
        embedded = embedded_labels(str(config["space"]))
        if embedded is not None:
            inputs["labels"] = embedded
    return inputs


def _evaluators_file(evaluator: Any) -> Path | None:
    """The table or the model that ``evaluator=`` names."""
    kind, _, name = evaluator.partition(":") if isinstance(evaluator, str) else ("", "", "")
    if kind in ("table", "surrogate") and name and _exists(Path(name)):
        return Path(name)
    return None


def embedded_labels(space: str) -> Path | None:
    """The labelled set that ships with the space, if there is one."""
    from autobuild.labels.label_files import embedded_sets

    return embedded_sets().get(space.removeprefix("quant:"))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # an architecture's text can be longer than a file name may be
        return False
