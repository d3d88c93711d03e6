"""Caches of Qua2SeDiMo (Mills et al., AAAI 2025): quantisation configurations of diffusion models with labels.

A list with one dictionary a configuration. ``config`` is layer -> ``[method-bits, size, quantised size, error]``; the
other entries are metrics: ``FID-GT-1k``, ``avg_bits``, ``quantized_size``, ``quantized_error``, ``bops``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autobuild.errors import LabelError
from autobuild.labels._raw_table import RawTable
from autobuild.labels.importers._restricted_unpickler import read_pickle

METHODS = {"mse": "uaq", "kmeans": "kmc", "kmeans_all": "kma"}  # its names -> those of autobuild.quant
SUFFIX = ".weight_quantizer"
_SHAPE = "accepted: a list of dictionaries with 'config' (layer -> [method-bits, size, quantised size, error])"


def is_quant_cache(data: Any) -> bool:
    """Whether what a pickle holds is such a cache."""
    first = data[0] if isinstance(data, list) and data else None
    return isinstance(first, dict) and isinstance(first.get("config"), dict)


def read_quant_cache(path: Path) -> RawTable:
    """Read a cache without executing it.

    Architectures are the choices of all layers in the order of the first configuration, such as ``kmc4|uaq3|...``;
    they belong to a quantisation space whose layers have that order.

    Raises:
        LabelError: The pickle refers to a class, cannot be read, or has another structure.
    """
    data = read_pickle(path)
    if not is_quant_cache(data):
        raise LabelError(f"{path}: not a cache of quantisation configurations; {_SHAPE}")
    return table_of(data, str(path))


def table_of(data: Sequence[Any], source: str) -> RawTable:
    """The table of a cache that was read."""
    layers = list(data[0]["config"])
    rows: list[Mapping[str, Any]] = []
    texts: list[str] = []
    bad: dict[int, str] = {}
    for number, entry in enumerate(data):
        config = entry.get("config") if isinstance(entry, dict) else None
        try:
            if not isinstance(config, dict) or set(config) != set(layers):
                raise ValueError(f"the entry has not the {len(layers)} layers of the first one")
            texts.append("|".join(choice_text(config[layer][0]) for layer in layers))
        except (ValueError, TypeError, IndexError, KeyError) as error:
            bad[number] = str(error)
            texts.append("")
        rows.append(entry if isinstance(entry, dict) else {})
    columns: dict[str, Sequence[Any]] = {"arch": texts}
    for name in dict.fromkeys(name for row in rows for name in row if name != "config"):
        values = [row.get(name) for row in rows]
        if all(value is None or isinstance(value, int | float) for value in values):
            columns[str(name)] = values
    notes = [f"layers: {', '.join(name.removesuffix(SUFFIX) for name in layers[:3])}, ... ({len(layers)} in all)"]
    return RawTable(
        source, columns, range(1, len(rows) + 1), "rows are the entries, counted from 1", bad=bad, notes=notes
    )


def choice_text(given: Any) -> str:
    """``kmeans-4`` as ``kmc4``.

    Raises:
        ValueError: It is not one of its methods and bits.
    """
    method, _, bits = str(given).rpartition("-")
    if method not in METHODS or not bits.isdigit():
        raise ValueError(
            f"{str(given)[:40]!r} is not a method and bits such as 'kmeans-4'; methods: {', '.join(METHODS)}"
        )
    return f"{METHODS[method]}{bits}"
