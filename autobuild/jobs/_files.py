"""Input files of a job; the run folder stores their hashes to detect changes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from importlib.util import find_spec
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
    for key, files in (
        ("evaluator", _evaluators_files(config.get("evaluator"))),
        ("sources", _source_files(config.get("sources"))),
        ("features", _modules(config.get("features"))),
    ):
        inputs |= {f"{key}[{place}]" if place else key: file for place, file in enumerate(files)}
    if config.get("labels", "") is None and isinstance(config.get("space"), str):
        embedded = embedded_labels(str(config["space"]))
        if embedded is not None:
            inputs["labels"] = embedded
    return inputs


def _evaluators_files(evaluator: Any) -> list[Path]:
    """The table or the models that ``evaluator=`` names."""
    kind, _, name = evaluator.partition(":") if isinstance(evaluator, str) else ("", "", "")
    names = {"table": [name], "surrogate": name.split(",")}.get(kind, [])
    return [Path(one.strip()) for one in names if one.strip() and _exists(Path(one.strip()))]


def _source_files(sources: Any) -> list[Path]:
    """The tables that ``sources=`` names, as ``FILE`` or ``FILE:expression``."""
    given = [sources] if isinstance(sources, str) else sources or ()
    names = (next((one for one in (text, text.rpartition(":")[0]) if one and _exists(Path(one))), "") for text in given)
    return [Path(name) for name in names if name]


def _modules(features: Any) -> list[Path]:
    """The files of the modules that ``features=`` names, as ``package.module:function``."""
    given = [features] if isinstance(features, str) else features or ()
    files = []
    for name in (text.partition(":")[0] for text in given if ":" in text):
        with contextlib.suppress(ImportError, ValueError, AttributeError):  # told by what imports it
            found = find_spec(name)
            files += [Path(found.origin)] if found is not None and found.has_location and found.origin else []
    return files


def embedded_labels(space: str) -> Path | None:
    """The labelled set that ships with the space, if there is one."""
    from autobuild.labels.label_files import embedded_sets

    return embedded_sets().get(space.removeprefix("quant:"))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # an architecture's text can be longer than a file name may be
        return False
