"""The honest check: built networks really evaluated, beside the best labelled ones with the same fresh seeds."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild._words import counted
from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT
from autobuild.cost.space_costs import SpaceCosts
from autobuild.errors import ConfigError, EvaluationError
from autobuild.evaluate import (
    EvaluationWarning,
    ExecutorSettings,
    as_evaluator,
    choose_executor,
    evaluate_many,
    seeds_of,
)
from autobuild.expressions import Names, TargetExpression
from autobuild.expressions.names import not_measured

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.labels import LabelledSet
    from autobuild.spaces import Architecture, SearchSpace

    # Networks and seeds -> arch, seed and metrics of what went well, and network -> why it failed.
    Measure = Callable[[Sequence[Architecture], Sequence[int]], tuple[pd.DataFrame, Mapping[str, str]]]
    Costs = Mapping[str, Callable[[Sequence[Architecture]], np.ndarray]]

FIRST_SEED = 10_000  # labels are made with small seeds; a fresh one must not repeat one of theirs


@dataclass(frozen=True)
class Verified:
    """What :func:`verify` returns.

    Attributes:
        target: The expression that was compared.
        frame: ``set`` (``built`` or ``labelled``), ``arch``, ``predicted`` (NaN where it is not known), ``label`` (of
            networks that have one), ``measured`` (mean over seeds), ``deviation`` (over seeds; NaN for one seed) and
            ``seeds`` (how many evaluations went well).
        trained: ``arch, seed`` and the metrics of every evaluation.
        failed: Text of an architecture with a failure -> why it failed.
    """

    target: str
    frame: pd.DataFrame
    trained: pd.DataFrame = field(repr=False)
    failed: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = [f"best {name} {values.max():.5g}" for name, values in self.frame.groupby("set", sort=False)["measured"]]
        failed = f", {len(self.failed):,} failed" if self.failed else ""
        return f"Verified({counted(len(self.frame), 'network')}{failed}, target {self.target}, {', '.join(told)})"

    def _repr_html_(self) -> str:
        table: str = self.frame.to_html(index=False)
        return f"<p>{html.escape(repr(self))}</p>{table}"


def verify(
    built: Any,
    evaluator: Any,
    labels: LabelledSet | None = None,
    *,
    target: str | None = None,
    space: SearchSpace | None = None,
    top: int | None = None,
    labelled: int = 1,
    seeds: int | Sequence[int] = 2,
    seed: int = 0,
    n_jobs: int = 1,
    executor: str | None = None,
    executor_options: Mapping[str, Any] | None = None,
    time_limit_s: float | None = None,
    retries: int = 1,
    costs: Costs | None = None,
    hardware: str | Path | Hardware = DEFAULT,
    measure: Measure | None = None,
) -> Verified:
    """Evaluate built networks, and the best labelled ones with the same fresh seeds.

    The best of many noisy labels is too optimistic, so the best labelled networks are measured again in the same way.

    >>> ab.verify(scores.build(top=5), "train", labels)

    Args:
        built: The networks, best first: what ``scores.build`` gives, its frame (``arch``, and ``predicted`` if it is
            there), or architectures or their texts.
        evaluator: What measures a network: see :func:`autobuild.evaluate.as_evaluator`.
        labels: The labels that the model was fitted on; without, nothing is compared.
        target: What is compared: an expression over measured metrics and ``costs`` (default: what the networks were
            built for, where ``built`` says so, else ``acc``).
        space: The space of the networks, where there are no labels.
        top: Number of networks of ``built`` to evaluate, the first ones.
        labelled: Number of the best labelled networks to evaluate.
        seeds: Number of evaluations of each network, with seeds that no label has used, or a list of seeds.
        seed: Number from which the fresh seeds are derived.
        n_jobs: Number of evaluations at the same time, as in :func:`autobuild.search`.
        executor: Where evaluations run, as in a search.
        executor_options: Options of the executor.
        time_limit_s: Seconds that one evaluation may take.
        retries: How often an evaluation is tried again whose worker was killed.
        costs: Cost name -> function of architectures (default: all costs of the space).
        hardware: What those default costs are computed for, as in :func:`autobuild.fit`.
        measure: Evaluates instead of ``evaluator`` and the executor: jobs keep what was measured in a file.

    Returns:
        A table of the networks (:attr:`Verified.frame`), every evaluation, and what failed.

    Raises:
        ConfigError: No networks, or no space.
        TargetError: A target that cannot be read, or names what is unknown or ambiguous.
        SpaceError: A network outside the space.
        EvaluationError: All evaluations failed, the target names what the evaluator does not measure, or as
            :func:`autobuild.evaluate.as_evaluator`.
    """
    from autobuild.models import load_model

    given = labels.space if labels is not None else space
    if given is None:
        raise ConfigError("verify needs labels= or space=: it has to know what the networks are made of")
    texts, predicted = _networks(built, top)
    target = target or getattr(built, "target", "") or "acc"
    archs = [given.parse(text) for text in texts]
    known: Costs = SpaceCosts(given, hardware) if costs is None else costs
    names = Names(costs=known, measured=None) if labels is None else labels.names(known)
    expression = names.target(target)
    usable = None if labels is None else labels.target(expression, known)
    best: list[Architecture] = []
    if usable is not None:
        best = [usable.labels.archs[row] for row in usable.values.argsort(kind="stable")[::-1][:labelled]]
    if measure is None:
        evaluates = as_evaluator(
            evaluator, given, needs=names.metrics(expression), labels=labels, load_model=load_model
        )
        measure = _here(given, evaluates, choose_executor(n_jobs, executor, time_limit_s, retries, executor_options))
    trained, failed = measure([*archs, *best], seeds_of(seeds, FIRST_SEED + 1_000 * seed))
    if trained.empty:
        raise EvaluationError(_failures(failed, all_of=True))
    if failed:
        warnings.warn(_failures(failed), EvaluationWarning, stacklevel=2)
    given = given if usable is None else given.executed() if usable.equality.of == "execution" else given
    label_of = {} if usable is None else dict(zip(usable.labels.keys, usable.values.tolist(), strict=True))
    rows = [("built", arch, predicted.get(text, np.nan)) for arch, text in zip(archs, texts, strict=True)]
    rows += [("labelled", arch, np.nan) for arch in best]
    return Verified(target, _compared(given, expression, names, known, trained, rows, label_of), trained, dict(failed))


def _networks(built: Any, top: int | None) -> tuple[list[str], dict[str, float]]:
    """Texts of the networks, and text -> prediction.

    Raises:
        ConfigError: There is none, or nothing that holds networks.
    """
    frame = getattr(built, "frame", built)
    predicted: dict[str, float] = {}
    if hasattr(frame, "columns"):
        if "arch" not in frame:
            raise ConfigError(f"built: a frame with a column arch is accepted (columns: {', '.join(frame.columns)})")
        texts = [str(text) for text in frame["arch"]]
        predicted = dict(zip(texts, frame["predicted"], strict=True)) if "predicted" in frame else {}
    elif isinstance(frame, Iterable) and not isinstance(frame, str):
        texts = [str(arch) for arch in frame]
    else:
        raise ConfigError(f"built={built!r}: what build gives, a frame with a column arch, or a list of architectures")
    if not texts:
        raise ConfigError("built: no network was given")
    return list(dict.fromkeys(texts))[:top], predicted


def _here(space: SearchSpace, evaluator: Any, settings: ExecutorSettings) -> Measure:
    """Evaluation by an evaluator, nothing written."""
    import pandas as pd

    def measure(archs: Sequence[Architecture], seeds: Sequence[int]) -> tuple[pd.DataFrame, dict[str, str]]:
        found = evaluate_many(space, evaluator, archs, seeds, settings=settings)
        rows = [{"arch": one.arch, "seed": one.seed, **one.metrics} for one in found if one.metrics is not None]
        failed = {one.arch: one.reason for one in reversed(found) if one.metrics is None}
        return pd.DataFrame(rows, columns=None if rows else ["arch", "seed"]), failed

    return measure


def _failures(failed: Mapping[str, str], *, all_of: bool = False) -> str:
    arch, reason = next(iter(failed.items()))
    which = "all evaluations" if all_of else f"evaluations of {counted(len(failed), 'network')}"
    return f"{which} failed; the first, of {arch}: {reason}"


def _compared(
    space: SearchSpace,
    expression: TargetExpression,
    names: Names,
    costs: Costs,
    trained: pd.DataFrame,
    networks: Sequence[tuple[str, Architecture, float]],
    label_of: Mapping[str, float],
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for which, arch, predicted in networks:
        values = _values(expression, names, costs, arch, trained[trained["arch"] == str(arch)])
        rows.append(
            {
                "set": which,
                "arch": str(arch),
                "predicted": predicted,
                "label": label_of.get(space.key(arch), np.nan),
                "measured": values.mean() if len(values) else np.nan,
                "measured_sd": values.std(ddof=1) if len(values) > 1 else np.nan,
                "seeds": len(values),
            }
        )
    return pd.DataFrame(rows)


def _values(
    expression: TargetExpression, names: Names, costs: Costs, arch: Architecture, own: pd.DataFrame
) -> np.ndarray:
    """The target of every evaluation of one network.

    Raises:
        EvaluationError: The target names what is neither measured nor a cost.
    """

    def column(name: str) -> Any:
        kind, bare = names.find(name, expression.text)
        if kind == "cost":
            return np.repeat(np.asarray(costs[bare]([arch]), dtype=float), len(own))
        if bare in own:
            return own[bare].to_numpy(dtype=float)
        measured = [str(known) for known in own.columns if known not in ("arch", "seed")]
        raise not_measured(bare, expression.text, [*measured, *costs])

    return expression.evaluate(column)
