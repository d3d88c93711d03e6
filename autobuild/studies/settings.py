"""What a search was asked for, checked before anything is opened."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, nearest
from autobuild.labels import LabelledSet
from autobuild.labels.labelled_set import check_labels
from autobuild.models import FittedModel
from autobuild.registry import FAMILIES, SAMPLERS
from autobuild.settings.names import GRAINS
from autobuild.spaces import SearchSpace, check_space
from autobuild.spaces.parameters import default_grain
from autobuild.studies.objective import Objective

if TYPE_CHECKING:
    import optuna

FEWEST = 20  # labels that a model is fitted on
_HOW = ("top", "threshold", "mass", "share")
_NARROW = "a mapping is accepted, such as {'share': 0.02, 'rounds': 3}"


@dataclass(frozen=True)
class Narrowing:
    """How a search narrows its space on the way.

    Attributes:
        how: Exactly one of ``top``, ``threshold``, ``mass`` and ``share``, as of ``scores.narrow``.
        rounds: How often; the evaluations are shared out equally.
    """

    how: Mapping[str, float]
    rounds: int = 1

    @classmethod
    def read(cls, given: Mapping[str, Any] | None) -> Narrowing | None:
        """From a mapping such as ``{"share": 0.02, "rounds": 3}``; entries that are None are none.

        Raises:
            ConfigError: An unknown entry, none or several of the four ways, or an unusable number of rounds.
        """
        if not isinstance(given, Mapping | None):
            raise ConfigError(f"narrow={given!r}: {_NARROW}")
        if given is None or not any(value is not None for value in given.values()):
            return None
        for name in given:
            if name not in (*_HOW, "rounds"):
                raise ConfigError(f"narrow has no {name!r}: {nearest(name, (*_HOW, 'rounds'))}")
        how = {name: given[name] for name in _HOW if given.get(name) is not None}
        if len(how) != 1:
            raise ConfigError(f"narrow takes exactly one of {', '.join(_HOW)}; given: {dict(given)}")
        rounds = given.get("rounds") if given.get("rounds") is not None else 1
        if isinstance(rounds, bool) or not isinstance(rounds, numbers.Integral) or rounds < 1:
            raise ConfigError(f"narrow: rounds={rounds!r}: an integer of at least 1 is accepted")
        return cls(how, int(rounds))


@dataclass(frozen=True)
class Settings:
    """What :func:`autobuild.studies.searching.search` was asked for; see there."""

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
            check_integer(name, getattr(self, name), least)
        if self.grain not in ("auto", *GRAINS):
            raise ConfigError(f"grain={self.grain!r}: {nearest(self.grain, ('auto', *GRAINS))}")
        if self.narrowing is not None and self.model is None:
            raise ConfigError("narrow needs a model: model=None was given")
        known = len(self.prior) if self.prior is not None else 0
        if self.narrowing is not None and isinstance(self.model, str) and known + self.n_trials <= FEWEST:
            raise ConfigError(
                f"narrow: {known} labels and n_trials={self.n_trials} are too few: a model needs {FEWEST} labels and "
                "evaluations before it narrows; raise n_trials or give prior="
            )

    def _check_kinds(self) -> None:
        """Refuse what is of another kind than is accepted."""
        import optuna

        if not isinstance(self.sampler, str | optuna.samplers.BaseSampler):
            raise ConfigError(f"sampler={self.sampler!r}: a name such as 'auto', or a sampler of Optuna is accepted")
        if not isinstance(self.sampler_options, Mapping):
            raise ConfigError(f"sampler_options={self.sampler_options!r}: a mapping is accepted: {{'population': 20}}")
        if isinstance(self.sampler, str):
            SAMPLERS.check(self.sampler)
        several = isinstance(self.model, Sequence) and not isinstance(self.model, str)
        models = list(self.model) if several else [self.model]  # type: ignore[arg-type]
        if not all(isinstance(own, FittedModel) for own in models) and self.model not in (None, *FAMILIES.choices):
            raise ConfigError(
                f"model={self.model!r}: {nearest(self.model, FAMILIES.choices)}; None, a fitted model or a list of "
                "them, too"
            )

    def grain_of(self, space: SearchSpace) -> str:
        """The grain for a space, which may be narrower than the one given."""
        return default_grain(space) if self.grain == "auto" else self.grain

    @property
    def hardware(self) -> str | None:
        """What the costs that targets and limits name are computed for, and a digest of its numbers; None where none of
        them asks for a hardware."""
        told = [getattr(cost, "hardware", None) for cost in self.objective.named_costs.values()]
        numbers = [replace(one, source="") for one in told if one is not None]
        described = {f"{one.name} ({sha256(repr(one).encode()).hexdigest()[:8]})" for one in numbers}
        return " and ".join(sorted(described)) or None

    @property
    def where(self) -> str | None:
        """The limits in their canonical form."""
        return " and ".join(limit.text for limit in self.objective.limits) or None


def check_integer(name: str, value: Any, least: int) -> None:
    """Raise a ConfigError unless ``value`` is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ConfigError(f"{name}={value!r}: an integer of at least {least} is accepted")


def check_seconds(name: str, value: Any, *, zero: bool = False) -> None:
    """Raise a ConfigError unless ``value`` is a number above 0, or 0 where ``zero`` allows it."""
    right = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not right or not (value > 0 or (zero and value == 0)):
        raise ConfigError(f"{name}={value!r}: seconds {'from' if zero else 'above'} 0 are accepted")


def check_prior(prior: Any, space: SearchSpace) -> None:
    """Raise a ConfigError unless ``prior`` is None, or labels of the space's family."""
    if prior is not None and check_labels(prior, "prior").space.family != space.family:
        raise ConfigError(f"prior: labels of {prior.space.family!r}; the space searched is of {space.family!r}")
