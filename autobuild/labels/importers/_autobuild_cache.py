"""Cache pickles of the AutoBuild paper (Mills et al., CVPR 2024): Once-for-All architectures with labels.

The published caches are lists with one dictionary per architecture. Its ``"original config"`` is
``[resolution, stages]``, a stage being a list of layers such as ``"mbconv3_e6_k5"`` (``mbconv3`` in MobileNetV3,
``mbconv2`` in ProxylessNAS); the other entries are metrics: ``acc``, ``latency_gpu``, ``flops_pan_seg``...

Also accepted are a list of pairs ``(architecture, metrics)`` and a dictionary architecture -> metrics. There, an
architecture is a text or a list of stages as above, and metrics are a dictionary or one number, which becomes the
column ``label``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from autobuild.errors import LabelError
from autobuild.labels._raw_table import RawTable
from autobuild.labels.importers._quant_cache import is_quant_cache, table_of
from autobuild.labels.importers._restricted_unpickler import read_pickle

ENTRIES = "rows are the entries, counted from 1"
CONFIG_KEYS = ("original config", "arch")
_LAYER = re.compile(r"mbconv(\d)_e(\d+)_k(\d+)")
_SPACES = {"3": "ofa_mbv3", "2": "ofa_proxyless"}
_SHAPES = (
    "accepted: a list of dictionaries with 'original config' and metrics, a list of pairs (architecture, metrics), or "
    "a dictionary architecture -> metrics"
)


def read_autobuild_cache(path: Path) -> RawTable:
    """Read a cache pickle without executing it.

    Layers have the text ``e<expand>k<kernel>`` and are joined by ``-``, stages by ``|``. If input resolutions differ,
    the text begins with the resolution (``r224|e3k3...``); the resolution also is a column. Entries without a number
    in any row (names, graphs) are left out and listed in ``notes``.

    Raises:
        LabelError: The pickle refers to a class (the message names it), cannot be read, or has another structure.
    """
    data = read_pickle(path)
    if is_quant_cache(data):
        return table_of(data, str(path))
    archs: list[str] = []
    resolutions: list[float | None] = []
    rows: list[dict[str, Any]] = []
    bad: dict[int, str] = {}
    for number, (given, metrics) in enumerate(_entries(data, path)):
        try:
            resolution, arch = _architecture(given)
            rows.append(_metrics(metrics))
        except ValueError as error:
            bad[number], resolution, arch = str(error), None, ""
            rows.append({})
        archs.append(arch)
        resolutions.append(resolution)
    if not rows:
        raise LabelError(f"{path}: there is no architecture in it; {_SHAPES}")
    texts, spaces = [], {generation for arch in archs for generation in re.findall(r"^(\d)@", arch)}
    several = len({resolution for resolution in resolutions if resolution is not None}) > 1
    for arch, resolution in zip(archs, resolutions, strict=True):
        text = arch.partition("@")[2]
        texts.append(f"r{resolution:g}|{text}" if several and resolution is not None else text)
    columns: dict[str, list[Any]] = {"arch": texts}
    if any(resolution is not None for resolution in resolutions):
        columns["resolution"] = resolutions
    left_out = []
    for name in {name: None for row in rows for name in row}:
        values = [row.get(name) for row in rows]
        if any(isinstance(value, float) for value in values):
            columns.setdefault(name, values)
        else:
            left_out.append(name)
    notes = [f"left out, as they hold no numbers: {', '.join(left_out)}"] if left_out else []
    space = _SPACES.get(spaces.pop()) if len(spaces) == 1 else None
    return RawTable(str(path), dict(columns), range(1, len(rows) + 1), ENTRIES, bad=bad, notes=notes, space=space)


def _entries(data: Any, path: Path) -> Iterable[tuple[Any, Any]]:
    """All pairs ``(architecture, metrics)`` of a cache of any accepted structure."""
    if isinstance(data, dict):
        return list(data.items())
    if not isinstance(data, list | tuple):
        raise LabelError(f"{path}: the pickle holds a {type(data).__name__}; {_SHAPES}")
    entries = []
    for number, entry in enumerate(data, start=1):
        if isinstance(entry, dict):
            key = next((key for key in CONFIG_KEYS if key in entry), None)
            if key is None:
                keys = ", ".join(map(str, list(entry)[:8]))
                raise LabelError(f"{path}: entry {number} has no 'original config' (keys: {keys}); {_SHAPES}")
            entries.append((entry[key], {name: value for name, value in entry.items() if name != key}))
        elif isinstance(entry, list | tuple) and len(entry) == 2:
            entries.append((entry[0], entry[1]))
        else:
            raise LabelError(f"{path}: entry {number} is a {type(entry).__name__}; {_SHAPES}")
    return entries


def _architecture(given: Any) -> tuple[float | None, str]:
    """Resolution and ``"<generation>@<text>"``; the generation is empty if the architecture is given as text."""
    if isinstance(given, str):
        return None, f"@{given}"
    resolution = None
    if isinstance(given, list | tuple) and len(given) == 2 and _number(given[0]) is not None:
        resolution, given = _number(given[0]), given[1]
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(f"the architecture is {str(given)[:60]!r}; stages are lists of layers such as 'mbconv3_e6_k5'")
    stages, generations = [], set()
    for number, stage in enumerate(given, start=1):
        layers = []
        for layer in stage if isinstance(stage, list | tuple) else [stage]:
            match = _LAYER.fullmatch(layer) if isinstance(layer, str) else None
            if match is None:
                raise ValueError(f"stage {number}: {str(layer)[:40]!r} is not a layer such as 'mbconv3_e6_k5'")
            generations.add(match[1])
            layers.append(f"e{match[2]}k{match[3]}")
        stages.append("-".join(layers))
    if len(generations) != 1:
        raise ValueError(f"layers of several kinds in one architecture: mbconv{', mbconv'.join(sorted(generations))}")
    return resolution, f"{generations.pop()}@{'|'.join(stages)}"


def _metrics(given: Any) -> dict[str, Any]:
    """Metric -> float, None if it is missing, or the original value if it is not a number."""
    if not isinstance(given, dict):
        number = _number(given)
        if number is None:
            raise ValueError(f"the metrics are {str(given)[:40]!r}; a dictionary or a number is expected")
        return {"label": number}
    columns = {}
    for name, value in given.items():
        number = _number(value)
        columns[str(name)] = value if number is None else number
    return columns


def _number(value: Any) -> float | None:
    """Convert a real number, or an array of one element, to float; None for other values."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biuf":
        value = value.reshape(-1)[0].item()
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return None
