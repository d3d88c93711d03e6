"""Fit an ensemble: members are cross-validated on the given labels, weighted, and then fitted on all rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from autobuild._typing import IntArray as Rows
from autobuild.errors import LabelError
from autobuild.labels import LabelledSet
from autobuild.models.describe import Describer
from autobuild.models.ensemble import EnsembleModel
from autobuild.models.gp_family import ProcessMember
from autobuild.models.many_rows import ManyRows, exact_rows, judged_parts, said
from autobuild.models.members import Inputs, Member, Settings
from autobuild.models.model import FloatArray
from autobuild.models.stacking import combine, stack
from autobuild.models.threads import one_blas_thread, torch_threads
from autobuild.models.warp import Warp
from autobuild.rank import kendall_tau, mae, ndcg_at_k, srcc
from autobuild.registry import FAMILIES

OnProgress = Callable[[str, int, int], None]
Folds = Sequence[tuple[Rows, Rows]]

MEMBERS = ("gp", "walks", "linear", "trees", "graph")  # of ``auto``
LATE = {"trees": 1000, "graph": 200}  # slow members: from so many rows on they are dropped if a short fit does not help
SCREEN_ROWS = 1000  # of a short fit, at most
SCREEN_STEPS = 200  # training steps of the graph encoder in a short fit
SCREEN_GAIN = 0.05  # share of the held-out error (root mean square) that a short fit must save from 1,000 rows on
RANK_GAIN = 0.02  # share of the pairs ranked wrong that weights by ranks must put right
FEW_ROWS = 20  # with fewer, members are processes, and each row is a fold
FEWER_FOLDS_ROWS = 1500  # from this number of rows on, three folds are enough


def fit_ensemble(
    labels: LabelledSet,
    values: FloatArray,
    target: str,
    family: str,
    settings: Settings,
    *,
    folds: int | None = None,
    describer: Describer | None = None,
    on_progress: OnProgress | None = None,
) -> EnsembleModel:
    """Fit ``family`` on labelled architectures whose target is ``values``; see :func:`autobuild.fit`.

    With more rows than a process can be exact on here, members learn from parts of the rows and are judged on others
    (:mod:`autobuild.models.many_rows`). Otherwise:

    Every number in the report is computed on rows that were held out from the members which predicted them. Two things
    are learned from all rows before that: the bend of the labels (one number), and the parameters of the kernels. From
    these the processes of the folds start learning (with fewer than 200 rows they learn until convergence); from 700
    rows on they are kept in the folds. The weights are fitted to the held-out predictions.

    Args:
        labels: The labelled set, ``n`` rows.
        values: The target of every row. Shape ``(n,)``.
        target: Text of the target.
        family: ``"auto"`` or the name of one member.
        settings: Settings of the members.
        folds: Number of cross-validation folds; None chooses it by the number of rows.
        describer: Describes the architectures (default: by their function).
        on_progress: Called with ``(phase, pieces done, pieces in all)``.

    Returns:
        The fitted model with its held-out predictions and report.

    Raises:
        LabelError: All rows are the same network.
    """
    started = time.perf_counter()
    describer = describer or Describer(labels.space)
    inputs = Inputs(labels.space, labels.archs, describer)
    exact = exact_rows()
    kinds = _kinds(family, inputs)
    few = len(values) < FEW_ROWS
    distinct = len(set(labels.keys))
    if distinct < 2:
        raise LabelError(f"all {len(values)} usable rows are one network, written in different ways: label others")
    work: _Work | ManyRows
    if len(values) > exact:
        count, parts = folds or 0, judged_parts(labels, folds, settings.seed)
        work = ManyRows(inputs, values, settings, parts, exact, on_progress)
    else:
        count = folds or min(len(values) if few else 3 if len(values) >= FEWER_FOLDS_ROWS else 5, distinct)
        parts = labels.folds(count, settings.seed)
        work = _Work(inputs, values, settings, on_progress)
    judged = np.sort(np.concatenate([test for _, test in parts]))
    with torch_threads(settings.config.threads), one_blas_thread():
        # The first process learns the warp of the labels, which all members share, even if no member is a process.
        first = next((kind for kind in kinds if _is_process(kind)), "linear")
        processes = {first: work.process(first)}
        warp = work.warp = processes[first].process.warp
        processes |= {kind: work.process(kind, warp) for kind in kinds if _is_process(kind) and kind != first}
        processes = {kind: member for kind, member in processes.items() if kind in kinds}
        out, sds = (
            {kind: own[judged] for kind, own in part.items()} for part in work.cross_validate(kinds, parts, processes)
        )
        latent = warp.latent(values[judged])
        best, weights = _weighed(out, latent)
        work.fitted |= processes
        members = {kind: work.final(kind) for kind in weights}
    combined = combine(out, weights)
    sd = sds[best] if best in sds else np.full(len(judged), float((combined - latent).std()) or 1.0)
    heldout = pd.DataFrame(
        {
            "arch": [inputs.archs[row].text for row in judged],
            "measured": values[judged],
            "predicted": warp.label(combined),
            "fold": _fold_numbers(parts, len(values))[judged],
            "error": (latent - combined) / (sd if best in sds else 1.0),
        },
        index=judged,
    )
    how = "cross-validated" if count else "held-out"
    parts_taken = work.approximations(out, latent, judged) if isinstance(work, ManyRows) else []
    report = {
        **evaluation(heldout),
        "n_test": len(judged),
        "folds": count,
        "members": _member_rows(out, weights, latent, best, work.seconds, work.dropped),
        "picked": _picked(out, weights, latent, best, work.dropped, how) + said(parts_taken),
        "approximations": parts_taken,
        "bend": warp.bend,
        "by_ranks": bool(warp.knots),
        "views": list(describer.views),
        "n_train": len(values) if count else len(parts[0][0]),
        "n_fitted_for_test": len(values) if count else len(parts[0][0]),
        "refit": bool(count),
        "fit_seconds": time.perf_counter() - started,
    }
    model = EnsembleModel(
        space=labels.space,
        target=target,
        family=family,
        training=pd.DataFrame({"arch": [arch.text for arch in inputs.archs], "target": values}),
        heldout=heldout,
        report=report,
        seed=settings.seed,
        members=members,
        weights=weights,
        base=best if _is_process(best) else None,
        warp=warp,
        views=describer.views,
        known=describer.known,
        trend=describer.trend,
        rows={kind: work.rows[kind] for kind in members if kind in work.rows} if isinstance(work, ManyRows) else {},
    )
    model.__dict__["training_archs"] = inputs.archs  # already read from their texts
    return model


def _kinds(family: str, inputs: Inputs) -> list[str]:
    if family != "auto":
        return [family]
    members = [kind for kind in MEMBERS if kind != "walks" or inputs.describer.walks]
    return members if len(inputs) >= FEW_ROWS else [kind for kind in members if _is_process(kind)]


def _is_process(kind: str) -> bool:
    return issubclass(FAMILIES[kind], ProcessMember)


def _base(out: Mapping[str, FloatArray], latent: FloatArray) -> str:
    """The process with the smallest held-out error; if there is none, the best of the other members."""
    bases = [kind for kind in out if _is_process(kind)] or list(out)
    return min(bases, key=lambda kind: float(((out[kind] - latent) ** 2).mean()))


def _weighed(out: Mapping[str, FloatArray], latent: FloatArray) -> tuple[str, dict[str, float]]:
    """The base member and the weights: by squared held-out errors of the latent values, or of their ranks.

    Squares of latent errors are decided by few labels if these are far from the others, or in two groups. Weights by
    ranks are taken if their ensemble ranks clearly fewer pairs of held-out rows wrong.
    """
    ordered = np.sort(latent)

    def rank(values: FloatArray) -> FloatArray:
        return np.asarray(np.interp(values, ordered, np.linspace(0, 1, len(ordered))))

    found = []
    for scaled, measured in ((out, latent), ({kind: rank(own) for kind, own in out.items()}, rank(latent))):
        best = _base(scaled, measured)
        found.append((best, stack(scaled, measured, best)))
    wrong = [1 - kendall_tau(combine(out, weights), latent) for _, weights in found]
    return found[int(wrong[1] < (1 - RANK_GAIN) * wrong[0])]


class _Work:
    """The fits of one ensemble, with their times and progress."""

    def __init__(self, inputs: Inputs, values: FloatArray, settings: Settings, on_progress: OnProgress | None) -> None:
        self.inputs, self.values, self.settings, self.on_progress = inputs, values, settings, on_progress
        self.warp = Warp(0.0, 1.0)
        self.seconds: dict[str, float] = {}
        self.dropped: dict[str, str] = {}
        self.fitted: dict[str, Member] = {}
        self._say("describing the networks", 0, 1)
        _ = inputs.description  # computed once; folds take rows of it

    def process(self, kind: str, warp: Warp | None = None) -> ProcessMember:
        """A process on all rows; without a warp it learns one."""
        phase = f"learning the {kind} kernel"
        settings = replace(self.settings, on_epoch=lambda done, total: self._say(phase, done, total))
        self._say(phase, 0, 1)
        with self._timed(kind):
            family = FAMILIES[kind]
            assert issubclass(family, ProcessMember)
            member: ProcessMember = family.fit(self.inputs, self.values, warp, settings)
            return member

    def cross_validate(
        self, kinds: Sequence[str], folds: Folds, processes: Mapping[str, ProcessMember]
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Held-out latent predictions of every kind not dropped, and standard deviations of the processes."""
        out: dict[str, FloatArray] = {}
        sds: dict[str, FloatArray] = {}
        for kind in sorted(kinds, key=lambda kind: list(LATE).index(kind) if kind in LATE else -1):
            with self._timed(kind):
                if kind in processes and len(self.values) >= self.settings.closed_form_rows:
                    out[kind], sds[kind] = processes[kind].process.held_out([test for _, test in folds])
                    continue
                if _is_process(kind):
                    out[kind], sds[kind] = self._process_folds(kind, folds, processes)
                    continue
                if out and len(self.values) >= LATE.get(kind, math.inf) and self._idle(kind, out, folds[0]):
                    continue
                predicted = np.full(len(self.values), np.nan)
                # networks are trained side by side, so that one more takes little time
                self._fold_predictions(kind, folds, predicted, final=kind == "graph")
                out[kind] = predicted
        return out, sds

    def _process_folds(
        self, kind: str, folds: Folds, processes: Mapping[str, ProcessMember]
    ) -> tuple[FloatArray, FloatArray]:
        """Held-out latent predictions and standard deviations of a process that is fitted on every fold."""
        predicted, sd = np.full(len(self.values), np.nan), np.full(len(self.values), np.nan)
        for number, (train, test) in enumerate(folds):

            def say(done: int, total: int, number: int = number) -> None:
                self._say(f"cross-validating {kind}", number * total + done, len(folds) * total)

            say(0, 1)
            how = {"start": processes[kind].process} if kind in processes else {}
            settings = replace(self.settings, on_epoch=say, phase=f"{kind}-{number}")
            member = self._fit(kind, self.inputs.take(train), self.values[train], settings, **how)
            assert isinstance(member, ProcessMember)
            predicted[test], sd[test] = member.process.predict(self.inputs.take(test).description)
        return predicted, sd

    def _fold_predictions(self, kind: str, folds: Folds, predicted: FloatArray, *, final: bool) -> None:
        """Write held-out latent predictions of a member; with ``final`` it is also fitted on all rows, and kept."""
        sets = [(self.inputs.take(train), self.values[train]) for train, _ in folds]
        phase = f"cross-validating {kind}"
        settings = replace(
            self.settings,
            on_epoch=lambda done, total: self._say(phase, done, total),
            phase=f"{kind}-{len(folds)}",
        )
        whole = [(self.inputs, self.values)] if final else []
        members = FAMILIES[kind].fit_many([*sets, *whole], self.warp, settings)
        if final:
            self.fitted[kind] = members[-1]
        for member, (_, test) in zip(members, folds, strict=False):
            predicted[test] = member.predict(self.inputs.take(test))

    def final(self, kind: str) -> Member:
        """The member fitted on all rows."""
        if kind not in self.fitted:
            settings = replace(
                self.settings, on_epoch=lambda done, total: self._say(f"fitting the {kind}", done, total)
            )
            with self._timed(kind):
                self.fitted[kind] = self._fit(kind, self.inputs, self.values, settings)
        return self.fitted[kind]

    def _idle(self, kind: str, out: Mapping[str, FloatArray], fold: tuple[Rows, Rows]) -> bool:
        """Whether a short fit of a member saves too little of the error on the first fold; it is dropped then."""
        rows = np.random.default_rng(self.settings.seed).permutation(fold[0])[:SCREEN_ROWS]
        how: dict[str, Any] = {"phase": "try", "steps": SCREEN_STEPS}
        settings = replace(self.settings, on_epoch=lambda done, total: self._say(f"trying {kind}", done, total), **how)
        member = self._fit(kind, self.inputs.take(rows), self.values[rows], settings)
        rows, gain = fold[1], SCREEN_GAIN if len(self.values) >= SCREEN_ROWS else 0.0
        predicted, latent = member.predict(self.inputs.take(rows)), self.warp.latent(self.values[rows])
        known = {name: values[rows] for name, values in out.items()}
        errors = []
        for both in (known, {**known, kind: predicted}):
            errors.append(float(((combine(both, _weighed(both, latent)[1]) - latent) ** 2).mean()))
        if errors[1] < (1 - gain) ** 2 * errors[0]:
            return False
        self.dropped[kind] = "no gain on the first fold"
        return True

    def _fit(self, kind: str, inputs: Inputs, values: FloatArray, settings: Settings, **how: Any) -> Member:
        member: Member = FAMILIES[kind].fit(inputs, values, self.warp, settings, **how)
        return member

    @contextmanager
    def _timed(self, kind: str) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - before

    def _say(self, phase: str, done: int, total: int) -> None:
        if self.on_progress:
            self.on_progress(phase, done, total)


