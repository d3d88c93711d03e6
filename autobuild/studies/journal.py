"""Optuna's journal file, made to outlive a full disk and a writer that was killed half-way through a line."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file

_LOCK_SECONDS = 10  # after which the lock of a killed process is broken


class MendedJournal(JournalFileBackend):  # type: ignore[misc]
    """A journal whose torn last line is cut off by the next writer.

    Optuna reads a line without its end as one that is still being written, and the next line, appended to it, as
    damage for ever.

    Args:
        path: The file, absolute: the lock is a link to it, which must hold from every working directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(str(path), lock_obj=JournalFileSymlinkLock(str(path), grace_period=_LOCK_SECONDS))
        if _is_torn(path):  # by a process that has ended, or that is just writing: the lock tells
            with get_lock_file(self._lock):
                _cut_torn_line(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write all of ``logs`` or nothing, after whatever was torn is gone.

        Unlike Optuna's own, it does not wait for the disk, which takes milliseconds for each of a trial's parameters: a
        killed process loses nothing by that, a power failure the last few lines.
        """
        content = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with get_lock_file(self._lock):
            _cut_torn_line(self.path)
            with self.path.open("ab", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                left = memoryview(content)
                try:
                    while left:
                        left = left[file.write(left) :]
                except OSError:
                    with contextlib.suppress(OSError):
                        file.truncate(end)
                    raise


def _is_torn(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _cut_torn_line(path: Path) -> None:
    if _is_torn(path):
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
