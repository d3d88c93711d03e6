"""Open a storage of studies and claims by its address, and repeat calls of one that does not answer for a while.

Addresses: ``sqlite:///PATH``, ``postgresql+psycopg://USER@HOST/DATABASE`` or any other that SQLAlchemy accepts, and
``journal:PATH`` for a file on a network file system, where SQLite's locks do not work. None stands for the memory of
this process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import optuna

from autobuild.errors import ConfigError, RunError
from autobuild.studies._claim_stores import FileStore, MemoryStore, TableStore
from autobuild.studies._claims import Store

if TYPE_CHECKING:
    from sqlalchemy import Engine

Result = TypeVar("Result")

ACCEPTED = "accepted: sqlite:///PATH, journal:PATH, postgresql+psycopg://USER@HOST/DATABASE"
JOURNAL = "journal:"
_OPENING_SECONDS = 5.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DAMAGED_TEXTS = ("file is not a database", "database disk image is malformed")  # another try would say the same
_FULL_TEXTS = ("disk is full", "No space left", "could not extend file", "database or disk")


@dataclass(frozen=True)
class Storage:
    """Optuna's storage and the store of the claims.

    Attributes:
        optuna: The storage of Optuna.
        claims: The store of the claims.
        address: The address without a password, for messages.
        heartbeats: Whether the storage keeps Optuna's heartbeats.
    """

    optuna: optuna.storages.BaseStorage
    claims: Store
    address: str
    heartbeats: bool = False


def open_storage(
    address: str | None,
    *,
    lease_s: float = 120.0,
    on_stale: Callable[[optuna.Study, optuna.trial.FrozenTrial], None] | None = None,
) -> Storage:
    """Open the storage at ``address``; it is created if it is missing.

    Args:
        address: See the module.
        lease_s: Seconds without a heartbeat after which a worker counts as lost.
        on_stale: Called with each trial of a lost worker, on storages with heartbeats.

    Raises:
        ConfigError: The address cannot be read, or its driver is not installed.
        RunError: The storage cannot be reached or written, or has other content.
    """
    if address is None:
        return Storage(optuna.storages.InMemoryStorage(), MemoryStore(), "in memory")
    if not isinstance(address, str) or not address.strip():
        raise ConfigError(f"storage={address!r}: {ACCEPTED}")
    if address.startswith(JOURNAL):
        return _journal(address.removeprefix(JOURNAL))
    return _relational(address, lease_s, on_stale)


def sqlite_address(path: str | os.PathLike[str]) -> str:
    """The address of a SQLite file, whatever its path contains: a ``?`` would begin the options of an address.

    Raises:
        ConfigError: The installed SQLAlchemy cannot write this path into an address.
    """
    import sqlalchemy as sa

    text = os.fspath(path)
    address = str(sa.URL.create("sqlite", database=text).render_as_string())
    if sa.make_url(address).database != text:
        raise ConfigError(f"{text!r}: SQLAlchemy {sa.__version__} has no address of this path; take another, or 2.1")
    return address


def shown(address: str | None) -> str:
    """An address without its password, for messages and files; ``"in memory"`` for None."""
    import sqlalchemy as sa

    if address is None or address.startswith(JOURNAL):
        return str(address or "in memory")
    try:
        return str(sa.make_url(address).render_as_string(hide_password=True))
    except (sa.exc.ArgumentError, ValueError):
        return address


def _journal(path_text: str) -> Storage:
    from autobuild.studies._journal import RepairingJournal

    if not path_text:
        raise ConfigError(f"storage={JOURNAL!r} names no file: {ACCEPTED}")
    # Absolute, because Optuna's lock is a link to this path that is used from every working directory.
    path = Path(path_text).expanduser().absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.JournalStorage(RepairingJournal(path))
    except OSError as error:
        raise RunError(f"storage journal:{path_text} cannot be written: {error.strerror or error}") from error
    except Exception as error:  # what Optuna makes of a line that it did not write may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise RunError(f"storage journal:{path_text[:200]!r} is no journal of Optuna ({reason[:200]})") from error
    return Storage(storage, FileStore(path.with_name(path.name + ".claims")), f"{JOURNAL}{path_text}")


def _relational(
    address: str, lease_s: float, on_stale: Callable[[optuna.Study, optuna.trial.FrozenTrial], None] | None
) -> Storage:
    import sqlalchemy as sa

    url = _url(address)
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        with contextlib.suppress(OSError):
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    grace = max(2, round(lease_s))

    def create() -> tuple[Any, TableStore]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = optuna.storages.RDBStorage(
                url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}"),
                engine_kwargs=_engine_options(url),
                heartbeat_interval=max(1, grace // 4),
                grace_period=grace,
                heartbeat_stale_trial_callback=on_stale,
            )
        _tune(storage.engine)
        return storage, TableStore(storage.engine)

    try:
        # If workers start at once, each tries to create the tables, and all but one fail at first.
        storage, claims = Patience(shown(address), _OPENING_SECONDS).call(create)
    except ImportError as error:
        raise ConfigError(_driver_missing(url, error)) from error
    except sa.exc.SQLAlchemyError as error:
        raise RunError(f"storage {shown(address)} cannot be used: {_reason(error)}") from error
    except RunError:  # its message names the storage already
        raise
    except (RuntimeError, TypeError, ValueError) as error:  # another version of Optuna; options of no driver
        raise RunError(f"storage {shown(address)}: {error}") from error
    cached = optuna.storages.get_storage(storage)
    return Storage(cached, claims, shown(address), heartbeats=True)


def relational_engine(address: str) -> Engine:
    """A new engine of SQLAlchemy for an address, with the settings of a storage."""
    import sqlalchemy as sa

    url = _url(address)
    engine = sa.create_engine(url, **_engine_options(url))
    _tune(engine)
    return engine


def _url(address: str) -> Any:
    import sqlalchemy as sa

    try:
        url = sa.make_url(address)
        if "\0" in address or not 0 <= (url.port or 0) < 1 << 16:
            raise ValueError
    except (sa.exc.ArgumentError, ValueError):  # such as a port that is no number
        raise ConfigError(f"storage={address!r} is no address: {ACCEPTED}") from None
    if url.get_backend_name() == "sqlite" and url.database:
        url = url.set(database=os.path.expanduser(url.database))
    # The driver that the extra `postgres` installs; SQLAlchemy's default is another one.
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _driver_missing(url: Any, error: ImportError) -> str:
    extra = " (pip install 'autobuild-nas[postgres]')" if url.get_backend_name() == "postgresql" else ""
    return f"storage {url.render_as_string(hide_password=True)}: its driver is not installed{extra}: {error}"


def _engine_options(url: Any) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": 60}}
    options: dict[str, Any] = {"pool_pre_ping": True}  # a connection that the server has closed is opened again
    if url.get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": 10}
    return options


def _tune(engine: Engine) -> None:
    """Let SQLite lock at the beginning of a transaction, and commit without waiting for the disk.

    Otherwise a transaction that reads first and writes later fails at once if another process has written in between;
    a longer time limit would not help. With a write-ahead log a killed process loses nothing. A power failure may lose
    the last commits, but the file stays readable.
    """
    if engine.dialect.name != "sqlite":
        return
    from sqlalchemy import event

    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)
    engine.dispose()  # connections that were opened while Optuna created its tables lack these settings


# -- patience ----------------------------------------------------------------------------------------------------------


@dataclass
class Patience:
    """Repeats calls of a storage that does not answer, with longer and longer pauses.

    Args:
        address: Address of the storage, for messages.
        seconds: Time without an answer after which it gives up.
        on_wait: Called with a message when a wait begins.
        first_s, most_s: The first and the longest pause, in seconds.
    """

    address: str
    seconds: float = 120.0
    on_wait: Callable[[str], None] = field(default=lambda text: None)
    first_s: float = 0.2
    most_s: float = 10.0

    def call(self, work: Callable[[], Result]) -> Result:
        """Call ``work`` again after every failure of the storage, and return its result.

        Raises:
            RunError: The storage did not answer in time, or its disk is full.
        """
        began, pause = time.monotonic(), self.first_s
        while True:
            try:
                return work()
            except Exception as error:
                if not is_storage_error(error):
                    raise
                if is_full(error):
                    raise RunError(f"storage {self.address}: no space is left ({_reason(error)})") from error
                left = self.seconds - (time.monotonic() - began)
                if left <= 0:
                    away = f"has not answered for {self.seconds:g} s"
                    raise RunError(f"storage {self.address} {away}: {_reason(error)}") from error
                if pause >= 1:
                    self.on_wait(f"storage {self.address} does not answer ({_reason(error)}); trying again")
                time.sleep(min(pause, max(left, 0.01)))
                pause = min(2 * pause, self.most_s)


def is_storage_error(error: BaseException) -> bool:
    """Whether an error comes from the storage, and not from the program or its user."""
    import sqlalchemy as sa

    # IntegrityError among them: another worker was faster, so the work is repeated on the new state.
    kinds = (optuna.exceptions.StorageInternalError, sa.exc.DBAPIError, sa.exc.TimeoutError, OSError)
    return isinstance(error, kinds) and not _names(error, _DAMAGED_TEXTS)


def is_full(error: BaseException) -> bool:
    """Whether the disk or the quota of the storage is full."""
    return any(isinstance(cause, OSError) and cause.errno in _FULL for cause in _causes(error)) or _names(
        error, _FULL_TEXTS
    )


def _names(error: BaseException, texts: Sequence[str]) -> bool:
    """Whether the error or one of its causes has one of these texts in its message."""
    return any(text in str(cause) for cause in _causes(error) for text in texts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _reason(error: BaseException) -> str:
    """The message of the database in one line, because the errors of Optuna and SQLAlchemy around it say less."""
    import sqlalchemy as sa

    for cause in _causes(error):
        if isinstance(cause, sa.exc.DBAPIError) and cause.orig is not None:
            return " ".join(str(cause.orig).split())[:300]
    return " ".join(str(error).split())[:300]
