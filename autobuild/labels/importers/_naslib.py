"""NASLib's precomputed scores (NAS-Bench-Suite-Zero, Krishnakumar et al., NeurIPS 2022): data set -> architecture.

An architecture is a tuple of six numbers: operations of NAS-Bench-201 in NASLib's own order and edges, or the digits of
TransNAS-Bench-101's text. An entry has the validation accuracy and the scores of zero-cost proxies, each with the time
that it took.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autobuild.errors import LabelError
from autobuild.labels._raw_table import RawTable

KEYS = "keys are counted from 1, over all data sets"
HEAD = re.compile(rb'\s*\{\s*"[\w-]+"\s*:\s*\{\s*"\(\d+(, ?\d+)*\)"\s*:\s*\{')
_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_EDGES = (0, 1, 3, 2, 4, 5)  # place in the tuple of each edge of the cell string
_TASKS = ("class_scene", "class_object", "autoencoder", "normal", "jigsaw", "room_layout", "segmentsemantic")


def read_naslib(path: Path) -> RawTable:
    """Read the JSON file. Metrics are ``val_accuracy`` and the names of proxies; with several data sets, ``NAME_DATA``.

    Raises:
        LabelError: The file is not JSON, or not of this form. Tuples that are no architecture are reported later.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: not readable as JSON ({error}); is it truncated?") from error
    if not isinstance(data, dict) or not data or not all(isinstance(own, dict) for own in data.values()):
        raise LabelError(f"{path}: accepted is one JSON object, data set -> architecture -> scores; this is not")
    keys = list(dict.fromkeys(key for own in data.values() for key in own))
    space = _space(path, list(data), keys)
    columns: dict[str, list[Any]] = {}
    for name, own in data.items():
        for row, key in enumerate(keys):
            for metric, value in _metrics(own.get(key)).items():
                column = metric if len(data) == 1 else f"{metric}_{name}"
                columns.setdefault(column, [None] * len(keys))[row] = value
    texts, bad = [], {}
    for row, key in enumerate(keys):
        try:
            texts.append(_text(key, space))
        except (ValueError, IndexError):
            texts.append("")
            bad[row] = f"arch {key[:40]!r}: a tuple of six operations of {space} is accepted"
    return RawTable(str(path), {"arch": texts, **columns}, range(1, len(keys) + 1), KEYS, bad=bad, space=space)


def _space(path: Path, datasets: list[str], keys: list[str]) -> str:
    if not set(datasets) <= set(_TASKS):
        return "nas_bench_201"
    macro = "macro" in path.name or any("4" in key for key in keys)  # no operation of a cell has this digit
    return f"trans_nas_bench_{'macro' if macro else 'micro'}"


def _metrics(entry: object) -> dict[str, Any]:
    """Numbers of an entry: those that stand alone, and the scores of proxies; an ``id`` is left out."""
    if not isinstance(entry, Mapping):
        return {}
    found = {name: value.get("score") if isinstance(value, Mapping) else value for name, value in entry.items()}
    return {str(name): value for name, value in found.items() if name != "id" and not isinstance(value, str | list)}


def _text(key: str, space: str) -> str:
    digits = [int(word) for word in key.strip("()[] ").split(",") if word.strip()]
    if len(digits) != 6 or min(digits) < 0:
        raise ValueError(key)
    if space == "nas_bench_201":
        ops = [_OPS[digits[place]] for place in _EDGES]
        return "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops)
    if space == "trans_nas_bench_micro":
        return "64-41414-{}_{}{}_{}{}{}".format(*digits)
    return f"64-{''.join(str(digit) for digit in digits if digit)}-basic"
