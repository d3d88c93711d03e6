"""What the toolkit's samplers add to a trial of bare Optuna: same sampler, same storage, same parameters.

A study on SQLite is filled with finished trials of OFA-MobileNetV3 at layer grain; then trials are asked for, suggested
and told, one way and the other in turn, and the medians are compared. Bare: Optuna's sampler and a user's own objective
that suggests the same parameters.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd

import autobuild as ab
from autobuild.search.samplers import make_sampler
from autobuild.spaces import SearchSpace

TRIALS = (1_000, 10_000)
MEASURED = 12  # trials of each kind
SAMPLERS = ("random", "tpe", "nsga2")
OPTIONS = {"revision": 1}
NOTE = (
    "One trial of OFA-MobileNetV3 with layer-wise parameters on SQLite, asked for, suggested and told, in "
    "milliseconds: medians of 12 trials in turn with bare Optuna on the same study, then the median over repetitions."
)


def bare_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


def filled(url: str, space: SearchSpace, trials: int, seed: int) -> optuna.Study:
    """A study with so many finished trials."""
    study = optuna.create_study(storage=url, study_name="s", direction="maximize")
    rng = np.random.default_rng(seed)
    made = []
    for arch in space.sample(trials, rng, "depth"):
        choices = {n: optuna.distributions.CategoricalDistribution(c) for n, c in space.choices(arch).items()}
        made.append(
            optuna.create_trial(
                params=space.params(arch), distributions=choices, values=[len(arch.text) + rng.normal()]
            )
        )
    study.add_trials(made)
    return study


def timed(study: optuna.Study, sampler: optuna.samplers.BaseSampler, space: SearchSpace) -> tuple[float, float]:
    """Milliseconds of one trial: on the clock, and of this process."""
    study.sampler = sampler
    began = time.perf_counter(), time.process_time()
    trial = study.ask()
    arch = space.suggest(trial)
    study.tell(trial, float(len(arch.text)))
    return 1e3 * (time.perf_counter() - began[0]), 1e3 * (time.process_time() - began[1])


def measure(name: str, trials: int, seed: int) -> dict[str, float]:
    """Of a trial ``bare_ms`` and ``ours_ms``, ``bare_cpu_ms`` and ``ours_cpu_ms``; ``added_ms`` and ``added_cpu_ms``.

    The first trial of each kind, which reads the whole study, stands apart: ``first_bare_ms`` and ``first_ours_ms``.
    """
    space = ab.space("ofa_mbv3")
    with tempfile.TemporaryDirectory() as folder:
        study = filled(f"sqlite:///{Path(folder) / 'study.db'}", space, trials, seed)
        ours, bare = make_sampler(name, space, seed=seed), bare_sampler(name, seed)
        first = np.array([timed(study, sampler, space) for sampler in (bare, ours)])
        times = np.array([[timed(study, sampler, space) for sampler in (bare, ours)] for _ in range(MEASURED)])
    found = {"first_bare_ms": float(first[0, 0]), "first_ours_ms": float(first[1, 0])}
    for place, unit in enumerate(("ms", "cpu_ms")):
        middle = np.median(times[:, :, place], axis=0)
        found |= {f"bare_{unit}": float(middle[0]), f"ours_{unit}": float(middle[1])}
        found[f"added_{unit}"] = float(np.median(times[:, 1, place] - times[:, 0, place]))
    return found


def table(frame: pd.DataFrame, options: str, of_cell: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """A row a sampler and number of trials."""
    rows = []
    for name in SAMPLERS:
        for trials in TRIALS:
            own = of_cell(frame, f"overhead_{trials}", name, options)
            if not own.empty:
                row: dict[str, object] = {"sampler": name, "trials in the study": trials, "repetitions": len(own)}
                named = (
                    ("bare Optuna", "bare_ms"),
                    ("with the toolkit", "ours_ms"),
                    ("added", "added_ms"),
                    ("bare Optuna, CPU", "bare_cpu_ms"),
                    ("added, CPU", "added_cpu_ms"),
                )
                row |= {said: round(float(own[column].median()), 1) for said, column in named}
                row["first trial added"] = round(float((own["first_ours_ms"] - own["first_bare_ms"]).median()), 0)
                rows.append(row)
    return pd.DataFrame(rows)
