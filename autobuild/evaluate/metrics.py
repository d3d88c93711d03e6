"""Check what an evaluator returns."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

from autobuild.errors import EvaluationError, nearest
from autobuild.expressions.parse import written

ACCEPTED = "accepted: metric names with numbers, {'acc': 93.5}"
IGNORED = "the evaluator gives what is no number and is not kept"
_SHOWN = 120  # characters of a wrong value that a message quotes


class EvaluationWarning(UserWarning):
    """Some evaluations failed, or returned values that are not numbers."""


class Measured(dict[str, float]):
    """Metrics as plain floats.

    Attributes:
        ignored: Descriptions of the returned values that are not numbers.
    """

    ignored: tuple[str, ...] = ()


class UnusableMetrics(EvaluationError):
    """An evaluation lacks a needed metric; ``metrics`` has the others that it measured."""

    def __init__(self, message: str, metrics: Mapping[str, float]) -> None:
        super().__init__(message)
        self.metrics = dict(metrics)


def checked_metrics(given: Any, needs: Collection[str] = (), *, source: str = "the evaluator") -> Measured:
    """Convert metrics to plain floats; values that are not numbers are left out and described in ``ignored``.

    Args:
        given: Return value of an evaluator: metric name -> number. Truth values, decimals, and arrays and tensors with
            one number are accepted. If ``needs`` is a single name, a bare number is its value; a sequence of as
            many numbers as ``needs`` has names are their values, in that order.
        needs: Names whose values must be finite numbers; all others may be NaN or infinite, or not numbers.
        source: Name of the evaluator in messages.

    Raises:
        UnusableMetrics: A needed metric is missing, not a number, or not finite.
        EvaluationError: There are no metrics.
    """
    items = _items(given, needs, source)
    metrics, ignored = Measured(), list(getattr(given, "ignored", ()))
    for name, value in items.items():
        number = _number(value)
        if isinstance(name, str) and number is not None:
            metrics[name] = number
        elif name not in needs:
            ignored.append(f"{name!r}: {_shown(value)}")
    metrics.ignored = tuple(ignored)
    for name in needs:
        if name in items and name not in metrics:
            raise UnusableMetrics(f"{source} gave {name!r}: {_shown(items[name])}; accepted: a number", metrics)
        if name not in metrics:
            message = f"{source} gave no metrics; the target needs {name!r}"
            if metrics:
                message = f"{source} gave no {name!r}, which the target needs: {nearest_metric(name, metrics)}"
            raise UnusableMetrics(message, metrics)
        if not math.isfinite(metrics[name]):
            message = f"{source} gave {name}={metrics[name]}, and the target needs a finite number"
            raise UnusableMetrics(message, {key: value for key, value in metrics.items() if math.isfinite(value)})
    if not metrics:
        raise EvaluationError(f"{source} gave no metrics{': ' if ignored else ''}{', '.join(ignored)}; {ACCEPTED}")
    return metrics


def nearest_metric(name: str, metrics: Collection[str]) -> str:
    """A hint at the right name of a metric; one that is no plain word must be written in backticks."""
    quoted = [written(given) for given in metrics if written(given) != given and name in given]
    return f"write {' or '.join(quoted)}" if quoted else nearest(name, [written(given) for given in metrics])


def _items(given: Any, needs: Collection[str], source: str) -> Mapping[Any, Any]:
    """The returned values by name."""
    if inspect.iscoroutine(given):
        given.close()  # otherwise Python warns that it was never awaited
        raise EvaluationError(f"{source} is async and gave a coroutine; wrap it: asyncio.run(evaluate(arch))")
    if inspect.isgenerator(given) or inspect.isasyncgen(given):
        raise EvaluationError(f"{source} gave a generator: it yields where it should return; {ACCEPTED}")
    if given is None:
        raise EvaluationError(f"{source} gave None (NoneType): is its return missing? {ACCEPTED}")
    if hasattr(given, "_asdict"):  # a named tuple
        given = given._asdict()
    if isinstance(given, Mapping):
        return given
    if hasattr(given, "keys") and hasattr(given, "__getitem__"):  # a series of pandas
        return {name: given[name] for name in given.keys()}  # noqa: SIM118
    number = _number(given)
    if number is not None and len(needs) == 1:
        return {next(iter(needs)): number}
    several = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if several and needs and len(given) == len(needs) and all(_number(value) is not None for value in given):
        return dict(zip(needs, given, strict=True))
    more = f", or as many numbers as the target needs, in this order: {', '.join(needs)}" if needs else ""
    raise EvaluationError(f"{source} gave {_shown(given)}; {ACCEPTED}{more}")


def warn_ignored(ignored: Collection[str], stacklevel: int = 3) -> None:
    """Warn once about all values of evaluators that are not numbers."""
    if ignored:
        warnings.warn(ignored_text(ignored), EvaluationWarning, stacklevel=stacklevel)


def ignored_text(ignored: Collection[str]) -> str:
    """The message of :func:`warn_ignored`."""
    return f"{IGNORED}: {', '.join(ignored)}"


def _number(value: Any) -> float | None:
    """``value`` as a float if it is one number, else None; a text is not a number."""
    if callable(getattr(value, "item", None)):  # of numpy, torch or pandas
        try:
            value = value.item()
        except (ValueError, TypeError, RuntimeError):  # more than one number
            return None
    if not isinstance(value, Real | Decimal):
        return None
    try:
        return float(value)
    except (OverflowError, ValueError):
        return None


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"{shown} ({type(value).__name__})"
