"""One worker of a study: it asks for proposals, claims them, submits evaluations, and writes their outcomes.

Any number of workers share a study, and each may run several evaluations at once. The order of writing makes a kill at
any moment harmless: an architecture is claimed before it is evaluated; its outcome is written to the claim, then to the
study, and then the claim is marked as spent. A worker that finds a claim of a lost worker continues from that point.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna

from autobuild.errors import EvaluationError, RunError
from autobuild.evaluate.executors import Event, Executor, Failed, Finished, Reported, Stopped
from autobuild.evaluate.metrics import ignored_text
from autobuild.spaces import Architecture, SearchSpace
from autobuild.studies._claims import Claim, Claims
from autobuild.studies._proposals import Proposal, Proposer
from autobuild.studies._settings import Settings
from autobuild.studies._trials import ARCH, PREDICTED, Outcome, finish_trial, pass_over
from autobuild.studies.result import Progress
from autobuild.studies.storage import Patience, Storage

MAX_FAILURES = 10  # evaluations that fail one after another before the search stops
_WAIT_SECONDS, _IDLE_SECONDS, _RECOVER_SECONDS = 0.5, 0.3, 2.0


@dataclass(frozen=True)
class Resources:
    """What the workers of a process use.

    Attributes:
        storage: The storage.
        executor: Where evaluations run.
        patience: Repeats calls of a storage that does not answer.
        on_progress: Called after each evaluation.
        stale: Optuna's callback for trials of lost workers.
    """

    storage: Storage
    executor: Executor
    patience: Patience
    on_progress: Callable[[Progress], None]
    stale: StaleTrials


class Worker:
    """Evaluates architectures of one study; :meth:`run` returns when all slots are spent or no architecture is free.

    Args:
        proposer: Gives the next architecture of the study.
        settings: The arguments of the search.
        resources: Storage and executor.
        limit: Number of spent slots at which the study ends.
        predict: Predicts the targets of an architecture, which are stored with its trial; None if it cannot.
        best: Best value of the target so far.
    """

    def __init__(
        self,
        proposer: Proposer,
        settings: Settings,
        resources: Resources,
        limit: int,
        predict: Callable[[Architecture], Sequence[float] | None],
        best: float | None = None,
    ) -> None:
        self.proposer, self.settings, self.resources = proposer, settings, resources
        self.study, self.claims, self.executor = proposer.study, proposer.claims, resources.executor
        self.limit, self.predict = limit, predict
        self.running: dict[int, Proposal] = {}
        self.failed = self._failed_in_a_row = 0
        self._submitted = 0
        self._recovered = 0.0
        self._began, self._done_before = time.monotonic(), -1
        self._done = 0
        self._best = best
        self._ignored: dict[str, None] = {}
        self._call = resources.patience.call

    def run(self, heartbeat: Heartbeat) -> None:
        """Evaluate until the study ends.

        Args:
            heartbeat: Renews the claims and trials of this worker.

        Raises:
            EvaluationError: Ten evaluations failed one after another.
            RunError: The storage did not answer, or is full. Running evaluations are lost; the same call resumes.
        """
        try:
            self._loop(heartbeat)
        except BaseException as error:
            self._abandon(storage_lost=isinstance(error, RunError))
            raise
        finally:
            heartbeat.trials = set()
        self._call(self._clean)

    @property
    def notes(self) -> list[str]:
        """Messages for the result."""
        notes = [ignored_text(self._ignored)] if self._ignored else []
        if self.proposer.exhausted:
            reason = "no further network was found that is free and keeps the exact limits"
            notes.append(f"{reason}: {self._done:,} were evaluated")
        return notes

    def _loop(self, heartbeat: Heartbeat) -> None:
        while True:
            self._recover_regularly()
            self._fill()
            heartbeat.trials = {proposal.trial._trial_id for proposal in self.running.values()}
            if self.running:
                for event in self.executor.wait(_WAIT_SECONDS):
                    self._handle(event)
            elif self._is_over():
                return
            else:
                time.sleep(_IDLE_SECONDS)  # other workers hold the last slots, and one of them may be lost

    # -- submitting ----------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Submit evaluations until the executor is full or no slot is left."""
        while len(self.running) < self.executor.capacity and not self.proposer.exhausted:
            proposal = self._call(self._propose)
            if proposal is None:
                return
            self._submit(proposal)

    def _propose(self) -> Proposal | None:
        try:
            proposal = self.proposer.next(self.limit)
        except optuna.exceptions.UpdateFinishedTrialError:  # another worker has ended this trial as left over
            return None
        if proposal is not None:
            self._annotate(proposal)
        return proposal

    def _annotate(self, proposal: Proposal) -> None:
        predicted = self.predict(proposal.arch)
        attrs = {ARCH: proposal.arch.text} | ({} if predicted is None else {PREDICTED: list(predicted)})
        try:
            for name, value in attrs.items():
                proposal.trial.set_user_attr(name, value)
        except optuna.exceptions.UpdateFinishedTrialError:  # failed as stale, because the prediction took too long
            proposal.trial = self.proposer.trial(proposal.arch, attrs)
            self.claims.assign(proposal.key, proposal.trial.number)

    def _submit(self, proposal: Proposal) -> None:
        self._submitted += 1
        self.running[self._submitted] = proposal
        self.executor.submit(self._submitted, proposal.arch.text, self.settings.seed)

    # -- results -------------------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        proposal = self.running.get(event.task_id)
        if proposal is None:
            return
        if isinstance(event, Reported):
            self._report(proposal, event)
        elif isinstance(event, Failed) and event.retry and proposal.tries <= self.settings.retries:
            proposal.tries += 1
            del self.running[event.task_id]
            self._submit(proposal)
        else:
            del self.running[event.task_id]
            self._finish(proposal, self._outcome(proposal, event))

    def _outcome(self, proposal: Proposal, event: Event) -> Outcome:
        if isinstance(event, Stopped):
            return Outcome("PRUNED")
        if isinstance(event, Failed):
            return Outcome("FAIL", metrics=event.metrics, reason=event.reason)
        assert isinstance(event, Finished)
        self._ignored |= dict.fromkeys(text.partition(":")[0] for text in event.ignored)
        objective, arch = self.settings.objective, proposal.arch
        try:
            values = objective.values(arch, event.metrics)
            return Outcome("COMPLETE", values, event.metrics, objective.constraints(arch, event.metrics))
        except EvaluationError as error:
            return Outcome("FAIL", metrics=event.metrics, reason=str(error))

    def _report(self, proposal: Proposal, event: Reported) -> None:
        if not self.settings.prunes:
            return
        try:
            value = self.settings.objective.values(proposal.arch, event.metrics)[0]
        except EvaluationError:  # a target that is missing or not finite at this step is not reported
            return

        def report() -> bool:
            proposal.trial.report(value, event.step)
            return bool(proposal.trial.should_prune())

        if self._call(report):
            self.executor.prune(event.task_id)

    def _finish(self, proposal: Proposal, outcome: Outcome) -> None:
        if not self._call(lambda: self._write(proposal, outcome)):
            return
        self.failed += outcome.state == "FAIL"
        self._failed_in_a_row = self._failed_in_a_row + 1 if outcome.state == "FAIL" else 0
        is_feasible = all(broken <= 0 for broken in outcome.constraints.values())
        if outcome.state == "COMPLETE" and len(outcome.values) == 1 and is_feasible:
            self._best = max(outcome.values[0], self._best if self._best is not None else -float("inf"))
        self._done += 1
        self._report_progress(proposal.arch.text, tuple(outcome.values))
        if self._failed_in_a_row >= MAX_FAILURES:
            raise EvaluationError(
                f"{MAX_FAILURES} evaluations failed one after another, so the search stops; the last, of "
                f"{proposal.arch}: {outcome.reason}"
            )

    def _write(self, proposal: Proposal, outcome: Outcome) -> bool:
        """Write an outcome. False if another worker has taken the claim over, so that this outcome does not count."""
        if not self.claims.measured(proposal.key, outcome.to_json()):
            claim = self.claims.get(proposal.key)
            if claim is not None and claim.owner == self.claims.owner and claim.state == "spent":
                return True  # an earlier try of this call wrote it
            pass_over(self.study, proposal.trial.number, "its claim was lost to another worker")
            return False
        finish_trial(self.study, proposal.trial.number, outcome)
        self.claims.spent_soon(proposal.key)
        return True

    # -- lost workers --------------------------------------------------------------------------------------------------

    def _recover_regularly(self) -> None:
        """Every two seconds, continue the work of lost workers and count the spent slots."""
        elapsed = time.monotonic() - self._recovered
        if elapsed < (_RECOVER_SECONDS if self.running else _IDLE_SECONDS):
            return
        self._recovered = time.monotonic()
        self._call(self._recover)
        self._done = self._call(self.claims.counts)["spent"]
        if self._done_before < 0:
            self._done_before = self._done

    def _recover(self) -> None:
        slack = 0.0
        if self.resources.storage.heartbeats:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                optuna.storages.fail_stale_trials(self.study)
            # Optuna has queued the trials of lost workers again. Those without a heartbeat are found by their claims.
            slack = self.claims.lease_s / 2
        for lapsed in self.claims.lapsed(slack):
            if lapsed.key.startswith("@"):
                continue
            if lapsed.state == "held" and len(self.running) >= self.executor.capacity:
                continue
            claim = self.claims.take_over(lapsed.key)
            if claim is not None:
                self._resume(claim)

    def _resume(self, claim: Claim) -> None:
        """Continue from where the lost worker of a claim was."""
        if claim.state == "measured":
            finish_trial(self.study, claim.trial, Outcome.from_json(claim.outcome))
            self.claims.spent(claim.key)
            return
        # The loss of a worker, as of a machine that is taken back, says nothing about the network: it is no try.
        if claim.tries > self.settings.retries + 1:
            lost = f"{claim.arch} was under way {claim.tries - 1} times as a worker was lost"
            hint = "; should it end the process itself: executor=local evaluates in processes of their own"
            self.resources.on_progress(Progress(self._done, self.settings.n_trials, self.failed, self._best, math.nan,
                                                note=lost + hint))  # fmt: skip
        pass_over(self.study, claim.trial, "its worker was lost")
        arch = self.proposer.space.parse(claim.arch)
        trial = self.proposer.again(arch)
        self.claims.assign(claim.key, trial.number)
        proposal = Proposal(trial, arch, claim.key)
        self._annotate(proposal)
        self._submit(proposal)

    def _is_over(self) -> bool:
        counts = self._call(self.claims.counts)
        self._done = counts["spent"]
        under_way = counts["held"] + counts["measured"]
        return counts["spent"] >= self.limit or (self.proposer.exhausted and not under_way)

    def _abandon(self, storage_lost: bool) -> None:
        """Release the running evaluations, so that the next process need not wait for their leases to end."""
        for task_id, proposal in self.running.items():
            self.executor.cancel(task_id)
            if storage_lost:
                continue
            with contextlib.suppress(Exception):  # the error that ended the worker must not be hidden
                self.claims.release(proposal.key)
                pass_over(self.study, proposal.trial.number, "interrupted")

    def _clean(self) -> None:
        """End trials that a killed process had asked for but not claimed."""
        if any(not claim.key.startswith("@") for claim in self.claims.open()):
            return
        running = (optuna.trial.TrialState.RUNNING,)
        for trial in self.study.get_trials(deepcopy=False, states=running):
            pass_over(self.study, trial.number, "left over by a worker that was lost")

    def _report_progress(self, arch: str, values: tuple[float, ...]) -> None:
        total, ended = self.settings.n_trials, self._done - max(self._done_before, 0)
        eta_s = (time.monotonic() - self._began) / ended * max(total - self._done, 0) if ended > 0 else float("nan")
        self.resources.on_progress(Progress(self._done, total, self.failed, self._best, eta_s, arch, values))


