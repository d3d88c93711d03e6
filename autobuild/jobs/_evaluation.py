"""The evaluator of a job, its seeds, and its executor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError

if TYPE_CHECKING:
    from autobuild.evaluate import Evaluator, ExecutorSettings
    from autobuild.labels import LabelledSet
    from autobuild.spaces import SearchSpace


def seeds_of(config: Mapping[str, Any]) -> int | list[int]:
    """The value of ``seeds=``: a number of seeds, or a list.

    Raises:
        ConfigError: Neither.
    """
    from autobuild.evaluate import seeds_of as checked

    try:
        given: int | list[int] = json.loads(str(config["seeds"]))
        checked(given)
    except (ValueError, ConfigError):
        text = f"seeds={config['seeds']}: accepted: how many, such as 2, or a list of them, such as [0,1]"
        raise ConfigError(text) from None
    return given


def executor_settings(config: Mapping[str, Any]) -> ExecutorSettings:
    """Of the group ``executor`` and the keys beside it."""
    from autobuild.evaluate import ExecutorSettings

    options = dict(config["executor"])
    kind = options.pop("kind")
    return ExecutorSettings(kind, config["n_jobs"], config["time_limit_s"], config["retries"], options)


def evaluator_of(
    config: Mapping[str, Any], space: SearchSpace, needs: Sequence[str] = (), labels: LabelledSet | None = None
) -> Evaluator:
    """The evaluator that ``evaluator=`` names; see :func:`autobuild.evaluate.as_evaluator`."""
    from autobuild.evaluate import as_evaluator

    def load_model(folder: str) -> Any:
        import autobuild as ab  # the models take a second, which most evaluators do not need

        return ab.load_model(folder)

    return as_evaluator(config["evaluator"], space, needs=needs, labels=labels, load_model=load_model)