def evaluation(heldout: pd.DataFrame) -> dict[str, Any]:
    """Metrics of held-out predictions, ``test_srcc`` and so on; NDCG is at k = 10."""
    measured, predicted = heldout["measured"].to_numpy(dtype=float), heldout["predicted"].to_numpy(dtype=float)
    metrics = {"srcc": srcc, "tau": kendall_tau, "ndcg": ndcg_at_k, "mae": mae}
    return {f"test_{name}": metric(predicted, measured) for name, metric in metrics.items()}


def _fold_numbers(folds: Folds, rows: int) -> Rows:
    out = np.zeros(rows, dtype=np.int64)
    for number, (_, test) in enumerate(folds):
        out[test] = number
    return out


def _member_rows(
    out: Mapping[str, FloatArray],
    weights: Mapping[str, float],
    latent: FloatArray,
    base: str,
    seconds: Mapping[str, float],
    dropped: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Ablation table: for every member its weight, its result alone, and the result of the ensemble without it."""
    rows: list[dict[str, Any]] = []
    for kind, predicted in out.items():
        others = {name: values for name, values in out.items() if name != kind}
        without = None
        if others and weights.get(kind):
            without = srcc(combine(others, _weighed(others, latent)[1]), latent)
        row: dict[str, Any] = {"member": kind, "weight": weights.get(kind, 0.0), "gives_intervals": kind == base}
        row |= {"srcc_alone": srcc(predicted, latent), "ndcg_alone": ndcg_at_k(predicted, latent)}
        row |= {"srcc_without": without, "seconds": seconds.get(kind), "note": ""}
        rows.append(row)
    for kind, why in dropped.items():
        row = {"member": kind, "weight": 0.0, "gives_intervals": False, "srcc_alone": None, "ndcg_alone": None}
        rows.append({**row, "srcc_without": None, "seconds": seconds.get(kind), "note": why})
    return rows


def _picked(
    out: Mapping[str, FloatArray],
    weights: Mapping[str, float],
    latent: FloatArray,
    base: str,
    dropped: Mapping[str, str],
    how: str,
) -> str:
    """One sentence on the members with a weight, their result, and the members without one."""
    shares = " + ".join(f"{weight:.2f} {kind}" for kind, weight in sorted(weights.items(), key=lambda item: -item[1]))
    whole = srcc(combine(out, weights), latent)
    text = f"{shares}: {how} SRCC {whole:.4f}"
    if len(weights) > 1:
        text += f" ({base} alone {srcc(out[base], latent):.4f})"
    left = [kind for kind in out if kind not in weights]
    reasons = [f"{kind} has weight 0" for kind in left] + [f"{kind}: {why}" for kind, why in dropped.items()]
    return text + ("; " + ", ".join(reasons) if reasons else "")
