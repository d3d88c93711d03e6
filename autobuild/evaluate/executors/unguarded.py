"""Detect scripts without a guard: each process that they start runs the script first, and would start more."""

from __future__ import annotations

import multiprocessing
import sys

from autobuild.errors import ConfigError

NAME = "autobuild-evaluation"  # name of the processes that evaluate
EXIT_CODE = 97  # of a process that would start processes while it imports the script

_WHY = (
    "processes are started here, and each of them begins by importing the script that was run: what it does must be "
    'guarded. Put it below `if __name__ == "__main__":`, or evaluate in this process: n_jobs=1, executor="inline"'
)


def end_if_importing() -> None:
    """End a process that evaluates and is still importing the main script.

    Raises:
        SystemExit: Without a message, because its parent raises :func:`unguarded`.
    """
    if _is_importing() and multiprocessing.current_process().name == NAME:
        sys.exit(EXIT_CODE)


def refuse_unguarded() -> None:
    """Check that this process does not start processes while it is still importing the main script.

    Raises:
        SystemExit: As :func:`end_if_importing`.
        ConfigError: It is such a process, started by other code.
    """
    end_if_importing()
    if _is_importing():
        raise ConfigError(f"a process that is still importing the main script starts processes: {_WHY}")


def unguarded() -> ConfigError:
    """The error that the parent of such a process raises."""
    return ConfigError(f"the script that was run has no guard: {_WHY}")


def _is_importing() -> bool:
    # multiprocessing itself checks this attribute before it starts a process.
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))
