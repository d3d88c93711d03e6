"""The page about a run folder: its settings, results and measurements, from the files in it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.errors import AutobuildError
from autobuild.jobs._folders import flat, read_json
from autobuild.report import Section, html_page

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.jobs.run import Run
    from autobuild.studies.result import Search

SHOWN = 20  # rows of the best networks of a search
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
_TABLE_BYTES = 20_000_000  # larger tables are named, not shown
# The parts of a page: title, tables with captions, pictures with captions. Other files are shown at the end.
_PARTS: tuple[tuple[str, Mapping[str, str], Mapping[str, str]], ...] = (
    ("Labels", {"data_card.csv": "Metrics"}, {}),
    (
        "Accuracy of the model",
        {"members.csv": "Members of the ensemble: weight, and rank correlation alone and without it"},
        {
            "predicted.png": "Predicted against measured, on rows that were held out",
            "hops.png": "Rank correlation by hop",
            "history.png": "Losses",
            "learning_curve.png": "Accuracy with fewer labels",
        },
    ),
    (
        "Effects of choices",
        {
            "interactions.csv": "Interactions: effects beyond those of each value alone (layer 0: the whole unit)",
            "features.csv": "Main effects of feature values, averaged over units and layers",
            "choices.csv": "Best and second-best value of each choice (layer 0: the depth of the unit)",
        },
        {
            "interactions.png": "Interactions",
            "features.png": "Main effects of feature values, averaged over units and layers",
            "candidates.png": "The best candidates of every unit",
        },
    ),
    (
        "Built networks",
        {
            "built.csv": "Built networks, best first",
            "built_costs.csv": "Their costs",
            "prices.csv": "Shadow prices of the limits",
            "pareto.csv": "The predicted Pareto front",
        },
        {
            "best.png": "The best network, layer by layer",
            "why.png": "From the average network to its prediction",
            "built.png": "Built and labelled networks",
            "pareto.png": "The predicted Pareto front",
        },
    ),
    ("Measurements", {"verified.csv": "Measured with new seeds"}, {}),
    ("Quantisation", {}, {}),
)
_NOT_SHOWN = (
    "places.csv",
    "operations.csv",
    "candidates.csv",
    "heldout.csv",
    "history.csv",
    "trained.csv",
    "where.png",
)


def write_page(folder: Run) -> None:
    """Write ``report.html`` into the folder of a run that is about to finish."""
    folder.write_text("report.html", page_about(folder.dir, finishing=True))


def page_about(folder: Path, *, finishing: bool = False) -> str:
    """The page about a folder as text: of any job, finished or not, or of tables and pictures of no run.

    Args:
        folder: The folder.
        finishing: Whether the run is about to finish, which its state does not say yet.
    """
    with tempfile.TemporaryDirectory() as drawn:
        return _page(folder, finishing, Path(drawn))


def _page(folder: Path, finishing: bool, drawn: Path) -> str:
    state, numbers = read_json(folder / "run.json"), read_json(folder / "metrics.json") or {}
    job = str((state or {}).get("job") or "")
    search, missing = _search(folder, state) if job == "search" else (None, "")
    sections = [_asked(folder, state, numbers, finishing)]
    used: set[str] = set(_NOT_SHOWN) if state else set()
    if "explain" in (state or {}).get("steps", {}):
        used.add("layers.csv")  # of the scores; places.csv says more
    if search is not None:
        sections += _about_search(drawn, search)
        used |= {"history.png", "front.png", "hypervolume.png", "chain.png", "trials.csv", "history.csv"}
    elif missing:
        sections.append(Section("Search", missing=missing))
    for title, tables, pictures in _PARTS if state else ():
        left = [{name: own[name] for name in own if name not in used} for own in (tables, pictures)]
        section = _part(folder, numbers, title, *left)
        used |= {*tables, *pictures}
        if section is not None:
            sections.append(section)
    rest = _rest(folder, used)
    sections += [rest] if rest is not None else []
    sections.append(_again(folder, state, numbers))
    about = f"autobuild {job}" if job else "A folder"
    return html_page(f"{about}: {numbers.get('space') or folder.resolve().name}", sections)


def _asked(folder: Path, state: Mapping[str, Any] | None, numbers: Mapping[str, Any], finishing: bool) -> Section:
    """What was asked, and how far it has come."""
    import pandas as pd

    if state is None:
        told = "its run.json cannot be read" if (folder / "run.json").exists() else "there is no run.json"
        missing = f"No run of autobuild is known here: {told}. Below are the tables and pictures that lie here."
        return Section("Contents", missing=missing)
    settings = flat(state.get("config") or {})
    defaults = _defaults(str(state.get("job")))
    asked = [(key, str(value)) for key, value in settings.items() if value != defaults.get(key)]
    lines = [f"Job: {state.get('job')}, started {state.get('started')}"]
    missing = ""
    if state.get("status") != "finished" and not finishing:
        done = ", ".join(state.get("steps") or {}) or "none"
        told = f": {state['error']}" if state.get("error") else ""
        status = {"running": "not finished"}.get(str(state.get("status")), str(state.get("status")))
        missing = f"This run is {status}{told}. Finished steps: {done}. What they have written is shown."
    elif state.get("finished"):
        lines[0] += f", finished {state['finished']}"
    if numbers.get("target"):
        lines.append(f"Target, maximised: {numbers['target']}")
    if numbers.get("build_where"):
        lines.append(f"Limits: {numbers['build_where']}")
    table = pd.DataFrame(asked or [("all", "defaults")], columns=["setting", "value"])
    return Section("Settings", "\n".join(lines), missing, tables=[("Settings that are not defaults", table)])


def _defaults(job: str) -> dict[str, Any]:
    from autobuild.jobs._options import job_names, read_job

    return {key.name: key.default for key in read_job(job).keys.values()} if job in job_names() else {}


def _part(
    folder: Path,
    numbers: Mapping[str, Any],
    title: str,
    tables: Mapping[str, str],
    pictures: Mapping[str, str],
) -> Section | None:
    """One of the parts; None if nothing of it is there."""
    shown, unread = [], []
    for name, caption in tables.items():
        frame, error = _read(folder / name)
        if frame is not None and len(frame):
            shown.append((caption or name, frame))
        elif error:
            unread.append(error)
    effects = _read(folder / "places.csv")[0] if title == "Effects of choices" else None
    if effects is not None and not {"unit", "layer", "feature", "value", "effect", "lower", "upper"} <= set(effects):
        effects = None
    drawn = [(folder / name, caption) for name, caption in pictures.items() if (folder / name).is_file()]
    text = "\n".join(_SENTENCES.get(title, lambda _: [])(numbers))
    if not (shown or drawn or unread or text or effects is not None):
        return None
    return Section(title, text, "\n".join(unread), effects, shown, drawn)


def _of_labels(numbers: Mapping[str, Any]) -> list[str]:
    if not numbers.get("label_source"):
        return []
    size = f", of {numbers['space_size']} networks of the space" if numbers.get("space_size") else ""
    lines = [f"{counted(numbers['n_labels'], 'labelled network')}{size}, from {numbers['label_source']}."]
    lines += [f"note: {text}" for text in numbers.get("label_notes") or ()]
    return lines + [f"warning: {text}" for text in numbers.get("label_warnings") or ()]


def _of_model(numbers: Mapping[str, Any]) -> list[str]:
    lines = []
    if numbers.get("test_srcc") is not None:
        how = "cross-validated" if numbers.get("folds") else "held-out"
        lines.append(
            f"Rank correlation on {numbers.get('n_test', 0):,} {how} rows: {numbers['test_srcc']:.4g} (Spearman); mean "
            f"absolute error {numbers.get('test_mae') or float('nan'):.4g}."
        )
    if numbers.get("picked"):
        lines.append(f"Models, by weight: {numbers['picked']}.")
    return lines + [f"warning: {text}" for text in numbers.get("warnings") or ()]


def _of_scores(numbers: Mapping[str, Any]) -> list[str]:
    lines = list(numbers.get("interactions") or [])
    if numbers.get("additive_share") is not None:
        lines.append(
            f"Sums of scores explain {numbers['additive_share']:.1%} of the variance of predictions; standard "
            f"deviation of the remainder {numbers.get('remainder_sd') or 0:.4g}."
        )
    known = numbers.get("warnings") or ()
    return lines + [f"warning: {text}" for text in numbers.get("score_warnings") or () if text not in known]


def _of_built(numbers: Mapping[str, Any]) -> list[str]:
    if not numbers.get("n_built"):
        return []
    lines = []
    best, first = numbers.get("best_labelled"), numbers.get("built_predicted")
    within = " within the limits" if numbers.get("build_where") else ""
    if best is not None and first is not None:
        lines.append(
            f"The first is predicted at {first:.5g}; the best label{within} is {best:.5g} ({first - best:+.3g}). The "
            "maximum of many noisy labels is too high on average: compare both by new measurements (autobuild verify)."
        )
    elif first is not None and within:
        lines.append(f"The first is predicted at {first:.5g}; no labelled network is known to be{within}.")
    if numbers.get("narrowed"):
        lines.append(str(numbers["narrowed"]))
    return lines


def _of_measured(numbers: Mapping[str, Any]) -> list[str]:
    lines = []
    if numbers.get("verify_trainings"):
        names = {"built_first": "built, first by prediction", "built_best": "built, best", "labelled_best_retrained":
                 "best labelled, measured again", "labelled_best": "best label"}  # fmt: skip
        values = [f"{text}: {numbers[key]:.5g}" for key, text in names.items() if numbers.get(key) is not None]
        lines.append(f"{numbers['verify_trainings']:,} evaluations with new seeds. {'; '.join(values)}.")
    return lines


def _of_quantised(numbers: Mapping[str, Any]) -> list[str]:
    lines = []
    if numbers.get("avg_bits"):
        lines.append(
            f"{numbers['avg_bits']:.4g} bits per weight; {numbers['size_bytes']:,} bytes of tensors, "
            f"{numbers['file_bytes']:,} in the file; sum of squared errors {numbers['quant_error']:.4g}."
        )
    return lines


_SENTENCES = {
    "Labels": _of_labels,
    "Accuracy of the model": _of_model,
    "Effects of choices": _of_scores,
    "Built networks": _of_built,
    "Measurements": _of_measured,
    "Quantisation": _of_quantised,
}


def _rest(folder: Path, used: set[str]) -> Section | None:
    """Tables and pictures that no other part shows."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in used)
    tables, unread = [], []
    for path in (path for path in files if path.suffix == ".csv"):
        frame, error = _read(path)
        if frame is not None:
            tables.append((path.name, frame))
        else:
            unread.append(error)
    pictures = [(path, path.name) for path in files if path.suffix == ".png"]
    inside = [path.parent.name for path in sorted(folder.glob("*/run.json"))]
    text = f"Runs in folders of this one: {', '.join(inside)}" if inside else ""
    if not (tables or pictures or unread or text):
        return None
    return Section("Other tables and pictures", text, "\n".join(unread), tables=tables, pictures=pictures)


