"""``autobuild report``: one HTML page about a search, read from its storage, so that it works while the search runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError
from autobuild.jobs.console import say

if TYPE_CHECKING:
    from autobuild.jobs.run import Run
    from autobuild.search.result import Search

SHOWN = 20  # rows of a table


def run(config: Mapping[str, Any]) -> int:
    """Read the search, draw it, write the page."""
    from autobuild.jobs.run import Run

    if config["run"] is None:
        raise ConfigError("run=null: name the run folder of a search, run=runs/search/20250131-120000")
    found = _read(Path(config["run"]))
    # A search goes on, so each report is made anew.
    with Run.open("report", {**config, "resume": False}) as folder:
        _write(folder, found)
        say(f"{found!r}\n{folder.dir / 'report.html'}")
    return 0


def _read(source: Path) -> Search:
    from autobuild.jobs.folders import read_json
    from autobuild.jobs.search import EMBEDDED, address_in
    from autobuild.search.loading import load_search

    state = read_json(source / "run.json")
    if state is None or state.get("job") != "search":
        what = "there is no run" if state is None else f"it is a run of the job {state.get('job')}"
        raise ConfigError(f"run={source}: {what}; the run folder of a search is accepted")
    numbers = read_json(source / "metrics.json") or {}
    if "study" not in numbers:
        raise ConfigError(f"run={source}: the search has not begun yet")
    storage = state["config"]["storage"]
    address = address_in(source, storage)
    if address is None:
        raise ConfigError(f"run={source}: {EMBEDDED[storage].rpartition('/')[2]} is missing there")
    return load_search(address, numbers["study"])


def _write(folder: Run, found: Search) -> None:
    from autobuild.jobs.search_pictures import draw_search
    from autobuild.report import Section, html_page

    pictures = {name: (folder.dir / name, caption) for name, caption in draw_search(folder, found)}
    evaluated = found.evaluated
    states = evaluated["state"].value_counts().to_dict()
    running = int((found.trials["state"] == "RUNNING").sum())
    told = [f"{str(name).lower()}: {count:,}" for name, count in states.items()] + (
        [f"running: {running}"] if running else []
    )
    about = (
        f"Target: {'; '.join(found.targets)}. Space: {found.space.name}.\n{len(evaluated):,} networks were evaluated ("
    )
    about += ", ".join(told) + f"); storage: {found.address}."
    several = len(found.targets) > 1
    best = (found.front if several else found.best).head(SHOWN)
    best = best.drop(columns=["state", "reason"]).dropna(axis="columns", how="all")
    sections = [
        Section("What was done", about, pictures=[pictures["history.png"]]),
        Section("The front" if several else "The best networks", table=best),
    ]
    if several and "front.png" in pictures:
        sections[1] = Section("The front", table=best, pictures=[pictures["front.png"], pictures["hypervolume.png"]])
    sections.append(Section("Spaces", table=found.chain, pictures=[pictures["chain.png"]]))
    failed = evaluated[evaluated["state"] == "FAIL"][["arch", "reason"]]
    if len(failed):
        sections.append(Section("What failed", table=failed.head(SHOWN)))
    folder.write_text("report.html", html_page(f"Search of {found.space.name}", sections))
    folder.record(evaluated=len(evaluated), running=running)
