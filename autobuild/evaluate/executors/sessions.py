"""Ending a process together with everything it has started."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_ROUNDS = 20  # what is started while others are being ended is found in the next round


def kill_session(leader: int) -> None:
    """SIGKILL every process of the session that process ``leader`` leads, in whatever process group it is.

    Where there is no ``/proc``, only the leader's own group is reached. A session that is not there is no error.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for _ in range(_ROUNDS):
        members = _members(leader)
        if not members:
            return
        for process in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)


def _members(leader: int) -> list[int]:
    """Living processes of the session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has gone meanwhile
            state, _, _, session, *_ = entry.read_text().rsplit(")", 1)[1].split()
            if int(session) == leader and state not in "ZX":
                found.append(int(entry.parent.name))
    return found
