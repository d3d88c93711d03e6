"""What an evaluator gives is checked before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

from autobuild.errors import EvaluationError, nearest

_SHOWN = 120  # characters of a wrong value that a message quotes


def checked_metrics(given: Any, needs: Collection[str] = (), *, source: str = "the evaluator") -> dict[str, float]:
    """The metrics as plain floats.

    Args:
        given: What an evaluator has returned: metric name -> number. Numbers of numpy and torch are taken; where
            ``needs`` is a single name, a bare number is its value.
        needs: Names that must be there with finite numbers; all others may be NaN or infinite.
        source: What messages call the evaluator.

    Raises:
        EvaluationError: Anything else; the message says what came.
    """
    if not isinstance(given, Mapping):
        number = _number(given)
        if number is None or len(needs) != 1:
            raise EvaluationError(
                f"{source} gave {_shown(given)}; accepted: metric names with numbers, {{'acc': 93.5}}"
            )
        given = {next(iter(needs)): number}
    if not given:
        raise EvaluationError(f"{source} gave no metrics")
    metrics: dict[str, float] = {}
    for name, value in given.items():
        number = _number(value)
        if not isinstance(name, str) or number is None:
            raise EvaluationError(f"{source} gave {_shown(name)}: {_shown(value)}; accepted: a name and a number")
        metrics[name] = number
    for name in needs:
        if name not in metrics:
            raise EvaluationError(f"{source} gave no {name!r}, which the target needs: {nearest(name, metrics)}")
        if not math.isfinite(metrics[name]):
            raise EvaluationError(f"{source} gave {name}={metrics[name]}, and the target needs a finite number")
    return metrics


def _number(value: Any) -> float | None:
    """``value`` as a float where it is one number, else None; truth values and texts are none."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # of numpy or torch
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"{shown} ({type(value).__name__})"
