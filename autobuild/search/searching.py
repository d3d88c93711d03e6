"""The verb: search a space with Optuna, alone or as one worker of many."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild.errors import ConfigError
from autobuild.evaluate.executors import Executor, make_executor
from autobuild.fit import FittedModel, fit
from autobuild.search.claims import Claims
from autobuild.search.history import Known, enter, known_from, mend
from autobuild.search.objective import Cost, Objective
from autobuild.search.proposals import Proposer
from autobuild.search.pruning import make_pruner
from autobuild.search.result import Search
from autobuild.search.storage import Patience, Storage, open_storage
from autobuild.search.study import alone, facts_of, open_study
from autobuild.search.worker import Progress, Pulse, Task, Worker
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.parameters import GRAINS, default_grain

if TYPE_CHECKING:
    import optuna

    from autobuild.labels import LabelledSet

FEWEST = 20  # labels that a model is fitted on


@dataclass(frozen=True)
class Settings:
    """What :func:`search` was asked for, checked; see there."""

    space: SearchSpace
    objective: Objective
    n_trials: int
    sampler: str | optuna.samplers.BaseSampler
    grain: str
    name: str
    seed: int
    retries: int
    pruner: optuna.pruners.BasePruner
    prunes: bool
    prior: LabelledSet | None = None
    model: str | FittedModel | Sequence[FittedModel] | None = "gp"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)


def search(
    space: SearchSpace,
    evaluator: Any,
    *,
    target: str | Sequence[str] = "acc",
    prior: LabelledSet | None = None,
    n_trials: int = 100,
    sampler: str | optuna.samplers.BaseSampler = "auto",
    sampler_options: Mapping[str, Any] | None = None,
    grain: str = "auto",
    storage: str | None = None,
    name: str | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    executor: str | Executor | None = None,
    executor_options: Mapping[str, Any] | None = None,
    where: str | None = None,
    pruner: str | optuna.pruners.BasePruner | None = None,
    model: str | FittedModel | Sequence[FittedModel] | None = "gp",
    time_limit_s: float | None = None,
    retries: int = 2,
    out: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    costs: Mapping[str, Cost] | None = None,
    lease_s: float = 120.0,
    patience_s: float = 120.0,
    load_model: Callable[[str], Any] | None = None,
) -> Search:
    """Evaluate ``n_trials`` networks of ``space`` that an Optuna sampler proposes; the target is maximised.

    >>> study = ab.search(small, evaluator, target="acc", prior=labels, n_trials=50, storage="sqlite:///study.db")
    >>> study.best

    The same call again goes on where it stopped, whenever and however that was; calls on several machines with one
    ``storage`` are workers of one search. No network is evaluated twice (by ``space.key``), none of the prior labels
    again, and never more than ``n_trials`` in all.

    Args:
        space: The space, full or narrowed.
        evaluator: What measures a network: see :func:`autobuild.evaluate.as_evaluator`.
        target: Expression over measured metrics and costs, or several: then a Pareto front is searched.
        prior: Labels known already: those in ``space`` are entered as finished trials, all of them teach the model.
        n_trials: How many networks are evaluated, by all workers together; failures count.
        sampler: See :func:`autobuild.search.samplers.make_sampler`; or a sampler of Optuna.
        sampler_options: Further options of a sampler given by name.
        grain: ``"layer"``, ``"unit"`` or ``"auto"``: see :mod:`autobuild.spaces.parameters`.
        storage: Address, see :mod:`autobuild.search.storage`; None: ``search.db`` in ``out``, else in memory.
        name: Of the study (default: the name of the space).
        seed: Of the sampler and of the evaluations.
        n_jobs: Evaluations at the same time.
        executor: Where they run: ``"inline"``, ``"local"``, ``"ray"``, ``"slurm"`` or an executor (default: this
            process where ``n_jobs`` is 1, else processes of this machine).
        executor_options: Further options of an executor given by name.
        where: Limits such as ``"latency_gpu <= 8 and params < 6e6"``: costs are exact, and no evaluation is spent on a
            network that breaks one; metrics are as measured, or predicted from ``prior`` where the evaluator does not
            measure them.
        pruner: ``"asha"``, ``"hyperband"``, ``"median"``, a pruner of Optuna or None; needs intermediate values.
        model: Predicts what is proposed: a family as in :func:`autobuild.fit.fit` that ``prior`` is fitted with, a
            fitted model (one for each target), or None.
        time_limit_s: Seconds after which an evaluation is ended and has failed.
        retries: How often an evaluation is begun again whose worker was lost.
        out: Folder of the default storage.
        on_progress: Called after each evaluation.
        costs: Cost name -> function of architectures.
        lease_s: Seconds without a sign of life after which a worker on another machine counts as lost.
        patience_s: Seconds for which a storage may stay away.
        load_model: Reads the folder of an evaluator ``"surrogate:FOLDER"``.

    Raises:
        ConfigError: An unusable option, or a study of the same name of something else.
        TargetError, LabelError: An unusable target or prior.
        EvaluationError: Ten evaluations failed one after another.
        RunError: The storage stayed away, or is full; what has finished is kept.
    """
    from autobuild.evaluate.making import as_evaluator

    _check(space, n_trials=n_trials, n_jobs=n_jobs, retries=retries, seed=seed)
    labelled = _measured_columns(prior, costs or {})
    predict = _limit_predictor(prior, seed)
    objective = Objective.read(target, where, costs, labelled, predict)
    settings = Settings(
        space=space,
        objective=objective,
        n_trials=n_trials,
        sampler=sampler,
        sampler_options=dict(sampler_options or {}),
        grain=_grain(grain, space),
        name=name or space.name,
        seed=seed,
        retries=retries,
        pruner=make_pruner(pruner, len(objective.targets)),
        prunes=pruner not in (None, "none"),
        prior=prior,
        model=model,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        evaluates = as_evaluator(evaluator, space, needs=objective.needs, labels=prior, load_model=load_model)
        if executor is None:
            executor = "inline" if n_jobs == 1 and time_limit_s is None else "local"
        if isinstance(executor, str):
            options = dict(executor_options or {})
            made = make_executor(
                executor,
                space,
                evaluates,
                workers=n_jobs,
                time_limit_s=time_limit_s,
                options=options,
                reports=settings.prunes,
            )
            executor = stack.enter_context(made)
        address = storage if storage is not None or out is None else f"sqlite:///{Path(out) / 'search.db'}"
        patience = Patience(str(address), patience_s)
        keeper = _Stale(space, retries)
        opened = patience.call(lambda: open_storage(address, lease_s=lease_s, on_stale=keeper))
        patience.address = opened.address
        said = on_progress or (lambda progress: None)
        patience.on_wait = lambda text: said(Progress(0, n_trials, 0, None, float("nan"), note=text))
        return Searching(settings, opened, executor, patience, said, keeper, lease_s).run()


class Searching:
    """One worker's way through a search: opens the study, enters what is known, evaluates."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        executor: Executor,
        patience: Patience,
        on_progress: Callable[[Progress], None],
        stale: _Stale,
        lease_s: float,
    ) -> None:
        self.settings, self.storage, self.executor = settings, storage, executor
        self.patience, self.on_progress, self.stale, self.lease_s = patience, on_progress, stale, lease_s
        self.models = _Models(settings)

    def run(self) -> Search:
        """Search, and read what was found."""
        own = self.settings
        facts = facts_of(own.space, own.objective.texts, own.grain, where=_where(own.objective))
        study, known = self.patience.call(lambda: open_study(self.storage, own.name, own.space, facts))
        claims = Claims(self.storage.claims, f"{own.name}:{known['id']}", lease_s=self.lease_s)
        self.stale.claims = claims
        try:
            with Pulse(claims, study, self.storage.heartbeats) as pulse:
                self._enter_known(study, claims)
                worker = Worker(self._task(study, claims), self.executor)
                worker.run(pulse)
        finally:
            with contextlib.suppress(Exception):  # a storage that is away has been told of already
                claims.retire()
        return Search.read(own.space, own.objective.texts, (study,), self.storage.address, worker.notes)

    def _enter_known(self, study: optuna.Study, claims: Claims) -> None:
        own = self.settings

        def work() -> None:
            with alone(claims, "known"):
                mend(study, claims, own.space)
                if own.prior is not None:
                    enter(study, claims, own.space, own.grain, self._labelled(own.prior))

        self.patience.call(work)

    def _labelled(self, prior: LabelledSet) -> list[Known]:
        return known_from(prior, self.settings.space, self.settings.objective)

    def _task(self, study: optuna.Study, claims: Claims) -> Task:
        own = self.settings
        study.sampler = self._sampler()
        study.pruner = own.pruner
        return Task(
            study=study,
            storage=self.storage,
            claims=claims,
            objective=own.objective,
            proposer=Proposer(study, own.space, own.grain, own.objective, claims, own.seed),
            limit=own.n_trials,
            seed=own.seed,
            retries=own.retries,
            patience=self.patience,
            predict=self.models.predict,
            prunes=own.prunes,
            on_progress=self.on_progress,
        )

    def _sampler(self) -> optuna.samplers.BaseSampler:
        from autobuild.search.samplers import make_sampler

        own = self.settings
        if not isinstance(own.sampler, str):
            return own.sampler
        return make_sampler(
            own.sampler,
            own.space,
            grain=own.grain,
            seed=own.seed,
            n_targets=len(own.objective.targets),
            prior=own.prior,
            targets=own.objective.texts,
            costs=own.objective.costs,
            model=own.model if isinstance(own.model, str) else "gp",
            **own.sampler_options,
        )


