"""What a search has found, as frames read from its studies."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autobuild.construct.dominance import undominated
from autobuild.expressions import parse_where
from autobuild.studies.study import ARCH, FACTS, FROM, METRICS, PREDICTED, REASON, counts

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from autobuild.spaces import SearchSpace

_STATES = {"failed": "FAIL", "pruned": "PRUNED"}


@dataclass(frozen=True)
class Search:
    """What :func:`autobuild.studies.searching.search` returns: the studies as they were when it ended.

    Attributes:
        space: The space of the last study: where the search ended.
        targets: Expressions, each maximised.
        studies: The linked studies, in order; one where the search did not narrow.
        address: Of the storage, without a password.
        trials: See :func:`trials_of`.
        notes: What the reader should know.
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
        frame = trials_of(studies, targets)
        return cls(space, tuple(targets), tuple(studies), address, frame, tuple(notes))

    @property
    def study(self) -> optuna.Study:
        """The last study: what Optuna's own functions and its dashboard take."""
        return self.studies[-1]

    @property
    def evaluated(self) -> pd.DataFrame:
        """The rows of :attr:`trials` that took a slot and have ended."""
        frame = self.trials
        return frame[(frame["source"] == "search") & (frame["state"] != "RUNNING")].reset_index(drop=True)

    @cached_property
    def feasible(self) -> pd.DataFrame:
        """The complete rows of :attr:`trials` that keep all limits, labels included; each network once."""
        frame = self.trials
        kept = feasible(frame)
        return kept.drop_duplicates("arch", keep="first").reset_index(drop=True)

    @property
    def best(self) -> pd.DataFrame:
        """:attr:`feasible`, best first (by the first target)."""
        return self.feasible.sort_values(self.targets[0], ascending=False, kind="stable").reset_index(drop=True)

    @property
    def front(self) -> pd.DataFrame:
        """Those rows of :attr:`best` that no other one reaches in all targets."""
        best = self.best
        if best.empty:
            return best
        return best.iloc[undominated(best[list(self.targets)].to_numpy(dtype=float))].reset_index(drop=True)

    @cached_property
    def chain(self) -> pd.DataFrame:
        """One row a linked study: ``study, parent, space, size, share`` (of the first space), ``evaluated``,
        ``carried`` (finished trials taken over, and labels) and ``why`` (how it was narrowed).
        """
        import pandas as pd

        first, rows = None, []
        for study in self.studies:
            facts: dict[str, Any] = study.user_attrs[FACTS]
            size = int(facts["size"])
            first = first or size
            own = [row for row in _rows(study, self.targets) if row["state"] == "COMPLETE"]
            carried = sum(row["source"] != "search" for row in own)
            rows.append(
                {
                    "study": study.study_name,
                    "parent": facts.get("parent") or "",
                    "space": facts["space"],
                    "size": size,
                    "share": size / first,
                    "evaluated": len(own) - carried,
                    "carried": carried,
                    "why": facts.get("why") or "",
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def history(self) -> pd.DataFrame:
        """The best so far, or the hypervolume so far, after each evaluation: see :mod:`autobuild.studies.curves`."""
        from autobuild.studies.curves import history  # which reads frames by this module

        return history(self.trials, self.targets)

    @property
    def failures(self) -> str:
        """How many evaluations failed, and why the first one did; empty where none has."""
        own = self.evaluated
        failed = own[own["state"] == "FAIL"]
        if failed.empty:
            return ""
        first = failed.iloc[0]
        which = "all" if len(failed) == len(own) else f"{len(failed):,} of"
        return f"{which} {len(own):,} evaluations failed; the first, of {first['arch']}: {first['reason']}"

    @property
    def why(self) -> str:
        """Why :attr:`best` is empty: how many failed or broke each limit, and how near one came; else an empty text."""
        own = self.evaluated
        if len(self.best):
            return ""
        if own.empty:
            return "; ".join(["no network was evaluated", *self.notes])
        told = [f"{len(own):,} networks were evaluated"] + ([self.failures] if self.failures else [])
        pruned = int((own["state"] == "PRUNED").sum())
        told += [f"{pruned:,} were pruned"] if pruned else []
        return "; ".join([*told, *self._misses()])

    def _misses(self) -> list[str]:
        """For each limit how many complete networks break it, and by how much the nearest of them."""
        excess: dict[str, list[float]] = {}
        complete = 0
        for study in self.studies:
            for trial in study.get_trials(deepcopy=False):
                if trial.state.name == "COMPLETE" and FROM not in trial.user_attrs:
                    complete += 1
                    for text, value in trial.constraints.items():
                        excess.setdefault(text, []).append(value)
        told = []
        for text, values in excess.items():
            broken = [value for value in values if value > 0]
            if broken:
                (limit,) = parse_where(text)
                value = limit.moved(min(broken) * (abs(limit.bound) or 1.0)).bound
                told.append(f"{len(broken):,} of {complete:,} break {text}, the nearest reaches {value:.5g}")
        return told

    def __repr__(self) -> str:
        own = self.evaluated
        counts = {name: int((own["state"] == state).sum()) for name, state in _STATES.items()}
        told = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
        told = f"{len(own):,} evaluated{f' ({told})' if told else ''}"
        if own["broken"].max() > 0:
            told += f", {len(feasible(own)):,} within the limits"
        told += f", {self.space.name}, target {', '.join(self.targets)}"
        if len(self.targets) > 1 and len(self.best):
            return f"Search({told}, {len(self.front)} on the front)"
        best = self.best
        return f"Search({told}, {f'best {best[self.targets[0]][0]:.5g}' if len(best) else f'none found: {self.why}'})"

    def _repr_html_(self) -> str:
        shown = self.front if len(self.targets) > 1 else self.best
        columns = [name for name in shown.columns if name not in ("study", "state", "reason")]
        parts = [f"<p>{html.escape(repr(self))}</p>"]
        parts += [shown[columns].head(10).to_html(index=False)] if len(shown) else []
        if len(self.studies) > 1:
            parts.append(self.chain.to_html(index=False))
        return "".join(parts)


def feasible(trials: pd.DataFrame) -> pd.DataFrame:
    """Complete rows that keep all limits."""
    return trials[(trials["state"] == "COMPLETE") & ~(trials["broken"] > 0)]


def best_value(trials: pd.DataFrame, targets: Sequence[str]) -> float | None:
    """The best of a single target, labels included; None where there is none, or with several targets."""
    values = feasible(trials)[targets[0]]
    return float(values.max()) if len(targets) == 1 and len(values) else None


def trials_of(studies: Sequence[optuna.Study], targets: Sequence[str]) -> pd.DataFrame:
    """One row a network: those evaluated, those that failed, and the labels entered at the start.

    ``study``, ``number`` (of Optuna), ``arch``, ``state`` (``COMPLETE``, ``PRUNED``, ``FAIL``, ``RUNNING``), ``source``
    (``search``; ``label``: entered from the prior labels; a study: taken over from there), the targets, the metrics,
    the predicted targets (``predicted``, or ``predicted.TARGET``), ``broken`` (by how much limits are broken in all; 0
    where they are kept), ``seconds`` and ``reason`` (why it failed). Proposals that were passed over (known already, or
    outside an exact limit) and trials of lost workers are left out.
    """
    import pandas as pd

    rows = [row for study in studies for row in _rows(study, targets)]
    first = ["study", "number", "arch", "state", "source", *targets]
    last = ["broken", "seconds", "reason"]
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
        predicted = attrs.get(PREDICTED)
        if predicted is not None:
            names = ["predicted"] if len(targets) == 1 else [f"predicted.{target}" for target in targets]
            row |= dict(zip(names, predicted, strict=False))
        row["broken"] = sum(max(0.0, value) for value in trial.constraints.values())
        took = trial.duration if FROM not in attrs else None
        row["seconds"] = took.total_seconds() if took is not None else np.nan
        row["reason"] = attrs.get(REASON, "")
        rows.append(row)
    return rows
