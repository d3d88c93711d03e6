"""Samplers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from autobuild.labels import LabelledSet
from autobuild.registry import SAMPLERS
from autobuild.settings.option import integer
from autobuild.spaces import SearchSpace
from autobuild.studies.samplers.base import ArchitectureSampler

if TYPE_CHECKING:
    from autobuild.studies._surrogates import LimitModels

Made = TypeVar("Made", bound=Callable[..., ArchitectureSampler])
STARTUP = 20  # labels from which ``auto`` is the guided sampler


def register_sampler(name: str) -> Callable[[Made], Made]:
    """Decorator that registers a sampler, for ``ab.search(..., sampler=name)`` and ``sampler=name``.

    It decorates a subclass of :class:`ArchitectureSampler`, or a function that returns one. It is called with those
    arguments of :func:`make_sampler` that its signature names; its other arguments are its options and have defaults.
    A package declares its sampler as an entry point of the group ``autobuild.samplers``.

    Args:
        name: Its name, as for :meth:`autobuild.registry.Registry.register`, which says what errors there are.

    Returns:
        The decorator.
    """
    return SAMPLERS.register(name)


def make_sampler(
    name: str,
    space: SearchSpace,
    *,
    grain: str = "layer",
    seed: int = 0,
    n_targets: int = 1,
    prior: LabelledSet | None = None,
    targets: Sequence[str] = ("acc",),
    costs: Mapping[str, Any] | None = None,
    model: str = "gp",
    limits: LimitModels | None = None,
    **options: Any,
) -> ArchitectureSampler:
    """An Optuna sampler of architectures. All of them propose networks of the space, and none twice.

    Every sampler but ``"random"`` and ``"qmc"``, which learn nothing, is steered by constraints set on trials
    (``trial.set_constraint``), such as measured limits of a search: feasible trials are preferred. In a search what is
    predicted to break a limit is not evaluated, whichever sampler proposes it.

    Args:
        name: ``"tpe"`` (multivariate, in groups; ``"motpe"`` for several targets), ``"nsga2"``, ``"nsga3"``, ``"gp"``
            (Optuna's Gaussian process, at grain ``"unit"``), ``"random"``, ``"qmc"``, ``"evolution"`` (regularised),
            ``"guided"`` (the fitted predictor's acquisition), or a registered one. ``"auto"``: guided where 20 labels
            are given, else TPE.
        space: The space.
        grain: ``"layer"`` or ``"unit"``.
        seed: Seed of everything random; workers of one study may share it.
        n_targets: Objectives of the study.
        prior, targets, costs, model, limits: Of the guided sampler, see :class:`GuidedSampler`.
        **options: Options of this sampler alone, such as ``mutation`` (``"layer"``, ``"unit"`` or ``"candidate"``) and
            ``population`` of evolution and NSGA, or ``refit_every`` of the guided one.

    Raises:
        ConfigError: An unknown name or option, or a sampler that cannot do what is asked; the message says why.
        SpaceError: An unknown grain or mutation level, or a unit of more than 512 candidates at grain ``"unit"``.
    """
    n_targets = integer("n_targets", n_targets)
    if name == "auto":
        name = "guided" if prior is not None and len(prior) >= STARTUP else "tpe"
    given = {"space": space, "grain": grain, "seed": seed, "n_targets": n_targets, "prior": prior, "targets": targets,
             "costs": costs, "model": model, "limits": limits}  # fmt: skip
    sampler: ArchitectureSampler = SAMPLERS.make(name, given, options)
    return sampler
