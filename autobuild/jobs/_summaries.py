"""Print the results of a run; everything is read from the run folder, so a finished run can be shown again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autobuild._decimals import decimals, table_decimals
from autobuild._words import counted, signed
from autobuild.jobs._console import grid, heading, say, table

if TYPE_CHECKING:
    from autobuild.jobs.run import Run

_PER_UNIT = 3
_MAP_COLUMNS = 14  # of the map of effects, which a terminal shows beside one another
_MAP_ROWS = 60
_SENTENCES = 5


def show_answer(folder: Run) -> None:
    """What the whole run has found, in a few lines."""
    numbers, built = folder.metrics, folder.read_frame("verified.csv")
    best = built[built["set"] == "built"].iloc[0]
    gained = numbers["built_first"] - numbers["labelled_best_retrained"]
    heading(f"Summary (target: {numbers['target']})")
    say(f"  best built network, by prediction alone: {best['arch']}")
    known = f"the best of {numbers['n_train']:,} labelled networks: {number(numbers['labelled_best_retrained'])}"
    say(f"  measured with new seeds: {number(numbers['built_first'])}; with the same seeds, {known} ({gained:+.3g})")
    if folder.has("choices.csv"):
        significant = folder.read_frame("choices.csv").query("significant")
        if len(significant):
            first = significant.iloc[0]
            where = f"layer {first['layer']} of {first['unit']}" if first["layer"] else first["unit"]
            values = f"{first['best']} rather than {first['second']}"
            effect = f"{first['difference']:+.3g} [{first['lower']:.3g}, {first['upper']:.3g}]"
            say(f"  largest significant effect: {first['feature']} in {where}, {values}: {effect}")
    for sentence in (numbers.get("interactions") or [])[:1]:
        say(f"  most certain interaction: {sentence}")
    say(f"  report: {folder.dir / 'report.html'}")


def show_fit(folder: Run) -> None:
    """Rank correlations and errors on held-out rows."""
    numbers = folder.metrics
    heading(f"Accuracy of the model (target: {numbers['target']})")
    if numbers.get("test_srcc") is None:
        say("  not evaluated: no row was held out")
    else:
        correlations = f"{number(numbers['test_srcc'])} Spearman, {number(numbers['test_tau'])} Kendall"
        how = (
            f"cross-validated on all {numbers['n_test']:,} rows"
            if numbers.get("folds")
            else (f"on {numbers['n_test']} held-out rows")
        )
        say(f"  rank correlation {how}: {correlations}")
        say(f"  mean absolute error there: {number(numbers['test_mae'])}")
    if numbers.get("picked"):
        say(f"  models, by weight: {numbers['picked']}")
    if numbers.get("hop_srcc"):
        norms = ", ".join(map(number, numbers["hop_srcc"]))
        say(f"  rank correlation of the norm of the graph embedding at hop 0, 1, ...: {norms}")
    if numbers.get("rest_srcc") is not None:
        say(f"  rank correlation on {numbers['n_rest']:,} rows of test=: {number(numbers['rest_srcc'])} Spearman")
    how = "the rows that are not held out"
    if numbers.get("refit"):
        how = "all of them" if numbers.get("folds") else "all rows, the held-out ones included"
    say(f"  the final model is fitted on {numbers['n_train']:,} rows: {how}")
    if folder.has("curve.csv"):
        from autobuild.plot import learning_hint

        say(f"  would more labels help? {learning_hint(folder.read_frame('curve.csv'))}")
    if numbers.get("dropped"):
        say(f"  {numbers['dropped']:,} rows were dropped: their target is missing or not finite")
    for warning in numbers.get("warnings", ()):
        say(f"  warning: {warning}")


def show_where(folder: Run) -> None:
    """The map of effects, in which a star marks those that are not significant; then interactions."""
    if folder.has("places.csv"):
        frame = folder.read_frame("places.csv")
        frame = frame[frame["effect"].notna()]
        columns = list(dict.fromkeys(zip(frame["feature"], frame["value"].astype(str), strict=True)))
        heading("Effect of each choice, by unit and layer (units of the target, compared with the mean)")
        say("  *: not significant, the 90 % interval contains 0")
        cells: dict[tuple[str, int], dict[tuple[str, str], str]] = {}
        digits = decimals(frame["effect"], 3)
        for place in frame.to_dict("records"):
            star = "*" if place["lower"] <= 0 <= place["upper"] else " "
            own = cells.setdefault((str(place["unit"]), int(place["layer"])), {})
            own[str(place["feature"]), str(place["value"])] = signed(place["effect"], f"+.{digits}f") + star
        for part in _parts(columns):
            rows = [[f"{unit} {layer or ''}".rstrip(), *(shown.get(column, "") for column in part)]
                    for (unit, layer), shown in cells.items() if not shown.keys().isdisjoint(part)]  # fmt: skip
            if len(rows) > _MAP_ROWS:
                say(f"  {', '.join(dict.fromkeys(name for name, _ in part))}: {len(rows):,} layers, in places.csv")
            else:
                grid(["unit, layer", *(" ".join(column) for column in part)], rows)
    sentences = folder.metrics.get("interactions")
    if sentences is not None:
        heading(
            f"Interactions: {counted(len(sentences), 'pair')} of choices whose effects do not add up (90 % intervals)"
        )
        for sentence in sentences[:_SENTENCES]:
            say(f"  {sentence}")
        if len(sentences) > _SENTENCES:
            say(f"  ... {len(sentences) - _SENTENCES} more (interactions.csv)")


def _parts(columns: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Columns of the map, ``(feature, value)``, in parts that fit beside one another; a feature is not divided."""
    parts: list[list[tuple[str, str]]] = [[]]
    for feature in dict.fromkeys(feature for feature, _ in columns):
        own = [column for column in columns if column[0] == feature]
        if parts[-1] and len(parts[-1]) + len(own) > _MAP_COLUMNS:
            parts.append([])
        parts[-1] += own
    return parts


