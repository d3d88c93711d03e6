"""Run a search in one study, or in linked studies over narrower and narrower spaces.

Optuna refuses a parameter whose choices change within a study. So each narrowing opens a study of its own, ``NAME/2``,
``NAME/3``..., and enters what is known of its networks: the labels, and the finished trials of the earlier studies.
Claims belong to the whole chain of studies, so that no network is evaluated twice in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import optuna

from autobuild.labels import LabelledSet
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies._claims import Claims
from autobuild.studies._narrowing import narrowed
from autobuild.studies._proposals import Proposer
from autobuild.studies._settings import MIN_LABELS, Settings
from autobuild.studies._study import INFO, exclusive, load_study, open_study, study_info
from autobuild.studies._surrogates import LimitModels, TargetModels, are_enough, evaluated_in, with_evaluated
from autobuild.studies._trials import LABEL, claim_finished, enter_measured, measured_in_labels, measured_in_study
from autobuild.studies._worker import Heartbeat, Resources, Worker
from autobuild.studies.result import Search, best_value, trials_of
from autobuild.studies.samplers import GuidedSampler, make_sampler

Chain = list[tuple[optuna.Study, SearchSpace]]
UNTIL = "until"  # entry of a study's info: number of spent slots of the whole chain at which the study ends


class LinkedStudies:
    """The studies of one search.

    Args:
        settings: The arguments of the search.
        resources: Storage and executor.

    Raises:
        ConfigError: The sampler cannot be used; no study is created then.
    """

    def __init__(self, settings: Settings, resources: Resources) -> None:
        self.settings, self.resources = settings, resources
        self.call = resources.patience.call
        if settings.narrowing is None:
            self._sampler(settings.space, settings.prior)

    def run(self) -> Search:
        """Search, and read the result."""
        settings, storage = self.settings, self.resources.storage
        until = {} if settings.narrowing is None else {UNTIL: self._first_end()}
        root, info = self.call(lambda: self._open(settings.name, settings.space, **until))
        claims = Claims(storage.claims, f"{settings.name}:{info['id']}", lease_s=settings.lease_s)
        self.resources.stale.claims = claims
        notes: list[str] = []
        try:
            with Heartbeat(claims, root, storage.heartbeats) as heartbeat:
                chain = self.call(lambda: self._load_chain(root))
                goes_on = True
                while goes_on:
                    end = self._end(chain[-1][0])
                    if end:
                        notes = self._run_last(chain, claims, end, heartbeat)
                    goes_on = self.call(lambda: self._extend(claims, chain, end))  # noqa: B023
        finally:
            with contextlib.suppress(Exception):  # a storage that does not answer has raised its error already
                claims.retire()
        if settings.narrowing is not None and len(chain) == 1:
            notes.append(f"the space was not narrowed: a model needs {MIN_LABELS} labels and complete evaluations")
        studies = [study for study, _ in chain]
        return Search.read(chain[-1][1], settings.objective.texts, studies, storage.address, notes)

    def _open(self, name: str, space: SearchSpace, **more: object) -> tuple[optuna.Study, dict[str, object]]:
        settings = self.settings
        more |= {"where": settings.where, "hardware": settings.hardware}
        info = study_info(space, settings.objective.texts, settings.grain_of(space), **more)
        return open_study(self.resources.storage, name, space, info)

    def _run_last(self, chain: Chain, claims: Claims, end: int, heartbeat: Heartbeat) -> list[str]:
        """Search in the last study until ``end`` slots are spent; messages for the result."""
        settings, studies, (study, space) = self.settings, [study for study, _ in chain], chain[-1]
        heartbeat.study = study
        notes = self.call(lambda: self._enter_known(studies, space, claims))
        labels = with_evaluated(settings.prior, evaluated_in(studies[:-1]), settings.space)
        limits = LimitModels(settings.objective, labels, settings.space, settings.seed)
        study.sampler, study.pruner = self._sampler(space, labels, limits), settings.pruner
        grain = settings.grain_of(space)
        proposer = Proposer(study, space, grain, settings.objective, claims, settings.seed, limits)
        predict = self._predictor(TargetModels(settings, labels), study.sampler)
        best = best_value(trials_of(studies, settings.objective.texts), settings.objective.texts)
        worker = Worker(proposer, settings, self.resources, end, predict, best)
        worker.run(heartbeat)
        return [*notes, *worker.notes]

    def _enter_known(self, studies: Sequence[optuna.Study], space: SearchSpace, claims: Claims) -> list[str]:
        """Enter labels and earlier trials into the last study; messages for the result."""
        notes: list[str] = []
        settings, study = self.settings, studies[-1]
        grain = settings.grain_of(space)
        with exclusive(claims, f"known/{study.study_name}"):
            for linked in studies:
                claim_finished(linked, claims, settings.space)
            if settings.prior is not None:
                measured = measured_in_labels(settings.prior, space, settings.objective)
                enter_measured(study, claims, space, grain, measured, LABEL)
                left_out = sum(arch in space for arch in settings.prior.archs) - len(measured)
                if left_out:
                    notes.append(
                        f"{left_out:,} labelled networks of the space were not entered: they lack what the target or a "
                        "limit needs"
                    )
            for earlier in studies[:-1]:
                known = list(measured_in_study(earlier, space))
                enter_measured(study, claims, space, grain, known, earlier.study_name)
        return notes

    def _predictor(
        self, models: TargetModels, sampler: optuna.samplers.BaseSampler
    ) -> Callable[[Architecture], Sequence[float] | None]:
        """Predicts the targets of a network by the models; while there are too few labels for them, by the models that
        the guided sampler has fitted on the finished trials."""

        def predict(arch: Architecture) -> Sequence[float] | None:
            predicted: Sequence[float] | None = models.predict(arch)
            if predicted is None and self.settings.model is not None and isinstance(sampler, GuidedSampler):
                values = sampler.predict([arch])
                predicted = None if values is None else values[0].tolist()
            return predicted

        return predict

    def _sampler(
        self, space: SearchSpace, labels: LabelledSet | None, limits: LimitModels | None = None
    ) -> optuna.samplers.BaseSampler:
        settings = self.settings
        if not isinstance(settings.sampler, str):
            return settings.sampler
        return make_sampler(
            settings.sampler,
            space,
            grain=settings.grain_of(space),
            seed=settings.seed,
            n_targets=len(settings.objective.targets),
            prior=labels,
            targets=settings.objective.texts,
            costs=settings.objective.costs,
            model=settings.model if isinstance(settings.model, str) else "gp",
            limits=limits,
            **settings.sampler_options,
        )

    # -- narrowing -----------------------------------------------------------------------------------------------------

    def _first_end(self) -> int:
        """Number of slots spent on the given space before it is narrowed; 0 if a model can be fitted at once."""
        settings = self.settings
        assert settings.narrowing is not None
        if are_enough(settings.prior) or not isinstance(settings.model, str):
            return 0
        return max(1, round(settings.n_trials / (settings.narrowing.rounds + 1)))

    def _end(self, study: optuna.Study) -> int:
        """Number of spent slots of the chain at which a study ends."""
        settings = self.settings
        if settings.narrowing is None:
            return settings.n_trials
        return min(int(study.user_attrs[INFO].get(UNTIL, self._first_end())), settings.n_trials)

    def _load_chain(self, root: optuna.Study) -> Chain:
        """The existing studies. One with a successor has ended; what is still open belongs to the last.

        A study keeps the end that it was created with, whatever ``n_trials`` later workers have.
        """
        chain: Chain = [(root, self.settings.space)]
        while self.settings.narrowing is not None:
            loaded = load_study(self.resources.storage, f"{self.settings.name}/{len(chain) + 1}")
            if loaded is None:
                break
            chain.append(loaded)
        return chain

    def _extend(self, claims: Claims, chain: Chain, end: int) -> bool:
        """Whether the search goes on after ``end`` slots: in a next study, or in the last one with a later end.

        The first worker that gets here creates the next study, the others load it. The remaining evaluations are
        shared equally among the remaining narrowings. If evaluations are added to a chain that has ended, the space is
        narrowed once more. As long as a model lacks labels, the last study gets a later end instead.
        """
        settings, studies = self.settings, [study for study, _ in chain]
        if settings.narrowing is None:
            return False
        name, last = f"{settings.name}/{len(chain) + 1}", studies[-1]
        with exclusive(claims, f"narrow/{name}"):
            loaded = load_study(self.resources.storage, name)
            if loaded is None:
                if end < self._end(last):  # another worker has moved the end
                    return True
                if end >= settings.n_trials:
                    return False
                if missing := self._missing_labels(studies):
                    info = {**last.user_attrs[INFO], UNTIL: min(end + missing, settings.n_trials)}
                    last.set_user_attr(INFO, info)
                    return True
                rounds_left = max(1, settings.narrowing.rounds - len(chain) + 1)
                slots = max(1, round((settings.n_trials - end) / rounds_left))
                space = narrowed(settings, studies, slots)
                more = {UNTIL: end + slots, "parent": last.study_name, "why": space.note}
                loaded = self._open(name, space, **more)[0], space
        chain.append(loaded)
        return True

    def _missing_labels(self, studies: Sequence[optuna.Study]) -> int:
        """Number of labels that are missing before a model can be fitted."""
        if not isinstance(self.settings.model, str):
            return 0
        labels = with_evaluated(self.settings.prior, evaluated_in(studies), self.settings.space)
        return max(0, MIN_LABELS - (len(labels) if labels is not None else 0))
