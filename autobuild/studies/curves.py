"""How a search went: the best so far, or the hypervolume so far, after each evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from autobuild._typing import FloatArray
from autobuild.construct.pareto import hypervolume
from autobuild.studies.result import feasible

WORST = -0.1  # corner of the hypervolume: the worst of each target is 0, the best 1


def history(trials: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """One row for the start and one an evaluation, in order of the trials' numbers.

    Args:
        trials: As :func:`autobuild.studies.result.trials_of` gives them.
        targets: Expressions, each maximised.

    Returns:
        ``evaluations`` (0: the labels entered at the start), ``study, number, arch``, ``measured`` and ``best`` (so
        far; NaN before the first) of the first target, where only networks that keep the limits count; with two or
        three targets ``hypervolume``: each target scaled to 0..1 over all these networks, reference point -0.1.
    """
    own = trials[(trials["source"] == "search") & (trials["state"] != "RUNNING")]
    kept = feasible(trials)
    counts = kept.index.isin(own.index)
    start, found = kept[~counts & (kept["source"] == "label")].drop_duplicates("arch"), kept[counts]
    values = pd.concat([start, found])[list(targets)].to_numpy(dtype=float)
    at = dict(zip(found.index, range(len(start), len(values)), strict=True))
    places = [at.get(index) for index in own.index]
    measured = np.array([np.nan, *(np.nan if place is None else values[place, 0] for place in places)])
    first = values[: len(start), 0].max() if len(start) else np.nan
    frame = pd.DataFrame(
        {
            "evaluations": range(len(own) + 1),
            "study": ["", *own["study"]],
            "number": [-1, *own["number"]],
            "arch": ["", *own["arch"]],
            "measured": measured,
            "best": np.fmax.accumulate(np.array([first, *measured[1:]])),
        }
    )
    if len(targets) in (2, 3):
        frame["hypervolume"] = _volumes(values, len(start), places)
    return frame


def _volumes(values: FloatArray, n_start: int, places: Sequence[int | None]) -> list[float]:
    """The hypervolume after the start and after each evaluation; computed anew only where a point adds to the front."""
    low, high = values.min(axis=0, initial=np.inf), values.max(axis=0, initial=-np.inf)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    corner = np.full(values.shape[1], WORST)
    seen = scaled[:n_start]
    volumes = [hypervolume(seen, corner)]
    for place in places:
        if place is not None and not (seen >= scaled[place]).all(axis=1).any():
            seen = np.vstack([seen[~(seen <= scaled[place]).all(axis=1)], scaled[place]])
            volumes.append(hypervolume(seen, corner))
        else:
            volumes.append(volumes[-1])
    return volumes
