"""Error messages for command lines that Hydra cannot compose: one line, with the nearest accepted names."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from autobuild.errors import ConfigError, nearest
from autobuild.jobs._options import Job, job_names, read_job
from autobuild.jobs._overrides import Command, known_keys, split_commas
from autobuild.settings.groups import groups

# Override -> module of the Hydra plugin that it needs, and how to install it.
_PLUGINS = {
    "hydra/launcher=joblib": ("hydra_joblib_launcher", "pip install 'autobuild-nas[joblib]'"),
    "hydra/launcher=submitit_local": ("hydra_submitit_launcher", "pip install 'autobuild-nas[slurm]'"),
    "hydra/launcher=submitit_slurm": ("hydra_submitit_launcher", "pip install 'autobuild-nas[slurm]'"),
    "hydra/launcher=ray": (
        "hydra_ray_launcher",
        "pip install 'autobuild-nas[ray]', then pip install --no-deps hydra-ray-launcher",
    ),
    "hydra/sweeper=optuna": (
        "hydra_optuna_sweeper",
        "hydra-optuna-sweeper, which asks for optuna<3 and so cannot be installed beside autobuild (optuna>=5). "
        "To search architectures: autobuild search; to try settings: -m, with Hydra's own sweeper",
    ),
    "hydra/sweeper=ax": ("hydra_ax_sweeper", "pip install hydra-ax-sweeper"),
    "hydra/sweeper=nevergrad": ("hydra_nevergrad_sweeper", "pip install hydra-nevergrad-sweeper"),
    "hydra/job_logging=colorlog": ("hydra_colorlog", "pip install hydra-colorlog"),
    "hydra/hydra_logging=colorlog": ("hydra_colorlog", "pip install hydra-colorlog"),
}


def check_plugins(words: Sequence[str]) -> None:
    """Check that the Hydra plugins that the overrides need are installed.

    Raises:
        ConfigError: One is missing; the message says how to install it.
    """
    for word in words:
        plugin, install = _PLUGINS.get(word, ("", ""))
        try:
            installed = not plugin or find_spec(f"hydra_plugins.{plugin}") is not None
        except ModuleNotFoundError:  # there is no plugin at all
            installed = False
        if not installed:
            raise ConfigError(f"{word} needs a plugin of Hydra: {install}")


def explain(error: Exception, command: Command) -> str:
    """The message for an error of Hydra or OmegaConf."""
    job = read_job(command.job or "demo")
    for number, word in enumerate(command.words):
        if message := _misspelt(command.words, number, command.job) or _unknown(word, command, job, error):
            return message
    override = getattr(error, "override", None)
    if override:  # the grammar's messages do not say which argument they mean
        return f"{override}: the value cannot be read; put quotes around it, inside those of the shell"
    options = getattr(error, "options", None)
    missing = getattr(error, "missing_cfg_file", None)
    if missing and "primary config" in str(error):
        name, folder = command.flags["--config-name"], command.flags.get("--config-dir")
        if folder is None:
            return f"--config-name {name}: say in which folder it lies: --config-dir FOLDER --config-name {name}"
        return f"--config-name {name}: {nearest(name, sorted(path.stem for path in Path(folder).glob('*.yaml')))}"
    if missing and options:
        group, _, choice = str(missing).rpartition("/")
        several = "; to try each, add -m" if "," in choice and not command.sweeps else ""
        return f"{group}={choice}: unknown choice: {nearest(choice, options)}{several}"
    message = readable(error)
    for word in command.words:
        if word.lstrip("+").startswith("hydra.sweeper.params"):
            return f"{word}: stands in a configuration of your own; on the command line write -m KEY=1,2"
        if "does not support sweep type" in message and "interval(" in word:
            return f"{word}: an interval has no single values; choice(...), range(...) and a,b have"
    if isinstance(error, UserWarning):  # provider=..., path=nope is not available.
        path = message.rpartition("path=")[2].removesuffix(" is not available.")
        return f"hydra.searchpath: there is no folder {path}"
    if type(error).__module__ == "builtins":  # raised inside Hydra, without the word that caused it
        message = f"{' '.join(command.words)}: Hydra cannot use this: {message}"
    if "Ambiguous value" in message:
        word = message.split("'")[1]
        key, _, value = word.partition("=")
        name = f"{command.job} " if command.job else ""
        return f"{word}: several values are tried with -m: autobuild {name}-m {word}; a list is {key}=[{value}]"
    return f"{message}: add -m" if "requires --multirun" in message else message


def readable(error: Exception) -> str:
    """A message of Hydra or OmegaConf in one line, without its internal details."""
    about_hydra = ("See https", "full_key", "object_type", "reference_type")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = " ".join(line for line in lines if not line.startswith(about_hydra))
    if message.startswith("Error merging") and error.__cause__ is not None:
        message += f": {str(error.__cause__).splitlines()[0]}"
    if (key := getattr(error, "full_key", None)) and "nterpolation" in message:
        message = f"{key}: {message}"
    if "nterpolation" in message or "${" in message:
        message += r" (${key} refers to another key, ${oc.env:NAME} to the environment; \${...} stays as typed)"
    return message or type(error).__name__


def commas_without_sweep(message: str, words: Sequence[str]) -> str:
    """A hint if a job refuses a text with commas: without -m it is a single value."""
    for word in words:
        value = word.partition("=")[2]
        if len(split_commas(value)) > 1 and value in message:
            return f"; to try each of {word}, add -m"
    return ""


def _misspelt(words: Sequence[str], number: int, job: str | None) -> str | None:
    """The message for a word that is not of the form ``key=value``; None if it is."""
    word, rest = words[number], words[number + 1 :]
    name = job or "JOB"
    if word == "=" or ("=" not in word and rest and rest[0].startswith("=")):
        return f"{' '.join(words)}: write key=value without spaces around '='"
    if word.endswith("=") and rest and "=" not in rest[0]:
        return f"{word} {rest[0]}: write {word}{rest[0]}, without spaces around '='"
    if word.startswith("="):
        return f"{word!r}: a key is missing before '='; write key=value without spaces around '='"
    if "=" not in word and not word.startswith("~"):
        if word in job_names():
            first = f"autobuild {word} ..." if job is None else "only one job can be named"
            return f"{word!r} is not of the form key=value ({first}: the job comes first)"
        if word.lstrip("+").replace(".", "").isidentifier() and word in known_keys():
            return f"job {name}: {word!r} is not of the form key=value: write {word}=VALUE"
        return f"job {name}: {word!r} is not of the form key=value; see autobuild {name} --help"
    return None


def _unknown(word: str, command: Command, job: Job, error: Exception) -> str | None:
    """The message for a word with an unknown key; None if the key is known."""
    name = word.partition("=")[0].lstrip("~")
    if name.startswith(("+", "hydra.", "hydra/")) or "To append to your default list" in str(error):
        return None
    accepted = [*job.keys, *job.groups]
    if name not in accepted and name not in job.former:
        if command.job is None and name in known_keys() and "--config-name" in command.flags:
            return None
        return f"job {job.name}: unknown key {name!r}: {nearest(name, accepted, limit=60)}"
    if word == f"{name}=null" and name in job.groups:
        return f"{word}: unknown choice: {nearest('null', groups()[name].members)}"
    group = name.split(".")[0]
    if name not in job.keys or group not in job.groups:
        return None
    chosen = command.typed(group) or job.groups[group]
    having = job.keys[name].members
    if chosen in groups()[group].members and chosen not in having:
        owners = " or ".join(f"{group}={choice}" for choice in having)
        return f"{name} belongs to {owners}, and {group}={chosen} was chosen"
    return None