class Heartbeat(threading.Thread):
    """Renews the claims of this worker and Optuna's heartbeats of its trials, four times a lease.

    Args:
        claims: The claims.
        study: The study of the trials.
        records: Whether the storage keeps Optuna's heartbeats.

    Attributes:
        trials: Ids of the running trials.
    """

    def __init__(self, claims: Claims, study: optuna.Study, records: bool) -> None:
        super().__init__(daemon=True, name="autobuild-heartbeat")
        self.claims, self.study, self.records = claims, study, records
        self.trials: set[int] = set()
        self._over = threading.Event()

    def run(self) -> None:
        """Renew until the block is left."""
        while not self._over.wait(self.claims.lease_s / 4):
            # The worker itself reports a storage that does not answer; the next beat may reach it.
            with contextlib.suppress(Exception):
                self.claims.renew()
                for trial_id in self.trials if self.records else ():
                    self.study._storage.record_heartbeat(trial_id)

    def __enter__(self) -> Heartbeat:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(timeout=5)


class StaleTrials:
    """Optuna's callback for trials of lost workers: it queues them again, unless their outcome is known.

    Args:
        space: The space of the search.

    Attributes:
        claims: The claims of the search; nothing is queued before they are set.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.claims: Claims | None = None

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Queue ``trial`` again."""
        if self.claims is None or ARCH not in trial.user_attrs:
            return
        claim = self.claims.get(self.space.key(self.space.parse(trial.user_attrs[ARCH])))
        if claim is None or claim.state != "held" or claim.trial != trial.number:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.RetryHeartbeatStaleTrialCallback()(study, trial)
