"""Latencies of HELP (Lee et al., NeurIPS 2021): a folder of tensors, one file a device, and the cells' numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from autobuild.errors import LabelError
from autobuild.labels._raw_table import RawTable

ROWS = "rows are the architectures, counted from 1"
INDEX = "str_arch2idx.pt"  # cell string -> its place in every tensor


def is_help(path: Path) -> bool:
    """Whether a folder holds HELP's latencies of NAS-Bench-201."""
    return (path / INDEX).is_file() and (path / "latency").is_dir()


def read_help(path: Path) -> RawTable:
    """Read the folder ``data/nasbench201`` of HELP: metrics ``latency_DEVICE`` in milliseconds.

    Raises:
        LabelError: A file is missing or damaged, or is not what torch reads with ``weights_only=True``.
    """
    if not is_help(path):
        raise LabelError(f"{path}: accepted is HELP's folder data/nasbench201, with {INDEX} and the folder latency")
    places = _load(path / INDEX)
    if not isinstance(places, dict) or sorted(places.values()) != list(range(len(places))):
        raise LabelError(f"{path / INDEX}: accepted is a dictionary, cell string -> its number from 0")
    columns: dict[str, Any] = {"arch": [str(cell) for cell in sorted(places, key=lambda cell: places[cell])]}
    for file in sorted((path / "latency").glob("*.pt")):
        values = [float(value) for value in _load(file)]
        if len(values) != len(places):
            raise LabelError(f"{file}: {len(values):,} latencies for {len(places):,} architectures")
        columns[f"latency_{re.sub(r'[^0-9A-Za-z]+', '_', file.stem)}"] = values
    if len(columns) == 1:
        raise LabelError(f"{path / 'latency'}: there is no file of a device (*.pt)")
    return RawTable(str(path), columns, range(1, len(places) + 1), ROWS, space="nas_bench_201")


def _load(file: Path) -> Any:
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise any exception
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise LabelError(f"{file}: not readable as tensors and plain values ({reason})") from error
