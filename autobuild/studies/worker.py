"""One worker of a study: ask, claim, submit, hear, tell, until all slots are spent.

Any number of workers share a study, each with evaluations of its own under way. The order of writing makes a kill at
any moment harmless: an architecture is claimed before it is evaluated; its outcome is written to the claim, then told
to the study, then the claim is spent. Whoever finds a claim whose worker is gone goes on from where that one was.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autobuild.errors import EvaluationError, RunError
from autobuild.evaluate.executors import Executor, Failed, Finished, Reported, Stopped
from autobuild.evaluate.metrics import ignored_text
from autobuild.studies.claims import Claim, Claims
from autobuild.studies.outcomes import Outcome, give_up, tell
from autobuild.studies.proposals import Proposal, Proposer
from autobuild.studies.study import ARCH, PREDICTED

if TYPE_CHECKING:
    import optuna

    from autobuild.evaluate.executors import Event
    from autobuild.spaces import Architecture
    from autobuild.studies.objective import Objective
    from autobuild.studies.storage import Patience, Storage

HOPELESS = 10  # evaluations that fail one after another before the search stops
_WAIT_SECONDS, _IDLE_SECONDS, _TEND_SECONDS = 0.5, 0.3, 2.0


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        done: Slots spent, by all workers and earlier processes.
        total: Slots in all.
        failed: Failures of this worker.
        best: The best target so far; None before the first, or with several targets.
        eta_s: Estimated seconds to the end; NaN before this process has seen one end.
        arch: What has just ended.
        values: Its targets; none where it failed or was pruned.
        note: What else is to be said, e.g. that the storage does not answer.
    """

    done: int
    total: int
    failed: int
    best: float | None
    eta_s: float
    arch: str = ""
    values: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Task:
    """What a worker has to know.

    Attributes:
        study: The study.
        storage: Its storage.
        claims: Its claims.
        objective: Targets and limits.
        proposer: Where the next architecture comes from.
        limit: Slots spent at which this study ends.
        total: Slots of the whole search.
        seed: Seed of the evaluations.
        retries: How often an evaluation is begun again after its worker was lost.
        predict: Predicts the targets of an architecture, for the trial's attribute; None: nothing does.
        prunes: Whether intermediate values are reported to a pruner.
        patience: With the storage.
        on_progress: Called after each evaluation.
    """

    study: optuna.Study
    storage: Storage
    claims: Claims
    objective: Objective
    proposer: Proposer
    limit: int
    total: int
    seed: int
    retries: int
    patience: Patience
    predict: Callable[[Architecture], Sequence[float] | None] = lambda arch: None
    prunes: bool = False
    on_progress: Callable[[Progress], None] = lambda progress: None


