"""One HTML page about a search, running or finished: history, Pareto front, hypervolume, narrowing chain, best networks.

Examples:
    autobuild report run=my_search
    autobuild report run=my_search out=my_report

Writes:
    report.html  the page, pictures included
    *.png  the pictures
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError
from autobuild.jobs._console import say
from autobuild.jobs.keys import RunKeys
from autobuild.settings.option import option

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.jobs.run import Run
    from autobuild.studies.result import Search

SHOWN = 20  # rows of a table
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass
class Keys(RunKeys):
    """Its keys."""

    run: str | None = option(None, "the run folder of a search", kind="path", required=True)


def run(config: Mapping[str, Any]) -> int:
    """Read the search, draw it, write the page."""
    from autobuild.jobs.run import Run

    search = _read(Path(config["run"]))
    # The search may still run, so a report is never resumed.
    with Run.open("report", {**config, "resume": False}) as folder:
        _write(folder, search)
        say(f"{search!r}\n{folder.dir / 'report.html'}")
    return 0


def _read(source: Path) -> Search:
    from autobuild.jobs._folders import read_json
    from autobuild.jobs.search import EMBEDDED, address_in
    from autobuild.studies.result import load_search

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


def _write(folder: Run, search: Search) -> None:
    from autobuild.jobs._pictures import draw_search
    from autobuild.report import Section, html_page

    pictures = {name: (folder.dir / name, caption) for name, caption in draw_search(folder, search)}
    evaluated, several = search.evaluated, len(search.targets) > 1
    shown = [pictures[name] for name in ("front.png", "hypervolume.png", "history.png") if name in pictures]
    sections = [
        Section("What was done", _summary(search), pictures=shown),
        Section(f"The front, {search.targets[0]} first" if several else "The best networks", table=_best(search)),
    ]
    if len(search.studies) > 1:
        text = "\n".join(_narrowings(search))
        sections.append(Section("How the space was narrowed", text, _chain(search), [pictures["chain.png"]]))
    failed = evaluated[evaluated["state"] == "FAIL"][["arch", "reason"]]
    if len(failed):
        sections.append(Section("What failed", table=failed.head(SHOWN)))
    folder.write_text("report.html", html_page(f"Search of {search.chain['space'][0]}", sections))
    folder.record(evaluated=len(evaluated), running=_running(search))


def _running(search: Search) -> int:
    return int((search.trials["state"] == "RUNNING").sum())


def _summary(search: Search) -> str:
    """Targets, numbers of evaluated networks, and the best result."""
    from autobuild.spaces import readable_count

    evaluated, curve = search.evaluated, search.history
    counts = evaluated["state"].value_counts().to_dict()
    by_state = ", ".join(f"{counts[state]:,} {word}" for state, word in STATES.items() if state in counts)
    running = f"; {_running(search):,} still running" if _running(search) else ""
    known = search.trials[search.trials["source"] == "label"]["arch"].nunique()
    lines = [
        f"Target: {'; '.join(search.targets)}. Space: {readable_count(int(search.chain['size'][0]))} networks.",
        f"Evaluated: {len(evaluated):,} networks{by_state and f' ({by_state})'}{running}; known before: {known:,}.",
    ]
    if "hypervolume" in curve:
        volumes = curve["hypervolume"]
        start = f" ({volumes.iloc[0]:.4g} at the start)" if known else ""
        lines.append(f"The front has {len(search.front):,} networks; hypervolume {volumes.iloc[-1]:.4g}{start}.")
    elif len(search.best):
        first, best = curve["best"].iloc[0], search.best.iloc[0]
        lines.append(f"Best: {best[search.targets[0]]:.5g}, {best['arch']}"
                     f"{f'; the best label at the start has {first:.5g}' if first == first else ''}.")  # fmt: skip
    if search.why:
        lines.append(f"No best network: {search.why}.")
    return "\n".join([*lines, f"Storage: {search.address}."])


def _best(search: Search) -> pd.DataFrame:
    """The best networks, without columns that are constant, or empty for evaluated networks."""
    best = (search.front if len(search.targets) > 1 else search.best).head(SHOWN)
    left_out = ["state", "reason", "number"]
    if len(search.studies) == 1:
        left_out.append("study")
    if not (best["broken"] > 0).any():
        left_out.append("broken")
    evaluated = best[best["source"] != "label"] if (best["source"] != "label").any() else best
    return best.drop(columns=[*left_out, *(evaluated.columns[evaluated.isna().all()].difference(left_out))])


def _chain(search: Search) -> pd.DataFrame:
    """The linked studies, with readable sizes."""
    from autobuild.spaces import readable_count

    chain = search.chain
    sizes = [readable_count(int(size)) for size in chain["size"]]
    shares = [f"{100 * share:.3g} %" for share in chain["share"]]
    return chain.assign(size=sizes, share=shares)[["study", "size", "share", "evaluated", "carried"]]


def _narrowings(search: Search) -> list[str]:
    chain = search.chain
    return [f"{study}: {why}." for study, why in zip(chain["study"], chain["why"], strict=True) if why]