def show_features(folder: Run) -> None:
    """Scores of feature values and layers."""
    frame = folder.read_frame("features.csv")
    by = "effect" if "effect" in frame else "score"
    heading("Main effects of feature values, averaged over units and layers, best first")
    table(frame.sort_values(by, ascending=False, kind="stable"), rows=20)
    layers = folder.read_frame("layers.csv").sort_values("score_range", ascending=False, kind="stable")
    heading("Layers where the operation matters most (score_range: best operation minus worst, units of the target)")
    table(layers, rows=6)
    if "score_without" in layers:
        say(
            "  score: mean of networks with the layer, minus that of all; score_without: of those without it, minus all"
        )
    if folder.metrics.get("additive_share") is not None:
        share, left = folder.metrics["additive_share"], folder.metrics["remainder_sd"]
        explained = f"{share:.1%} of the variance of predictions"
        say(f"  sums of scores explain {explained}; standard deviation of the remainder {number(left)}")
    for warning in folder.metrics.get("score_warnings", ()):
        if warning not in folder.metrics.get("warnings", ()):  # those of the model are printed by show_fit
            say(f"  warning: {warning}")


def show_candidates(folder: Run) -> None:
    """The best candidates of every unit."""
    frame = folder.read_frame("candidates.csv")
    named = ("unit", "candidate", "score", "lower", "upper", "n_seen", "n_seen_rarest")
    columns = [name for name in named if name in frame and not frame[name].isna().all()]
    heading(f"The {_PER_UNIT} best candidates of every unit, of {len(frame):,}")
    if folder.metrics.get("base") is not None:
        say(f"  score: effect of the candidate, compared with an average network ({number(folder.metrics['base'])})")
    if "n_seen_rarest" in columns:
        say("  n_seen: labels with the candidate; n_seen_rarest: labels with that feature value of it which is rarest")
    best = frame.groupby("unit", sort=False).head(_PER_UNIT)
    table(best, rows=10 * _PER_UNIT, columns=columns)


def show_built(folder: Run) -> None:
    """The built networks."""
    heading("Built networks, best first")
    if folder.metrics.get("base") is not None:
        say("  score: base + sum of the candidates' scores; predicted: by the full model, with interactions")
    table(folder.read_frame("built.csv"), rows=10)
    if folder.has("prices.csv"):
        heading("Shadow prices of the limits (gain: increase of the target if the limit is loosened by 5 %)")
        table(folder.read_frame("prices.csv"), rows=20)
    if folder.has("pareto.csv"):
        say(
            f"  the predicted Pareto front has {counted(folder.metrics['n_pareto'], 'network')}: pareto.csv, pareto.png"
        )
    if folder.metrics.get("narrowed"):
        say(f"  {folder.metrics['narrowed']}")


def show_verified(folder: Run) -> None:
    """The built networks as measured, beside the labelled ones."""
    numbers = folder.metrics
    frame = folder.read_frame("verified.csv")
    heading(
        f"Measured: {counted(numbers['verify_trainings'], 'training')} with new seeds (target: {numbers['target']})"
    )
    table(frame, rows=len(frame))
    rows = (
        ("built, first by prediction", "built_first"),
        ("built, best", "built_best"),
        ("built, mean", "built_mean"),
        ("best labelled, trained again", "labelled_best_retrained"),
        ("best label (too high: the maximum of many noisy labels)", "labelled_best"),
        ("labelled, mean", "labelled_mean"),
    )
    places = table_decimals(frame)
    say()
    for text, key in rows:
        value = numbers[key]
        say(f"  {text + ':':<58} {'-' if value is None else f'{value:.{places}f}'}")


def show_place(folder: Run) -> None:
    """The run folder."""
    say(f"\nResults in {folder.dir}")


def number(value: Any) -> str:
    """Format with four significant digits; ``-`` for None."""
    return "-" if value is None else f"{value:.4g}"