class Worker:
    """Runs a :class:`Task` on an executor; :meth:`run` returns when all slots are spent or nothing free is left."""

    def __init__(self, task: Task, executor: Executor, best: float | None = None) -> None:
        self.task, self.executor = task, executor
        self.running: dict[int, Proposal] = {}
        self.failed = self._failed_in_a_row = 0
        self._numbers = 0
        self._tended = self._counted = 0.0
        self._began, self._done_before = time.monotonic(), -1
        self._done = 0
        self._best = best
        self._ignored: dict[str, None] = {}

    def run(self, pulse: Pulse) -> None:
        """Search, with the signs of life of ``pulse``.

        Raises:
            EvaluationError: Ten evaluations failed one after another.
            RunError: The storage stayed away, or is full. What is under way is lost; the same call goes on.
        """
        try:
            self._loop(pulse)
        except BaseException as error:
            self._abandon(storage_lost=isinstance(error, RunError))
            raise
        finally:
            pulse.trials = set()
        self.task.patience.call(self._clean)

    @property
    def notes(self) -> list[str]:
        """What the reader of the result should know."""
        notes = [ignored_text(self._ignored)] if self._ignored else []
        if self.task.proposer.exhausted:
            told = "no further network was found that is free and keeps the exact limits"
            notes.append(f"{told}: {self._done:,} were evaluated")
        return notes

    def _loop(self, pulse: Pulse) -> None:
        while True:
            self._tend()
            self._fill()
            pulse.trials = {proposal.trial._trial_id for proposal in self.running.values()}
            if self.running:
                for event in self.executor.wait(_WAIT_SECONDS):
                    self._hear(event)
            elif self._finished():
                return
            else:
                time.sleep(_IDLE_SECONDS)  # others hold the last slots: one of them may have to be stood in for

    # -- beginning -----------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Begin evaluations until the executor is full, or no slot is left."""
        while len(self.running) < self.executor.capacity and not self.task.proposer.exhausted:
            proposal = self.task.patience.call(self._propose)
            if proposal is None:
                return
            self._submit(proposal)

    def _propose(self) -> Proposal | None:
        import optuna

        try:
            proposal = self.task.proposer.next(self.task.limit)
        except optuna.exceptions.UpdateFinishedTrialError:  # another worker took this one for a leftover
            return None
        if proposal is not None:
            self._describe(proposal)
        return proposal

    def _describe(self, proposal: Proposal) -> None:
        if ARCH not in proposal.trial.user_attrs:
            proposal.trial.set_user_attr(ARCH, proposal.arch.text)
        predicted = self.task.predict(proposal.arch)
        if predicted is not None:
            proposal.trial.set_user_attr(PREDICTED, list(predicted))

    def _submit(self, proposal: Proposal) -> None:
        self._numbers += 1
        self.running[self._numbers] = proposal
        self.executor.submit(self._numbers, proposal.arch.text, self.task.seed)

    # -- hearing -------------------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        proposal = self.running.get(event.task_id)
        if proposal is None:
            return
        if isinstance(event, Reported):
            self._report(proposal, event)
        elif isinstance(event, Failed) and event.retry and proposal.tries <= self.task.retries:
            proposal.tries += 1
            del self.running[event.task_id]
            self._submit(proposal)
        else:
            del self.running[event.task_id]
            self._settle(proposal, self._outcome(proposal, event))

    def _outcome(self, proposal: Proposal, event: Event) -> Outcome:
        if isinstance(event, Stopped):
            return Outcome("PRUNED")
        if isinstance(event, Failed):
            return Outcome("FAIL", metrics=event.metrics, reason=event.reason)
        assert isinstance(event, Finished)
        self._ignored |= dict.fromkeys(told.partition(":")[0] for told in event.ignored)
        objective, arch = self.task.objective, proposal.arch
        try:
            values = objective.values(arch, event.metrics)
            return Outcome("COMPLETE", values, event.metrics, objective.constraints(arch, event.metrics))
        except EvaluationError as error:
            return Outcome("FAIL", metrics=event.metrics, reason=str(error))

    def _report(self, proposal: Proposal, event: Reported) -> None:
        if not self.task.prunes:
            return
        try:
            value = self.task.objective.values(proposal.arch, event.metrics)[0]
        except EvaluationError:  # a value that is not there yet, or is no number, decides nothing
            return

        def report() -> bool:
            proposal.trial.report(value, event.step)
            return bool(proposal.trial.should_prune())

        if self.task.patience.call(report):
            self.executor.prune(event.task_id)

    def _settle(self, proposal: Proposal, outcome: Outcome) -> None:
        counted = self.task.patience.call(lambda: self._write(proposal, outcome))
        if not counted:
            return
        self.failed += outcome.state == "FAIL"
        self._failed_in_a_row = self._failed_in_a_row + 1 if outcome.state == "FAIL" else 0
        kept = all(broken <= 0 for broken in outcome.constraints.values())
        if outcome.state == "COMPLETE" and len(outcome.values) == 1 and kept:
            self._best = max(outcome.values[0], self._best if self._best is not None else -float("inf"))
        self._done += 1
        self._show(proposal.arch.text, tuple(outcome.values))
        if self._failed_in_a_row >= HOPELESS:
            raise EvaluationError(
                f"{HOPELESS} evaluations failed one after another, so the search stops; the last, of {proposal.arch}: "
                f"{outcome.reason}"
            )

    def _write(self, proposal: Proposal, outcome: Outcome) -> bool:
        """Put an outcome down. False: another worker has taken the claim over, so this outcome does not count."""
        task = self.task
        if not task.claims.measured(proposal.key, outcome.text()):
            claim = task.claims.get(proposal.key)
            if claim is not None and claim.owner == task.claims.owner and claim.state == "spent":
                return True  # an earlier try of this call got so far
            give_up(task.study, proposal.trial.number, "its claim was lost to another worker")
            return False
        tell(task.study, proposal.trial.number, outcome)
        task.claims.spent_soon(proposal.key)
        return True

    # -- looking after the study ---------------------------------------------------------------------------------------

    def _tend(self) -> None:
        """Stand in for workers that are gone, and see how far the others are."""
        now = time.monotonic()
        if now - self._tended < _TEND_SECONDS and (self.running or now - self._tended < _IDLE_SECONDS):
            return
        self._tended = now
        self.task.patience.call(self._recover)
        self._done = self.task.patience.call(self.task.claims.counts)["spent"]
        if self._done_before < 0:
            self._done_before = self._done

    def _recover(self) -> None:
        import optuna

        task = self.task
        slack = 0.0
        if task.storage.heartbeats:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                optuna.storages.fail_stale_trials(task.study)
            # Optuna has queued again what was lost. Where it knows of no heartbeat, the claim has to do.
            slack = task.claims.lease_s / 2
        for lapsed in task.claims.lapsed(slack):
            if lapsed.key.startswith("@"):
                continue
            if lapsed.state == "held" and len(self.running) >= self.executor.capacity:
                continue
            claim = task.claims.take_over(lapsed.key)
            if claim is not None:
                self._stand_in(claim)

    def _stand_in(self, claim: Claim) -> None:
        """Go on from where the worker of a claim was."""
        task = self.task
        if claim.state == "measured":
            tell(task.study, claim.trial, Outcome.read(claim.outcome))
            task.claims.spent(claim.key)
            return
        if claim.tries > task.retries + 1:
            outcome = Outcome("FAIL", reason=f"its worker was lost {claim.tries - 1} times")
            task.claims.measured(claim.key, outcome.text())
            if claim.trial >= 0:
                tell(task.study, claim.trial, outcome)
            task.claims.spent(claim.key)
            return
        give_up(task.study, claim.trial, "its worker was lost")
        arch = task.proposer.space.parse(claim.arch)
        trial = task.proposer.again(arch)
        task.claims.assign(claim.key, trial.number)
        proposal = Proposal(trial, arch, claim.key, claim.tries)
        self._describe(proposal)
        self._submit(proposal)

    def _finished(self) -> bool:
        counts = self.task.patience.call(self.task.claims.counts)
        self._done = counts["spent"]
        under_way = counts["held"] + counts["measured"]
        return counts["spent"] >= self.task.limit or (self.task.proposer.exhausted and not under_way)

    def _abandon(self, storage_lost: bool) -> None:
        """Give back what is under way, so that the next process need not wait for the lease to end."""
        for task_id, proposal in self.running.items():
            self.executor.cancel(task_id)
            if storage_lost:
                continue
            with contextlib.suppress(Exception):  # already on the way out with an error of its own
                self.task.claims.release(proposal.key)
                give_up(self.task.study, proposal.trial.number, "interrupted")

    def _clean(self) -> None:
        """End trials that a killed process had asked for and not claimed."""
        import optuna

        if any(not claim.key.startswith("@") for claim in self.task.claims.open()):
            return
        running = (optuna.trial.TrialState.RUNNING,)
        for trial in self.task.study.get_trials(deepcopy=False, states=running):
            give_up(self.task.study, trial.number, "left over by a worker that was lost")

    def _show(self, arch: str, values: tuple[float, ...]) -> None:
        ended = self._done - max(self._done_before, 0)
        left = max(self.task.total - self._done, 0)
        eta = (time.monotonic() - self._began) / ended * left if ended > 0 else float("nan")
        self.task.on_progress(Progress(self._done, self.task.total, self.failed, self._best, eta, arch, values))


class Pulse(threading.Thread):
    """Signs of life: renews this worker's claims, and Optuna's heartbeats of its trials, whatever else goes on."""

    def __init__(self, claims: Claims, study: optuna.Study, heartbeats: bool) -> None:
        super().__init__(daemon=True, name="autobuild-pulse")
        self.claims, self.study, self.heartbeats = claims, study, heartbeats
        self.trials: set[int] = set()
        self._over = threading.Event()

    def run(self) -> None:
        """Beat four times a lease."""
        while not self._over.wait(self.claims.lease_s / 4):
            # A storage that is away is the worker's to deal with; the next beat may reach it.
            with contextlib.suppress(Exception):
                self.claims.renew()
                for trial_id in self.trials if self.heartbeats else ():
                    self.study._storage.record_heartbeat(trial_id)

    def __enter__(self) -> Pulse:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(timeout=5)
