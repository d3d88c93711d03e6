"""Shapes of inputs as keys of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from autobuild.errors import ConfigError


def shape_of(given: Sequence[int] | None) -> tuple[int, ...] | None:
    """Channels, height and width as given by ``shape=``; None where it is not. Raises ConfigError."""
    if given is None:
        return None
    if len(given) != 3 or min(given) < 1:
        raise ConfigError(f"shape={list(given)}: channels, height and width are accepted, each above 0")
    return tuple(given)
