"""Who evaluates what: one claim for each architecture of a study, with a lease that expires and a count of slots.

Optuna lets any number of workers share a study, but nothing in it keeps two of them from evaluating the same
architecture, or all of them together from evaluating more than was asked for. A claim does: its key is unique within
the study, it takes one of ``limit`` slots, and it belongs to one worker for as long as that one renews it.

States of a claim: ``held`` (being evaluated), ``measured`` (the outcome is written down here, the study has not been
told yet), ``spent`` (done), ``known`` (entered from earlier labels: takes no slot, is never evaluated). A claim that is
held or measured and whose lease has expired, or whose process is known to be dead, may be taken over.
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
    """One row.

    Attributes:
        key: What is claimed: ``space.key`` of an architecture, or a task of the whole study that starts with ``@``.
        owner: The worker that has it.
        state: See the module.
        expires: Seconds since 1970, by the clock of the store.
        counts: Whether it takes a slot.
        arch: Text of the architecture.
        trial: Number of the Optuna trial that evaluates it; -1 before there is one.
        tries: How many workers have begun it; those that were stopped, as by Ctrl-C, are left out.
        outcome: What came out, as JSON text.
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
    """The claims of one study inside a transaction that no other process can interleave with."""

    now: float
    taken: int  # slots in use

    def get(self, digest: str) -> Claim | None:
        """The claim of a key."""
        ...

    def put(self, claim: Claim) -> None:
        """Insert or replace."""
        ...

    def drop(self, claim: Claim) -> None:
        """Delete."""
        ...

    def open(self) -> list[Claim]:
        """All claims that are held or measured."""
        ...

    def renew(self, owner: str, expires: float) -> int:
        """Set when the open claims of a worker expire; how many there are."""
        ...

    def counts(self) -> dict[str, int]:
        """How many claims that take a slot are in each state, and how many are known."""
        ...

    def holding(self, digests: Sequence[str]) -> set[str]:
        """Those of the given digests that are claimed."""
        ...


class Store(Protocol):
    """Where claims lie."""

    def transaction(self, study: str) -> AbstractContextManager[Rows]:
        """Lock the study's claims; what was put is kept when the block ends without an error."""
        ...