def _again(folder: Path, state: Mapping[str, Any] | None, numbers: Mapping[str, Any]) -> Section:
    """Configuration and versions."""
    import pandas as pd

    from autobuild import __version__

    versions = {
        **(numbers.get("versions") or {}),
        **{f"SHA-256 of {key}": value for key, value in ((state or {}).get("inputs") or {}).items()},
    }
    versions["this page"] = f"autobuild {__version__}"
    table = pd.DataFrame(versions.items(), columns=["what", "version"])
    config = folder / "config.yaml"
    try:
        code = config.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Section("How to repeat this run", missing="config.yaml is missing here.", tables=[("Versions", table)])
    text = f"autobuild --config-dir {folder.name} --config-name config"
    return Section("How to repeat this run", text, tables=[("Versions", table)], code=code)


def _read(path: Path) -> tuple[pd.DataFrame | None, str]:
    """A table, or why it cannot be shown; both empty if there is none."""
    import pandas as pd

    if not path.is_file():
        return None, ""
    if path.stat().st_size > _TABLE_BYTES:
        return None, f"{path.name} is not shown: it has {path.stat().st_size:,} bytes."
    try:
        return pd.read_csv(path, dtype={"arch": str, "candidate": str}), ""
    except (OSError, ValueError) as error:
        return None, f"{path.name} cannot be read as a table: {error}"


