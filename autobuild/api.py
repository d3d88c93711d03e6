"""The public face: nouns are few, verbs read as the paper reads. Convenience methods are bound here to plain functions.

>>> import autobuild as ab
>>> space = ab.space("ofa_mbv3")
>>> labels = ab.LabelledSet.read("labels.csv", space)
>>> model = ab.fit(labels, target="acc")
>>> scores = model.explain()
>>> built = scores.build(top=10)
>>> small = scores.narrow(top=5)
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autobuild.construct import Built, Computed, Limited, Metric, build_refined, judge_of, narrowing_note, parse_where
from autobuild.construct import build as _build
from autobuild.construct import narrow as _narrow
from autobuild.construct import pareto as _pareto
from autobuild.construct.climb_front import climb_front
from autobuild.construct.probable import narrow_probable, probable_networks
from autobuild.construct.probable_front import front_scores, probable_front
from autobuild.construct.rounds import Round
from autobuild.construct.rounds import rounds as _rounds
from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT, read_hardware
from autobuild.cost.of_space import CountOf, MetricOf, SpaceCosts
from autobuild.errors import ConfigError, TargetError, nearest
from autobuild.importance import AdditiveScores, Scores, explain, project
from autobuild.labels import LabelledSet, sample_design
from autobuild.labels.frame import check_labels
from autobuild.labels.target import find_name
from autobuild.models import CostedModel, FittedModel, load_model, save_model
from autobuild.models import fit as _fit
from autobuild.models import learning_curve as _learning_curve
from autobuild.spaces import Architecture, SearchSpace
from autobuild.spaces.additive import Additive
from autobuild.spaces.fitted import fitted_sum

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.studies.result import Search

CALIBRATED = 48  # architectures whose exact cost says where between its bounds it usually lies
SLOW_FRONT = 3_000  # networks judged for a front where each takes a graph of its own
FRONT_ENDS = 20  # networks built for each target alone that a front begins with

__all__ = [
    "Built",
    "FittedModel",
    "LabelledSet",
    "Scores",
    "build",
    "costs",
    "explain",
    "fit",
    "learning_curve",
    "load_model",
    "narrow",
    "pareto",
    "rounds",
    "sample_design",
    "save_model",
    "search",
]


def costs(space: SearchSpace, hardware: str | Path | Hardware = DEFAULT) -> SpaceCosts:
    """Costs that a target, a limit or a search may name: name -> function of architectures, values ``(n,)``.

    Parameters, MACs and the space's published counts come from tables. Those of every other registered cost
    (:func:`autobuild.cost.cost_names`) are computed for ``hardware`` from the architecture's operation graph, each
    architecture once; NaN where the hardware cannot run it. There are none where the space builds no networks.

    Args:
        space: The space.
        hardware: The name of a preset, the path of a YAML file, or a :class:`~autobuild.cost.Hardware`.

    Raises:
        ConfigError: The hardware is unknown or badly described.
    """
    return SpaceCosts(space, hardware)


@functools.wraps(_fit)
def fit(
    labels: LabelledSet, target: str = "acc", *, hardware: str | Path | Hardware = DEFAULT, **options: Any
) -> FittedModel:
    """See :func:`autobuild.fit`; costs (:func:`costs`, for ``hardware``) may be named in the target."""
    model = _fit(labels, target, **{"costs": costs(check_labels(labels).space, hardware), **options})
    model._cache["labels"] = labels  # for limits over its other columns; not written to disk
    return model


@functools.wraps(_learning_curve)
def learning_curve(
    labels: LabelledSet, target: str = "acc", *, hardware: str | Path | Hardware = DEFAULT, **options: Any
) -> pd.DataFrame:
    """See :func:`autobuild.models.learning_curve`; costs as in :func:`fit`."""
    return _learning_curve(labels, target, **{"costs": costs(check_labels(labels).space, hardware), **options})


@functools.wraps(_rounds)
def rounds(
    labels: LabelledSet,
    target: str,
    evaluate: Callable[[Architecture], Mapping[str, float]],
    *args: Any,
    hardware: str | Path | Hardware = DEFAULT,
    **options: Any,
) -> Iterator[Round]:
    """See :func:`autobuild.construct.rounds.rounds`; costs as in :func:`fit`."""
    return _rounds(labels, target, evaluate, *args, **{"costs": costs(check_labels(labels).space, hardware), **options})


def search(space: SearchSpace, evaluator: Any, *, hardware: str | Hardware = DEFAULT, **options: Any) -> Search:
    """See :func:`autobuild.studies.searching.search`; costs of the space may be named in targets and limits."""
    from autobuild.studies.searching import search as _search

    given = {"costs": costs(space, hardware), "load_model": load_model, "narrower": narrow}
    return _search(space, evaluator, **{**given, **options})


def build(
    scores: Scores,
    top: int = 10,
    *,
    where: str | None = None,
    labels: LabelledSet | None = None,
    by: str = "predicted",
    apart: int = 0,
    time_limit: float = 10.0,
    hardware: str | Path | Hardware | None = None,
) -> Built:
    """Build the ``top`` best networks.

    Additive scores propose the ten thousand best sums, exactly; the full predictor ranks them and climbs from the best.
    Scores of the paper's scorer ``hopnorm`` are built by as they are: exact k best, no second opinion.

    Args:
        scores: Candidate scores.
        top: How many.
        where: Limits such as ``"latency_gpu <= 8 and params < 6e6"`` over label columns (predicted by a Gaussian
            process) and costs (exact, see :func:`costs`); ``label.params`` and ``cost.params`` say which, where both
            exist. A cost that is no sum over units, such as ``dram_bytes``, is enclosed by two: networks that certainly
            satisfy the limit are proposed beside some that probably do, and those between are computed in full as they
            come up among the best.
        labels: Where limited label columns come from; those that the model was fitted on by default.
        by: ``"predicted"``; ``"lower"`` or ``"upper"``: that bound of the 80 % interval, for cautious building or for
            exploring.
        apart: In at least how many layers any two built networks differ.
        time_limit: Seconds for each search under limits.
        hardware: What limited costs are computed for (default: what the target's are, else ``edge_npu``).

    Returns:
        A sequence of architectures; ``.frame`` has ``rank, arch, score, predicted, lower, upper`` and the limited
        metrics, ``.prices`` what loosening each limit would buy.

    Raises:
        ConfigError: For an unusable argument, a limit that cannot be read, or a name in it that is unknown.
        NoNetworkError: If no network satisfies the limits: which one, by how much, and the nearest network.
    """
    model, space = scores.model, scores.space
    if not isinstance(scores, AdditiveScores):
        if where is not None or by != "predicted" or apart:
            raise ConfigError(f"where, by and apart need additive scores, not those of scorer={scores.scorer}")
        built = _build(space, scores.unit_scores, top, model.predict_mean)
        # a candidate score is on the target's scale, so a network's is the mean over its units: the order is the sum's
        return Built(built.archs, built.scores / len(space.units), built.predicted)
    if by not in ("predicted", "lower", "upper"):
        raise ConfigError(f"by={by!r}: {nearest(by, ('predicted', 'lower', 'upper'))}")
    limited = None
    if where is not None:
        limited = _limited(scores, where, labels, time_limit, _costs_for(scores, hardware))
    judge = judge_of(model, space, lambda part: _predictor(part, by))
    archs = build_refined(space, scores.unit_scores, judge, top, limited=limited, apart=apart)
    predicted, lower, upper = model.intervals(archs, 0.9)
    values = limited.values(archs) if limited else {}
    prices = limited.prices() if limited else None
    return Built(tuple(archs), scores.projection.sums(archs), predicted, lower, upper, values, prices)


def _predictor(model: FittedModel, by: str) -> Callable[[Sequence[Architecture]], NDArray[np.float64]]:
    """What networks are ranked by."""
    if by == "predicted":
        return model.predict_mean
    side = {"lower": 1, "upper": 2}[by]
    return lambda archs: model.intervals(archs, 0.8)[side]


def _costs_for(scores: Scores, hardware: str | Path | Hardware | None) -> SpaceCosts:
    """Costs of the space that is built in; those of the model's own target where no other hardware is asked for."""
    model = scores.model
    own = model.exact.on(scores.space).costs if isinstance(model, CostedModel) else None
    if isinstance(own, SpaceCosts) and (hardware is None or read_hardware(hardware) == own.hardware):
        return own
    return costs(scores.space, DEFAULT if hardware is None else hardware)


def _limited(
    scores: AdditiveScores, where: str, labels: LabelledSet | None, time_limit: float, exact: SpaceCosts
) -> Limited:
    limits = parse_where(where)
    known = labels if labels is not None else scores.model._cache.get("labels")
    if known is not None and check_labels(known).space.family != scores.space.family:
        raise ConfigError(f"limits over labels of {known.space.family!r}; the scores are of {scores.space.family!r}")
    found: dict[str, Metric] = {}
    columns = known.metrics if known is not None else []
    for limit in limits:
        for name in limit.expression.names:
            own = [column for column in columns if not _is_cost(column, known, exact)]
            try:
                kind, bare = find_name(name, columns if name.startswith("label.") else own, exact, limit.text)
            except TargetError as error:
                raise ConfigError(str(error).replace("target", "limit", 1)) from None
            if f"{kind}.{bare}" not in found:
                made = _predicted(scores, known, bare) if kind == "label" else _exact(scores, exact[bare])
                found[f"{kind}.{bare}"] = made
    score = Additive(scores.base, tuple(scores.unit_scores.values()))
    return Limited(scores.space, score, limits, found, time_limit)


def _is_cost(column: str, labels: LabelledSet | None, exact: SpaceCosts) -> bool:
    """Whether a label column is a cost of the same name, written down: then a bare name means that cost."""
    if labels is None or column not in exact:
        return False
    written = labels.frame[column].to_numpy()
    return bool(np.allclose(written, exact[column](labels.archs), rtol=1e-9, equal_nan=False))


def _exact(scores: AdditiveScores, cost: MetricOf | CountOf) -> Metric:
    """A cost, with its sums over units; where those only enclose it, or there are none, one that fits some networks."""

    def evaluate(archs: Sequence[Architecture]) -> NDArray[np.float64]:
        return cost(archs).astype(np.float64)

    bounds, slow = cost.bounds(), not cost.cheap
    if bounds is not None and bounds.exact:
        return Metric(evaluate, bounds.lower, slow=slow)
    known = [arch for arch in scores.model.training_archs if arch in scores.space][:CALIBRATED]
    known = known or scores.space.sample(CALIBRATED, seed=0, design="depth")
    indices, values = np.array([scores.space.indices(arch) for arch in known]), evaluate(known)
    if not np.isfinite(values).any():
        return Metric(evaluate, None, slow=slow)
    fit = functools.partial(fitted_sum, scores.space)
    table, off = (fit if bounds is None else bounds.likely)(indices, values)
    return Metric(
        evaluate, table, margin=off, bounds=bounds, fit=None if bounds else fit, known=(indices, values), slow=slow
    )


def _predicted(scores: AdditiveScores, labels: LabelledSet | None, name: str) -> Metric:
    """A label column as a Gaussian process predicts it; fitted once, so that another limit is solved at once."""
    assert labels is not None
    known: dict[tuple[str, str], Metric] = scores.model._cache.setdefault("metrics", {})
    key = (f"{name} of {labels.content_hash}", scores.space.to_json())
    if key not in known:
        model = _fit(labels, f"label.{name}", model="gp", seed=scores.model.seed)
        projection = project(model, scores.space)
        table = Additive(projection.base, tuple(unit.score for unit in projection.units))
        known[key] = Metric(model.predict_mean, table, margin=projection.remainder_sd, exact=False)
    return known[key]


def pareto(scores: Sequence[Scores], max_front: int = 20_000) -> pd.DataFrame:
    """The predicted Pareto front of two or three targets.

    The exact front of additive scores and the networks built for each target alone are proposed; the full predictors
    judge them, and the front climbs to its neighbours until nothing is gained
    (:func:`~autobuild.construct.climb_front.climb_front`).

    Args:
        scores: Additive scores of two or three models on one space; every target is maximised.
        max_front: Partial sums kept after each unit (:func:`autobuild.construct.pareto`).

    Returns:
        ``arch`` and, for every target, a column of predictions named as the target; networks that no other one found
        beats in all of them, the best in the first target first. The attribute ``attrs["additive_epsilon"]`` says by
        how much the front of sums, which proposes, may be passed: 0 where it is exact.

    Raises:
        ConfigError: For other than two or three targets, different spaces, or scores that are not additive.
    """
    import pandas as pd

    tables = []
    for own in scores if isinstance(scores, Sequence) else (None,):
        if not isinstance(own, AdditiveScores) or own.space.units != scores[0].space.units:
            raise ConfigError("pareto takes a list of additive scores of two or three models on the same space")
        tables.append(Additive(own.base, tuple(own.unit_scores.values())))
    front = _pareto(tables, max_front)
    space = scores[0].space
    models = [own.model for own in scores]
    judges = [judge_of(model, space, lambda part: part.predict_mean) for model in models]
    ends = [build_refined(space, own.unit_scores, judge, FRONT_ENDS) for own, judge in zip(scores, judges, strict=True)]
    archs, values = climb_front(
        space,
        itertools.chain(*ends, (space.assemble(tuple(row)) for row in front.indices.tolist())),
        lambda archs: np.column_stack([np.nan_to_num(model.predict_mean(archs), nan=-np.inf) for model in models]),
        **({"most": SLOW_FRONT} if any(isinstance(judge, Computed) for judge in judges) else {}),
    )
    columns = {model.target: values[:, place] for place, model in enumerate(models)}
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], **columns})
    frame.attrs["additive_epsilon"] = front.epsilon.tolist()
    return frame


