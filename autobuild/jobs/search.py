"""Search a space with Optuna: evaluate networks that a sampler proposes, after narrowing the space if asked for.

No network is evaluated twice, no labelled one again, and never more than n_trials in all, also after a kill: the same
command continues the search, with a larger n_trials also a finished one. With storage=postgresql+psycopg://... the same command on any number of machines is one search.
Watch it: optuna-dashboard STORAGE. The pictures on one page, while it runs or later: autobuild report run=FOLDER.

Examples:
    autobuild search labels=tiny_mbconv narrow.share=0.02 n_trials=20
    autobuild search space=nas_bench_macro evaluator=table:all.csv target=mean_acc sampler=tpe n_trials=100 out=my_search
    autobuild search space=ofa_mbv3 labels=my.csv evaluator=python:my.training:evaluate target='acc; -latency_gpu' sampler=nsga2 executor=ray n_jobs=8
    autobuild search space=my.yaml evaluator='command:./measure.sh' where='params < 6e6' storage=postgresql+psycopg://me@db/nas name=first

Writes:
    report.html  all results on one page
    trials.csv  every network: study, number, arch, state, source (label: known before), targets, metrics, predicted, violation (of limits), seconds, reason (why it failed)
    best.csv  those that satisfy all limits, best first
    front.csv  the Pareto front: those that no other one equals or exceeds in all targets
    chain.csv  the linked studies: study, parent, space, size, space_share (of the first space), evaluated, reused, why
    history.csv  evaluations, study, number, arch, measured, best; with several targets hypervolume
    search.db  without storage=: Optuna's storage
    narrowed.json  with narrow: the space where the search ended; space= takes it
    metrics.json  evaluated, failed, pruned, best, hypervolume, versions, ...
    *.png  history, front, hypervolume, chain
"""  # noqa: E501

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import AutobuildError, EvaluationError
from autobuild.jobs._console import Phases, heading, say, table
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import ExecutorKeys, RunKeys
from autobuild.registry import FAMILIES
from autobuild.settings.names import GRAINS, PRUNERS
from autobuild.settings.option import group, nested, option

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.jobs.run import Run
    from autobuild.labels import LabelledSet
    from autobuild.spaces import SearchSpace
    from autobuild.studies.result import Progress, Search

EMBEDDED = {"sqlite": "search.db", "journal": "search.journal"}  # storage= -> the file in the run folder


@dataclass
class NarrowKeys:
    """Keys ``narrow.*``."""

    top: int | None = option(None, "narrow first: keep this many best candidates of each unit, for each target", ">=1")
    threshold: float | None = option(None, "keep candidates that score at least this much")
    mass: float | None = option(
        None,
        "keep the best network with this probability, as the model draws it; with several targets this "
        "share of the front, in expectation",
        ">0 <1",
    )
    share: float | None = option(
        None,
        "keep this share of the space, e.g. 0.02, as probable to hold the best network, or holding as "
        "much of the front, as can be found",
        ">0 <=1",
    )
    rounds: int = option(1, "how often the space is narrowed, by a model of all that is known by then", ">=1 <=100")


