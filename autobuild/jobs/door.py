"""Turns a configuration that Hydra has composed into the plain, checked arguments of a job, with its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, nearest
from autobuild.jobs.options import Job, kinds_of_groups, read_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

WRITE_NOTHING = ("spaces", "fetch")  # jobs that make no folder unless out= names one


def arguments(composed: DictConfig) -> tuple[str, dict[str, Any]]:
    """The job that was chosen, and its checked arguments; Hydra's own settings are those of the running job.

    Raises:
        ConfigError: A key that the job does not have, lacks, or a value of the wrong kind.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from autobuild.jobs.sweeps import folder_of_job, goes_before

    settings = HydraConfig.get()
    job = read_job(str(settings.runtime.choices["job"]))
    config = checked(job, composed)
    if settings.job.chdir:
        raise ConfigError(
            "hydra.job.chdir=true: paths such as labels= are read from the folder where the command is typed; "
            "out= says where the results go"
        )
    if settings.mode == RunMode.MULTIRUN:
        if config["out"] is not None or job.name not in WRITE_NOTHING:
            config["out"] = folder_of_job(job.name, config, settings)
    elif goes_before(config["out"], "hydra.run.dir", settings):
        config["out"] = str(settings.run.dir)
    return job.name, config


def checked(job: Job, composed: DictConfig) -> dict[str, Any]:
    """The arguments of a job as plain values.

    Raises:
        ConfigError: A key that the job does not have, lacks, or a value of the wrong kind.
    """
    from omegaconf import OmegaConf

    raw = str(OmegaConf.to_container(composed, resolve=False))
    plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    own = {name.split(".")[0] for name in job.keys}
    # A key of the user's own may stand in a configuration for others to refer to.
    used = {str(name): value for name, value in plain.items() if name in own or f"${{{name}" not in raw}
    for name, key in job.keys.items():
        if name.split(".")[0] not in job.groups and not _has(used, name):
            raise ConfigError(f"job {job.name}: key {name!r} is missing; its default is {name}={key.default}")
    for group in job.groups:
        _check_group(job, group, used.get(group))
    if strange := [name for name in used if name not in own]:
        raise ConfigError(
            f"job {job.name}: unknown key {strange[0]!r} {nearest(strange[0], job.keys, limit=60)}; "
            f"a key of your own is taken where another one refers to it: ${{{strange[0]}}}"
        )
    config = job.check(used)
    for key in job.keys.values():
        if key.base == "path" and isinstance(config.get(key.name), str):
            config[key.name] = os.path.expanduser(config[key.name])
    return config


def _has(config: Mapping[str, Any], dotted: str) -> bool:
    value: Any = config
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def _check_group(job: Job, group: str, values: object) -> None:
    """Compare the keys of a group with those of the shipped choice of its kind (a user may have written another)."""
    shipped = job.groups[group][1]
    keys = {name.partition(".")[2]: key for name, key in job.keys.items() if name.startswith(f"{group}.")}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{group}={values}: one of {', '.join(shipped)} is needed, or a file of your own")
    kind = kinds_of_groups(job.name)[group]
    if kind not in values:
        raise ConfigError(f"{group}: key {group}.{kind} is missing (accepted: {', '.join(shipped)})")
    told = str(values[kind])
    wanted = {name for name, key in keys.items() if told in key.choices}
    if not wanted:
        return  # the value is refused with the others
    for name in values:
        if name in keys and name not in wanted:
            having = " or ".join(keys[name].choices)
            raise ConfigError(f"{group}.{name} belongs to {group}={having}, and {group}.{kind} is {told}")
        if name not in keys:
            raise ConfigError(f"job {job.name}: unknown key {f'{group}.{name}'!r} {nearest(name, wanted)}")
    if lacking := sorted(wanted - set(values)):
        raise ConfigError(
            f"{group}: {', '.join(lacking)} missing for {kind}: {told}; "
            f"begin your file with `defaults: [{told}, _self_]` to take the rest from there"
        )
