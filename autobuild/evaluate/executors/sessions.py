"""End a process and all processes that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_ROUNDS = 20  # each round ends the processes that were started during the one before


def kill_session(leader: int) -> None:
    """Send SIGKILL to every process of the session of process ``leader``, in all of its process groups.

    Without ``/proc``, only the leader's own group is ended. A session that does not exist is no error.
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
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # the process has ended meanwhile
            state, _, _, session, *_ = entry.read_text().rsplit(")", 1)[1].split()
            if int(session) == leader and state not in "ZX":
                members.append(int(entry.parent.name))
    return members