def _search(folder: Path, state: Mapping[str, Any] | None) -> tuple[Search | None, str]:
    """The search of a run folder, or why it cannot be read."""
    from autobuild.jobs.search import EMBEDDED, address_in
    from autobuild.studies.result import load_search

    numbers = read_json(folder / "metrics.json") or {}
    if "study" not in numbers:
        return None, "The search has not started yet."
    storage = str(((state or {}).get("config") or {}).get("storage"))
    try:
        address = address_in(folder, storage)
        if address is None:
            return None, f"The study is missing: {EMBEDDED[storage]}."
        return load_search(address, numbers["study"]), ""
    except (AutobuildError, KeyError, ValueError, OSError) as error:
        return None, f"The study cannot be read: {error}"


def _about_search(drawn: Path, search: Search) -> list[Section]:
    """What a search has found so far; its pictures are drawn into the folder ``drawn``."""
    from autobuild import plot
    from autobuild.jobs._pictures import search_figures

    evaluated, several = search.evaluated, len(search.targets) > 1
    figures = {name: (plot.save(axes, drawn / name), caption) for name, caption, axes in search_figures(search)}
    chain = [figures.pop("chain.png")]
    pictures = list(figures.values())
    title = f"The Pareto front, {search.targets[0]} first" if several else "The best networks"
    sections = [
        Section("Search", _summary(search), pictures=pictures),
        Section(title, tables=[("", _best(search))]),
    ]
    if len(search.studies) > 1:
        why = zip(search.chain["study"], search.chain["why"], strict=True)
        text = "\n".join(f"{study}: {reason}." for study, reason in why if reason)
        sections.append(Section("How the space was narrowed", text, tables=[("", _chain(search))], pictures=chain))
    failed = evaluated[evaluated["state"] == "FAIL"][["arch", "reason"]]
    if len(failed):
        sections.append(Section("Failed evaluations", tables=[("", failed.head(SHOWN))]))
    return sections


