"""Checks of numeric options of losses and metrics, with uniform error messages."""

from __future__ import annotations

import math
import numbers

from autobuild.errors import ConfigError


def positive(name: str, value: object, limit: float = math.inf) -> None:
    """Raise ConfigError unless ``value`` is a finite number above 0 and at most ``limit``."""
    if not (isinstance(value, numbers.Real) and 0 < float(value) <= limit and float(value) < math.inf):
        bound = "" if limit == math.inf else f" and up to {limit:g}"
        raise ConfigError(f"{name}: given {value!r}, accepted: a finite number above 0{bound}")


def whole(name: str, value: object, least: int = 1) -> None:
    """Raise ConfigError unless ``value`` is an integer of at least ``least``."""
    if not (isinstance(value, numbers.Integral) and int(value) >= least):
        raise ConfigError(f"{name}: given {value!r}, accepted: a whole number from {least}")


def share(name: str, value: object) -> None:
    """Raise ConfigError unless ``value`` is a number from 0 to 1."""
    if not (isinstance(value, numbers.Real) and 0 <= float(value) <= 1):
        raise ConfigError(f"{name}: given {value!r}, accepted: a number from 0 to 1")