@dataclass
class Keys(RunKeys, ExecutorKeys):
    """Its keys."""

    sampler: str = group("auto")
    space: str = option(
        "tiny_mbconv",
        "search space: a name from `autobuild spaces`, your own YAML file, package.module:Class, or the "
        "narrowed.json of another run",
        kind="name",
    )
    labels: str | None = option(
        None,
        "labels known before: those in the space are entered as finished trials, all are used to fit the "
        "model (null: none; the name of a space: the set embedded with it)",
        kind="path",
    )
    n: int | None = option(None, "use only the first n rows of the labels", ">=1")
    filter: str | None = option(
        None,
        "rows of the labels that are used, as limits on their metrics, e.g. 'acc > 0 and latency_ms < 900' (null: all)",
    )
    target: str | list[str] = option(
        "acc",
        "what to maximise: an expression over measured metrics and costs; several, separated by ';' or as"
        " a list: a Pareto front",
        kind="texts",
    )
    hardware: str | None = option(
        None,
        "what costs such as dram_bytes and roofline_ms are computed for: a preset of `autobuild cost`, or"
        " your own YAML file (null: edge_npu)",
        kind="name",
    )
    n_trials: int = option(
        20,
        "how many networks are evaluated, by all workers together; failures count; with a larger number "
        "the same run (out=) goes on",
        ">=1",
    )
    grain: str = option(
        "auto",
        "parameters of the study: a layer's features each, or one choice a unit (auto: unit where all "
        "units have at most 64 candidates)",
        choices=("auto", *GRAINS),
    )
    where: str | None = option(
        None,
        "limits, e.g. 'latency_ms <= 8 and params < 6e6': no evaluation is spent outside one over costs; "
        "as soon as 20 labels and evaluations have a limited metric, networks that are predicted to break"
        " the limit are passed over, whatever the sampler",
    )
    narrow: NarrowKeys = nested(NarrowKeys)
    pruner: str = option("none", "which evaluations end early, by their intermediate values", choices=PRUNERS)
    model: str = option(
        "gp",
        "the family that predicts proposals and narrows, fitted on the labels",
        choices=(*FAMILIES.choices, "none"),
    )
    storage: str = option(
        "sqlite",
        "sqlite or journal (a file in the run folder), or an address: sqlite:///PATH, journal:PATH, "
        "postgresql+psycopg://USER@HOST/DATABASE",
    )
    name: str | None = option(None, "name of the study (null: that of the space); the same on all machines")
    lease_s: float = option(
        120.0,
        "seconds without a sign of life after which a worker on another machine counts as lost",
        ">=1",
        former=("lease",),
    )
    patience_s: float = option(
        120.0, "seconds for which the storage may stay away before the search stops", ">=0", former=("patience",)
    )
    plots: bool = option(True, "draw the pictures")


def run(config: Mapping[str, Any]) -> int:
    """Search, write what was found, draw it."""
    from autobuild.jobs import _summaries as summaries
    from autobuild.jobs._page import write_page
    from autobuild.jobs.run import Run, use_threads
    from autobuild.studies.storage import shown

    kept = {**config, "storage": config["storage"] if config["storage"] in EMBEDDED else shown(config["storage"])}
    grows = {"n_trials": lambda there: _evaluated_in(there, config)}
    with Run.open("search", kept, input_files(config), grows=grows) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            _compute(folder, config)
            write_page(folder)
        _show(folder)
        summaries.show_place(folder)
    return 0


def _compute(folder: Run, config: Mapping[str, Any]) -> None:
    import autobuild as ab
    from autobuild.evaluate import EvaluationWarning
    from autobuild.jobs._evaluation import executor_settings

    space = ab.space(config["space"])
    labels = _labels(config, space)
    where = address_of(folder, config["storage"])
    settings = executor_settings(config)
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
            n_jobs=settings.n_jobs,
            executor=settings.executor,
            executor_options=settings.options,
            time_limit_s=settings.time_limit_s,
            retries=settings.retries,
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
            warnings.simplefilter("ignore", EvaluationWarning)  # the reasons are printed at the end
            try:
                result = search()
            except EvaluationError:
                _keep_reasons(folder, where, config["name"] or space.name)
                raise
        _write(folder, result, narrowed=_narrows(config))
        if config["plots"]:
            from autobuild.jobs._pictures import draw_search

            draw_search(folder, result)


def _keep_reasons(folder: Run, address: str, name: str) -> None:
    """Write the reasons of failed evaluations when the search stops because of them."""
    from autobuild.studies.result import load_search

    with contextlib.suppress(AutobuildError):  # the evaluator was rejected before the study was created
        folder.write_frame("trials.csv", load_search(address, name).trials)
        say(f"why each evaluation failed: {folder.dir / 'trials.csv'}")


def _labels(config: Mapping[str, Any], space: SearchSpace) -> LabelledSet | None:
    from autobuild.jobs import _pipeline as pipeline

    return None if config["labels"] is None else pipeline.read_labels({**config, "space": config["space"]})


