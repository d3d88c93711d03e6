"""Stores of claims: tables beside those of Optuna, a locked file beside its journal, or the memory of a process."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from autobuild.errors import RunError
from autobuild.studies._claims import OPEN_STATES, Claim, digest

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

_CLOCKS = {"postgresql": "extract(epoch from clock_timestamp())", "mysql": "unix_timestamp(now(6))"}
_KEYS_PER_QUERY = 500


class TableStore:
    """Claims in the two tables ``autobuild_claims`` and ``autobuild_slots`` of a relational database.

    A transaction begins with an update of the study's row of slots. On PostgreSQL, MySQL and SQLite alike this locks
    out all other transactions of that study. Times are those of the database server if there is one, so that leases do
    not depend on the workers' clocks.

    Args:
        engine: The engine of Optuna's storage.
    """

    def __init__(self, engine: Engine) -> None:
        import sqlalchemy as sa

        self.engine = engine
        metadata = sa.MetaData()
        self.slots: Table = sa.Table(
            "autobuild_slots",
            metadata,
            sa.Column("study", sa.String(255), primary_key=True),
            sa.Column("taken", sa.Integer, nullable=False),
        )
        self.claims: Table = sa.Table(
            "autobuild_claims",
            metadata,
            sa.Column("study", sa.String(255), primary_key=True),
            sa.Column("digest", sa.String(64), primary_key=True),
            sa.Column("key", sa.Text, nullable=False),
            sa.Column("owner", sa.String(255), nullable=False),
            sa.Column("state", sa.String(16), nullable=False),
            sa.Column("expires", sa.Float(53), nullable=False),
            sa.Column("counts", sa.Boolean, nullable=False),
            sa.Column("arch", sa.Text, nullable=False),
            sa.Column("trial", sa.Integer, nullable=False),
            sa.Column("tries", sa.Integer, nullable=False),
            sa.Column("outcome", sa.Text, nullable=False),
            sa.Index("autobuild_claims_state", "study", "state"),
        )
        # If two workers start at once, the second one fails to create the tables, because they exist by then.
        with contextlib.suppress(sa.exc.OperationalError, sa.exc.ProgrammingError, sa.exc.IntegrityError):
            metadata.create_all(engine)
        with engine.connect() as connection:  # raises if creating the tables failed for another reason
            connection.execute(sa.select(self.slots).limit(1))

    @contextlib.contextmanager
    def transaction(self, study: str) -> Iterator[_TableRows]:
        """See :class:`~autobuild.studies._claims.Store`."""
        with self.engine.begin() as connection:
            rows = _TableRows(self, connection, study)
            yield rows
            rows.close()


class _TableRows:
    def __init__(self, store: TableStore, connection: Connection, study: str) -> None:
        import sqlalchemy as sa

        self.sa, self.table, self.connection, self.study = sa, store.claims, connection, study
        self.slots = store.slots
        this_study = self.slots.c.study == study
        lock = sa.update(self.slots).where(this_study).values(taken=self.slots.c.taken)
        if not connection.execute(lock).rowcount:
            # In a savepoint, because on PostgreSQL a refused insert would end the whole transaction.
            with contextlib.suppress(sa.exc.IntegrityError), connection.begin_nested():
                connection.execute(sa.insert(self.slots).values(study=study, taken=0))
            connection.execute(lock)
        self.taken = int(connection.execute(sa.select(self.slots.c.taken).where(this_study)).scalar_one())
        self._before = self.taken
        self._exists: dict[str, bool] = {}  # digests looked up so far
        clock = _CLOCKS.get(connection.dialect.name)
        self.now = float(connection.execute(sa.text(f"select {clock}")).scalar_one()) if clock else time.time()

    def close(self) -> None:
        if self.taken != self._before:
            this_study = self.slots.c.study == self.study
            self.connection.execute(self.sa.update(self.slots).where(this_study).values(taken=self.taken))

    def _one(self, key_digest: str) -> Any:
        return (self.table.c.study == self.study) & (self.table.c.digest == key_digest)

    def get(self, key_digest: str) -> Claim | None:
        row = self.connection.execute(self.sa.select(self.table).where(self._one(key_digest))).mappings().first()
        self._exists[key_digest] = row is not None
        return None if row is None else _claim(row)

    def put(self, claim: Claim) -> None:
        key_digest, values = digest(claim.key), asdict(claim)
        updated = 0
        if self._exists.get(key_digest, True):
            update = self.sa.update(self.table).where(self._one(key_digest)).values(**values)
            updated = self.connection.execute(update).rowcount
        if not updated:
            self.connection.execute(self.sa.insert(self.table).values(study=self.study, digest=key_digest, **values))
            self.taken += claim.counts
        self._exists[key_digest] = True

    def drop(self, claim: Claim) -> None:
        key_digest = digest(claim.key)
        deleted = self.connection.execute(self.sa.delete(self.table).where(self._one(key_digest))).rowcount
        self.taken -= claim.counts and deleted
        self._exists[key_digest] = False

    def _is_open(self) -> Any:
        return (self.table.c.study == self.study) & self.table.c.state.in_(OPEN_STATES)

    def open(self) -> list[Claim]:
        rows = self.connection.execute(self.sa.select(self.table).where(self._is_open())).mappings()
        return [_claim(row) for row in rows]

    def renew(self, owner: str, expires: float) -> int:
        # A released claim (expires=0) stays released.
        renewed = self._is_open() & (self.table.c.owner == owner) & (self.table.c.expires > 0)
        return int(self.connection.execute(self.sa.update(self.table).where(renewed).values(expires=expires)).rowcount)

    def counts(self) -> dict[str, int]:
        counted = (self.table.c.study == self.study) & (self.table.c.counts | (self.table.c.state == "known"))
        query = self.sa.select(self.table.c.state, self.sa.func.count()).where(counted).group_by(self.table.c.state)
        return {str(state): int(number) for state, number in self.connection.execute(query)}

    def holding(self, digests: Sequence[str]) -> set[str]:
        claimed: set[str] = set()
        for start in range(0, len(digests), _KEYS_PER_QUERY):
            batch = self.table.c.digest.in_(list(digests[start : start + _KEYS_PER_QUERY]))
            query = self.sa.select(self.table.c.digest).where((self.table.c.study == self.study) & batch)
            claimed.update(self.connection.execute(query).scalars())
        return claimed


def _claim(row: Any) -> Claim:
    names = Claim.__dataclass_fields__
    return Claim(**{name: row[name] for name in names})


class MemoryStore:
    """Claims in the memory of this process."""

    def __init__(self) -> None:
        self._books: dict[str, _Book] = {}
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def transaction(self, study: str) -> Iterator[_BookRows]:
        """See :class:`~autobuild.studies._claims.Store`."""
        with self._mutex:
            book = self._books.setdefault(study, _Book())
            rows = _BookRows(book)
            yield rows
            for key, claim in rows.changed.items():
                book.set(key, claim)


class FileStore:
    """Claims in a file of JSON lines, with a lock file beside it that the system frees when a process ends.

    Each change of a claim is one line, and the last line of a key counts. A process keeps the claims in memory and
    reads only the new lines. A full disk or a killed process can leave an incomplete last line; the next writer removes
    it.

    Args:
        path: The file; it is created if it is missing.

    Raises:
        RunError: The file cannot be written, or has other content.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._books: dict[str, _Book] = {}
        self._read_to = 0
        self._mutex = threading.Lock()
        # The mutex is for the threads of this process, the file for other processes.
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"), thread_local=False, poll_interval=0.005)
        try:
            self.path.open("ab").close()
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror or error}") from error

    @contextlib.contextmanager
    def transaction(self, study: str) -> Iterator[_BookRows]:
        """See :class:`~autobuild.studies._claims.Store`."""
        # The file is opened first: filelock would make the folder of a journal anew whose file system is away for a
        # while, and the journal could not come back to its place.
        with self._mutex, self.path.open("r+b", buffering=0) as file, self._lock:
            self._read(file)
            book = self._books.setdefault(study, _Book())
            rows = _BookRows(book)
            yield rows
            if rows.changed:
                changes = rows.changed.items()
                gone = [{"study": study, "gone": key} for key, claim in changes if claim is None]
                lines = [{"study": study, **asdict(claim)} for _, claim in changes if claim is not None]
                self._read_to = append_lines(file, self._read_to, [*gone, *lines])
                for key, claim in changes:
                    book.set(key, claim)

    def _read(self, file: FileIO) -> None:
        file.seek(self._read_to)
        text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                data = json.loads(line)
                book = self._books.setdefault(data.pop("study"), _Book())
                gone = data.pop("gone", None)
                book.set(gone or digest(data["key"]), None if gone else Claim(**data))
            except Exception:  # what is no claim may raise anything
                raise RunError(f"{self.path} is no file of claims: it has the line {line[:80]!r}") from None
        self._read_to += len(whole)
        if len(whole) < len(text):
            file.truncate(self._read_to)


