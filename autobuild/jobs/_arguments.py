"""Check a configuration that Hydra has composed, and return the arguments of the job."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, nearest
from autobuild.jobs._options import Job, read_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

_HOME = re.compile(r"((?:table:|surrogate:|journal:)?)~")
WRITE_NOTHING = ("spaces", "fetch")  # jobs that make no folder unless out= names one


def arguments(composed: DictConfig) -> tuple[str, dict[str, Any]]:
    """The chosen job and its checked arguments; ``out`` is set to the folder of the run.

    Raises:
        ConfigError: A key that the job does not have, lacks, or a value of the wrong kind.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from autobuild.jobs._sweeps import folder_of_job, overrides_out

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
    elif overrides_out(config["out"], "hydra.run.dir", settings):
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
    known = {name.split(".")[0] for name in [*job.keys, *job.former]}
    # A key of the user's own may stand in a configuration for others to refer to.
    used = {str(name): value for name, value in plain.items() if name in known or f"${{{name}" not in raw}
    if unknown := [name for name in used if name not in known]:
        raise ConfigError(
            f"job {job.name}: unknown key {unknown[0]!r}: {nearest(unknown[0], job.keys, limit=60)}; "
            f"a key of your own is taken where another one refers to it: ${{{unknown[0]}}}"
        )
    config: dict[str, Any] = _at_home(job.check(used))
    return config


def _at_home(value: Any) -> Any:
    """``value`` with the home folder for ``~`` where a text begins with it: a shell writes it for no ``key=~/file``."""
    if isinstance(value, dict):
        return {key: _at_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    if not isinstance(value, str) or not (found := _HOME.match(value)):
        return value
    return found[1] + os.path.expanduser(value.removeprefix(found[1]))
