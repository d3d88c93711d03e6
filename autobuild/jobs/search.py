"""``autobuild search``: an Optuna search, alone or as one worker of many."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import AutobuildError, EvaluationError
from autobuild.jobs.console import Phases, heading, say, table
from autobuild.jobs.files import input_files

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.jobs.run import Run
    from autobuild.labels import LabelledSet
    from autobuild.spaces import SearchSpace
    from autobuild.studies.result import Search
    from autobuild.studies.worker import Progress

EMBEDDED = {"sqlite": "sqlite:///{}/search.db", "journal": "journal:{}/search.journal"}


def run(config: Mapping[str, Any]) -> int:
    """Search, write what was found, draw it."""
    from autobuild.jobs import shows
    from autobuild.jobs.run import Run, use_threads
    from autobuild.studies.storage import shown

    kept = {**config, "storage": config["storage"] if config["storage"] in EMBEDDED else shown(config["storage"])}
    grows = {"n_trials": lambda there: _evaluated_in(there, config)}
    with Run.open("search", kept, input_files(config), grows=grows) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            _compute(folder, config)
        _show(folder)
        shows.show_place(folder)
    return 0


def _compute(folder: Run, config: Mapping[str, Any]) -> None:
    import autobuild as ab
    from autobuild.evaluate import EvaluationWarning
    from autobuild.jobs.places import place_of

    space = ab.space(config["space"])
    labels = _labels(config, space)
    where = address_of(folder, config["storage"])
    place = place_of(config)
    folder.record(study=config["name"] or space.name, storage=_said(where))
    sampler = dict(config["sampler"])
    hardware = {} if config["hardware"] is None else {"hardware": config["hardware"]}
    with folder.step("search") as todo, Phases() as phases:
        if not todo:
            return
        say(f"optuna-dashboard {_said(where)} shows it as it runs")
        search = functools.partial(
            ab.search,
            space,
            config["evaluator"],
            target=config["target"],
            prior=labels,
            n_trials=config["n_trials"],
            sampler=sampler.pop("name"),
            sampler_options={key: value for key, value in sampler.items() if value is not None},
            grain=config["grain"],
            storage=where,
            name=config["name"],
            seed=config["seed"],
            n_jobs=place.n_jobs,
            executor=place.executor,
            executor_options=place.options,
            time_limit_s=place.time_limit_s,
            retries=place.retries,
            where=config["where"],
            pruner=config["pruner"],
            model=None if config["model"] == "none" else config["model"],
            narrow=config["narrow"] if _narrows(config) else None,
            lease_s=config["lease_s"],
            patience_s=config["patience_s"],
            on_progress=lambda progress: _tell(phases, progress),
            **hardware,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EvaluationWarning)  # what it says is shown at the end
            try:
                found = search()
            except EvaluationError:
                _keep_reasons(folder, where, config["name"] or space.name)
                raise
        _write(folder, found, narrowed=_narrows(config))
        if config["plots"]:
            from autobuild.jobs.search_pictures import draw_search

            draw_search(folder, found)


def _keep_reasons(folder: Run, address: str, name: str) -> None:
    """Write why evaluations failed, where they all have, or so many that the search stopped."""
    from autobuild.studies.loading import load_search

    with contextlib.suppress(AutobuildError):  # the evaluator was refused before there was a study
        folder.write_frame("trials.csv", load_search(address, name).trials)
        say(f"why each evaluation failed: {folder.dir / 'trials.csv'}")


def _labels(config: Mapping[str, Any], space: SearchSpace) -> LabelledSet | None:
    from autobuild.jobs import steps

    return None if config["labels"] is None else steps.read_labels({**config, "space": config["space"]})


def address_of(folder: Run, storage: str) -> str:
    """The address that ``storage=`` stands for."""
    if storage not in EMBEDDED:
        return storage
    file = EMBEDDED[storage].rpartition("/")[2]
    for beside in ("", "-wal", "-shm") if storage == "sqlite" else ("", ".claims", ".lock"):
        folder.path(file + beside)
    return EMBEDDED[storage].format(folder.dir)


def address_in(folder: Path, storage: str) -> str | None:
    """The address of a search in a run folder, wherever that may have been moved to; None where its file is missing."""
    if storage not in EMBEDDED:
        return storage
    template = EMBEDDED[storage]
    return template.format(folder) if (folder / template.rpartition("/")[2]).exists() else None


def _evaluated_in(folder: Path, config: Mapping[str, Any]) -> str:
    """How many networks the search of a run folder has evaluated, in words."""
    from autobuild.jobs.folders import read_json
    from autobuild.studies.loading import load_search

    numbers = read_json(folder / "metrics.json") or {}
    count, address = numbers.get("evaluated", 0), address_in(folder, config["storage"])
    if address is not None and "study" in numbers:
        with contextlib.suppress(AutobuildError):  # it is not there yet, or out of reach
            count = len(load_search(address, numbers["study"]).evaluated)
    return f"{count:,} networks are evaluated there already"


def _said(address: str) -> str:
    from autobuild.studies.storage import shown

    return shown(address)


def _narrows(config: Mapping[str, Any]) -> bool:
    return any(value is not None for name, value in config["narrow"].items() if name != "rounds")


def _tell(phases: Phases, progress: Progress) -> None:
    if progress.note:
        say(progress.note)
        return
    best = f"best so far {progress.best:.5g}" if progress.best is not None else ""
    failed = f"{progress.failed} failed" if progress.failed else ""
    phases.show("search", progress.done, progress.total, ", ".join(part for part in (best, failed) if part))


def _write(folder: Run, found: Search, *, narrowed: bool) -> None:
    curve = found.history
    frames = {"trials": found.trials, "best": found.best, "front": found.front, "chain": found.chain, "history": curve}
    for name, frame in frames.items():
        folder.write_frame(f"{name}.csv", frame)
    if narrowed:
        folder.write_text("narrowed.json", found.space.to_json())
    evaluated, best = found.evaluated, found.best
    states = evaluated["state"].value_counts()
    folder.record(
        space=found.space.name,
        targets=list(found.targets),
        size=str(found.space.size),
        evaluated=len(evaluated),
        failed=int(states.get("FAIL", 0)),
        pruned=int(states.get("PRUNED", 0)),
        labels=found.trials[found.trials["source"] == "label"]["arch"].nunique(),
        why=found.why,
        best=best[found.targets[0]].iloc[0] if len(best) else None,
        best_arch=best["arch"].iloc[0] if len(best) else None,
        n_front=len(found.front),
        hypervolume=curve["hypervolume"].iloc[-1] if "hypervolume" in curve else None,
        notes=list(found.notes),
    )


def _why(trials: pd.DataFrame) -> str:
    """Why most of the evaluations that failed did."""
    reasons = trials.loc[trials["state"] == "FAIL", "reason"].value_counts()
    rest = "" if len(reasons) == 1 else f"; {len(reasons) - 1:,} other reasons are in trials.csv"
    return f"failed, {reasons.iloc[0]:,} of them: {' '.join(str(reasons.index[0]).split())}{rest}"


def _show(folder: Run) -> None:
    numbers = folder.metrics
    targets = numbers["targets"]
    several = len(targets) > 1
    frame = folder.read_frame("front.csv" if several else "best.csv")
    heading("The front" if several else f"The best networks (target: {targets[0]})")
    if len(frame):
        table(frame.drop(columns=["study", "state", "reason"]).dropna(axis="columns", how="all"), rows=10)
    else:
        say(f"  none: {numbers.get('why') or 'no network is complete and within the limits'}")
    chain = folder.read_frame("chain.csv")
    if len(chain) > 1:
        heading("Linked studies")
        table(chain, rows=20, columns=["study", "size", "share", "evaluated", "carried"])
    heading(
        f"{numbers['evaluated']:,} networks were evaluated: {numbers['failed']:,} failed, {numbers['pruned']:,} pruned"
    )
    if numbers["failed"]:
        say(f"  {_why(folder.read_frame('trials.csv'))}")
    if numbers["labels"]:
        say(f"  {numbers['labels']:,} labelled networks of the space were entered as finished trials")
    for note in numbers["notes"]:
        say(f"  note: {note}")
    say(f"  pictures on one page: autobuild report run={folder.dir}")
