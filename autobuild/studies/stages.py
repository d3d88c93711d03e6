"""One worker's way through a search: one study, or a chain of linked ones over ever narrower spaces.

Optuna refuses a parameter whose choices change within a study, so each narrowing opens a study of its own, ``NAME/2``,
``NAME/3``..., and takes over what is known already of the networks that are left: the labels, and the finished trials
of the studies before. Claims belong to the whole chain, so that nothing is evaluated twice in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies.chain import narrowed
from autobuild.studies.claims import Claims
from autobuild.studies.history import Known, enter, known_from, mend
from autobuild.studies.models import LimitModels, Models, enough, joined, measured
from autobuild.studies.proposals import Proposer
from autobuild.studies.result import Search, best_value, trials_of
from autobuild.studies.settings import FEWEST, Settings
from autobuild.studies.storage import Patience, Storage
from autobuild.studies.study import (
    ARCH,
    FACTS,
    FROM,
    LABEL,
    METRICS,
    PREDICTED,
    alone,
    facts_of,
    load_stage,
    open_study,
)
from autobuild.studies.worker import Progress, Pulse, Task, Worker

if TYPE_CHECKING:
    import optuna

    from autobuild.evaluate.executors import Executor

    Chain = list[tuple[optuna.Study, SearchSpace]]

UNTIL = "until"  # what a study says about itself: how many slots of the chain are spent when it ends


@dataclass(frozen=True)
class Surroundings:
    """What a search works with.

    Attributes:
        storage: The storage.
        executor: Where evaluations run.
        patience: With the storage.
        on_progress: Called after each evaluation.
        stale: Optuna's callback for trials whose worker was lost.
    """

    storage: Storage
    executor: Executor
    patience: Patience
    on_progress: Callable[[Progress], None]
    stale: Stale


class Searching:
    """Opens the studies, enters what is known, evaluates."""

    def __init__(self, settings: Settings, around: Surroundings) -> None:
        self.settings, self.around = settings, around
        if settings.narrowing is None:  # an unusable sampler is refused before a study is made
            self._sampler(settings.space, settings.prior)

    def run(self) -> Search:
        """Search, and read what was found."""
        own, around = self.settings, self.around
        call = around.patience.call
        told: dict[str, Any] = {"where": own.where, "hardware": own.hardware}
        told |= {} if own.narrowing is None else {UNTIL: self._first()}
        facts = facts_of(own.space, own.objective.texts, own.grain_of(own.space), **told)
        root, known = call(lambda: open_study(around.storage, own.name, own.space, facts))
        claims = Claims(around.storage.claims, f"{own.name}:{known['id']}", lease_s=own.lease_s)
        around.stale.claims = claims
        notes: list[str] = []
        try:
            with Pulse(claims, root, around.storage.heartbeats) as pulse:
                chain = call(lambda: self._linked(root))
                while True:
                    until = self._until(chain[-1][0])
                    if until:
                        notes = self._stage(chain, claims, until, pulse)
                    if not call(lambda: self._goes_on(claims, chain, until)):  # noqa: B023
                        break
        finally:
            with contextlib.suppress(Exception):  # a storage that is away has been told of already
                claims.retire()
        if own.narrowing is not None and len(chain) == 1:
            notes.append(f"the space was not narrowed: a model needs {FEWEST} labels and complete evaluations")
        studies = [study for study, _ in chain]
        return Search.read(chain[-1][1], own.objective.texts, studies, around.storage.address, notes)

    def _stage(self, chain: Chain, claims: Claims, limit: int, pulse: Pulse) -> list[str]:
        """Search the last of the linked studies; notes for the reader."""
        own, studies, (study, space) = self.settings, [study for study, _ in chain], chain[-1]
        pulse.study = study
        left_out = self.around.patience.call(lambda: self._enter_known(studies, space, claims))
        labels = joined(own.prior, measured(studies[:-1]), own.space)
        task = self._task(study, space, claims, limit, labels)
        best = best_value(trials_of(studies, own.objective.texts), own.objective.texts)
        worker = Worker(task, self.around.executor, best)
        worker.run(pulse)
        return [*left_out, *worker.notes]

    def _enter_known(self, studies: Sequence[optuna.Study], space: SearchSpace, claims: Claims) -> list[str]:
        """Enter labels and earlier trials; notes for the reader."""
        notes: list[str] = []
        own, study = self.settings, studies[-1]
        grain = own.grain_of(space)
        with alone(claims, f"known/{study.study_name}"):
            for linked in studies:
                mend(linked, claims, own.space)
            if own.prior is not None:
                known = known_from(own.prior, space, own.objective)
                enter(study, claims, space, grain, known, LABEL)
                left = sum(arch in space for arch in own.prior.archs) - len(known)
                if left:
                    notes.append(
                        f"{left:,} labelled networks of the space were not entered: they lack what the target or a "
                        "limit needs"
                    )
            for earlier in studies[:-1]:
                enter(study, claims, space, grain, _carried(earlier, space), earlier.study_name)
        return notes

    def _task(self, study: optuna.Study, space: SearchSpace, claims: Claims, limit: int, labels: Any) -> Task:
        own, around = self.settings, self.around
        grain = own.grain_of(space)
        models = Models(own, labels)
        limits = LimitModels(own.objective, labels, own.space, own.seed)
        study.sampler = self._sampler(space, labels, limits)
        study.pruner = own.pruner
        return Task(
            study=study,
            storage=around.storage,
            claims=claims,
            objective=own.objective,
            proposer=Proposer(study, space, grain, own.objective, claims, own.seed, limits),
            limit=limit,
            total=own.n_trials,
            seed=own.seed,
            retries=own.retries,
            patience=around.patience,
            predict=self._predict(models, study.sampler),
            prunes=own.prunes,
            on_progress=around.on_progress,
        )

    def _predict(
        self, models: Models, sampler: optuna.samplers.BaseSampler
    ) -> Callable[[Architecture], Sequence[float] | None]:
        """What a trial's network is predicted to reach: by the models, and before these know enough by those that the
        guided sampler has fitted on the finished trials."""
        from autobuild.studies.samplers import GuidedSampler

        def predict(arch: Architecture) -> Sequence[float] | None:
            found = models.predict(arch)
            if found is None and self.settings.model is not None and isinstance(sampler, GuidedSampler):
                own = sampler.predict([arch])
                found = None if own is None else own[0].tolist()
            return found

        return predict

    def _sampler(
        self, space: SearchSpace, labels: Any, limits: LimitModels | None = None
    ) -> optuna.samplers.BaseSampler:
        from autobuild.studies.samplers import make_sampler

        own = self.settings
        if not isinstance(own.sampler, str):
            return own.sampler
        return make_sampler(
            own.sampler,
            space,
            grain=own.grain_of(space),
            seed=own.seed,
            n_targets=len(own.objective.targets),
            prior=labels,
            targets=own.objective.texts,
            costs=own.objective.costs,
            model=own.model if isinstance(own.model, str) else "gp",
            limits=limits,
            **own.sampler_options,
        )

    # -- narrowing -----------------------------------------------------------------------------------------------------

    def _first(self) -> int:
        """How many slots are spent on the given space before it is narrowed; none where enough is known at once."""
        own = self.settings
        assert own.narrowing is not None
        narrows_first = enough(own.prior) or not isinstance(own.model, str)
        return 0 if narrows_first else max(1, round(own.n_trials / (own.narrowing.rounds + 1)))

    def _linked(self, root: optuna.Study) -> Chain:
        """The studies that there are: with a successor a study has ended, and what is still open belongs to the last.

        A study keeps the end it was made with, whatever ``n_trials`` later workers are given.
        """
        own = self.settings
        chain: Chain = [(root, own.space)]
        while own.narrowing is not None:
            found = load_stage(self.around.storage, f"{own.name}/{len(chain) + 1}")
            if found is None:
                break
            chain.append(found)
        return chain

    def _until(self, study: optuna.Study) -> int:
        """How many slots of the chain are spent when a study ends."""
        own = self.settings
        if own.narrowing is None:
            return own.n_trials
        return min(int(study.user_attrs[FACTS].get(UNTIL, self._first())), own.n_trials)

    def _goes_on(self, claims: Claims, chain: Chain, until: int) -> bool:
        """Whether there is more to search after so many slots, in the next study or, before a model can be fitted, in
        the first; the next is made by the first worker that comes here, and loaded by the others.

        What is left of the evaluations is shared out equally among the narrowings that are left. Evaluations that are
        added to a chain that has ended are spent after one narrowing more.
        """
        own, studies = self.settings, [study for study, _ in chain]
        if own.narrowing is None:
            return False
        name, last = f"{own.name}/{len(chain) + 1}", studies[-1]
        with alone(claims, f"narrow/{name}"):
            found = load_stage(self.around.storage, name)
            if found is None and until < self._until(last):  # another worker has moved its end
                return True
            if found is None and until >= own.n_trials:
                return False
            if found is None and (missing := self._missing(studies)):
                facts = last.user_attrs[FACTS]
                last.set_user_attr(FACTS, {**facts, UNTIL: min(until + missing, own.n_trials)})
                return True
            if found is None:
                left = max(1, own.narrowing.rounds - len(chain) + 1)
                found = self._narrowed(name, studies, until, until + max(1, round((own.n_trials - until) / left)))
        chain.append(found)
        return True

    def _missing(self, studies: Sequence[optuna.Study]) -> int:
        """Labels that are missing before a model can be fitted."""
        if not isinstance(self.settings.model, str):
            return 0
        labels = joined(self.settings.prior, measured(studies), self.settings.space)
        return max(0, FEWEST - (len(labels) if labels is not None else 0))

    def _narrowed(
        self, name: str, studies: Sequence[optuna.Study], spent: int, until: int
    ) -> tuple[optuna.Study, SearchSpace]:
        """The next study of the chain, made."""
        own, around = self.settings, self.around
        space = narrowed(own, studies, until - spent)
        told: dict[str, Any] = {"where": own.where, "hardware": own.hardware, UNTIL: until}
        told |= {"parent": studies[-1].study_name, "why": space.note}
        facts = facts_of(space, own.objective.texts, own.grain_of(space), **told)
        return open_study(around.storage, name, space, facts)[0], space


def _carried(study: optuna.Study, space: SearchSpace) -> list[Known]:
    """The complete trials of an earlier study whose networks lie in ``space``."""
    found = []
    for trial in study.get_trials(deepcopy=False):
        attrs = trial.user_attrs
        if trial.state.name != "COMPLETE" or FROM in attrs or attrs.get(ARCH) not in space:
            continue
        arch = space.parse(attrs[ARCH])
        predicted = attrs.get(PREDICTED)
        found.append(Known(arch, trial.values, attrs.get(METRICS, {}), trial.constraints, predicted))
    return found


class Stale:
    """Optuna's callback for trials whose worker was lost: it queues them again, unless their outcome is known."""

    def __init__(self, space: SearchSpace, retries: int) -> None:
        self.space, self.retries = space, retries
        self.claims: Claims | None = None

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Queue ``trial`` again, a bounded number of times."""
        import warnings

        import optuna

        if self.claims is None or ARCH not in trial.user_attrs:
            return
        claim = self.claims.get(self.space.key(self.space.parse(trial.user_attrs[ARCH])))
        if claim is None or claim.state != "held" or claim.trial != trial.number:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=self.retries)(study, trial)
