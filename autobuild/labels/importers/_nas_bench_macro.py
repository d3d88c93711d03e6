"""NAS-Bench-Macro as published: one JSON object, architecture -> measurements (Su et al., CVPR 2021)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autobuild.errors import LabelError
from autobuild.labels._raw_table import RawTable

METRICS = ("mean_acc", "std", "params", "flops")
KEYS = "keys are counted from 1"
DIGITS = 8


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as a list of its pairs, including repeated keys."""


def read_nas_bench_macro(path: Path) -> RawTable:
    """Read the JSON file: key of eight digits 0 to 2 -> ``mean_acc`` (%), ``std``, ``params``, ``flops`` (counts).

    Other entries (the accuracies of the three trainings) are left out; an entry that does not exist is a missing value.

    Raises:
        LabelError: The file is not JSON (perhaps truncated), or not one object with at least one key.
    """
    try:
        data = json.loads(path.read_bytes(), object_pairs_hook=_Pairs)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: not readable as JSON ({error}); is it truncated?") from error
    if not isinstance(data, _Pairs) or not data:
        raise LabelError(f"{path}: NAS-Bench-Macro is one JSON object, architecture -> measurements; this is not")
    bad: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for row, (key, given) in enumerate(data):
        problem = _problem(key) or ("the key is written twice" if key in seen else None)
        if problem is None and not isinstance(given, _Pairs):
            problem = f"an object with {', '.join(METRICS)} is expected, not {str(given)[:40]!r}"
        if problem is not None:
            bad[row] = f"arch {key[:40]!r}: {problem}"
        seen.add(key)
        rows.append(dict(given) if isinstance(given, _Pairs) else {})
    columns: dict[str, list[Any]] = {"arch": [key for key, _ in data]}
    columns |= {name: [row.get(name) for row in rows] for name in METRICS}
    return RawTable(str(path), dict(columns), range(1, len(rows) + 1), KEYS, bad=bad, space="nas_bench_macro")


def _problem(key: str) -> str | None:
    if len(key) != DIGITS:
        return f"{len(key)} characters, a key has {DIGITS} digits, a layer each"
    wrong = next((place for place, digit in enumerate(key) if digit not in "012"), None)
    if wrong is not None:
        return f"{key[wrong]!r} in place {wrong + 1}; a layer is 0 (identity), 1 or 2"
    return None