def address_of(folder: Run, storage: str) -> str:
    """The storage address for ``storage=``."""
    if storage not in EMBEDDED:
        return storage
    file = EMBEDDED[storage]
    for beside in ("", "-wal", "-shm") if storage == "sqlite" else ("", ".claims", ".claims.lock", ".lock"):
        folder.path(file + beside)
    return _address(folder.dir, storage)


def address_in(folder: Path, storage: str) -> str | None:
    """The address of a search in a run folder, wherever that may have been moved to; None where its file is missing."""
    if storage not in EMBEDDED:
        return storage
    return _address(folder, storage) if (folder / EMBEDDED[storage]).exists() else None


def _address(folder: Path, storage: str) -> str:
    from autobuild.studies.storage import JOURNAL, sqlite_address

    file = folder / EMBEDDED[storage]
    return sqlite_address(file) if storage == "sqlite" else f"{JOURNAL}{file}"


def _evaluated_in(folder: Path, config: Mapping[str, Any]) -> str:
    """How many networks the search of a run folder has evaluated, in words."""
    from autobuild.jobs._folders import read_json
    from autobuild.studies.result import load_search

    numbers = read_json(folder / "metrics.json") or {}
    count, address = numbers.get("evaluated", 0), address_in(folder, config["storage"])
    if address is not None and "study" in numbers:
        with contextlib.suppress(AutobuildError):  # the storage does not exist yet, or cannot be reached
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


def _write(folder: Run, result: Search, *, narrowed: bool) -> None:
    curve = result.history
    frames = {name: getattr(result, name) for name in ("trials", "best", "front", "chain", "history")}
    for name, frame in frames.items():
        folder.write_frame(f"{name}.csv", frame)
    if narrowed:
        folder.write_text("narrowed.json", result.space.to_json())
    evaluated, best = result.evaluated, result.best
    states = evaluated["state"].value_counts()
    folder.record(
        space=result.space.name,
        targets=list(result.targets),
        size=str(result.space.size),
        evaluated=len(evaluated),
        failed=int(states.get("FAIL", 0)),
        pruned=int(states.get("PRUNED", 0)),
        labels=result.trials[result.trials["source"] == "label"]["arch"].nunique(),
        why=result.why,
        best=best[result.targets[0]].iloc[0] if len(best) else None,
        best_arch=best["arch"].iloc[0] if len(best) else None,
        n_front=len(result.front),
        hypervolume=curve["hypervolume"].iloc[-1] if "hypervolume" in curve else None,
        notes=list(result.notes),
    )


def _why(trials: pd.DataFrame) -> str:
    """The most frequent reason of failed evaluations."""
    reasons = trials.loc[trials["state"] == "FAIL", "reason"].value_counts()
    rest = "" if len(reasons) == 1 else f"; {len(reasons) - 1:,} other reasons are in trials.csv"
    return f"failed, {reasons.iloc[0]:,} of them: {' '.join(str(reasons.index[0]).split())}{rest}"


def _show(folder: Run) -> None:
    numbers = folder.metrics
    targets = numbers["targets"]
    several = len(targets) > 1
    frame = folder.read_frame("front.csv" if several else "best.csv")
    heading("The Pareto front" if several else f"The best networks (target: {targets[0]})")
    if len(frame):
        table(frame.drop(columns=["study", "state", "reason"]).dropna(axis="columns", how="all"), rows=10)
    else:
        say(f"  none: {numbers.get('why') or 'no network is complete and within the limits'}")
    chain = folder.read_frame("chain.csv")
    if len(chain) > 1:
        heading("Linked studies (reused: trials entered from the labels and from earlier studies)")
        sizes = [f"{int(size):,}" for size in chain["size"]]
        table(chain.assign(size=sizes), rows=20, columns=["study", "size", "space_share", "evaluated", "reused"])
    heading(
        f"{numbers['evaluated']:,} networks were evaluated: {numbers['failed']:,} failed, {numbers['pruned']:,} pruned"
    )
    if numbers["failed"]:
        say(f"  {_why(folder.read_frame('trials.csv'))}")
    if numbers["labels"]:
        say(f"  {numbers['labels']:,} labelled networks of the space were entered as finished trials")
    for note in numbers["notes"]:
        say(f"  note: {note}")
    say(f"  report: {folder.dir / 'report.html'}")