class _Models:
    """The fitted models of a search, one for each target; fitted when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._made: list[FittedModel] | None = None

    def fitted(self) -> list[FittedModel]:
        """One model a target; none where there is nothing to fit."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def predict(self, arch: Architecture) -> list[float] | None:
        models = self.fitted()
        return [float(model.predict_mean([arch])[0]) for model in models] if models else None

    def _make(self) -> list[FittedModel]:
        own = self.settings
        if own.model is None or (isinstance(own.model, str) and (own.prior is None or len(own.prior) < FEWEST)):
            return []
        if isinstance(own.model, str):
            assert own.prior is not None
            texts, costs = own.objective.texts, own.objective.costs
            return [fit(own.prior, text, model=own.model, seed=own.seed, costs=costs) for text in texts]
        models = [own.model] if isinstance(own.model, FittedModel) else list(own.model)
        if len(models) != len(own.objective.targets):
            raise ConfigError(f"model: {len(models)} fitted models for {len(own.objective.targets)} targets")
        for model in models:
            if model.space.family != own.space.family:
                raise ConfigError(f"model of the space {model.space.name!r}, and {own.space.name!r} is searched")
        return models


class _Stale:
    """Optuna's callback for trials whose worker was lost: it queues them again, unless their outcome is known."""

    def __init__(self, space: SearchSpace, retries: int) -> None:
        self.space, self.retries = space, retries
        self.claims: Claims | None = None

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        import warnings

        import optuna

        from autobuild.search.study import ARCH

        if self.claims is None or ARCH not in trial.user_attrs:
            return
        claim = self.claims.get(self.space.key(self.space.parse(trial.user_attrs[ARCH])))
        if claim is None or claim.state != "held" or claim.trial != trial.number:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=self.retries)(study, trial)


