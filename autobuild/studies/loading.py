"""Reading a search from its storage, while it runs or later, without taking part in it."""

from __future__ import annotations

import optuna

from autobuild.errors import ConfigError, nearest
from autobuild.spaces import SearchSpace
from autobuild.studies.result import Search
from autobuild.studies.storage import open_storage, shown
from autobuild.studies.study import FACTS, load_stage


def load_search(storage: str, name: str) -> Search:
    """What the search ``name`` has found so far.

    Args:
        storage: Its address, see :mod:`autobuild.studies.storage`.
        name: Name of its (first) study.

    Raises:
        ConfigError: There is no such search.
        RunError: The storage cannot be reached.
    """
    opened = open_storage(storage)
    studies: list[optuna.Study] = []
    space: SearchSpace | None = None
    while (found := load_stage(opened, f"{name}/{len(studies) + 1}" if studies else name)) is not None:
        studies.append(found[0])
        space = found[1]
    if space is None:
        names = [summary.study_name for summary in optuna.get_all_study_summaries(opened.optuna)]
        raise ConfigError(f"no search {name!r} in {shown(storage)}: {nearest(name, names)}")
    return Search.read(space, studies[0].user_attrs[FACTS]["targets"], studies, opened.address)
