"""A sampler by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, nearest
from autobuild.labels import LabelledSet
from autobuild.spaces import SearchSpace
from autobuild.studies.samplers.base import ArchitectureSampler
from autobuild.studies.samplers.evolution import EvolutionSampler
from autobuild.studies.samplers.genetic import GeneticSampler
from autobuild.studies.samplers.guided import STARTUP, GuidedSampler
from autobuild.studies.samplers.simple import QMCArchitectureSampler, RandomArchitectureSampler
from autobuild.studies.samplers.wrapped import gp, tpe

if TYPE_CHECKING:
    from autobuild.studies._surrogates import LimitModels

SAMPLERS = ("auto", "tpe", "motpe", "nsga2", "nsga3", "gp", "random", "qmc", "evolution", "guided")
POPULATION = 50


def make_sampler(
    name: str,
    space: SearchSpace,
    *,
    grain: str = "layer",
    seed: int = 0,
    n_targets: int = 1,
    mutation: str = "layer",
    prior: LabelledSet | None = None,
    targets: Sequence[str] = ("acc",),
    costs: Mapping[str, Any] | None = None,
    model: str = "gp",
    refit_every: int | None = None,
    population: int | None = None,
    limits: LimitModels | None = None,
) -> ArchitectureSampler:
    """An Optuna sampler of architectures. All of them propose networks of the space, and none twice.

    Every sampler but ``"random"`` and ``"qmc"``, which learn nothing, is steered by constraints set on trials
    (``trial.set_constraint``), such as measured limits of a search: feasible trials come first, or have the say. In a
    search what is predicted to break a limit is not evaluated, whichever sampler proposes it.

    Args:
        name: ``"tpe"`` (multivariate, in groups; ``"motpe"`` for several targets), ``"nsga2"``, ``"nsga3"``, ``"gp"``
            (Optuna's Gaussian process, at grain ``"unit"``), ``"random"``, ``"qmc"``, ``"evolution"`` (regularised),
            ``"guided"`` (the fitted predictor's acquisition). ``"auto"``: guided where 20 labels are given, else TPE.
        space: The space.
        grain: ``"layer"`` or ``"unit"``.
        seed: Seed of everything random; workers of one study may share it.
        n_targets: Objectives of the study.
        mutation: ``"layer"``, ``"unit"`` or ``"candidate"``: what NSGA and evolution change at once.
        prior, targets, costs, model, refit_every, limits: Of the guided sampler, see :class:`GuidedSampler`.
        population: Of NSGA and evolution; 50 where None.

    Raises:
        ConfigError: An unknown name, or a sampler that cannot do what is asked; the message says why.
        SpaceError: An unknown grain or mutation level, or a unit of more than 512 candidates at grain ``"unit"``.
    """
    if name not in SAMPLERS:
        raise ConfigError(f"sampler={name!r}: {nearest(name, SAMPLERS)}")
    if isinstance(n_targets, bool) or not isinstance(n_targets, int) or n_targets < 1:
        raise ConfigError(f"n_targets={n_targets!r}: an integer of at least 1 is accepted")
    if name == "auto":
        name = "guided" if prior is not None and len(prior) >= STARTUP else "tpe"
    common: tuple[SearchSpace, str, int, str] = (space, grain, seed, mutation)
    if name in ("tpe", "motpe"):
        if name == "motpe" and n_targets == 1:
            raise ConfigError("sampler='motpe' is for several targets; one is searched: take sampler='tpe'")
        return tpe(*common)
    if name == "gp":
        if grain != "unit":
            raise ConfigError(
                f"sampler='gp' at grain={grain!r}: Optuna's Gaussian process models parameters that every trial has, "
                "and layers that only deep networks have are none: take grain='unit' (units of up to 512 candidates), "
                "or sampler='guided', whose predictor knows whole networks"
            )
        return gp(*common)
    if name in ("nsga2", "nsga3"):
        return GeneticSampler(*common, population=_given(population), version=int(name[-1]))
    if name == "evolution":
        return EvolutionSampler(*common, population=_given(population))
    if name == "guided":
        return _guided(common, n_targets, prior, targets, costs, model, refit_every, limits)
    return (RandomArchitectureSampler if name == "random" else QMCArchitectureSampler)(*common)


def _given(population: int | None) -> int:
    return POPULATION if population is None else population


def _guided(
    common: tuple[SearchSpace, str, int, str],
    n_targets: int,
    prior: LabelledSet | None,
    targets: Sequence[str],
    costs: Mapping[str, Any] | None,
    model: str,
    refit_every: int | None,
    limits: LimitModels | None,
) -> GuidedSampler:
    if prior is not None and len(targets) != n_targets:
        raise ConfigError(f"targets: given {list(targets)} for {n_targets} objectives; accepted: one expression each")
    if prior is not None and prior.space.family != common[0].family:
        raise ConfigError(f"prior: labels of {prior.space.family!r}; the space searched is of {common[0].family!r}")
    how: dict[str, Any] = {"model": model, "refit_every": refit_every, "limits": limits}
    return GuidedSampler(*common, prior=prior, targets=targets, costs=costs, **how)
