"""Fit an ensemble: members are cross-validated on the given labels, weighted, and then fitted on all rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
SCREENED = ("graph",)  # slow members: with many rows they are dropped after one fold if they get no weight
SCREEN_ROWS = 200
FEWER_FOLDS_ROWS = 1500  # from this number of rows on, three folds are enough


def fit_ensemble(
    labels: LabelledSet,
    values: FloatArray,
    target: str,
    family: str,
    settings: Settings,
    *,
    folds: int | None = None,
    on_progress: OnProgress | None = None,
) -> EnsembleModel:
    """Fit ``family`` on labelled architectures whose target is ``values``; see :func:`autobuild.fit`.

    Every number in the report is computed on rows that were held out from the members which predicted them. Two things
    are learned from all rows before that: the bend of the labels (one number), and the parameters from which the
    processes of the folds start learning (with fewer than 200 rows they learn until convergence). The weights are
    fitted to the held-out predictions.

    Args:
        labels: The labelled set, ``n`` rows.
        values: The target of every row. Shape ``(n,)``.
        target: Text of the target.
        family: ``"auto"`` or the name of one member.
        settings: Settings of the members.
        folds: Number of cross-validation folds; None chooses it by the number of rows.
        on_progress: Called with ``(phase, pieces done, pieces in all)``.

    Returns:
        The fitted model with its held-out predictions and report.

    Raises:
        LabelError: All rows are the same network.
    """
    started = time.perf_counter()
    inputs = Inputs(labels.space, labels.archs, Describer(labels.space))
    work = _Work(inputs, values, settings, on_progress)
    kinds = _kinds(family, inputs)
    distinct = len(set(labels.keys))
    if distinct < 2:
        raise LabelError(f"all {len(values)} usable rows are one network, written in different ways: label others")
    count = folds or min(3 if len(values) >= FEWER_FOLDS_ROWS else 5, distinct)
    parts = labels.folds(count, settings.seed)
    with torch_threads(settings.config.threads), one_blas_thread():
        processes = {kind: work.process(kind) for kind in kinds if _is_process(kind)}
        warp = next(iter(processes.values())).process.warp if processes else Warp.of(values)
        work.warp = warp
        if not processes:  # the bend of the labels is learned by a process even if no member is one
            work.warp = warp = work.process("linear").process.warp
        out, sds = work.cross_validate(kinds, parts, processes)
        latent = warp.latent(values)
        bases = [kind for kind in out if _is_process(kind)]
        best = min(bases or out, key=lambda kind: float(((out[kind] - latent) ** 2).mean()))
        weights = stack(out, latent, best)
        members: dict[str, Member] = {kind: work.final(kind, processes) for kind in weights}
    combined = combine(out, weights)
    sd = sds[best] if best in sds else np.full(len(values), float((combined - latent).std()) or 1.0)
    heldout = pd.DataFrame(
        {
            "arch": [arch.text for arch in labels.archs],
            "measured": values,
            "predicted": warp.label(combined),
            "fold": _fold_numbers(parts, len(values)),
            "error": (latent - combined) / (sd if best in sds else 1.0),
        }
    )
    report = {
        **evaluation(heldout),
        "n_test": len(values),
        "folds": count,
        "members": _member_rows(out, weights, latent, best, work.seconds, work.dropped),
        "picked": _picked(out, weights, latent, best, work.dropped),
        "bend": warp.bend,
        "n_train": len(values),
        "fit_seconds": time.perf_counter() - started,
    }
    return EnsembleModel(
        space=labels.space,
        target=target,
        family=family,
        training=pd.DataFrame({"arch": heldout["arch"], "target": values}),
        heldout=heldout,
        report=report,
        seed=settings.seed,
        members=members,
        weights=weights,
        base=best if _is_process(best) else None,
        warp=warp,
    )


def _kinds(family: str, inputs: Inputs) -> list[str]:
    if family != "auto":
        return [family]
    return [kind for kind in MEMBERS if kind != "walks" or inputs.describer.walks]


def _is_process(kind: str) -> bool:
    return issubclass(FAMILIES[kind], ProcessMember)


class _Work:
    """The fits of one ensemble, with their times and progress."""

    def __init__(self, inputs: Inputs, values: FloatArray, settings: Settings, on_progress: OnProgress | None) -> None:
        self.inputs, self.values, self.settings, self.on_progress = inputs, values, settings, on_progress
        self.warp = Warp(0.0, 1.0)
        self.seconds: dict[str, float] = {}
        self.dropped: dict[str, str] = {}
        _ = inputs.description  # computed once; folds take rows of it

    def process(self, kind: str) -> ProcessMember:
        self._say(f"learning the {kind} kernel", 0, 1)
        member = self._fit(kind, self.inputs, self.values, self.settings)
        self._say(f"learning the {kind} kernel", 1, 1)
        assert isinstance(member, ProcessMember)
        return member

    def cross_validate(
        self, kinds: Sequence[str], folds: Folds, processes: Mapping[str, ProcessMember]
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Held-out latent predictions of every kind not dropped, and standard deviations of the processes."""
        out: dict[str, FloatArray] = {}
        sds: dict[str, FloatArray] = {}
        for kind in sorted(kinds, key=lambda kind: kind in SCREENED):
            predicted, sd = np.full(len(self.values), np.nan), np.full(len(self.values), np.nan)
            for number, (train, test) in enumerate(folds):
                self._say(f"cross-validating {kind}", number, len(folds))
                member = self._fold(kind, train, processes, f"{kind}-{number}")
                part = self.inputs.take(test)
                if isinstance(member, ProcessMember):
                    predicted[test], sd[test] = member.process.predict(part.description)
                else:
                    predicted[test] = member.predict(part)
                if number == 0 and out and self._useless(kind, out, predicted, test):
                    break
            self._say(f"cross-validating {kind}", len(folds), len(folds))
            if kind not in self.dropped:
                out[kind] = predicted
                if _is_process(kind):
                    sds[kind] = sd
        return out, sds

    def final(self, kind: str, processes: Mapping[str, ProcessMember]) -> Member:
        """Fit a member on all rows."""
        if kind in processes:
            return replace(processes[kind], process=replace(processes[kind].process, warp=self.warp, _state={}))
        settings = self.settings
        if kind == "graph":
            settings = replace(
                settings, on_epoch=lambda done, total: self._say("fitting the graph encoder", done, total)
            )
        return self._fit(kind, self.inputs, self.values, settings)

    def _fold(self, kind: str, train: Rows, processes: Mapping[str, ProcessMember], phase: str) -> Member:
        start = processes[kind].process if kind in processes else None
        how = {} if start is None else {"start": replace(start, warp=self.warp, _state={})}
        settings = replace(self.settings, phase=phase)
        return self._fit(kind, self.inputs.take(train), self.values[train], settings, **how)

    def _useless(self, kind: str, out: Mapping[str, FloatArray], predicted: FloatArray, rows: Rows) -> bool:
        if kind not in SCREENED or len(self.values) < SCREEN_ROWS:
            return False
        latent = self.warp.latent(self.values[rows])
        known = {name: values[rows] for name, values in out.items()}
        bases = [name for name in known if _is_process(name)] or list(known)
        base = min(bases, key=lambda name: float(((known[name] - latent) ** 2).mean()))
        weights = stack({**known, kind: predicted[rows]}, latent, base)
        if weights.get(kind, 0.0) > 0:
            return False
        self.dropped[kind] = "no weight on the first fold"
        return True

    def _fit(self, kind: str, inputs: Inputs, values: FloatArray, settings: Settings, **how: Any) -> Member:
        before = time.perf_counter()
        member: Member = FAMILIES[kind].fit(inputs, values, self.warp, settings, **how)
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - before
        return member

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
            candidates = [name for name in others if _is_process(name)] or list(others)
            next_base = min(candidates, key=lambda name: float(((others[name] - latent) ** 2).mean()))
            without = srcc(combine(others, stack(others, latent, next_base)), latent)
        row: dict[str, Any] = {"member": kind, "weight": weights.get(kind, 0.0), "base": kind == base}
        row |= {"srcc_alone": srcc(predicted, latent), "ndcg_alone": ndcg_at_k(predicted, latent)}
        row |= {"srcc_without": without, "seconds": seconds.get(kind), "note": ""}
        rows.append(row)
    for kind, why in dropped.items():
        row = {"member": kind, "weight": 0.0, "base": False, "srcc_alone": None, "ndcg_alone": None}
        rows.append({**row, "srcc_without": None, "seconds": seconds.get(kind), "note": why})
    return rows


def _picked(
    out: Mapping[str, FloatArray],
    weights: Mapping[str, float],
    latent: FloatArray,
    base: str,
    dropped: Mapping[str, str],
) -> str:
    """One sentence on the members with a weight, their result, and the members without one."""
    shares = " + ".join(f"{weight:.2f} {kind}" for kind, weight in sorted(weights.items(), key=lambda item: -item[1]))
    whole = srcc(combine(out, weights), latent)
    text = f"{shares}: cross-validated SRCC {whole:.4f}"
    if len(weights) > 1:
        text += f" ({base} alone {srcc(out[base], latent):.4f})"
    left = [kind for kind in out if kind not in weights]
    reasons = [f"{kind} earned no weight" for kind in left] + [f"{kind}: {why}" for kind, why in dropped.items()]
    return text + ("; " + ", ".join(reasons) if reasons else "")
