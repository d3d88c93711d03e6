"""One worker's way through a search: one study, or a chain of linked ones over ever narrower spaces.

Optuna refuses a parameter whose choices change within a study, so each narrowing opens a study of its own, ``NAME/2``,
``NAME/3``..., and takes over what is known already of the networks that are left: the labels, and the finished trials
of the studies before. Claims belong to the whole chain, so that nothing is evaluated twice in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.search.chain import Narrow, measured, narrowed
from autobuild.search.claims import Claims
from autobuild.search.history import Known, enter, known_from, mend
from autobuild.search.models import Models, enough, joined
from autobuild.search.proposals import Proposer
from autobuild.search.result import Search, best_value, trials_of
from autobuild.search.settings import Settings
from autobuild.search.storage import Patience, Storage
from autobuild.search.study import ARCH, FROM, LABEL, METRICS, PREDICTED, alone, facts_of, load_stage, open_study
from autobuild.search.worker import Progress, Pulse, Task, Worker
from autobuild.spaces import SearchSpace

if TYPE_CHECKING:
    import optuna

    from autobuild.evaluate.executors import Executor


@dataclass(frozen=True)
class Surroundings:
    """What a search works with.

    Attributes:
        storage: The storage.
        executor: Where evaluations run.
        patience: With the storage.
        on_progress: Called after each evaluation.
        stale: Optuna's callback for trials whose worker was lost.
        narrow: Narrows a space by scores.
    """

    storage: Storage
    executor: Executor
    patience: Patience
    on_progress: Callable[[Progress], None]
    stale: Stale
    narrow: Narrow | None


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
        facts = facts_of(own.space, own.objective.texts, own.grain_of(own.space), where=own.where)
        root, known = call(lambda: open_study(around.storage, own.name, own.space, facts))
        claims = Claims(around.storage.claims, f"{own.name}:{known['id']}", lease_s=own.lease_s)
        around.stale.claims = claims
        studies, space, notes = [root], own.space, []
        try:
            with Pulse(claims, root, around.storage.heartbeats) as pulse:
                before = 0
                for number, limit in enumerate(self._limits(), start=1):
                    if limit is None:
                        continue
                    if number > 1:
                        study, space = call(lambda: self._narrowed(claims, studies, number, limit - before))  # noqa: B023
                        studies.append(study)
                    notes = self._stage(studies, space, claims, limit, pulse)
                    before = limit
        finally:
            with contextlib.suppress(Exception):  # a storage that is away has been told of already
                claims.retire()
        return Search.read(space, own.objective.texts, studies, around.storage.address, notes)

    def _limits(self) -> Iterator[int | None]:
        """For each study of the chain, how many slots of the chain are spent when it ends; None: it is not searched."""
        own = self.settings
        if own.narrowing is None:
            yield own.n_trials
            return
        rounds = own.narrowing.rounds
        narrows_first = enough(own.prior) or not isinstance(own.model, str)
        parts = rounds if narrows_first else rounds + 1
        if narrows_first:
            yield None  # enough is known to narrow at once
        for part in range(1, parts + 1):
            yield round(own.n_trials * part / parts)

    def _stage(
        self, studies: Sequence[optuna.Study], space: SearchSpace, claims: Claims, limit: int, pulse: Pulse
    ) -> list[str]:
        """Search the last of the linked studies; notes for the reader."""
        own, study = self.settings, studies[-1]
        pulse.study = study
        left_out = self.around.patience.call(lambda: self._enter_known(studies, space, claims))
        labels = joined(own, measured(studies[:-1]))
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
            mend(study, claims, space)
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
        study.sampler = self._sampler(space, labels)
        study.pruner = own.pruner
        return Task(
            study=study,
            storage=around.storage,
            claims=claims,
            objective=own.objective,
            proposer=Proposer(study, space, grain, own.objective, claims, own.seed),
            limit=limit,
            total=own.n_trials,
            seed=own.seed,
            retries=own.retries,
            patience=around.patience,
            predict=models.predict,
            prunes=own.prunes,
            on_progress=around.on_progress,
        )

    def _sampler(self, space: SearchSpace, labels: Any) -> optuna.samplers.BaseSampler:
        from autobuild.search.samplers import make_sampler

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
            **own.sampler_options,
        )

    # -- narrowing -----------------------------------------------------------------------------------------------------

    def _narrowed(
        self, claims: Claims, studies: Sequence[optuna.Study], number: int, slots: int
    ) -> tuple[optuna.Study, SearchSpace]:
        """The next study of the chain: made by the first worker that comes here, loaded by the others."""
        own, around = self.settings, self.around
        name, parent = f"{own.name}/{number}", studies[-1].study_name
        with alone(claims, f"narrow/{name}"):
            found = load_stage(around.storage, name)
            if found is None:
                space = narrowed(own, studies, slots, around.narrow)
                facts = facts_of(
                    space,
                    own.objective.texts,
                    own.grain_of(space),
                    where=own.where,
                    parent=parent,
                    why=space.note,
                )
                study, _ = open_study(around.storage, name, space, facts)
                found = study, space
        return found


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