class Claims:
    """The claims of one study, as one worker sees them.

    Args:
        store: Where they lie: see :mod:`autobuild.studies.claim_stores`.
        study: Name of the study (of a chain of linked studies: of the first).
        owner: This worker (default: this process, with a fresh number).
        lease_s: Seconds after which a claim that was not renewed may be taken over.

    Attributes:
        taken: Slots in use when this worker last looked.
    """

    def __init__(self, store: Store, study: str, owner: str | None = None, lease_s: float = 120.0) -> None:
        self.store, self.study, self.lease_s = store, study, float(lease_s)
        self.owner = owner or new_owner()
        self.taken = 0
        self._told: list[str] = []  # keys whose study has been told, to be written with whatever is written next
        self._mutex = threading.RLock()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Rows]:
        with self._mutex:  # until the keys told are off the list: a second thread would take others off instead
            told = list(self._told)
            with self.store.transaction(self.study) as rows:
                for key in told:
                    old = rows.get(digest(key))
                    if old is not None and old.owner == self.owner and old.state in OPEN_STATES:
                        rows.put(replace(old, state="spent", expires=0.0))
                self.taken = rows.taken
                yield rows
                self.taken = rows.taken
            del self._told[: len(told)]

    def claim(self, key: str, arch: str = "", trial: int = -1, limit: int | None = None) -> str:
        """Try to get ``key``.

        Args:
            key: What to claim.
            arch: Text of the architecture.
            trial: Number of the trial that is to evaluate it.
            limit: Slots of the study; None claims without taking one.

        Returns:
            ``"granted"``, ``"taken"`` (someone has or had it) or ``"full"`` (no slot is left).
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
        """Get a claim whose worker is gone, in whatever open state; None where someone else was faster."""
        with self._transaction() as rows:
            old = rows.get(digest(key))
            if old is None or old.state not in OPEN_STATES or not is_lapsed(old, rows.now):
                return None
            tries = old.tries + (old.state == "held")
            new = replace(old, owner=self.owner, expires=rows.now + self.lease_s, tries=tries)
            rows.put(new)
            return replace(new, trial=old.trial)

    def assign(self, key: str, trial: int) -> bool:
        """Note which trial evaluates a claim of this worker."""
        return self._change(key, ("held",), trial=trial)

    def measured(self, key: str, outcome: str) -> bool:
        """Write down what came out; the same once more is fine.

        False: the claim was lost to another worker, or has another outcome already, so this one must not count.
        """
        with self._transaction() as rows:
            old = rows.get(digest(key))
            if old is None or old.owner != self.owner or old.state not in OPEN_STATES:
                return False
            if old.state == "held":
                rows.put(replace(old, state="measured", outcome=outcome))
            return old.state == "held" or old.outcome == outcome

    def spent(self, key: str) -> bool:
        """The study has been told. False where another worker has done that already."""
        return self._change(key, OPEN_STATES, state="spent", expires=0.0)

    def spent_soon(self, key: str) -> None:
        """As :meth:`spent`, with the next transaction: until then the claim reads as measured, which is as safe."""
        with self._mutex:
            self._told.append(key)

    def retire(self) -> None:
        """Write what is left to be written; the worker has ended, whatever its process goes on to do."""
        _RETIRED.add(self.owner)
        if self._told:
            with self._transaction():
                pass

    def release(self, key: str) -> bool:
        """Let anyone take the claim over at once; it keeps its slot, and what was stopped is not counted as a try."""
        with self._transaction() as rows:
            old = rows.get(digest(key))
            if old is None or old.owner != self.owner or old.state not in OPEN_STATES:
                return False
            rows.put(replace(old, expires=0.0, tries=old.tries - (old.state == "held")))
            return True

    def forget(self, key: str) -> bool:
        """Give the key and its slot back."""
        with self._transaction() as rows:
            old = rows.get(digest(key))
            if old is None or old.owner != self.owner or old.state not in OPEN_STATES:
                return False
            rows.drop(old)
            return True

    def _change(self, key: str, states: Sequence[str], **changes: object) -> bool:
        with self._transaction() as rows:
            old = rows.get(digest(key))
            if old is None or old.owner != self.owner or old.state not in states:
                return False
            rows.put(replace(old, **changes))  # type: ignore[arg-type]
            return True

    def enter(self, known: Iterable[tuple[str, str]], state: str = "known") -> None:
        """Note ``(key, text)`` of architectures that are not to be evaluated (again); claimed ones stay as they are."""
        pairs = list(known)
        with self._transaction() as rows:
            there = rows.holding([digest(key) for key, _ in pairs])
            for key, arch in pairs:
                if digest(key) not in there:
                    rows.put(Claim(key, self.owner, state, 0.0, state != "known", arch))

    def renew(self) -> int:
        """Extend the lease of everything that this worker has; how many claims that are."""
        with self._transaction() as rows:
            return rows.renew(self.owner, rows.now + self.lease_s)

    def lapsed(self, slack_s: float = 0.0) -> list[Claim]:
        """Open claims of workers that are gone; with a slack, of those only whose lease is over for so long."""
        with self._transaction() as rows:
            return [claim for claim in rows.open() if is_lapsed(claim, rows.now - slack_s)]

    def open(self) -> list[Claim]:
        """All claims that are held or measured."""
        with self._transaction() as rows:
            return rows.open()

    def get(self, key: str) -> Claim | None:
        """The claim of a key."""
        with self._transaction() as rows:
            return rows.get(digest(key))

    def busy(self, key: str) -> bool:
        """Whether a living worker has ``key`` and has not finished with it."""
        with self._transaction() as rows:
            old = rows.get(digest(key))
            return old is not None and old.state in OPEN_STATES and not is_lapsed(old, rows.now)

    def claimed(self, keys: Sequence[str]) -> set[str]:
        """Those of ``keys`` that nobody needs to propose again."""
        with self._transaction() as rows:
            there = rows.holding([digest(key) for key in keys])
        return {key for key in keys if digest(key) in there}

    def counts(self) -> dict[str, int]:
        """``held``, ``measured``, ``spent`` (those that take a slot) and ``known``."""
        with self._transaction() as rows:
            return {"held": 0, "measured": 0, "spent": 0, "known": 0, **rows.counts()}


def digest(key: str) -> str:
    """A key of fixed length, which every database indexes."""
    return sha256(key.encode()).hexdigest()


def is_lapsed(claim: Claim, now: float) -> bool:
    """Whether the worker of an open claim is gone: its lease is over, or its process has ended on this machine."""
    return claim.expires <= now or alive(claim.owner) is False


def new_owner() -> str:
    """A name for a worker of this process: where it runs, which process it is, and a number of its own."""
    return f"{_place()}|{os.getpid()}|{_started(os.getpid())}|{uuid.uuid4().hex[:12]}"


def alive(owner: str) -> bool | None:
    """Whether the process of a worker runs; None where that cannot be known (another machine or container)."""
    parts = owner.split("|")
    if owner in _RETIRED:
        return False
    if len(parts) != 5 or "|".join(parts[:2]) != _place() or not parts[2].isdigit():
        return None
    return _started(int(parts[2])) == parts[3]


@cache
def _place() -> str:
    """This boot of this machine and the container's process numbers; empty where processes cannot be told apart."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}|{os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot: a number that is used again for another process differs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended
