"""Claims of workers on architectures: one for each architecture of a study, with a lease and a limited number of slots.

Optuna lets any number of workers share a study, but it does not prevent two of them from evaluating the same
architecture, nor all together from evaluating too many. Claims do: the key of a claim is unique within the study, the
claim takes one of ``limit`` slots, and it belongs to one worker as long as that worker renews its lease.

States of a claim: ``held`` (the evaluation runs), ``measured`` (the claim has the outcome, the study does not yet),
``spent`` (the study has the outcome), ``known`` (entered from labels: it takes no slot and is never evaluated). A held
or measured claim may be taken over if its lease has expired or its process is known to be dead.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Protocol

OPEN_STATES = ("held", "measured")
GRANTED, TAKEN, FULL = "granted", "taken", "full"
_RETIRED: set[str] = set()  # workers of this process that have ended


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        key: ``space.key`` of an architecture, or ``@`` and the name of a task that one worker at a time may do.
        owner: The worker that holds it.
        state: See the module.
        expires: End of the lease, in seconds since 1970 by the clock of the store.
        counts: Whether it takes a slot.
        arch: Text of the architecture.
        trial: Number of the Optuna trial that evaluates it; -1 if there is none yet.
        tries: Number of workers that have started the evaluation, without those that were interrupted, as by Ctrl-C.
        outcome: The outcome as JSON text.
    """

    key: str
    owner: str
    state: str
    expires: float
    counts: bool = True
    arch: str = ""
    trial: int = -1
    tries: int = 1
    outcome: str = ""


class Rows(Protocol):
    """The claims of one study within a transaction, which is isolated from all other processes.

    Attributes:
        now: Seconds since 1970, by the clock of the store.
        taken: Number of taken slots.
    """

    now: float
    taken: int

    def get(self, digest: str) -> Claim | None:
        """The claim with this digest of a key; None if there is none."""
        ...

    def put(self, claim: Claim) -> None:
        """Insert or replace a claim."""
        ...

    def drop(self, claim: Claim) -> None:
        """Delete a claim."""
        ...

    def open(self) -> list[Claim]:
        """All claims that are held or measured."""
        ...

    def renew(self, owner: str, expires: float) -> int:
        """Set the end of the lease of all open claims of a worker; returns their number."""
        ...

    def counts(self) -> dict[str, int]:
        """Number of claims that take a slot by state, and of known ones."""
        ...

    def holding(self, digests: Sequence[str]) -> set[str]:
        """The given digests that are claimed."""
        ...


class Store(Protocol):
    """Stores claims."""

    def transaction(self, study: str) -> AbstractContextManager[Rows]:
        """Lock the claims of a study; changes are stored if the block ends without an error."""
        ...


