"""Opening a study: made by the first worker, joined by the others, refused where it is of something else."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError
from autobuild.studies.claims import GRANTED, Claims

if TYPE_CHECKING:
    import optuna

    from autobuild.spaces import SearchSpace
    from autobuild.studies.storage import Storage

FACTS = "autobuild"
# User attributes of trials. PASSED: why it was not evaluated, or why what came of it does not count; FROM: where a
# finished trial was taken over from, if it was not evaluated in this study.
ARCH, METRICS, PREDICTED, REASON, PASSED, FROM = "arch", "metrics", "predicted", "reason", "passed_over", "from"
LABEL = "label"
_POLL_SECONDS = 0.2


@contextlib.contextmanager
def alone(claims: Claims, task: str) -> Iterator[None]:
    """Do something that no other worker of the study may do at the same time."""
    while claims.claim(f"@{task}") != GRANTED:
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        claims.forget(f"@{task}")


def space_digest(space: SearchSpace) -> str:
    """The space as it is declared, narrowed units included; notes and descriptions left out."""
    data = {key: value for key, value in space.to_dict().items() if key not in ("about", "note")}
    return sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def facts_of(space: SearchSpace, targets: Sequence[str], grain: str, **more: Any) -> dict[str, Any]:
    """What a study says about itself."""
    told = {"space": space.name, "size": str(space.size), "space_digest": space_digest(space)}
    return {**told, "targets": list(targets), "grain": grain, **more}


def open_study(
    storage: Storage, name: str, space: SearchSpace, facts: Mapping[str, Any]
) -> tuple[optuna.Study, dict[str, Any]]:
    """Make the study ``name``, or join it.

    Its user attribute ``autobuild`` keeps ``facts`` and ``id``, which tells it from a deleted study of the same name;
    ``space_json`` keeps the whole space.

    Returns:
        The study, with Optuna's default sampler, and its facts.

    Raises:
        ConfigError: There is such a study of another space, or of other targets, limits, another grain or hardware.
    """
    import optuna

    with alone(Claims(storage.claims, f"{name}"), "open"):
        study = optuna.create_study(
            storage=storage.optuna,
            study_name=name,
            directions=["maximize"] * len(facts["targets"]),
            load_if_exists=True,
        )
        known = study.user_attrs.get(FACTS)
        if known is None:
            _refuse_foreign(study, storage)
            known = {**facts, "id": uuid.uuid4().hex[:12]}
            study.set_user_attr("space_json", space.to_json())
            study.set_user_attr(FACTS, known)
    _refuse_other(study, storage, known, facts)
    return study, dict(known)


def load_stage(storage: Storage, name: str) -> tuple[optuna.Study, SearchSpace] | None:
    """A study and its space, as it was opened; None where there is none."""
    import optuna

    from autobuild.spaces import SearchSpace

    try:
        study = optuna.load_study(storage=storage.optuna, study_name=name)
    except KeyError:
        return None
    attrs = study.user_attrs
    return (study, SearchSpace.from_json(attrs["space_json"])) if FACTS in attrs else None


def _refuse_foreign(study: optuna.Study, storage: Storage) -> None:
    if len(study.get_trials(deepcopy=False)):
        raise ConfigError(
            f"study {study.study_name!r} in {storage.address} holds trials and was not made by autobuild: give "
            "another name="
        )


def _refuse_other(study: optuna.Study, storage: Storage, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    where = f"study {study.study_name!r} in {storage.address}"
    if known["space_digest"] != asked["space_digest"]:
        raise ConfigError(
            f"{where} is of the space {known['space']!r} ({int(known['size']):,} architectures), and "
            f"{asked['space']!r} ({int(asked['size']):,} architectures) was given: give another name= or storage="
        )
    for key in ("targets", "grain", "where", "hardware"):
        if known.get(key) != asked.get(key):
            raise ConfigError(
                f"{where} has {key} {known.get(key)!r}, and {asked.get(key)!r} was given: give another name= or "
                "storage="
            )


def counts(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial is the final word on its network: not passed over, and not one whose worker was lost."""
    attrs = trial.user_attrs
    if not trial.state.is_finished() or ARCH not in attrs or PASSED in attrs:
        return False
    return trial.state.name != "FAIL" or REASON in attrs
