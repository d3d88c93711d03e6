"""Steps that several jobs share: read labels, fit, explain, build. A step that a run has finished is skipped."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Set
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, FitWarning, LabelError, LabelWarning, TargetError
from autobuild.jobs._console import Phases, progress, say
from autobuild.jobs._families import family, saved_model
from autobuild.jobs._files import embedded_labels

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.cost.space_costs import SpaceCosts
    from autobuild.importance import Scores
    from autobuild.jobs.run import Run
    from autobuild.labels import LabelledSet, TargetValues
    from autobuild.models import FitConfig, FittedModel
    from autobuild.spaces import SearchSpace

# Names of metrics that are nearly always minimised: whoever maximises one has probably forgotten a minus.
_SMALL_IS_GOOD = re.compile(
    r"(?i)(^|_)(lat(ency)?|runtime|seconds|ms|us|energy|mj|memory|bytes|params|macs|flops|error|loss|fid|perplexity)(_|$)"
)
_COSTED = 20  # built networks whose costs are written
_WARNINGS = 8  # how many suspicious values are listed
_MANY = 50_000  # candidates whose scoring is announced
# Fields of a model's report that are not metrics of this run, or are recorded under other names.
_NOT_RECORDED = ("target", "seed", "notes", "label_hash", "members", "model")


def label_source(config: Mapping[str, Any], space: SearchSpace) -> str:
    """The file that ``labels`` names, or the name of the set embedded with the space.

    Raises:
        ConfigError: ``labels`` is null and the space has no embedded set.
    """
    if config["labels"] is not None:
        return str(config["labels"])
    if embedded_labels(str(config["space"])) is None:
        from autobuild.labels.label_files import embedded_sets

        raise ConfigError(
            f"labels=null: the space {space.name} has no embedded labels (these have: {', '.join(embedded_sets())}); "
            "give labels=FILE, a table with a column arch and your metrics"
        )
    return str(config["space"]).removeprefix("quant:")


def read_labels(config: Mapping[str, Any], *, quiet: bool = False) -> LabelledSet:
    """Read the first ``n`` rows of the labels, and print notes on them unless ``quiet``."""
    import autobuild as ab

    _check_test(config)
    space = ab.space(config["space"])
    labels = _read(config, label_source(config, space), space, config["n"])
    if not quiet:
        say(f"{len(labels):,} labelled architectures of {space.name} ({Path(labels.source).name})")
        show_notes(labels)
    return labels


def show_notes(labels: LabelledSet) -> None:
    """Print notes on labels, and suspicious values."""
    for note in labels.notes:
        say(f"note: {note}")
    for text in labels.warnings[:_WARNINGS]:
        say(f"warning: {text}")
    if len(labels.warnings) > _WARNINGS:
        say(f"warning: {len(labels.warnings) - _WARNINGS:,} more values or rows look wrong (LabelledSet.warnings)")


def _read(config: Mapping[str, Any], source: str, space: SearchSpace, n: int | None = None) -> LabelledSet:
    """Read labels; rows that break ``filter`` are dropped."""
    from autobuild.labels import LabelledSet

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelWarning)  # printed by the job
        labels = LabelledSet.read(source, space, n=n)
    return labels if config.get("filter") is None else filtered(labels, config["filter"])


def filtered(labels: LabelledSet, text: str) -> LabelledSet:
    """The rows that satisfy the limits in ``text``; a missing value satisfies all.

    Raises:
        TargetError: The limits cannot be read, or name what is no metric of these labels.
        LabelError: No row is left.
    """
    import numpy as np

    names = labels.names()
    limits = names.limits(text, "filter")
    columns = {name: names.find(name, text)[1] for limit in limits for name in limit.expression.names}

    def keep(metrics: Mapping[str, Any]) -> Any:
        kept = np.ones(len(next(iter(metrics.values()))), dtype=bool)
        for limit in limits:
            values = limit.evaluate(lambda name: metrics[columns[name]])
            kept &= limit.holds(values) | np.isnan(values)
        return kept

    return labels.filter(keep, f"rows that break filter={text!r} are left out")


def _check_test(config: Mapping[str, Any]) -> None:
    """Check ``test=`` before anything is fitted.

    Raises:
        ConfigError: ``rest`` without ``n``, or with a saved model.
        LabelError: There is no such file.
    """
    test = config.get("test")
    if test == "rest" and (config["n"] is None or saved_model(config) is not None):
        raise ConfigError("test=rest takes the rows after the first n: give n=, and no model=")
    if test not in (None, "rest"):
        from autobuild.labels.importers import find

        find(test)


def costs(config: Mapping[str, Any], space: SearchSpace) -> SpaceCosts:
    """Costs for expressions, computed for the hardware of this job."""
    import autobuild as ab
    from autobuild.cost.hardware import DEFAULT

    return ab.costs(space, config.get("hardware") or DEFAULT)


def fit_step(folder: Run, config: Mapping[str, Any], labels: LabelledSet | None) -> FittedModel:
    """Fit a model, or load the one that ``model=`` names or that an earlier process of this run has fitted."""
    import autobuild as ab
    from autobuild.importance import find_scorer

    if config.get("scorer", "auto") != "auto":
        find_scorer(config["scorer"])  # an unknown one raises an error before the fit
    saved = saved_model(config)
    if saved is not None:
        _check_test(config)
        model = ab.FittedModel.load(saved, features=_listed(config.get("features")))
        _check_same_target(config, model)
        _check_nothing_to_fit(config)
        _record_fit(folder, model)
        return model
    assert labels is not None
    with folder.step("fit") as todo:
        if todo:
            if config.get("test") is not None:  # an unusable one raises an error before the fit
                trained = labels.target(config["target"], costs(config, labels.space), config["equal"]).labels
                _fresh_tests(config, trained.space, labels, config["target"], set(trained.keys))
            model = _fit(folder, config, labels)
            model.save(folder.path("model"))
            from autobuild.spaces import readable_count

            _record_fit(folder, model)
            folder.write_frame("data_card.csv", labels.describe())
            folder.record(
                n_labels=len(labels),
                label_source=Path(labels.source).name,
                label_notes=labels.notes,
                label_warnings=labels.warnings[:_WARNINGS],
                space_size=readable_count(labels.space.size),
            )
    return ab.FittedModel.load(folder.dir / "model", features=_listed(config["features"]))


def _check_same_target(config: Mapping[str, Any], model: FittedModel) -> None:
    """Refuse a target beside a saved model of another one; the default of ``target`` is no wish.

    Raises:
        ConfigError: They differ.
    """
    from autobuild.expressions import TargetExpression
    from autobuild.jobs.keys import LabelKeys

    given = config.get("target")
    if given in (None, LabelKeys.target, model.target) or TargetExpression.parse(given).text == model.target:
        return
    raise ConfigError(f"target={given}: the saved model {config['model']} predicts {model.target}; fit another model")


def _check_nothing_to_fit(config: Mapping[str, Any]) -> None:
    """Refuse settings of a fit beside a saved model, unless ``build.pareto`` fits the models of other targets.

    Raises:
        ConfigError: One is given.
    """
    from autobuild.jobs.keys import FitKeys
    from autobuild.settings.training import TrainingKeys

    if (config.get("build") or {}).get("pareto") is not None:
        return
    usual = {f"fit.{key.name}": key.default for key in fields(TrainingKeys) if key.name != "device"}
    usual |= {key.name: key.default for key in fields(FitKeys) if key.name in ("folds", "equal", "sources")}
    given = {f"fit.{name}": value for name, value in (config.get("fit") or {}).items()} | dict(config)
    for name, value in usual.items():
        if given.get(name, value) != value:
            raise ConfigError(f"{name}={given[name]}: the saved model {config['model']} is not fitted again")


def _fit(folder: Run, config: Mapping[str, Any], labels: LabelledSet) -> FittedModel:
    import autobuild as ab
    from autobuild.encode import EncoderConfig

    checkpoint = folder.path("checkpoint")
    checkpoint.mkdir(exist_ok=True)
    with Phases() as phases, warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelWarning)  # shown when the labels were read
        warnings.simplefilter("ignore", FitWarning)  # shown with the model, at the end
        model = ab.fit(
            labels,
            config["target"],
            model=family(config),
            seed=config["seed"],
            folds=config["folds"],
            encoder=EncoderConfig(**config["encoder"]),
            config=fit_config(config),
            checkpoint=checkpoint,
            on_progress=phases.show,
            device=config["fit"]["device"],
            costs=costs(config, labels.space),
            equal=config["equal"],
            sources=[_source(one, labels) for one in _listed(config["sources"])],
            features=_listed(config["features"]),
        )
    if not any(checkpoint.iterdir()):
        checkpoint.rmdir()
    return model


def _listed(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [str(one) for one in given or ()]


def _source(text: str, labels: LabelledSet) -> Any:
    """A source of the command line: a table, FILE:expression, or an expression over other columns of the labels."""
    from autobuild.labels import LabelledSet

    file, colon, expression = text.rpartition(":")
    for name, target in ((text, None), (file, expression)):
        if name and Path(name).expanduser().exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LabelWarning)
                table = LabelledSet.read(name, labels.space)
            return table if target is None else (table, target)
    if colon or text.endswith((".csv", ".csv.gz", ".json", ".parquet")):
        raise ConfigError(f"sources={text}: there is no file {file or text}")
    return text


def fit_config(config: Mapping[str, Any]) -> FitConfig:
    """The settings of a fit, from the keys ``fit.*`` and the group ``ranking``."""
    from autobuild.models import FitConfig

    ranking = dict(config["ranking"])
    loss, weight = ranking.pop("loss"), ranking.pop("weight")
    if "share" in ranking:
        ranking["weight"] = ranking.pop("share")
    settings = {name: value for name, value in config["fit"].items() if name != "device"}
    if config["threads"] is not None:
        settings["threads"] = config["threads"]
    return FitConfig(**settings, ranking=loss, ranking_weight=weight, ranking_options=ranking)


def _record_fit(folder: Run, model: FittedModel) -> None:
    import pandas as pd

    from autobuild.models import GraphModel

    folder.record(**{key: value for key, value in model.report.items() if key not in _NOT_RECORDED})
    folder.record(target=model.target, space=model.space.name, family=model.family)
    folder.write_frame("heldout.csv", model.heldout)
    if isinstance(model, GraphModel):
        folder.write_frame("history.csv", model.history)
    else:
        folder.write_frame("members.csv", pd.DataFrame(model.report["members"]))


def score_test(folder: Run, config: Mapping[str, Any], model: FittedModel, labels: LabelledSet | None) -> None:
    """Test the model on the labels of ``test=``, which no other step uses."""
    if config["test"] is None:
        return
    with folder.step("test") as todo:
        if not todo:
            return
        from autobuild.rank import kendall_tau, mae, ndcg_at_k, srcc

        seen = {model.space.key(arch) for arch in model.training_archs}
        usable, repeated = _fresh_tests(config, model.space, labels, model.target, seen)
        frame = model.predict(usable.labels.archs).assign(measured=usable.values)
        predicted, measured = frame["predicted"].to_numpy(), usable.values
        folder.write_frame("test.csv", frame[["arch", "measured", "predicted"]])
        folder.record(
            rest_srcc=srcc(predicted, measured),
            rest_tau=kendall_tau(predicted, measured),
            rest_ndcg=ndcg_at_k(predicted, measured, k=10),
            rest_mae=mae(predicted, measured),
            n_rest=len(frame),
            n_rest_seen_in_training=repeated,
        )


def _fresh_tests(
    config: Mapping[str, Any], space: SearchSpace, labels: LabelledSet | None, target: str, seen: Set[str]
) -> tuple[TargetValues, int]:
    """The labels of ``test=`` whose networks were not trained on (keys ``seen``), and how many others there are.

    Raises:
        ConfigError: ``test=rest``, and no row is left after the first n.
        LabelError: Fewer than 5 rows are usable.
    """
    tests = _test_labels(config, space, labels)
    fresh = tests.subset([row for row, key in enumerate(tests.keys) if key not in seen])
    repeated = len(tests) - len(fresh)
    try:
        return fresh.target(target, costs(config, space)), repeated
    except LabelError as error:
        among = f"; {repeated:,} of its {len(tests):,} networks are among the training rows" if repeated else ""
        raise LabelError(f"test={config['test']}: {error}{among}") from None


def _test_labels(config: Mapping[str, Any], space: SearchSpace, labels: LabelledSet | None) -> LabelledSet:
    if config["test"] != "rest":
        return _read(config, config["test"], space)
    assert labels is not None
    everything = _read(config, label_source(config, space), space)
    seen = {space.key(arch) for arch in labels.archs}
    rest = [row for row, key in enumerate(everything.keys) if key not in seen]
    if not rest:
        raise ConfigError(f"test=rest: no row is left after the first n={config['n']}")
    return everything.subset(rest)


def explain_step(folder: Run, config: Mapping[str, Any], model: FittedModel) -> Scores:
    """Score features, operations, layers and candidates, and write the tables."""
    import time

    from autobuild.importance import AdditiveScores

    start = time.perf_counter()
    candidates = sum(unit.size for unit in model.space.units)
    if candidates > _MANY:
        say(f"scoring {candidates:,} candidates")  # takes a while; a bar is shown on terminals only
    scores: Scores = model.explain(scorer=config["scorer"])
    names = ["features", "operations", "layers", "candidates"]
    summed = isinstance(scores, AdditiveScores)
    frames = {name: getattr(scores, name) for name in ([*names, "places", "choices"] if summed else names)}
    with folder.step("explain") as todo:
        if todo:
            folder.record(
                explain_seconds=time.perf_counter() - start,
                n_candidates=len(frames["candidates"]),
                scorer=scores.scorer,
            )
            if isinstance(scores, AdditiveScores):
                folder.record(
                    base=scores.base,
                    additive_share=scores.projection.share,
                    remainder_sd=scores.projection.remainder_sd,
                    score_warnings=scores.warnings,
                )
            for name, frame in frames.items():
                folder.write_frame(f"{name}.csv", frame)
            folder.record(interactions=scores.interactions.sentences)
            folder.write_frame("interactions.csv", scores.interactions.choices)
    return scores


def labels_of(config: Mapping[str, Any]) -> LabelledSet | None:
    """The labels that a job fits; with a saved model those of ``labels=``, if limits or a front need them.

    All expressions are parsed here, so that errors are raised before anything is fitted.
    """
    import autobuild as ab
    from autobuild.expressions import Names

    where, pareto, saved = config.get("where"), config["build"].get("pareto"), saved_model(config)
    labels = None
    if saved is None:
        labels = read_labels(config)
        target, space = labels.target(config["target"], costs(config, labels.space)).expression.text, labels.space
        if target in labels.metrics and _SMALL_IS_GOOD.search(target):
            say(f"note: a target is maximised, so these are the networks with the largest {target}; "
                f"for the smallest write target=-{target}")  # fmt: skip
    elif where is None and pareto is None:
        return None
    else:
        model = ab.FittedModel.load(str(saved), features=_listed(config.get("features")))
        target, space = model.target, model.space
        if config["labels"] is not None:
            labels = _read(config, config["labels"], space, config["n"])
    exact = costs(config, space)
    if where is not None:
        try:
            (Names(costs=exact) if labels is None else labels.names(exact)).limits(where)
        except TargetError as error:
            if labels is not None:
                raise
            raise TargetError(f"{error}; a limit on a label column needs labels= beside a saved model") from None
    if pareto is not None:
        _other_targets(config, labels, target)
    return labels


def _other_targets(config: Mapping[str, Any], labels: LabelledSet | None, target: str) -> list[str]:
    """The targets of ``build.pareto``, in canonical form.

    Raises:
        ConfigError: Not one or two, a repeated one, or no labels to fit them on.
        TargetError: One is unusable.
    """
    from autobuild.expressions.parse import split_targets

    if labels is None:
        raise ConfigError("build.pareto fits the other targets, and needs labels= beside a saved model")
    exact, given = costs(config, labels.space), config["build"]["pareto"]
    others = split_targets(given, labels.names(exact).known)
    texts = [labels.target(text, exact).expression.text for text in others]
    if len(texts) > 2 or len({target, *texts}) <= len(texts):
        raise ConfigError(f"build.pareto={given}: one or two targets besides {target} are accepted, each once")
    return texts


def build_step(folder: Run, config: Mapping[str, Any], scores: Scores, labels: LabelledSet | None = None) -> None:
    """Build the best networks, and the narrowed space and the Pareto front if asked for."""
    with folder.step("build") as todo:
        if not todo:
            return
        import time

        start = time.perf_counter()
        how = dict(config["build"])
        options = {key: how[key] for key in ("by", "apart", "time_limit_s") if how.get(key) is not None}
        where, hardware = config.get("where"), config.get("hardware")
        built = scores.build(top=how["top"], where=where, labels=labels, hardware=hardware, **options)
        folder.record(build_seconds=time.perf_counter() - start, n_built=len(built))
        folder.record(build_where=built.where, best_labelled=built.best_labelled and built.best_labelled[1])
        folder.write_frame("built.csv", built.frame)
        predicted = built.frame["predicted"].iloc[0] if len(built) else None
        folder.record(built_predicted=predicted)
        _write_costs(folder, config, scores.space, built.frame["arch"].head(_COSTED))
        if built.prices is not None:
            folder.write_frame("prices.csv", built.prices)
        if how.get("narrow") is not None:
            small = scores.narrow(top=how["narrow"])
            folder.write_text("narrowed.json", small.to_json())
            folder.record(narrowed=small.note, narrowed_size=str(small.size))
        if how.get("pareto") is not None:
            _pareto(folder, config, scores, labels)


def _write_costs(folder: Run, config: Mapping[str, Any], space: SearchSpace, archs: pd.Series[str]) -> None:
    """The costs of networks that take no graph search to compute, if the space has any."""
    import pandas as pd

    from autobuild.errors import AutobuildError

    exact, listed = costs(config, space), archs.to_list()
    table: dict[str, Any] = {"arch": listed}
    for name in exact:
        try:
            if getattr(exact[name], "cheap", True):
                table[name] = exact[name](listed)
        except AutobuildError:  # networks of this space, or on this hardware, have no such cost
            continue
    if len(table) > 1:
        folder.write_frame("built_costs.csv", pd.DataFrame(table))


def _pareto(folder: Run, config: Mapping[str, Any], scores: Scores, labels: LabelledSet | None) -> None:
    """The predicted front of the target and one or two others, each fitted on the same labels."""
    import autobuild as ab

    others = _other_targets(config, labels, scores.model.target)
    assert labels is not None
    exact = costs(config, labels.space)
    models = [ab.fit(labels, text, model="gp", seed=config["seed"], costs=exact) for text in others]
    front = ab.pareto([scores, *(model.explain(scores.space) for model in models)])
    folder.write_frame("pareto.csv", front)
    folder.record(n_pareto=len(front), pareto_targets=[scores.model.target, *others])


def curve_step(folder: Run, config: Mapping[str, Any], labels: LabelledSet) -> None:
    """Fit on growing parts of the labels: the learning curve."""
    with folder.step("curve") as todo:
        if not todo:
            return
        from autobuild.encode import EncoderConfig
        from autobuild.models import learning_curve

        with progress("learning curve", 4) as advance:
            frame = learning_curve(
                labels,
                config["target"],
                model=family(config),
                seed=config["seed"],
                holdout=config["fit"]["holdout"],
                encoder=EncoderConfig(**config["encoder"]),
                config=fit_config(config),
                costs=costs(config, labels.space),
                on_point=lambda done, total: advance(f"{done} of {total}"),
            )
        folder.write_frame("curve.csv", frame)
