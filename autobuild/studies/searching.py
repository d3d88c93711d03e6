"""Search a space with Optuna, alone or as one worker of many."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from autobuild._moved import renamed_arguments
from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT
from autobuild.cost.space_costs import SpaceCosts
from autobuild.errors import ConfigError, EvaluationError, nearest
from autobuild.evaluate import as_evaluator, choose_executor
from autobuild.evaluate.executors import Executor, make_executor
from autobuild.evaluate.metrics import IGNORED, EvaluationWarning
from autobuild.expressions import Names
from autobuild.labels import LabelledSet
from autobuild.models import FittedModel, load_model
from autobuild.registry import EXECUTORS
from autobuild.settings.option import integer
from autobuild.spaces import SearchSpace, check_space
from autobuild.studies._linked_studies import LinkedStudies
from autobuild.studies._objective import MAXIMISED, Cost, Objective
from autobuild.studies._settings import Narrowing, Settings, check_prior, check_seconds, make_pruner
from autobuild.studies._surrogates import MetricPredictor
from autobuild.studies._worker import Resources, StaleTrials
from autobuild.studies.result import Progress, Search
from autobuild.studies.storage import Patience, open_storage, sqlite_address


@renamed_arguments(
    {"workers": "n_jobs"},
    refused=dict.fromkeys(("direction", "directions", "minimize", "minimise", "maximize", "maximise"), MAXIMISED),
)
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
    hardware: str | Path | Hardware = DEFAULT,
    lease_s: float = 120.0,
    patience_s: float = 120.0,
    narrow: Mapping[str, Any] | None = None,
) -> Search:
    """Search ``space``: evaluate ``n_trials`` networks that an Optuna sampler proposes, to maximise the target.

    >>> study = ab.search(small, evaluator, target="acc", prior=labels, n_trials=50, storage="sqlite:///study.db")
    >>> study.best

    If a search is interrupted, the same call resumes it. Calls on several machines with one ``storage`` are workers of
    one search. No network is evaluated twice (by ``space.key``), no network of the prior labels is evaluated again, and
    all workers together evaluate at most ``n_trials``. Where a target or a measured limit is of the execution, as
    latencies are, cells of the same function are different networks (:meth:`SearchSpace.executed`).

    Args:
        space: The space, full or narrowed.
        evaluator: Measures a network: see :func:`autobuild.evaluate.as_evaluator`.
        target: Expression over measured metrics and costs. With several, the search looks for their Pareto front.
        prior: Prior labels. Those inside ``space`` are entered as finished trials; the model is fitted on all of them.
        n_trials: Number of evaluations by all workers together; failures count.
        sampler: See :func:`autobuild.studies.samplers.make_sampler`; or a sampler of Optuna.
        sampler_options: Further options of a sampler given by name.
        grain: ``"layer"``, ``"unit"`` or ``"auto"``: see :mod:`autobuild.spaces.parameters`.
        storage: Address, see :mod:`autobuild.studies.storage` (default: ``search.db`` in the folder ``out``; without
            ``out``, the memory of this process).
        name: Name of the study (default: the name of the space).
        seed: Seed of the sampler and of the evaluations.
        n_jobs: Number of evaluations at the same time. With more than one, a script needs the guard
            ``if __name__ == "__main__":``.
        executor: Where evaluations run: ``"inline"``, ``"local"``, ``"ray"``, ``"slurm"`` or an executor (default: this
            process if ``n_jobs`` is 1, else processes of this machine).
        executor_options: Further options of an executor given by name.
        where: Limits such as ``"latency_gpu <= 8 and params < 6e6"``. Costs are exact: a network that breaks a limit on
            costs is never evaluated. Other metrics are measured, or predicted from ``prior`` if the evaluator does not
            measure them. As soon as 20 labels and trials have a limited metric, networks that satisfy the limit with a
            predicted probability below 0.75 are passed over, unless no other is free. This holds for every sampler.
        pruner: ``"asha"``, ``"hyperband"``, ``"median"``, a pruner of Optuna or None; the evaluator must report
            intermediate values.
        model: Predicts the targets of proposed networks: a family as in :func:`autobuild.fit`, fitted on ``prior``; a
            fitted model (one for each target); or None.
        time_limit_s: Seconds after which an evaluation is stopped and counts as failed.
        retries: How often an evaluation is repeated whose own process was killed. A search that was killed as a whole
            goes on with what was under way, and that is no try: it says nothing about the network.
        out: Folder of the default storage.
        on_progress: Called after each evaluation.
        costs: Cost name -> function of architectures, for use in targets and limits (default: all costs of the space).
        hardware: Hardware that those default costs are computed for, as in :func:`autobuild.fit`.
        lease_s: Seconds without a heartbeat after which a worker on another machine counts as lost.
        patience_s: Seconds to wait for a storage that does not answer.
        narrow: Narrows the space during the search: one of ``top``, ``threshold``, ``mass``, ``share`` as in
            ``scores.narrow``, and the number of ``rounds`` (default 1), such as ``{"top": 5, "rounds": 3}``. In each
            round a model of all labels and trials narrows the given space anew. Candidates of the best known network,
            and those one step from it that score as well, are kept. With several targets there is one model for each,
            and the known front takes the place of the best network. With fewer than 20 prior labels, the first
            evaluations search the whole space. A larger ``n_trials`` continues with the remaining rounds, or with one
            more.

    Returns:
        The search; ``best``, ``front``, ``trials`` and ``history`` are frames, ``study`` is the Optuna study.

    Warns:
        EvaluationWarning: Some evaluations failed, or returned values that are not numbers.

    Raises:
        ConfigError: An argument is not usable, the study ``name`` belongs to another search, or a script lacks the
            guard.
        TargetError, LabelError: The target or the prior labels are not usable.
        EvaluationError: Ten evaluations failed one after another, or all of them.
        RunError: The storage did not answer, or is full; finished evaluations are kept.
    """
    n_jobs, seed = integer("n_jobs", n_jobs), integer("seed", seed, 0)
    check_space(space)
    check_prior(prior, space)
    check_seconds("lease_s", lease_s)
    check_seconds("patience_s", patience_s, zero=True)
    if time_limit_s is not None:
        check_seconds("time_limit_s", time_limit_s)
    if not isinstance(executor_options, Mapping | None):
        raise ConfigError(f"executor_options={executor_options!r}: a mapping is accepted, such as {{'gpus': 1}}")
    if not isinstance(name, str | None):
        raise ConfigError(f"name={name!r}: a text is accepted")
    if not isinstance(out, str | Path | None):
        raise ConfigError(f"out={out!r}: the path of a folder is accepted")
    if not isinstance(executor, str | None) and not all(hasattr(executor, name) for name in ("submit", "wait")):
        raise ConfigError(f"executor={executor!r}: {nearest(executor, list(EXECUTORS))}; an executor is accepted, too")
    costs = SpaceCosts(space, hardware) if costs is None else costs
    names = Names(costs=costs, measured=None) if prior is None else prior.names(costs, measured=None)
    objective = Objective.read(target, where, costs, names, MetricPredictor(prior, seed))
    space = space.told_apart("execution" if objective.executed(prior) else "function")
    settings = Settings(
        space=space,
        objective=objective,
        n_trials=n_trials,
        sampler=sampler,
        sampler_options=sampler_options if sampler_options is not None else {},
        grain=grain,
        name=str(name or getattr(space, "name", "")),
        seed=seed,
        retries=retries,
        pruner=make_pruner(pruner, len(objective.targets)),
        prunes=pruner not in (None, "none"),
        prior=prior,
        model=model,
        narrowing=Narrowing.read(narrow),
        lease_s=lease_s,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        checked = as_evaluator(evaluator, space, needs=objective.needs, labels=prior, load_model=load_model)
        objective.check_limits(getattr(checked, "metrics", None))
        if executor is None or isinstance(executor, str):
            chosen = choose_executor(n_jobs, executor, time_limit_s, retries, executor_options)
            made = make_executor(
                chosen.executor,
                space,
                checked,
                n_jobs=n_jobs,
                time_limit_s=time_limit_s,
                options=dict(executor_options or {}),
                reports=settings.prunes,
            )
            executor = stack.enter_context(made)
        address = storage if storage is not None or out is None else sqlite_address(Path(out) / "search.db")
        stale = StaleTrials(space)
        opened = open_storage(address, lease_s=lease_s, on_stale=stale)
        report = on_progress or (lambda progress: None)
        patience = Patience(
            opened.address, patience_s, lambda text: report(Progress(0, n_trials, 0, None, float("nan"), note=text))
        )
        result = LinkedStudies(settings, Resources(opened, executor, patience, report, stale)).run()
    if len(result.evaluated) and (result.evaluated["state"] == "FAIL").all():
        raise EvaluationError(result.failures)
    for text in (result.failures, *(note for note in result.notes if note.startswith(IGNORED))):
        if text:
            warnings.warn(text, EvaluationWarning, stacklevel=2)
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's messages about every trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