def append_lines(file: FileIO, start: int, lines: Iterable[Mapping[str, Any]]) -> int:
    """Write JSON lines from position ``start`` on, all or none; returns the position behind them.

    Raises:
        OSError: They cannot be written, as on a full disk.
    """
    content = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
    file.seek(start)
    left = memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(start)
        raise
    return start + len(content)


class _Book:
    """The claims of one study in memory."""

    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {}
        self.open: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.taken = 0

    def set(self, key: str, new: Claim | None) -> None:
        old = self.claims.pop(key, None)
        self.taken += (new is not None and new.counts) - (old is not None and old.counts)
        _recount(self.counts, old, new)
        self.open.discard(key)
        if new is not None:
            self.claims[key] = new
            if new.state in OPEN_STATES:
                self.open.add(key)


class _BookRows:
    """A transaction on the claims of one study in memory; its changes are applied when they are stored."""

    def __init__(self, book: _Book) -> None:
        self.book, self.taken = book, book.taken
        self.changed: dict[str, Claim | None] = {}
        self.now = time.time()

    def get(self, key_digest: str) -> Claim | None:
        return self.changed[key_digest] if key_digest in self.changed else self.book.claims.get(key_digest)

    def put(self, claim: Claim) -> None:
        key = digest(claim.key)
        self.taken += claim.counts and self.get(key) is None
        self.changed[key] = claim

    def drop(self, claim: Claim) -> None:
        key = digest(claim.key)
        self.taken -= claim.counts and self.get(key) is not None
        self.changed[key] = None

    def open(self) -> list[Claim]:
        claims = [self.get(key) for key in sorted(self.book.open | self.changed.keys())]
        return [claim for claim in claims if claim is not None and claim.state in OPEN_STATES]

    def renew(self, owner: str, expires: float) -> int:
        renewed = [claim for claim in self.open() if claim.owner == owner and claim.expires > 0]
        for claim in renewed:
            self.put(replace(claim, expires=expires))
        return len(renewed)

    def counts(self) -> dict[str, int]:
        counts = self.book.counts.copy()
        for key, new in self.changed.items():
            _recount(counts, self.book.claims.get(key), new)
        return {state: number for state, number in counts.items() if number}

    def holding(self, digests: Sequence[str]) -> set[str]:
        return {key for key in digests if self.get(key) is not None}


def _recount(counts: Counter[str], old: Claim | None, new: Claim | None) -> None:
    """Move a claim from the count of its old state to that of its new one."""
    for claim, sign in ((old, -1), (new, 1)):
        if claim is not None and (claim.counts or claim.state == "known"):
            counts[claim.state] += sign