def _check(space: Any, **numbers_given: Any) -> None:
    if not isinstance(space, SearchSpace):
        raise ConfigError(f"space={space!r}: a search space is accepted, as ab.space(...) or scores.narrow(...) gives")
    least = {"n_trials": 1, "n_jobs": 1, "retries": 0, "seed": 0}
    for name, value in numbers_given.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least[name]:
            raise ConfigError(f"{name}={value!r}: an integer of at least {least[name]} is accepted")


def _measured_columns(prior: LabelledSet | None, costs: Mapping[str, Cost]) -> list[str]:
    """The metric columns of the labels, without costs that were merely written down: those names mean the costs."""
    if prior is None:
        return []
    frame = prior.frame

    def written_down(column: str) -> bool:
        given = frame[column].to_numpy()
        return column in costs and bool(np.allclose(given, costs[column](prior.archs), rtol=1e-9, equal_nan=False))

    return [column for column in prior.metrics if not written_down(column)]


def _grain(grain: str, space: SearchSpace) -> str:
    from autobuild.errors import nearest

    if grain not in ("auto", *GRAINS):
        raise ConfigError(f"grain={grain!r}: {nearest(grain, ('auto', *GRAINS))}")
    return default_grain(space) if grain == "auto" else grain


def _where(objective: Objective) -> str | None:
    return " and ".join(limit.text for limit in objective.limits) or None


def _limit_predictor(prior: LabelledSet | None, seed: int) -> Callable[[str, Architecture], float | None]:
    """Predicts label columns that an evaluator does not measure, by a Gaussian process on the prior labels."""
    models: dict[str, FittedModel] = {}

    def predict(name: str, arch: Architecture) -> float | None:
        if prior is None or name not in prior.metrics:
            return None
        if name not in models:
            models[name] = fit(prior, f"label.{name}", model="gp", seed=seed)
        return float(models[name].predict_mean([arch])[0])

    return predict


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's notes on every trial are for those who call it themselves."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
