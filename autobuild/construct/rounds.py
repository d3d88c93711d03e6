"""Active rounds: build, evaluate, add the labels, fit again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from autobuild._moved import renamed_arguments
from autobuild.construct.acquisition import acquire
from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT
from autobuild.cost.space_costs import SpaceCosts
from autobuild.encode import EncoderConfig
from autobuild.errors import EvaluationError, TargetError
from autobuild.importance import explain
from autobuild.labels import LabelledSet
from autobuild.labels.labelled_set import check_labels
from autobuild.models import FitConfig, fit, load_model
from autobuild.models.fitting import OnProgress
from autobuild.registry import ACQUISITIONS
from autobuild.settings.names import ACQUISITION
from autobuild.settings.option import integer

if TYPE_CHECKING:
    from autobuild.evaluate import Evaluator, ExecutorSettings
    from autobuild.models import FittedModel
    from autobuild.spaces import SearchSpace

Metrics = Mapping[str, float]
ASKED = ("arch", "predicted", "lower", "upper")


@dataclass(frozen=True)
class Round:
    """What one round has brought.

    Attributes:
        number: From 1.
        labels: All labels so far, this round's included.
        model: Fitted on all of them.
        evaluated: ``arch, predicted, lower, upper`` (before the evaluation; a 90 % interval), ``measured`` (the
            target; NaN where the evaluation failed) and ``reason`` (why it failed, else empty), in order of choice.
    """

    number: int
    labels: LabelledSet
    model: FittedModel
    evaluated: pd.DataFrame

    @property
    def best(self) -> float:
        """The best label so far."""
        return float(self.model.training["target"].max())


class Rounds:
    """Asks which networks to evaluate, and is told what came out: :meth:`ask`, :meth:`tell`, again.

    Args:
        labels: The labels to begin with; at least 5 with a target.
        target: Expression over their metrics, maximised.
        model: Family of models, as in :func:`autobuild.fit`.
        acquisition: As ``by`` of :func:`autobuild.construct.acquire`.
        seed: Seed of everything random.
        costs: Cost name -> function of architectures, for targets that name costs.
        options: Further options of the fit.

    Attributes:
        labels: All labels so far.
        number: How many rounds were told.
        failed: Text of an architecture that could not be evaluated -> why. It is not asked for again.

    Raises:
        ConfigError: For an unknown acquisition.
        TargetError: For an unusable target.
        LabelError: For fewer than 5 usable labels.
    """

    def __init__(
        self,
        labels: LabelledSet,
        target: str = "acc",
        *,
        model: str = "auto",
        acquisition: str = ACQUISITION,
        seed: int = 0,
        costs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        ACQUISITIONS.check(acquisition)
        expression = labels.target(target, costs).expression  # an unusable one is refused before anything is fitted
        self.names = labels.names(costs)
        self.expression = self.names.explicit(expression)  # evaluations may measure what is a cost, too
        self.labels, self.target, self.family = labels, expression.text, model
        self.acquisition, self.seed, self.costs, self.options = acquisition, seed, costs or {}, options
        self.number = 0
        self.failed: dict[str, str] = {}
        self._model: FittedModel | None = None

    @property
    def model(self) -> FittedModel:
        """A model of all labels so far; fitted when it is first asked for."""
        if self._model is None:
            self._model = fit(
                self.labels, self.expression.text, model=self.family, seed=self.seed, costs=self.costs, **self.options
            )
        return self._model

    def ask(self, count: int) -> pd.DataFrame:
        """The next ``count`` networks to evaluate: ``arch, predicted, lower, upper``; fewer where no more are found."""
        space = self.labels.space
        known = [*self.labels.archs, *(space.parse(text) for text in self.failed)]
        seed = int(np.random.SeedSequence([self.seed, self.number]).generate_state(1)[0])
        scores = explain(self.model).unit_scores
        return self.model.predict(acquire(self.model, scores, count, seed, known, by=self.acquisition))

    def tell(self, asked: pd.DataFrame, outcomes: Sequence[Metrics | str]) -> pd.DataFrame:
        """Take the outcomes of a round, and end it.

        Args:
            asked: What was evaluated, as :meth:`ask` gave it.
            outcomes: For each row its metrics, or the reason why there are none.

        Returns:
            ``asked`` with ``measured`` and ``reason``, as :attr:`Round.evaluated`.

        Raises:
            TargetError: The target names a metric that an evaluation did not give.
            EvaluationError: All evaluations failed: nothing was learned, and the next round would ask for the like.
        """
        measured, reasons, rows = [], [], []
        for text, outcome in zip(asked["arch"], outcomes, strict=True):
            value = float("nan") if isinstance(outcome, str) else self._value(text, outcome)
            reason = outcome if isinstance(outcome, str) else ""
            if not reason and not np.isfinite(value):
                reason = f"target {self.target!r} is {value}"
            if reason:
                value = float("nan")
            else:
                assert not isinstance(outcome, str)
                rows.append({"arch": text, **{name: _finite(number) for name, number in outcome.items()}})
            measured.append(value)
            reasons.append(reason)
        if len(asked) and not rows:
            raise EvaluationError(f"all {len(asked)} evaluations of round {self.number + 1} failed: {reasons[0]}")
        self.failed.update((text, reason) for text, reason in zip(asked["arch"], reasons, strict=True) if reason)
        if rows:
            frame = pd.concat([self.labels.frame, pd.DataFrame(rows)], ignore_index=True)
            self.labels = LabelledSet.from_frame(frame, self.labels.space, source=self.labels.source)
            self._model = None
        self.number += 1
        return asked.assign(measured=measured, reason=reasons)

    def _value(self, text: str, metrics: Metrics) -> float:
        """The target of one evaluation."""

        def column(name: str) -> list[float]:
            kind, which = self.names.find(name, self.target)
            if kind == "cost":
                return [float(self.costs[which]([self.labels.space.parse(text)])[0])]
            if which not in metrics:
                raise TargetError(
                    f"target {self.target!r}: the evaluation measures {', '.join(metrics) or 'nothing'}; "
                    f"{which!r} is not among them"
                )
            return [float(metrics[which])]

        return float(self.expression.evaluate(column)[0])


@renamed_arguments({"holdout": "config.holdout", "refit": "config.refit"}, config=FitConfig)
def rounds(
    labels: LabelledSet,
    target: str,
    evaluator: Any,
    rounds: int = 3,
    per_round: int = 10,
    *,
    model: str = "auto",
    acquisition: str = ACQUISITION,
    seed: int = 0,
    seeds: int | Sequence[int] = 1,
    n_jobs: int = 1,
    executor: str | None = None,
    executor_options: Mapping[str, Any] | None = None,
    time_limit_s: float | None = None,
    retries: int = 1,
    costs: Mapping[str, Any] | None = None,
    hardware: str | Path | Hardware = DEFAULT,
    folds: int | None = None,
    encoder: EncoderConfig | None = None,
    config: FitConfig | None = None,
    on_progress: OnProgress | None = None,
    device: str = "cpu",
) -> Iterator[Round]:
    """Build, evaluate, add the labels, fit again; a :class:`Round` after each.

    >>> for done in ab.rounds(labels, "acc", lambda arch: {"acc": train(arch)}):
    ...     print(done.number, done.best, done.evaluated)

    A network that cannot be evaluated is recorded with the reason and adds no label. Rounds end early if no further
    network is found.

    Args:
        labels: The labels to begin with; at least 5 with a target.
        target: Expression over their metrics, maximised.
        evaluator: What measures a network, in the units of the labels: a function ``arch -> metrics``, or whatever
            :func:`autobuild.evaluate.as_evaluator` takes.
        rounds: How many rounds.
        per_round: Networks of a round.
        model: Family of models, as in :func:`autobuild.fit`.
        acquisition: ``"upper"``, ``"predicted"`` or ``"balanced"``: see :func:`autobuild.construct.acquire`.
        seed: Seed of everything random but the evaluations.
        seeds: Number of evaluations of each network, with the seeds 0, 1, ..., or a list of seeds; a label is the mean.
        n_jobs: Number of evaluations at the same time, as in :func:`autobuild.search`.
        executor: Where evaluations run, as in a search.
        executor_options: Options of the executor.
        time_limit_s: Seconds that one evaluation may take.
        retries: How often an evaluation is tried again whose worker was killed.
        costs: Cost name -> function of architectures, for targets that name costs (default: all costs of the space).
        hardware: What those default costs are computed for.
        folds: Folds of each fit; this and the following as in :func:`autobuild.fit`.
        encoder: Settings of the graph encoder.
        config: Settings of the training.
        on_progress: Called with the progress of each fit.
        device: Where the graph encoder is trained.

    Returns:
        An iterator over the rounds, one :class:`Round` after each.

    Raises:
        ConfigError: For an unusable number, acquisition, evaluator or executor.
        TargetError, LabelError: For an unusable target, or too few labels.
        EvaluationError: If all evaluations of a round fail.
    """
    rounds, per_round = integer("rounds", rounds), integer("per_round", per_round)
    from autobuild.evaluate import as_evaluator, choose_executor, seeds_of

    costs = SpaceCosts(check_labels(labels).space, hardware) if costs is None else costs
    options: dict[str, Any] = {"folds": folds, "encoder": encoder, "config": config}
    options |= {"on_progress": on_progress, "device": device}
    asking = Rounds(labels, target, model=model, acquisition=acquisition, seed=seed, costs=costs, **options)
    evaluates = as_evaluator(evaluator, labels.space, labels=labels, load_model=load_model)
    settings = choose_executor(n_jobs, executor, time_limit_s, retries, executor_options)
    return _run(asking, _Evaluate(labels.space, evaluates, seeds_of(seeds), settings), rounds, per_round)


def _run(asking: Rounds, evaluate: _Evaluate, rounds: int, per_round: int) -> Iterator[Round]:
    for _ in range(rounds):
        asked = asking.ask(per_round)
        if asked.empty:
            return
        evaluated = asking.tell(asked, evaluate(asked["arch"].tolist()))
        yield Round(asking.number, asking.labels, asking.model, evaluated)


@dataclass(frozen=True)
class _Evaluate:
    """Gives networks their metrics, the means over seeds, or the reason why there are none."""

    space: SearchSpace
    evaluator: Evaluator
    seeds: Sequence[int]
    settings: ExecutorSettings

    def __call__(self, texts: Sequence[str]) -> list[Metrics | str]:
        """For each text its outcome."""
        from autobuild.evaluate import evaluate_many

        found = evaluate_many(self.space, self.evaluator, texts, self.seeds, settings=self.settings)
        outcomes: list[Metrics | str] = []
        for start in range(0, len(found), len(self.seeds)):
            own = found[start : start + len(self.seeds)]
            measured = [one.metrics for one in own if one.metrics is not None]
            reason = next((one.reason for one in own if one.metrics is None), "")
            means = {str(name): float(value) for name, value in pd.DataFrame(measured).mean().items()}
            outcomes.append(means or reason)
        return outcomes


def best_so_far(start: float, n_start: int, evaluated: pd.DataFrame) -> pd.DataFrame:
    """The best label so far over the number of evaluations.

    Args:
        start: The best label before the first round.
        n_start: How many labels there were.
        evaluated: ``round, arch, measured`` of all rounds, in order.

    Returns:
        ``evaluations, round, arch, measured, best``: a row for the start (round 0), then one an evaluation, those that
        failed included.
    """
    measured = evaluated["measured"].to_numpy(dtype=float)
    best = np.fmax.accumulate(np.concatenate([[start], measured]))
    return pd.DataFrame(
        {
            "evaluations": n_start + np.arange(len(best)),
            "round": [0, *evaluated["round"]],
            "arch": ["", *evaluated["arch"]],
            "measured": [np.nan, *measured],
            "best": best,
        }
    )


def _finite(number: float) -> float:
    return float(number) if np.isfinite(number) else float("nan")
