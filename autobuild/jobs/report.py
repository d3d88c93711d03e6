"""Write an HTML report of a run of any job, finished or not: settings, labels, model, effects, built networks, measurements.

Demo, build, search and quantise write it at their end. Of a folder that is no run, it shows the tables and pictures.

Examples:
    autobuild report out=my_run
    autobuild report run=my_search out=my_report

Writes:
    report.html  the page, pictures included: without run= into the folder that out= names, else into a folder of its own
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobuild.errors import ConfigError
from autobuild.jobs._console import say
from autobuild.jobs.keys import RunKeys
from autobuild.settings.option import option


@dataclass
class Keys(RunKeys):
    """Its keys."""

    run: str | None = option(
        None, "the folder of a run (null: that of out=, and the page is written there)", kind="path"
    )


def run(config: Mapping[str, Any]) -> int:
    """Read what lies in the folder, write the page."""
    from autobuild.jobs._folders import write_beside
    from autobuild.jobs._page import page_about
    from autobuild.jobs.run import Run

    named = config["run"] or config["out"]
    if named is None:
        raise ConfigError("report needs the folder of a run: out=DIR, or run=DIR and out= for the page")
    source = Path(str(named))
    if not source.is_dir():
        raise ConfigError(f"{'run' if config['run'] else 'out'}={source}: there is no such folder")
    if config["run"] is None:
        write_beside(source / "report.html", page_about(source))
        say(f"{source / 'report.html'}")
        return 0
    # The run may go on, so a report is never resumed.
    with Run.open("report", {**config, "resume": False}) as folder:
        folder.write_text("report.html", page_about(source))
        say(f"{folder.dir / 'report.html'}")
    return 0
