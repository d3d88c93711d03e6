"""Optuna's journal file, which here survives a full disk and a writer that is killed within a line."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file

from autobuild.studies._claim_stores import append_lines

_LOCK_SECONDS = 10  # after which the lock of a killed process is removed


class RepairingJournal(JournalFileBackend):  # type: ignore[misc]
    """A journal whose writers remove an incomplete last line.

    Optuna takes such a line for one that is still being written. When the next line is appended to it, the journal can
    never be read again.

    Args:
        path: The file, absolute, because the lock is a link to it that is used from every working directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(str(path), lock_obj=JournalFileSymlinkLock(str(path), grace_period=_LOCK_SECONDS))
        with path.open("rb", buffering=0) as file:
            incomplete = _is_incomplete(file)
        if incomplete:  # its writer was killed, or is still writing: then it holds the lock
            self.append_logs([])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write all of ``logs`` or nothing.

        Unlike Optuna's own method, it does not wait for the disk, which would take milliseconds for each parameter of a
        trial. A killed process loses nothing by that, a power failure loses the last few lines.
        """
        with get_lock_file(self._lock), self.path.open("r+b", buffering=0) as file:
            if _is_incomplete(file):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            append_lines(file, file.seek(0, os.SEEK_END), logs)


def _is_incomplete(file: FileIO) -> bool:
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
