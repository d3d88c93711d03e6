"""Checks of the numbers that the losses and metrics take, with one wording."""

from __future__ import annotations

import math
import numbers

from autobuild.errors import ConfigError


def positive(name: str, value: object, limit: float = math.inf) -> None:
    """Refuse (ConfigError) whatever is not a finite number above 0 and up to ``limit``."""
    if not (isinstance(value, numbers.Real) and 0 < float(value) <= limit and float(value) < math.inf):
        bound = "" if limit == math.inf else f" and up to {limit:g}"
        raise ConfigError(f"{name}: given {value!r}, accepted: a finite number above 0{bound}")


def whole(name: str, value: object, least: int = 1) -> None:
    """Refuse (ConfigError) whatever is not a whole number from ``least``."""
    if not (isinstance(value, numbers.Integral) and int(value) >= least):
        raise ConfigError(f"{name}: given {value!r}, accepted: a whole number from {least}")


def share(name: str, value: object) -> None:
    """Refuse (ConfigError) whatever is not a number from 0 to 1."""
    if not (isinstance(value, numbers.Real) and 0 <= float(value) <= 1):
        raise ConfigError(f"{name}: given {value!r}, accepted: a number from 0 to 1")