class Claims:
    """The claims of one study, used by one worker.

    Args:
        store: Stores them, see :mod:`autobuild.studies._claim_stores`.
        study: Name of the study, or of the first of linked studies.
        owner: Name of the worker (default: a new one of this process).
        lease_s: Seconds after which a claim that was not renewed may be taken over.

    Attributes:
        taken: Number of taken slots at the last transaction of this worker.
    """

    def __init__(self, store: Store, study: str, owner: str | None = None, lease_s: float = 120.0) -> None:
        self.store, self.study, self.lease_s = store, study, float(lease_s)
        self.owner = owner or new_owner()
        self.taken = 0
        self._spent: list[str] = []  # keys to be marked as spent by the next transaction
        self._mutex = threading.RLock()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Rows]:
        with self._mutex:  # held until the written keys are removed, so that no other thread changes the list before
            keys = list(self._spent)
            with self.store.transaction(self.study) as rows:
                for key in keys:
                    if (old := self._own(rows, key)) is not None:
                        rows.put(replace(old, state="spent", expires=0.0))
                self.taken = rows.taken
                yield rows
                self.taken = rows.taken
            del self._spent[: len(keys)]

    def _own(self, rows: Rows, key: str) -> Claim | None:
        """The open claim of this worker on ``key``; None if it has none."""
        old = rows.get(digest(key))
        return old if old is not None and old.owner == self.owner and old.state in OPEN_STATES else None

    def claim(self, key: str, arch: str = "", trial: int = -1, limit: int | None = None) -> str:
        """Try to claim ``key``.

        Args:
            key: Key of an architecture or task.
            arch: Text of the architecture.
            trial: Number of the trial that will evaluate it.
            limit: Number of slots of the study; None to claim without a slot.

        Returns:
            ``"granted"``, ``"taken"`` (another worker has or had the key) or ``"full"`` (no slot is left).
        """
        with self._transaction() as rows:
            old, expires = rows.get(digest(key)), rows.now + self.lease_s
            if old is not None:
                if old.state != "held" or not is_lapsed(old, rows.now):
                    return TAKEN
                rows.put(replace(old, owner=self.owner, expires=expires, trial=trial, tries=old.tries + 1))
                return GRANTED
            if limit is not None and rows.taken >= limit:
                return FULL
            rows.put(Claim(key, self.owner, "held", expires, limit is not None, arch, trial))
            return GRANTED

    def take_over(self, key: str) -> Claim | None:
        """Take over an open claim of a lost worker; None if another worker was faster."""
        with self._transaction() as rows:
            old = rows.get(digest(key))
            if old is None or old.state not in OPEN_STATES or not is_lapsed(old, rows.now):
                return None
            tries = old.tries + (old.state == "held")
            new = replace(old, owner=self.owner, expires=rows.now + self.lease_s, tries=tries)
            rows.put(new)
            return replace(new, trial=old.trial)

    def assign(self, key: str, trial: int) -> bool:
        """Store the number of the trial that evaluates a claim of this worker. False if the claim was lost."""
        return self._change(key, ("held",), trial=trial)

    def measured(self, key: str, outcome: str) -> bool:
        """Store the outcome of an evaluation; storing the same outcome again is allowed.

        Returns:
            False if this outcome must not count, because the claim was lost to another worker or has another outcome.
        """
        with self._transaction() as rows:
            old = self._own(rows, key)
            if old is None:
                return False
            if old.state == "held":
                rows.put(replace(old, state="measured", outcome=outcome))
            return old.state == "held" or old.outcome == outcome

    def spent(self, key: str) -> bool:
        """Mark a claim as spent, because the study has the outcome. False if another worker has done so."""
        return self._change(key, OPEN_STATES, state="spent", expires=0.0)

    def spent_soon(self, key: str) -> None:
        """As :meth:`spent`, within the next transaction. Until then the claim is measured, which is just as safe."""
        with self._mutex:
            self._spent.append(key)

    def retire(self) -> None:
        """Mark the remaining claims as spent, and the worker as ended, even if its process continues."""
        _RETIRED.add(self.owner)
        if self._spent:
            with self._transaction():
                pass

    def release(self, key: str) -> bool:
        """Let other workers take the claim over at once. It keeps its slot; the interrupted try is not counted."""
        with self._transaction() as rows:
            old = self._own(rows, key)
            if old is None:
                return False
            rows.put(replace(old, expires=0.0, tries=old.tries - (old.state == "held")))
            return True

    def forget(self, key: str) -> bool:
        """Delete the claim, which frees its slot."""
        with self._transaction() as rows:
            old = self._own(rows, key)
            if old is None:
                return False
            rows.drop(old)
            return True

    def _change(self, key: str, states: Sequence[str], **changes: object) -> bool:
        with self._transaction() as rows:
            old = self._own(rows, key)
            if old is None or old.state not in states:
                return False
            rows.put(replace(old, **changes))  # type: ignore[arg-type]
            return True

    def enter(self, known: Iterable[tuple[str, str]], state: str = "known") -> None:
        """Enter ``(key, text)`` of architectures that must not be evaluated (again); existing claims stay unchanged."""
        pairs = list(known)
        with self._transaction() as rows:
            claimed = rows.holding([digest(key) for key, _ in pairs])
            for key, arch in pairs:
                if digest(key) not in claimed:
                    rows.put(Claim(key, self.owner, state, 0.0, state != "known", arch))

    def renew(self) -> int:
        """Renew the leases of all open claims of this worker; returns their number."""
        with self._transaction() as rows:
            return rows.renew(self.owner, rows.now + self.lease_s)

    def lapsed(self, slack_s: float = 0.0) -> list[Claim]:
        """Open claims of lost workers; with ``slack_s``, only those whose lease ended that many seconds ago."""
        with self._transaction() as rows:
            return [claim for claim in rows.open() if is_lapsed(claim, rows.now - slack_s)]

    def open(self) -> list[Claim]:
        """All claims that are held or measured."""
        with self._transaction() as rows:
            return rows.open()

    def get(self, key: str) -> Claim | None:
        """The claim of a key; None if there is none."""
        with self._transaction() as rows:
            return rows.get(digest(key))

    def busy(self, key: str) -> bool:
        """Whether a living worker holds an open claim on ``key``."""
        with self._transaction() as rows:
            old = rows.get(digest(key))
            return old is not None and old.state in OPEN_STATES and not is_lapsed(old, rows.now)

    def claimed(self, keys: Sequence[str]) -> set[str]:
        """The given keys that are claimed, in whatever state."""
        with self._transaction() as rows:
            claimed = rows.holding([digest(key) for key in keys])
        return {key for key in keys if digest(key) in claimed}

    def counts(self) -> dict[str, int]:
        """Number of claims by state: ``held``, ``measured``, ``spent`` (those with a slot) and ``known``."""
        with self._transaction() as rows:
            return {"held": 0, "measured": 0, "spent": 0, "known": 0, **rows.counts()}


def digest(key: str) -> str:
    """A hash of a key; its fixed length lets every database index it."""
    return sha256(key.encode()).hexdigest()


def is_lapsed(claim: Claim, now: float) -> bool:
    """Whether the worker of an open claim is lost: its lease has expired, or its process on this machine has ended."""
    return claim.expires <= now or alive(claim.owner) is False


def new_owner() -> str:
    """A name for a worker of this process: boot and container, process id and start, and a random number."""
    return f"{_boot()}|{os.getpid()}|{_started(os.getpid())}|{uuid.uuid4().hex[:12]}"


def alive(owner: str) -> bool | None:
    """Whether the process of a worker runs; None if that is unknown, as on another machine or container."""
    parts = owner.split("|")
    if owner in _RETIRED:
        return False
    if len(parts) != 5 or "|".join(parts[:2]) != _boot() or not parts[2].isdigit():
        return None
    return _started(int(parts[2])) == parts[3]


@cache
def _boot() -> str:
    """Identifies the boot of this machine and the container's process numbers; empty if the system does not tell."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}|{os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str:
    """Start of a process in clock ticks since boot, which tells it from a later process with the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended
