"""Active learning in rounds: build, evaluate, add the labels, fit again; at the end build from all labels.

acquisition= chooses the networks of a round: the best predictions, the best upper bounds, or a mixture with draws.
Networks are trained by the space's own evaluator or by evaluator=, here or on a cluster (executor=ray,
executor=slurm), or looked up in table=. If the job is killed, the same command continues it: no evaluation is repeated or lost.
More rounds later: labels=THAT_RUN/labels.csv.

Examples:
    autobuild rounds rounds=3 per_round=10
    autobuild rounds labels=my.csv n=40 model=gp rounds=5 per_round=8 seeds=2 n_jobs=2 out=my_rounds
    autobuild rounds space=my_space.yaml labels=few.csv table=all.csv model=gp acquisition=upper
    autobuild rounds space=my_space.yaml labels=few.csv evaluator=python:my_package.training:evaluate executor=ray n_jobs=8

Writes:
    rounds.csv  round, arch, predicted, lower, upper (90 %, before the evaluation), measured, reason (why one failed)
    labels.csv  all labels so far: what labels= takes
    best.csv, best.png  the best label so far over the number of evaluations
    trained.csv  without table=: every single training, written as soon as it ends
    built.csv  the best networks by the model of all labels: rank, arch, score, predicted, lower, upper
    model/  the model of all labels; model= of other jobs takes it
    metrics.json  best_start, best_label, evaluations, failed, test_srcc, versions, ...
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.errors import ConfigError, EvaluationError
from autobuild.jobs._console import heading, say, table
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import ExecutorKeys, LabelKeys, RunKeys, SeedKeys
from autobuild.registry import ACQUISITIONS, FAMILIES
from autobuild.settings.names import ACQUISITION
from autobuild.settings.option import nested, option

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.construct.rounds import Metrics, Rounds
    from autobuild.jobs.run import Run
    from autobuild.labels import LabelledSet
    from autobuild.spaces import Architecture, SearchSpace

    Outcomes = Callable[[Sequence[Architecture]], list[Metrics | str]]

STATE = "rounds.csv"
OUTCOME = ("measured", "reason")


@dataclass
class BuildKeys:
    """Keys ``build.*``."""

    top: int = option(10, "how many networks are built at the end", ">=1 <=100000")


@dataclass
class Keys(RunKeys, SeedKeys, ExecutorKeys, LabelKeys):
    """Its keys."""

    rounds: int = option(3, "how many rounds", ">=1 <=1000")
    per_round: int = option(10, "networks evaluated in each", ">=1 <=10000")
    acquisition: str = option(
        ACQUISITION,
        "which networks: the best upper bounds, the predicted best only, or a share of the predicted best and draws",
        choices=ACQUISITIONS,
    )
    model: str = option("auto", "the family that is fitted before every round; gp is quick", choices=FAMILIES)
    table: str | None = option(
        None,
        "labelled networks to look evaluations up in instead of training; with labels=null its first n "
        "rows are known at the start",
        kind="path",
    )
    build: BuildKeys = nested(BuildKeys)
    plots: bool = option(True, "draw the picture")


def run(config: Mapping[str, Any]) -> int:
    """The rounds, the best network so far over evaluations, and a last build."""
    from autobuild.jobs import _summaries as summaries
    from autobuild.jobs.run import Run, use_threads

    with Run.open("rounds", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            _compute(folder, config)
        _show(folder)
        summaries.show_built(folder)
        summaries.show_place(folder)
    return 0


def _compute(folder: Run, config: Mapping[str, Any]) -> None:
    from autobuild.construct.rounds import Rounds
    from autobuild.jobs import _pipeline as pipeline

    labels = _labels(config)
    exact = pipeline.costs(config, labels.space)
    names = labels.names(exact)
    needs = names.metrics(names.target(config["target"]))
    outcomes = _looked_up(config, labels) if config["table"] else _trained(folder, config, labels, needs)
    how = {key: config[key] for key in ("model", "acquisition", "seed")}
    asking = Rounds(labels, config["target"], costs=exact, **how)
    start = labels.target(config["target"], exact)
    folder.record(n_start=len(start.values), best_start=start.values.max(), target=config["target"])
    rows = _rows(folder)
    for number in range(1, config["rounds"] + 1):
        if not _round(folder, asking, rows, number, config["per_round"], outcomes):
            say(f"round {number}: no further network is found in {labels.space.name}")
            break
    _build(folder, config, asking)


def _labels(config: Mapping[str, Any]) -> LabelledSet:
    """The labels to begin with."""
    from autobuild.jobs import _pipeline as pipeline

    if config["table"] is None or config["labels"] is not None:
        return pipeline.read_labels(config)
    if config["n"] is None:
        raise ConfigError("table= without labels= takes the table's first n rows as known: give n=, or labels=")
    return pipeline.read_labels({**config, "labels": config["table"]})


def _round(
    folder: Run, asking: Rounds, rows: list[dict[str, Any]], number: int, count: int, outcomes: Outcomes
) -> bool:
    """Ask, evaluate, tell; what an earlier process has done of it is not done again. False if nothing was asked."""
    import numpy as np
    import pandas as pd

    from autobuild.construct.rounds import ASKED

    batch = [row for row in rows if row["round"] == number]
    if not batch:
        asked = asking.ask(count)
        if asked.empty:
            return False
        batch = _records(asked.assign(round=number, measured=np.nan, reason="")[["round", *ASKED, *OUTCOME]])
        rows += batch
        folder.write_frame(STATE, pd.DataFrame(rows))
    asked = pd.DataFrame(batch)[list(ASKED)]
    results = _evaluated(asking.labels.space, batch, outcomes)
    outcome = asking.tell(asked, results)
    for row, measured, reason in zip(batch, outcome["measured"], outcome["reason"], strict=True):
        row.update(measured=measured, reason=reason)
    folder.write_frame("labels.csv", asking.labels.frame)
    folder.write_frame(STATE, pd.DataFrame(rows))
    _curve(folder, rows)
    best, failed = folder.metrics["best_label"], int((outcome["reason"] != "").sum())
    lost = f", {failed} failed" if failed else ""
    top = outcome["measured"].max()
    say(f"round {number}: {len(outcome)} evaluated{lost}, best of them {top:.5g}, so far {best:.5g}")
    return True


def _evaluated(space: SearchSpace, batch: Sequence[Mapping[str, Any]], outcomes: Outcomes) -> list[Metrics | str]:
    """Outcomes of a round's rows; a failure that was told already is not tried again."""
    left = iter(outcomes([space.parse(row["arch"]) for row in batch if not row["reason"]]))
    return [row["reason"] or next(left) for row in batch]


def _rows(folder: Run) -> list[dict[str, Any]]:
    """What earlier processes of this run have written, every number as it was."""
    if not folder.has(STATE):
        return []
    header, cells = folder.read_table(STATE)
    rows: list[dict[str, Any]] = [dict(zip(header, row, strict=True)) for row in cells]
    for row in rows:
        row["round"] = int(row["round"])
        row.update({name: float(row[name] or "nan") for name in ("predicted", "lower", "upper", "measured")})
    return rows


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _looked_up(config: Mapping[str, Any], labels: LabelledSet) -> Outcomes:
    """Evaluation by a table of labels."""
    import autobuild as ab
    from autobuild.evaluate import TableEvaluator

    known = TableEvaluator.of(ab.LabelledSet.read(config["table"], labels.space))
    say(f"evaluations are looked up among {len(known.rows):,} networks of {config['table']}")

    def outcome(arch: Architecture) -> Metrics | str:
        try:
            return known(labels.space, arch, 0)
        except EvaluationError:
            return "not in the table"

    return lambda archs: [outcome(arch) for arch in archs]


def _trained(folder: Run, config: Mapping[str, Any], labels: LabelledSet, needs: Sequence[str]) -> Outcomes:
    """Evaluation by what ``evaluator=`` names, here or on a cluster.

    Args:
        folder: Where the rows go.
        config: The job's settings.
        labels: The labels to begin with.
        needs: What has to be measured.

    Raises:
        EvaluationError: It is the space's own, and the space has none.
    """
    from autobuild.evaluate import seeds_of
    from autobuild.jobs import _evaluation as evaluation
    from autobuild.jobs._measuring import train_some

    space_trains, space = config["evaluator"] == "train", labels.space
    try:
        evaluator = evaluation.evaluator_of(config, space, needs)
    except EvaluationError as error:
        hint = "; or give table=, labelled networks to look them up in, or another evaluator=" if space_trains else ""
        raise EvaluationError(f"{error}{hint}") from None
    how: dict[str, Any] = {"evaluator": None if space_trains else evaluator}
    how["latency"] = space_trains and "latency_ms" in needs
    seeds = seeds_of(evaluation.seeds_of(config))

    def outcomes(archs: Sequence[Architecture]) -> list[Metrics | str]:
        trained, reasons = train_some(folder, space, archs, seeds, evaluation.executor_settings(config), **how)
        means = {arch: rows.drop(columns=["arch", "seed"]).mean() for arch, rows in trained.groupby("arch", sort=False)}
        results: list[Metrics | str] = []
        for text in map(str, archs):
            metrics = {str(name): float(value) for name, value in means[text].items()} if text in means else None
            results.append(metrics if metrics is not None else reasons[text])
        return results

    return outcomes


def _curve(folder: Run, rows: Sequence[Mapping[str, Any]]) -> None:
    import pandas as pd

    from autobuild.construct.rounds import best_so_far

    numbers = folder.metrics
    done = pd.DataFrame([row for row in rows if row["reason"] or row["measured"] == row["measured"]])
    curve = best_so_far(numbers["best_start"], numbers["n_start"], done)
    folder.write_frame("best.csv", curve)
    failed = int((done["reason"] != "").sum())
    folder.record(
        rounds=int(done["round"].max()), evaluations=len(done), failed=failed, best_label=curve["best"].iloc[-1]
    )


def _build(folder: Run, config: Mapping[str, Any], asking: Rounds) -> None:
    """The networks that the model of all labels builds, and the picture."""
    from autobuild import plot

    with folder.step("build") as todo:
        if not todo:
            return
        model = asking.model
        model.save(folder.path("model"))
        folder.write_frame("built.csv", model.explain().build(top=config["build"]["top"]).frame)
        folder.record(n_labels=len(model.training), test_srcc=model.report.get("test_srcc"), family=model.family)
        if config["plots"] and folder.has("best.csv"):
            with folder.writing("best.png") as path:
                plot.save(plot.best_label(folder.read_frame("best.csv"), config["target"]), path)


def _show(folder: Run) -> None:
    from autobuild.jobs._summaries import number

    numbers = folder.metrics
    if folder.has(STATE):
        frame = folder.read_frame(STATE)
        heading(f"Evaluated networks, best first (target: {numbers['target']})")
        shown = frame.dropna(axis="columns", how="all").sort_values("measured", ascending=False, kind="stable")
        table(shown, rows=10)
    best, start = number(numbers.get("best_label")), number(numbers["best_start"])
    heading(f"Best label: {start} at the start ({counted(numbers['n_start'], 'label')}), {best} after the rounds")
    failed = f", {numbers['failed']:,} of which failed" if numbers.get("failed") else ""
    say(f"  {counted(numbers.get('evaluations', 0), 'evaluation')}{failed}; all labels: {folder.dir / 'labels.csv'}")
