"""The verb: search a space with Optuna, alone or as one worker of many."""

from __future__ import annotations

import contextlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT
from autobuild.cost.space_costs import SpaceCosts
from autobuild.errors import ConfigError, EvaluationError, nearest
from autobuild.evaluate import as_evaluator, place_for, renamed
from autobuild.evaluate.executors import Executor, make_executor
from autobuild.evaluate.metrics import IGNORED, EvaluationWarning
from autobuild.expressions import Names
from autobuild.labels import LabelledSet
from autobuild.models import FittedModel, load_model
from autobuild.registry import EXECUTORS
from autobuild.spaces import SearchSpace, check_space
from autobuild.studies.models import LimitPredictor
from autobuild.studies.objective import MAXIMISED, Cost, Objective
from autobuild.studies.pruning import make_pruner
from autobuild.studies.result import Search
from autobuild.studies.settings import Narrowing, Settings, check_integer, check_prior, check_seconds
from autobuild.studies.stages import Searching, Stale, Surroundings
from autobuild.studies.storage import Patience, open_storage
from autobuild.studies.worker import Progress

if TYPE_CHECKING:
    import optuna


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
    **others: Any,
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
        sampler: See :func:`autobuild.studies.samplers.make_sampler`; or a sampler of Optuna.
        sampler_options: Further options of a sampler given by name.
        grain: ``"layer"``, ``"unit"`` or ``"auto"``: see :mod:`autobuild.spaces.parameters`.
        storage: Address, see :mod:`autobuild.studies.storage`; None: ``search.db`` in ``out``, else in memory.
        name: Of the study (default: the name of the space).
        seed: Of the sampler and of the evaluations.
        n_jobs: Evaluations at the same time; a script that asks for more than one needs a guard,
            ``if __name__ == "__main__":``.
        executor: Where they run: ``"inline"``, ``"local"``, ``"ray"``, ``"slurm"`` or an executor (default: this
            process where ``n_jobs`` is 1, else processes of this machine).
        executor_options: Further options of an executor given by name.
        where: Limits such as ``"latency_gpu <= 8 and params < 6e6"``: costs are exact, and no evaluation is spent on a
            network that breaks one, whatever the sampler; metrics are as measured, or predicted from ``prior`` where
            the evaluator does not measure them. As soon as 20 labels and trials have a limited metric, networks that
            are predicted to break the limit (that keep it with a probability below 0.75) are passed over, whatever the
            sampler, unless no other is free.
        pruner: ``"asha"``, ``"hyperband"``, ``"median"``, a pruner of Optuna or None; needs intermediate values.
        model: Predicts what is proposed: a family as in :func:`autobuild.fit` that ``prior`` is fitted with, a
            fitted model (one for each target), or None.
        time_limit_s: Seconds after which an evaluation is ended and has failed.
        retries: How often an evaluation is begun again whose worker was lost.
        out: Folder of the default storage.
        on_progress: Called after each evaluation.
        costs: Cost name -> function of architectures, which targets and limits may name (default: all costs of the
            space).
        hardware: What those default costs are computed for, as in :func:`autobuild.fit`.
        lease_s: Seconds without a sign of life after which a worker on another machine counts as lost.
        patience_s: Seconds for which a storage may stay away.
        narrow: How the space is narrowed first, or again and again: ``{"share": 0.02}``, ``{"top": 5, "rounds": 3}``;
            one of ``top``, ``threshold``, ``mass``, ``share`` as of ``scores.narrow``, and how many ``rounds``. A model
            of all labels and trials narrows the given space, anew each round; candidates that the best network known
            has, or that are one step from it and score as well, come back. With several targets one model each
            narrows, for the front (:func:`autobuild.narrow`), and the front known stands for the best network.
            Without 20 prior labels the first part of the evaluations is spent on the whole space. A larger
            ``n_trials`` goes on with what is left of the rounds, or with one more.
        others: ``workers``, the former name of ``n_jobs``; anything else is refused.

    Returns:
        The search: ``best``, ``front``, ``trials`` and ``history`` are frames, ``study`` is the Optuna study.

    Warns:
        EvaluationWarning: Some evaluations failed, or gave what is no number.

    Raises:
        ConfigError: An unusable option, a study of the same name of something else, or a script without a guard.
        TargetError, LabelError: An unusable target or prior.
        EvaluationError: Ten evaluations failed one after another, or all of them.
        RunError: The storage stayed away, or is full; what has finished is kept.
    """
    n_jobs = renamed("workers", others, "n_jobs", n_jobs, 1)
    _refuse_others(others)
    check_integer("n_jobs", n_jobs, 1)
    check_integer("seed", seed, 0)
    check_space(space)
    check_prior(prior, space)
    check_seconds("lease_s", lease_s)
    check_seconds("patience_s", patience_s, zero=True)
    if time_limit_s is not None:
        check_seconds("time_limit_s", time_limit_s)
    if not isinstance(executor_options, Mapping | None):
        raise ConfigError(f"executor_options={executor_options!r}: a mapping is accepted, such as {{'gpus': 1}}")
    if not isinstance(out, str | Path | None):
        raise ConfigError(f"out={out!r}: the path of a folder is accepted")
    if not isinstance(executor, str | None) and not all(hasattr(executor, own) for own in ("submit", "wait")):
        raise ConfigError(f"executor={executor!r}: {nearest(executor, list(EXECUTORS))}; an executor is accepted, too")
    costs = SpaceCosts(space, hardware) if costs is None else costs
    names = Names(costs=costs, measured=None) if prior is None else prior.names(costs, measured=None)
    objective = Objective.read(target, where, costs, names, LimitPredictor(prior, seed))
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
        evaluates = as_evaluator(evaluator, space, needs=objective.needs, labels=prior, load_model=load_model)
        objective.check_limits(getattr(evaluates, "metrics", None))
        if executor is None or isinstance(executor, str):
            executor = place_for(n_jobs, executor, time_limit_s, retries, executor_options).executor
            options = dict(executor_options or {})
            made = make_executor(
                executor,
                space,
                evaluates,
                n_jobs=n_jobs,
                time_limit_s=time_limit_s,
                options=options,
                reports=settings.prunes,
            )
            executor = stack.enter_context(made)
        address = storage if storage is not None or out is None else f"sqlite:///{Path(out) / 'search.db'}"
        stale = Stale(space, retries)
        opened = open_storage(address, lease_s=lease_s, on_stale=stale)
        said = on_progress or (lambda progress: None)
        patience = Patience(
            opened.address, patience_s, lambda text: said(Progress(0, n_trials, 0, None, float("nan"), note=text))
        )
        around = Surroundings(opened, executor, patience, said, stale)
        found = Searching(settings, around).run()
    if len(found.evaluated) and (found.evaluated["state"] == "FAIL").all():
        raise EvaluationError(found.failures)
    for told in (found.failures, *(note for note in found.notes if note.startswith(IGNORED))):
        if told:
            warnings.warn(told, EvaluationWarning, stacklevel=2)
    return found


def _refuse_others(others: Mapping[str, Any]) -> None:
    """Refuse an option that there is not, by name."""
    for name in others:
        if re.match(r"direction|(min|max)imi[sz]e", name):
            raise ConfigError(f"search has no option {name!r}: {MAXIMISED}")
        known = [own for own in inspect.signature(search).parameters if own != "others"]
        raise ConfigError(f"search has no option {name!r}: {nearest(name, known, limit=40)}")


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
