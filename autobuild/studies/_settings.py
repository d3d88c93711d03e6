"""The arguments of a search, checked before any storage is opened."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import optuna

from autobuild.errors import ConfigError, nearest
from autobuild.labels import LabelledSet
from autobuild.labels.labelled_set import check_labels
from autobuild.models import FittedModel
from autobuild.registry import FAMILIES, SAMPLERS
from autobuild.settings.names import GRAINS, PRUNERS
from autobuild.settings.option import integer
from autobuild.spaces import SearchSpace, check_space
from autobuild.spaces.parameters import default_grain
from autobuild.studies._objective import Objective

MIN_LABELS = 20  # fewest labels that a model is fitted on
_PRUNERS = {
    "asha": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "median": optuna.pruners.MedianPruner,
}
_CRITERIA = ("top", "threshold", "mass", "share")
_NARROW = "a mapping is accepted, such as {'share': 0.02, 'rounds': 3}"


@dataclass(frozen=True)
class Narrowing:
    """How a search narrows its space.

    Attributes:
        criterion: Exactly one of ``top``, ``threshold``, ``mass`` and ``share``, with its value, as in
            :meth:`~autobuild.importance.scores.Scores.narrow`.
        rounds: How many times the space is narrowed; each round gets an equal share of the evaluations.
    """

    criterion: Mapping[str, float]
    rounds: int = 1

    @classmethod
    def read(cls, given: Mapping[str, Any] | None) -> Narrowing | None:
        """Read a mapping such as ``{"share": 0.02, "rounds": 3}``; entries with the value None are left out.

        Raises:
            ConfigError: An unknown entry, none or several of the four criteria, or an unusable number of rounds.
        """
        if not isinstance(given, Mapping | None):
            raise ConfigError(f"narrow={given!r}: {_NARROW}")
        if given is None or not any(value is not None for value in given.values()):
            return None
        for name in given:
            if name not in (*_CRITERIA, "rounds"):
                raise ConfigError(f"narrow has no {name!r}: {nearest(name, (*_CRITERIA, 'rounds'))}")
        criterion = {name: given[name] for name in _CRITERIA if given.get(name) is not None}
        if len(criterion) != 1:
            raise ConfigError(f"narrow takes exactly one of {', '.join(_CRITERIA)}; given: {dict(given)}")
        rounds = given.get("rounds") if given.get("rounds") is not None else 1
        return cls(criterion, integer("narrow: rounds", rounds))


@dataclass(frozen=True)
class Settings:
    """The arguments of :func:`autobuild.search`, which explains them.

    Raises:
        ConfigError: An argument is not usable.
    """

    space: SearchSpace
    objective: Objective
    n_trials: int
    sampler: str | optuna.samplers.BaseSampler
    grain: str
    name: str
    seed: int
    retries: int
    pruner: optuna.pruners.BasePruner
    prunes: bool
    prior: LabelledSet | None = None
    model: str | FittedModel | Sequence[FittedModel] | None = "gp"
    narrowing: Narrowing | None = None
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    lease_s: float = 120.0

    def __post_init__(self) -> None:
        check_space(self.space)
        self._check_kinds()
        for name, least in {"n_trials": 1, "retries": 0, "seed": 0}.items():
            object.__setattr__(self, name, integer(name, getattr(self, name), least))
        if self.grain not in ("auto", *GRAINS):
            raise ConfigError(f"grain={self.grain!r}: {nearest(self.grain, ('auto', *GRAINS))}")
        if self.narrowing is not None and self.model is None:
            raise ConfigError("narrow needs a model: model=None was given")
        labels = len(self.prior) if self.prior is not None else 0
        if self.narrowing is not None and isinstance(self.model, str) and labels + self.n_trials <= MIN_LABELS:
            raise ConfigError(
                f"narrow: {labels} labels and n_trials={self.n_trials} are too few: a model needs {MIN_LABELS} labels "
                "and evaluations before it narrows; raise n_trials or give prior="
            )

    def _check_kinds(self) -> None:
        """Check the types of the arguments that accept several."""
        if not isinstance(self.sampler, str | optuna.samplers.BaseSampler):
            raise ConfigError(f"sampler={self.sampler!r}: a name such as 'auto', or a sampler of Optuna is accepted")
        if not isinstance(self.sampler_options, Mapping):
            raise ConfigError(f"sampler_options={self.sampler_options!r}: a mapping is accepted: {{'population': 20}}")
        if isinstance(self.sampler, str):
            SAMPLERS.check(self.sampler)
        several = isinstance(self.model, Sequence) and not isinstance(self.model, str)
        models = list(self.model) if several else [self.model]  # type: ignore[arg-type]
        if not all(isinstance(model, FittedModel) for model in models) and self.model not in (None, *FAMILIES.choices):
            raise ConfigError(
                f"model={self.model!r}: {nearest(self.model, FAMILIES.choices)}; None, a fitted model or a list of "
                "them, too"
            )

    def grain_of(self, space: SearchSpace) -> str:
        """The grain for ``space``, which is the given space or one narrowed from it."""
        return default_grain(space) if self.grain == "auto" else self.grain

    @property
    def hardware(self) -> str | None:
        """Name and digest of the hardware whose costs the targets and limits use; None if they use none."""
        given = [getattr(cost, "hardware", None) for cost in self.objective.named_costs.values()]
        presets = [replace(hardware, source="") for hardware in given if hardware is not None]
        texts = {f"{preset.name} ({sha256(repr(preset).encode()).hexdigest()[:8]})" for preset in presets}
        return " and ".join(sorted(texts)) or None

    @property
    def where(self) -> str | None:
        """The limits in their canonical form; None if there are none."""
        return " and ".join(limit.text for limit in self.objective.limits) or None


def check_seconds(name: str, value: Any, *, zero: bool = False) -> None:
    """Raise a ConfigError unless ``value`` is a number above 0, or 0 if ``zero`` allows it."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not (value > 0 or (zero and value == 0)):
        raise ConfigError(f"{name}={value!r}: seconds {'from' if zero else 'above'} 0 are accepted")


def check_prior(prior: Any, space: SearchSpace) -> None:
    """Raise a ConfigError unless ``prior`` is None or a labelled set of the space's family."""
    if prior is not None and check_labels(prior, "prior").space.family != space.family:
        raise ConfigError(f"prior: labels of {prior.space.family!r}; the space searched is of {space.family!r}")


def make_pruner(pruner: str | optuna.pruners.BasePruner | None, n_targets: int = 1) -> optuna.pruners.BasePruner:
    """Create a pruner of Optuna.

    Args:
        pruner: ``None`` or ``"none"``; ``"asha"``: asynchronous successive halving (Li et al., MLSys 2020), where a
            quarter of the trials goes on at each rung, from the first step; ``"hyperband"`` (Li et al., JMLR 2018);
            ``"median"``: trials end that are below the median of earlier ones at the same step; or a pruner of Optuna.
        n_targets: Number of targets.

    Raises:
        ConfigError: An unknown name, or a pruner for several targets, for which Optuna takes no intermediate values.
    """
    if pruner is None or pruner == "none":
        return optuna.pruners.NopPruner()
    if n_targets > 1:
        raise ConfigError(
            f"pruner={pruner}: there are {n_targets} targets, and pruning compares values of a single one"
        )
    if isinstance(pruner, optuna.pruners.BasePruner):
        return pruner
    if not isinstance(pruner, str) or pruner not in _PRUNERS:
        raise ConfigError(f"pruner={pruner!r}: {nearest(pruner, PRUNERS)}")
    return _PRUNERS[pruner]()
