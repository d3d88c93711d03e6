"""Samplers of a search by name, and the options of each."""

from __future__ import annotations

from dataclasses import dataclass

from autobuild.settings.names import LEVELS
from autobuild.settings.option import option


@dataclass(frozen=True)
class Genetic:
    """Options of samplers that keep a population."""

    mutation: str = option(
        "layer", "what changes at once: a layer's feature, a few layers of a unit, or a whole unit", choices=LEVELS
    )
    population: int = option(50, "how many networks are kept", ">=2")


@dataclass(frozen=True)
class Guided:
    """Options of the guided sampler."""

    refit_every: int | None = option(
        None, "evaluations between two fits (null: 5, or a twentieth of all if that is more)", ">=1"
    )


# Name -> one line of help, options, of those that ship.
SHIPPED: dict[str, tuple[str, type | None]] = {
    "auto": ("the sampler for the case: guided where at least 20 labels are given, else TPE", None),
    "tpe": ("tree-structured Parzen estimator, multivariate and in groups (Bergstra et al., 2011)", None),
    "motpe": ("TPE for several targets (Ozaki et al., 2020)", None),
    "nsga2": ("NSGA-II (Deb et al., 2002), with mutation and crossover of architectures", Genetic),
    "nsga3": ("NSGA-III (Deb and Jain, 2014), with mutation and crossover of architectures", Genetic),
    "gp": ("Optuna's Gaussian process; needs grain=unit", None),
    "random": ("at random, no network twice", None),
    "qmc": ("quasi-random: even coverage by a scrambled Sobol sequence", None),
    "evolution": ("regularised evolution (Real et al., 2019): the oldest of a population goes", Genetic),
    "guided": ("the fitted predictor's acquisition; it is fitted again as evaluations come in", Guided),
}
