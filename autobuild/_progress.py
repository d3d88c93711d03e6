"""Progress of long calls in Python: a bar on a terminal and in a notebook, which goes away at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int], None]

SETTING = "AUTOBUILD_PROGRESS"  # of the environment: 0 shows none, 1 shows it also where there is no terminal


@contextmanager
def shown(given: Report | None) -> Iterator[Report | None]:
    """What a long call reports to: what the caller gave, or else a bar if somebody may see it.

    Args:
        given: The caller's own function of ``(phase, done, total)``, which is taken as it is.

    Yields:
        The function, or None if nothing is to be reported.
    """
    setting = os.environ.get(SETTING, "")
    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    if given is not None or setting == "0" or not (seen or setting == "1"):
        yield given
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total)

        yield report
