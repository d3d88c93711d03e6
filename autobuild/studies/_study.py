"""Open an Optuna study: the first worker creates it, others join it, and another search in its place is refused."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import optuna

from autobuild.errors import ConfigError
from autobuild.spaces import SearchSpace
from autobuild.studies._claims import GRANTED, Claims

if TYPE_CHECKING:
    from autobuild.studies.storage import Storage

INFO = "autobuild"  # user attribute of a study: what it searches, see study_info
_SPACE = "space_json"  # user attribute: the whole space
_POLL_SECONDS = 0.2


@contextlib.contextmanager
def exclusive(claims: Claims, task: str) -> Iterator[None]:
    """Run the block while no other worker of the study runs a block of the same ``task``."""
    while claims.claim(f"@{task}") != GRANTED:
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        claims.forget(f"@{task}")


def study_info(space: SearchSpace, targets: Sequence[str], grain: str, **more: Any) -> dict[str, Any]:
    """What a study stores about itself, JSON-ready: the space, the targets, the grain, and ``more``."""
    # Notes and descriptions do not change the space.
    declared = {key: value for key, value in space.to_dict().items() if key not in ("about", "note")}
    digest = sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()
    info = {"space": space.name, "size": str(space.size), "space_digest": digest}
    return {**info, "targets": list(targets), "grain": grain, **more}


def open_study(
    storage: Storage, name: str, space: SearchSpace, info: Mapping[str, Any]
) -> tuple[optuna.Study, dict[str, Any]]:
    """Create the study ``name``, or join it.

    Args:
        storage: Where the study is stored.
        name: Its name.
        space: The space that it searches.
        info: See :func:`study_info`.

    Returns:
        The study, with Optuna's default sampler, and its stored info. The entry ``id`` tells it from a deleted study of
        the same name.

    Raises:
        ConfigError: The study exists and has another space, other targets or limits, or another grain or hardware.
    """
    with exclusive(Claims(storage.claims, name), "open"):
        study = optuna.create_study(
            storage=storage.optuna,
            study_name=name,
            directions=["maximize"] * len(info["targets"]),
            load_if_exists=True,
        )
        stored = study.user_attrs.get(INFO)
        if stored is None:
            if study.get_trials(deepcopy=False):
                raise ConfigError(
                    f"study {name!r} in {storage.address} holds trials and was not made by autobuild: give another "
                    "name="
                )
            stored = {**info, "id": uuid.uuid4().hex[:12]}
            study.set_user_attr(_SPACE, space.to_json())
            study.set_user_attr(INFO, stored)
    _check_same_search(f"study {name!r} in {storage.address}", stored, info)
    return study, dict(stored)


def load_study(storage: Storage, name: str) -> tuple[optuna.Study, SearchSpace] | None:
    """The study ``name`` and its space; None if there is no such study, or none of autobuild's."""
    try:
        study = optuna.load_study(storage=storage.optuna, study_name=name)
    except KeyError:
        return None
    attrs, info = study.user_attrs, study.user_attrs.get(INFO)
    ours = isinstance(info, dict) and isinstance(info.get("targets"), list) and isinstance(attrs.get(_SPACE), str)
    return (study, SearchSpace.from_json(attrs[_SPACE])) if ours else None


def _check_same_search(study: str, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    if stored["space_digest"] != given["space_digest"]:
        raise ConfigError(
            f"{study} is of the space {stored['space']!r} ({int(stored['size']):,} architectures), and "
            f"{given['space']!r} ({int(given['size']):,} architectures) was given: give another name= or storage="
        )
    for key in ("targets", "grain", "where", "hardware"):
        if stored.get(key) != given.get(key):
            raise ConfigError(
                f"{study} has {key} {stored.get(key)!r}, and {given.get(key)!r} was given: give another name= or "
                "storage="
            )