def narrow(
    scores: Scores | Sequence[Scores],
    top: int | None = None,
    threshold: float | None = None,
    mass: float | None = None,
    share: float | None = None,
    *,
    where: str | None = None,
    labels: LabelledSet | None = None,
    hardware: str | Path | Hardware | None = None,
) -> SearchSpace:
    """Keep only the best candidates of every unit; the result is a search space, and its ``note`` tells both sizes.

    ``mass`` and ``share`` judge whole networks: the model draws what all labels may be, jointly, and candidates are
    dropped in the order in which least is lost of the networks that come out best, see
    :func:`autobuild.construct.probable.narrow_probable`.

    Scores of several targets narrow for their Pareto front: ``ab.narrow([scores_a, scores_b], mass=0.9)``. Every target
    is drawn by its own model, and what counts is how much of the front of each draw stays inside, see
    :func:`autobuild.construct.probable_front.probable_front`.

    Args:
        scores: Candidate scores; of several targets, all maximised, on one space: a list.
        top: Keep this many of each unit; for several targets, this many for each of them.
        threshold: Keep candidates scored at least this much (at least one a unit stays), for any of the targets.
        mass: The smallest space found that holds the best network with this probability, e.g. 0.9; for several targets,
            this share of the front, in expectation.
        share: At most this share of the space, e.g. 0.02, as probable to hold the best network (to hold as much of the
            front) as can be found.
        where: Limits such as ``"latency_gpu <= 8"``, as in :func:`build`: candidates go that no network within them can
            have. What is left still holds networks that break them, so a search has to limit them as well.
        labels: Where limited label columns come from, as in :func:`build`.
        hardware: What limited costs are computed for, as in :func:`build`.

    Raises:
        ConfigError: Unless exactly one of ``top``, ``threshold``, ``mass`` and ``share`` is given (none, with
            ``where``); for an unusable one, or scores of different spaces.
        NoNetworkError: If no network satisfies the limits.
    """
    given = {"top": top, "threshold": threshold, "mass": mass, "share": share}
    count = sum(value is not None for value in given.values())
    if count > 1 or (count == 0 and where is None):
        raise ConfigError(f"narrow takes exactly one of top, threshold, mass and share; given: {given}")
    every = _scores_of(scores)
    first, limited, said = every[0], None, ""
    space, tables = first.space, [own.unit_scores for own in every]
    if where is not None:
        if not isinstance(first, AdditiveScores):
            raise ConfigError(f"where needs additive scores, not those of scorer={first.scorer}")
        limited = _limited(first, where, labels, 10.0, _costs_for(first, hardware))
        possible = limited.possible()
        space = space.restrict({unit.name: rows for unit, rows in zip(space.units, possible, strict=True)})
        tables = [{name: own[name][rows] for name, rows in zip(own, possible, strict=True)} for own in tables]
        said = f"; networks that break {' and '.join(limit.text for limit in limited.limits)} may be left"
    if mass is not None or share is not None:
        if len(every) == 1:
            ranked, likely = tables[0], "holds the best network with a probability of {:.2f}, as the model draws it"
            probable = probable_networks(first.model, space, ranked, seed=first.model.seed, limited=limited)
        else:
            ranked, likely = front_scores(tables), "holds {:.0%} of the front in expectation, as the models draw it"
            models, whole = [own.model for own in every], [own.unit_scores for own in every]
            probable = probable_front(models, space, whole, seed=first.model.seed, limited=limited)
        space, held = narrow_probable(space, ranked, probable, mass=mass, share=share, of=first.space.size)
        said += f"; {likely.format(held)}"
    elif count:
        space = _narrow(space, tables, top=top, threshold=threshold)
    space.note = narrowing_note(first.space, space) + said
    return space


