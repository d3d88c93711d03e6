"""Evaluators from objects, functions, or texts of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, EvaluationError, nearest
from autobuild.evaluate._functions import from_callable, from_name
from autobuild.evaluate._tabular_and_surrogate import SurrogateEvaluator, TableEvaluator, surrogate
from autobuild.evaluate._wrappers import JoinedEvaluator, checked
from autobuild.evaluate.command import CommandEvaluator
from autobuild.evaluate.evaluator import Evaluator, evaluator_for
from autobuild.evaluate.metrics import nearest_metric

if TYPE_CHECKING:
    from autobuild.labels import LabelledSet
    from autobuild.spaces import SearchSpace

KINDS = (
    "train",
    "latency",
    "train+latency",
    "table",
    "table:FILE",
    "surrogate:MODEL_FOLDER",
    "python:package.module:function",
    "command:PROGRAM ARGUMENTS",
)


def as_evaluator(
    what: Any,
    space: SearchSpace,
    *,
    needs: Sequence[str] = (),
    labels: LabelledSet | None = None,
    load_model: Callable[[str], Any] | None = None,
) -> Evaluator:
    """Create an evaluator from a text, a function or another object; it checks its metrics at every evaluation.

    Args:
        what: One of

            - ``"train"``: the space's own training; ``"latency"``: the measured latency of its networks
              (``latency_ms``); ``"train+latency"``: both;
            - ``"table:FILE"``, ``"table"`` (the rows of ``labels``), or a :class:`~autobuild.labels.LabelledSet`;
            - ``"surrogate:FOLDER"``, several folders separated by commas, or a fitted model: predictions;
            - ``"python:package.module:function"``, or a function ``arch -> metrics``, which may also have parameters
              ``seed`` and ``report``, a function that it calls as ``report(step, {"acc": ...})``;
            - ``"command:PROGRAM ARGUMENTS"``, see :mod:`autobuild.evaluate.command`;
            - an :class:`~autobuild.evaluate.evaluator.Evaluator`.
        space: The space, possibly narrowed.
        needs: Names of the metrics that the target needs, which must be finite numbers. If it is one name, an evaluator
            may return a bare number.
        labels: The rows of ``"table"``.
        load_model: Reads the folder of a model, for ``"surrogate:FOLDER"``.

    Returns:
        The evaluator.

    Raises:
        ConfigError: An unknown kind, a missing program, or a function that has other parameters or does not exist.
        EvaluationError: The space has no evaluator or networks of its own, or the evaluator never returns a needed
            metric.
        LabelError, ModelError: The table or model cannot be read.
    """
    evaluator, source = _make(what, space, labels, load_model)
    declared = getattr(evaluator, "metrics", None)
    if declared is not None and (missing := [name for name in needs if name not in declared]):
        hint = nearest_metric(missing[0], declared)
        if what == "train" and "latency" in missing[0]:
            hint += "; evaluator=train+latency also measures the latency"
        raise EvaluationError(f"{source} gives no {missing[0]!r}, which the target needs; {hint}")
    return checked(evaluator, needs, source)


def _make(
    what: Any, space: SearchSpace, labels: LabelledSet | None, load_model: Callable[[str], Any] | None
) -> tuple[Evaluator, str]:
    """The evaluator and its name in messages."""
    from autobuild.labels import LabelledSet  # imports pandas, which workers that only import a function do not need

    if isinstance(what, str):
        return _named(what.strip(), space, labels, load_model), f"evaluator={what.strip()}"
    if isinstance(what, LabelledSet):
        return TableEvaluator.of(what), what.source
    if hasattr(what, "predict") and hasattr(what, "target") and not callable(what):
        return SurrogateEvaluator((what,), (type(what).__name__,)), type(what).__name__
    inner = getattr(what, "func", what)  # of functools.partial
    called = getattr(inner, "__name__", type(inner).__name__)
    return from_callable(what, called), called


def _named(
    text: str, space: SearchSpace, labels: LabelledSet | None, load_model: Callable[[str], Any] | None
) -> Evaluator:
    kind, colon, rest = text.partition(":")
    if not colon and "+" in kind:
        return JoinedEvaluator(tuple(_named(part.strip(), space, labels, load_model) for part in kind.split("+")))
    if kind == "table" and rest:
        return TableEvaluator.read(rest, space)
    if kind == "surrogate" and colon:
        return surrogate(rest, load_model)
    if kind == "python" and colon:
        return from_name(rest)
    if kind == "command" and colon:
        return CommandEvaluator.parse(rest)
    if text == "table" and labels is not None:
        return TableEvaluator.of(labels)
    if text == "train":
        return evaluator_for(space)
    if text == "latency":
        from autobuild.evaluate.latency import latency_meter  # imports all costs

        return latency_meter(space)
    if text == "table":
        raise ConfigError("evaluator=table: there are no labels to look up; give labels=, or write table:FILE")
    kinds = {known.partition(":")[0]: known for known in KINDS if (":" in known) == bool(colon)}
    close = get_close_matches(kind, kinds, n=1, cutoff=0.5)  # without the path behind the colon
    raise ConfigError(f"evaluator={text}: unknown evaluator: {nearest(kinds[close[0]] if close else text, KINDS)}")
