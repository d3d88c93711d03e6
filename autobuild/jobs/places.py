"""Which evaluator a job uses, and where its evaluations run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autobuild.evaluate import Evaluator, Place
    from autobuild.labels import LabelledSet
    from autobuild.spaces import SearchSpace


def place_of(config: Mapping[str, Any]) -> Place:
    """The group ``executor`` and the keys beside it (``conf/keys/executor.yaml``)."""
    from autobuild.evaluate import Place

    options = dict(config["executor"])
    kind = options.pop("kind")
    return Place(kind, config["workers"], config["time_limit"], config["retries"], options)


def evaluator_of(
    config: Mapping[str, Any], space: SearchSpace, needs: Sequence[str] = (), labels: LabelledSet | None = None
) -> Evaluator:
    """What ``evaluator=`` names; see :func:`autobuild.evaluate.as_evaluator`."""
    import autobuild as ab
    from autobuild.evaluate import as_evaluator

    return as_evaluator(config["evaluator"], space, needs=needs, labels=labels, load_model=ab.load_model)