def _scores_of(scores: Scores | Sequence[Scores]) -> list[Scores]:
    """One or several scores, on one space."""
    every = [scores] if isinstance(scores, Scores) else list(scores) if isinstance(scores, Sequence) else []
    if not every or any(not isinstance(own, Scores) or own.space.units != every[0].space.units for own in every):
        raise ConfigError("narrow takes scores, or a list of scores of several models on the same space")
    return every


def _html_model(model: FittedModel) -> str:
    report = model.report
    said = f"<p><b>{model.target}</b> on {model.space.name}: {report['n_train']:,} rows"
    if report["test_srcc"] is not None:
        how = "cross-validated" if report.get("folds") else "held-out"
        said += f"; {how} SRCC <b>{report['test_srcc']:.3f}</b> ({report['n_test']:,} rows)"
    if report.get("hop_srcc"):
        said += f", by hop: {', '.join(f'{value:.3f}' for value in report['hop_srcc'])}"
    if report.get("picked"):
        said += f"<br>made of {report['picked']}"
    return said + "</p>"


def _html_scores(scores: Scores) -> str:
    best = scores.candidates.groupby("unit", sort=False).head(3)
    if isinstance(scores, AdditiveScores):
        share, left = scores.projection.share, scores.projection.remainder_sd
        notes = "".join(f"<br>{text}" for text in scores.warnings)
        said = (
            f"prediction = {scores.base:.4g} + sum of scores + rest; sums explain {share:.1%}, rest {left:.3g}{notes}"
        )
        return (
            f"<p>{scores!r}<br>{said}</p>{scores.features.to_html(index=False)}"
            f"{scores.choices.head(8).to_html(index=False)}{best.to_html(index=False)}"
        )
    return f"<p>{scores!r}</p>{scores.features.to_html(index=False)}{best.to_html(index=False)}"