def _summary(search: Search) -> str:
    """Targets, numbers of evaluated networks, and the best result."""
    from autobuild.spaces import readable_count

    evaluated, curve = search.evaluated, search.history
    counts = evaluated["state"].value_counts().to_dict()
    by_state = ", ".join(f"{counts[state]:,} {word}" for state, word in STATES.items() if state in counts)
    open_ones = int((search.trials["state"] == "RUNNING").sum())
    running = f"; {open_ones:,} still running" if open_ones else ""
    known = search.trials[search.trials["source"] == "label"]["arch"].nunique()
    lines = [
        f"Target: {'; '.join(search.targets)}. Space: {readable_count(int(search.chain['size'][0]))} networks.",
        f"Evaluated: {counted(len(evaluated), 'network')}"
        f"{by_state and f' ({by_state})'}{running}; known before: {known:,}.",
    ]
    if "hypervolume" in curve:
        volumes = curve["hypervolume"]
        start = f" ({volumes.iloc[0]:.4g} at the start)" if known else ""
        lines.append(
            f"The front has {counted(len(search.front), 'network')}; hypervolume {volumes.iloc[-1]:.4g}{start}."
        )
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
    if not (best["violation"] > 0).any():
        left_out.append("violation")
    evaluated = best[best["source"] != "label"] if (best["source"] != "label").any() else best
    return best.drop(columns=[*left_out, *(evaluated.columns[evaluated.isna().all()].difference(left_out))])


def _chain(search: Search) -> pd.DataFrame:
    """The linked studies, with readable sizes."""
    from autobuild.spaces import readable_count

    chain = search.chain
    sizes = [readable_count(int(size)) for size in chain["size"]]
    shares = [f"{100 * share:.3g} %" for share in chain["space_share"]]
    return chain.assign(size=sizes, space_share=shares)[["study", "size", "space_share", "evaluated", "reused"]]
