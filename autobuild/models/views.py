"""Which descriptions fit a target: of the function that networks compute, or of what is executed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autobuild.labels import TargetValues
from autobuild.models.describe import Describer
from autobuild.models.gp_family import GPMember
from autobuild.models.known import Column, SourceColumn
from autobuild.models.members import Inputs
from autobuild.models.process import fit_process

ROWS = 200  # at most, from which views are compared
FUNCTION = ("function",)
EXECUTION = (("written",), ("pruned",), ("function", "written"))


def describer_for(
    part: TargetValues, columns: Sequence[Column], seed: int = 0
) -> tuple[Describer, list[dict[str, Any]]]:
    """The descriptions that fit a target, chosen by the marginal likelihood of a process.

    Costs of what is executed are known numbers about which the process varies. A source, which is the prediction of
    another model, takes their place if labels are likelier with it; otherwise it is dropped.

    Args:
        part: The target.
        columns: Features and sources.
        seed: Seed of the rows that are compared if there are many.

    Returns:
        The describer, and of each source its name, whether it is kept, and how much the log-likelihood gains by it.
    """
    labels, space, of = part.labels, part.labels.space, part.equality.of
    rows = np.random.default_rng(seed).permutation(len(labels))[:ROWS]
    archs, values = [labels.archs[row] for row in rows], part.values[rows]
    features = [column for column in columns if not isinstance(column, SourceColumn)]
    sources = [column for column in columns if isinstance(column, SourceColumn)]

    def likelihood(describer: Describer) -> float:
        inputs = Inputs(space, archs, describer)
        parts = GPMember.parts_of(inputs)
        return (
            len(values)
            * fit_process(inputs.description, values, parts, seed=seed, residual=describer.residual).evidence
        )

    given: list[tuple[str, ...]] = [FUNCTION]
    if of != "function" and space.executed().equal == "execution":
        given = [FUNCTION, *EXECUTION] if of == "either" else list(EXECUTION)
    found = {v: Describer(space, views=v, known=features, trend=of == "execution") for v in given}
    scores = {views: likelihood(one) for views, one in found.items()} if len(found) > 1 or sources else {}
    best = max(found, key=lambda views: scores.get(views, 0.0))
    report, kept = [], []
    for source in sources:
        gain = likelihood(Describer(space, views=best, known=[*features, source])) - scores[best]
        report.append({"source": source.name, "kept": gain > 0, "gain": gain})
        kept += [source] if gain > 0 else []
    if not kept:
        return found[best], report
    return Describer(space, views=best, known=[*features, *kept]), report