def _html_built(built: Built) -> str:
    table: str = built.frame.to_html(index=False)
    return table


def _html_space(space: SearchSpace) -> str:
    import pandas as pd

    from autobuild.spaces import readable_count

    rows = [(unit.name, ", ".join(map(str, unit.depths)), unit.size) for unit in space.units]
    table = pd.DataFrame(rows, columns=["unit", "depths", "candidates"]).to_html(index=False)
    features = "; ".join(f"{f.name}: {', '.join(map(str, f.values))}" for f in space.features)
    about = f"{space.about}<br>" if space.about else ""
    note = f"<br>{space.note}" if space.note else ""
    return f"<p><b>{space.name}</b>: {readable_count(space.size)} architectures<br>{about}{features}{note}</p>{table}"


def _bind() -> None:
    """Bind the functions above to the nouns they belong to, so that rooms below need not know rooms above."""
    # The classes declare these methods for type checkers; tests/api compares the declarations with what is bound.
    bound: dict[type, dict[str, Any]] = {
        FittedModel: {
            "explain": explain,
            "save": save_model,
            "load": staticmethod(load_model),
            "_repr_html_": _html_model,
        },
        Scores: {"build": build, "narrow": narrow, "_repr_html_": _html_scores},
        Built: {"_repr_html_": _html_built},
        SearchSpace: {"_repr_html_": _html_space},
    }
    for noun, methods in bound.items():
        for name, method in methods.items():
            setattr(noun, name, method)


_bind()
