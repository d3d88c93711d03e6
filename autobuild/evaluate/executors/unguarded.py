"""Scripts that start processes without a guard: each process begins by running the script, and so would start more."""

from __future__ import annotations

import multiprocessing
import sys

from autobuild.errors import ConfigError

NAME = "autobuild-evaluation"  # of the processes that evaluate
EXIT_CODE = 97  # of one that was about to start processes while it was still importing the script

_WHY = (
    "processes are started here, and each of them begins by importing the script that was run: what it does must be "
    'guarded. Put it below `if __name__ == "__main__":`, or evaluate in this process: n_jobs=1, executor="inline"'
)


def end_if_importing() -> None:
    """In a process that evaluates and is only just importing the main script: end it, whatever it is about to evaluate.

    Raises:
        SystemExit: Without a word, since its parent tells: see :func:`unguarded`.
    """
    if _is_importing() and multiprocessing.current_process().name == NAME:
        sys.exit(EXIT_CODE)


def refuse_unguarded() -> None:
    """Refuse to start processes in one that is only just importing the main script.

    Raises:
        SystemExit: As :func:`end_if_importing`.
        ConfigError: In a process that somebody else has started.
    """
    end_if_importing()
    if _is_importing():
        raise ConfigError(f"a process that is still importing the main script starts processes: {_WHY}")


def unguarded() -> ConfigError:
    """What the parent of such a process raises."""
    return ConfigError(f"the script that was run has no guard: {_WHY}")


def _is_importing() -> bool:
    # As multiprocessing itself asks, which then says "before the current process has finished its bootstrapping phase".
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))
