"""The result of a search: frames read from its studies, during the search or later."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import optuna
import pandas as pd

from autobuild._typing import FloatArray
from autobuild._words import counted
from autobuild.construct.dominance import undominated
from autobuild.construct.pareto import hypervolume
from autobuild.errors import ConfigError, nearest
from autobuild.expressions import parse_where
from autobuild.spaces import SearchSpace
from autobuild.studies._study import INFO, load_study
from autobuild.studies._trials import ARCH, FROM, LABEL, METRICS, PREDICTED, REASON, counts
from autobuild.studies.storage import open_storage, shown

REFERENCE = -0.1  # of the hypervolume, in every target; 0 is the worst value of the target, 1 the best


@dataclass(frozen=True)
class Progress:
    """Progress of a search.

    Attributes:
        done: Evaluations that have ended, by all workers and earlier processes.
        total: All evaluations.
        failed: Failed evaluations of this worker.
        best: Best value of the target so far; None before the first, and with several targets.
        eta_s: Estimated seconds to the end; NaN before an evaluation of this worker has ended.
        arch: The architecture whose evaluation has just ended.
        values: Its targets; empty if it failed or was pruned.
        note: A message, such as that the storage does not answer.
    """

    done: int
    total: int
    failed: int
    best: float | None
    eta_s: float
    arch: str = ""
    values: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Search:
    """Result of :func:`autobuild.search`: its studies at the time when it ended.

    Attributes:
        space: The space of the last study.
        targets: Expressions, each maximised.
        studies: The linked studies, in order; one if the search did not narrow the space.
        address: Address of the storage, without a password.
        trials: See :func:`trials_of`.
        notes: Messages about the search.
    """

    space: SearchSpace
    targets: tuple[str, ...]
    studies: tuple[optuna.Study, ...]
    address: str
    trials: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        space: SearchSpace,
        targets: Sequence[str],
        studies: Sequence[optuna.Study],
        address: str,
        notes: Sequence[str] = (),
    ) -> Search:
        """Read the trials of linked studies."""
        return cls(space, tuple(targets), tuple(studies), address, trials_of(studies, targets), tuple(notes))

    @property
    def study(self) -> optuna.Study:
        """The last study, for Optuna's own functions and its dashboard."""
        return self.studies[-1]

    @property
    def evaluated(self) -> pd.DataFrame:
        """The rows of :attr:`trials` whose evaluation took a slot of this search and has ended."""
        frame = self.trials
        return frame[(frame["source"] == "search") & (frame["state"] != "RUNNING")].reset_index(drop=True)

    @cached_property
    def feasible(self) -> pd.DataFrame:
        """The complete rows of :attr:`trials` that satisfy all limits, labels included; each architecture once."""
        return feasible(self.trials).drop_duplicates("arch", keep="first").reset_index(drop=True)

    @property
    def best(self) -> pd.DataFrame:
        """:attr:`feasible`, best first (by the first target)."""
        return self.feasible.sort_values(self.targets[0], ascending=False, kind="stable").reset_index(drop=True)

    @property
    def front(self) -> pd.DataFrame:
        """The Pareto front: the rows of :attr:`best` that no other row equals or exceeds in all targets."""
        best = self.best
        if best.empty:
            return best
        return best.iloc[undominated(best[list(self.targets)].to_numpy(dtype=float))].reset_index(drop=True)

    @cached_property
    def chain(self) -> pd.DataFrame:
        """One row for each linked study.

        Columns: ``study, parent, space, size, space_share`` (of the first space), ``evaluated``, ``reused`` (labels,
        and finished trials of earlier studies) and ``why`` (how the space was narrowed).
        """
        sizes = [int(study.user_attrs[INFO]["size"]) for study in self.studies]
        rows = []
        for study, size in zip(self.studies, sizes, strict=True):
            info: dict[str, Any] = study.user_attrs[INFO]
            complete = [row for row in _rows(study, self.targets) if row["state"] == "COMPLETE"]
            reused = sum(row["source"] != "search" for row in complete)
            rows.append(
                {
                    "study": study.study_name,
                    "parent": info.get("parent") or "",
                    "space": info["space"],
                    "size": size,
                    "space_share": size / sizes[0],
                    "evaluated": len(complete) - reused,
                    "reused": reused,
                    "why": info.get("why") or "",
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def history(self) -> pd.DataFrame:
        """The best value, and for two or three targets the hypervolume, after each evaluation.

        One row for the start and one for each evaluation, in the order of the trials' numbers. Columns: ``evaluations``
        (0: the labels entered at the start), ``study, number, arch``, ``measured`` and ``best`` of the first target,
        where only architectures that satisfy the limits count (NaN before the first); with two or three targets
        ``hypervolume``, where each target is scaled to 0..1 over all these architectures and the reference is -0.1.
        """
        trials, targets = self.trials, list(self.targets)
        evaluated = trials[(trials["source"] == "search") & (trials["state"] != "RUNNING")]
        kept = feasible(trials)
        is_new = kept.index.isin(evaluated.index)
        labels, new = kept[~is_new & (kept["source"] == LABEL)].drop_duplicates("arch"), kept[is_new]
        values = pd.concat([labels, new])[targets].to_numpy(dtype=float)
        row_of = dict(zip(new.index, range(len(labels), len(values)), strict=True))
        rows = [row_of.get(index) for index in evaluated.index]
        measured = np.array([np.nan, *(np.nan if row is None else values[row, 0] for row in rows)])
        first = values[: len(labels), 0].max() if len(labels) else np.nan
        frame = pd.DataFrame(
            {
                "evaluations": range(len(evaluated) + 1),
                "study": ["", *evaluated["study"]],
                "number": [-1, *evaluated["number"]],
                "arch": ["", *evaluated["arch"]],
                "measured": measured,
                "best": np.fmax.accumulate(np.array([first, *measured[1:]])),
            }
        )
        if len(targets) in (2, 3):
            frame["hypervolume"] = _hypervolumes(values, len(labels), rows)
        return frame

    @property
    def failures(self) -> str:
        """How many evaluations failed, and the reason of the first one; empty if none failed."""
        evaluated = self.evaluated
        failed = evaluated[evaluated["state"] == "FAIL"]
        if failed.empty:
            return ""
        first = failed.iloc[0]
        share = "all" if len(failed) == len(evaluated) else f"{len(failed):,} of"
        return (
            f"{share} {counted(len(evaluated), 'evaluation')} failed; the first, of {first['arch']}: {first['reason']}"
        )

    @property
    def why(self) -> str:
        """Why :attr:`best` is empty: how many failed or broke each limit, and the nearest value; empty if it is not."""
        evaluated = self.evaluated
        if len(self.best):
            return ""
        if evaluated.empty:
            return "; ".join(["no network was evaluated", *self.notes])
        reasons = [f"{len(evaluated):,} networks were evaluated"] + ([self.failures] if self.failures else [])
        pruned = int((evaluated["state"] == "PRUNED").sum())
        reasons += [f"{pruned:,} were pruned"] if pruned else []
        return "; ".join([*reasons, *self._broken_limits()])

    def _broken_limits(self) -> list[str]:
        """For each limit how many complete networks break it, and the value that comes nearest to its bound."""
        excess: dict[str, list[float]] = {}
        complete = 0
        for study in self.studies:
            for trial in study.get_trials(deepcopy=False):
                if trial.state.name == "COMPLETE" and FROM not in trial.user_attrs:
                    complete += 1
                    for text, value in trial.constraints.items():
                        excess.setdefault(text, []).append(value)
        lines = []
        for text, values in excess.items():
            broken = [value for value in values if value > 0]
            if broken:
                (limit,) = parse_where(text)
                nearest_value = limit.moved(min(broken) * (abs(limit.bound) or 1.0)).bound
                lines.append(f"{len(broken):,} of {complete:,} break {text}, the nearest reaches {nearest_value:.5g}")
        return lines

    def __repr__(self) -> str:
        evaluated = self.evaluated
        counted = {name: int((evaluated["state"] == name).sum()) for name in ("FAIL", "PRUNED")}
        words = {"FAIL": "failed", "PRUNED": "pruned"}
        parts = ", ".join(f"{number:,} {words[name]}" for name, number in counted.items() if number)
        text = f"{len(evaluated):,} evaluated{f' ({parts})' if parts else ''}"
        if evaluated["violation"].max() > 0:
            text += f", {len(feasible(evaluated)):,} within the limits"
        text += f", {self.space.name}, target {', '.join(self.targets)}"
        best = self.best
        if len(self.targets) > 1 and len(best):
            return f"Search({text}, {len(self.front)} on the front)"
        return f"Search({text}, {f'best {best[self.targets[0]][0]:.5g}' if len(best) else f'none found: {self.why}'})"

    def _repr_html_(self) -> str:
        shown_rows = self.front if len(self.targets) > 1 else self.best
        columns = [name for name in shown_rows.columns if name not in ("study", "state", "reason")]
        parts = [f"<p>{html.escape(repr(self))}</p>"]
        parts += [shown_rows[columns].head(10).to_html(index=False)] if len(shown_rows) else []
        if len(self.studies) > 1:
            parts.append(self.chain.to_html(index=False))
        return "".join(parts)


def load_search(storage: str, name: str) -> Search:
    """Read what the search ``name`` has found so far, without taking part in it.

    Args:
        storage: Address of the storage, see :mod:`autobuild.studies.storage`.
        name: Name of its (first) study.

    Returns:
        The search, while it runs or after it has ended.

    Raises:
        ConfigError: There is no such search.
        RunError: The storage cannot be reached.
    """
    opened = open_storage(storage)
    studies: list[optuna.Study] = []
    space: SearchSpace | None = None
    while (loaded := load_study(opened, f"{name}/{len(studies) + 1}" if studies else name)) is not None:
        study, space = loaded
        studies.append(study)
    if space is None:
        names = [summary.study_name for summary in optuna.get_all_study_summaries(opened.optuna)]
        raise ConfigError(f"no search {name!r} in {shown(storage)}: {nearest(name, names)}")
    return Search.read(space, studies[0].user_attrs[INFO]["targets"], studies, opened.address)


def feasible(trials: pd.DataFrame) -> pd.DataFrame:
    """Complete rows that satisfy all limits."""
    return trials[(trials["state"] == "COMPLETE") & ~(trials["violation"] > 0)]


def best_value(trials: pd.DataFrame, targets: Sequence[str]) -> float | None:
    """The best value of a single target, labels included; None if there is none, and for several targets."""
    values = feasible(trials)[targets[0]]
    return float(values.max()) if len(targets) == 1 and len(values) else None


def trials_of(studies: Sequence[optuna.Study], targets: Sequence[str]) -> pd.DataFrame:
    """One row for each architecture that is evaluated, has failed, or was entered from labels.

    Proposals that were passed over (known already, or outside an exact limit) and trials of lost workers are left out.

    Args:
        studies: Linked studies.
        targets: Expressions, each maximised.

    Returns:
        Columns: ``study``, ``number`` (of Optuna), ``arch``, ``state`` (``COMPLETE``, ``PRUNED``, ``FAIL``,
        ``RUNNING``), ``source`` (``search``; ``label``: entered from the prior labels; the name of an earlier study),
        the targets, the metrics, the predicted targets (``predicted``, or ``predicted.TARGET``), ``broken`` (sum of
        the excesses of broken limits, as shares of their bounds; 0 if all are satisfied), ``seconds`` and ``reason``
        (why it failed).
    """
    rows = [row for study in studies for row in _rows(study, targets)]
    first = ["study", "number", "arch", "state", "source", *targets]
    last = ["violation", "seconds", "reason"]
    middle = dict.fromkeys(name for row in rows for name in row if name not in (*first, *last))
    return pd.DataFrame(rows, columns=[*first, *middle, *last])


def _rows(study: optuna.Study, targets: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for trial in study.get_trials(deepcopy=False):
        attrs = trial.user_attrs
        if not (counts(trial) or trial.state.name == "RUNNING") or ARCH not in attrs:
            continue
        row: dict[str, Any] = {
            "study": study.study_name,
            "number": trial.number,
            "arch": attrs[ARCH],
            "state": trial.state.name,
            "source": attrs.get(FROM, "search"),
        }
        row |= dict(zip(targets, trial.values or [np.nan] * len(targets), strict=False))
        row |= {name: value for name, value in attrs.get(METRICS, {}).items() if name not in row}
        if PREDICTED in attrs:
            names = ["predicted"] if len(targets) == 1 else [f"predicted.{target}" for target in targets]
            row |= dict(zip(names, attrs[PREDICTED], strict=False))
        row["violation"] = sum(max(0.0, value) for value in trial.constraints.values())
        duration = trial.duration if FROM not in attrs else None
        row["seconds"] = duration.total_seconds() if duration is not None else np.nan
        row["reason"] = attrs.get(REASON, "")
        rows.append(row)
    return rows


def _hypervolumes(values: FloatArray, n_labels: int, rows: Sequence[int | None]) -> list[float]:
    """The hypervolume of the labels and after each evaluation; it is computed again only if the front changes.

    Args:
        values: Targets of the labels and of the evaluated architectures. Shape ``(n, targets)``.
        n_labels: Number of labels among them.
        rows: For each evaluation its row in ``values``; None if it does not count.
    """
    low, high = values.min(axis=0, initial=np.inf), values.max(axis=0, initial=-np.inf)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    reference = np.full(values.shape[1], REFERENCE)
    front = scaled[:n_labels]
    volumes = [hypervolume(front, reference)]
    for row in rows:
        if row is not None and not (front >= scaled[row]).all(axis=1).any():
            front = np.vstack([front[~(front <= scaled[row]).all(axis=1)], scaled[row]])
            volumes.append(hypervolume(front, reference))
        else:
            volumes.append(volumes[-1])
    return volumes
