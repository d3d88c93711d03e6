"""Turns what a user typed into overrides that Hydra's grammar takes, checking names on the way.

Hydra rejects ``<=``, parentheses, commas, quotes and braces in plain values, and reads ``1e5`` or ``true`` as something
other than text. The values of free-text keys are therefore quoted as typed, those of paths and names likewise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autobuild.errors import ConfigError, nearest
from autobuild.jobs.options import Job, job_names, read_job
from autobuild.resources import resource_dir

_QUOTED = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_QUOTED_LIST = re.compile(rf"{_QUOTED}(?:\s*,\s*{_QUOTED})+")
_SWEEP_CALL = re.compile(r"(choice|glob)\(.*\)", re.DOTALL)
_FLAGS = {
    "-m": 0,
    "--multirun": 0,
    "--cfg": 1,
    "-c": 1,
    "--package": 1,
    "-p": 1,
    "--resolve": 0,
    "--info": 1,
    "--hydra-help": 0,
}
# Hydra takes a key that is called as a folder of conf/ (hardware) for a group, whose choices cannot be paths: such a
# key travels under this one.
CHOSEN = "chosen"
_OWN_FLAGS = ("--help", "-h", "--version")


@dataclass
class Command:
    """A command line, taken apart: the job, the overrides ready for Hydra, and Hydra's own flags."""

    job: str
    overrides: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    out: str | None = None

    @property
    def sweeps(self) -> bool:
        """Whether ``-m`` was given."""
        return "-m" in self.flags or "--multirun" in self.flags


def quote(text: str) -> str:
    """Write ``text`` so that Hydra's grammar and OmegaConf's interpolation give back exactly ``text``."""
    if "${" in text:
        # OmegaConf undoes one backslash in front of ${, and every doubled one in the run that touches it.
        text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text)
    text = re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{text}'"


def parse(arguments: Sequence[str]) -> Command:
    """Take a command line apart (without ``--help`` and ``--version``).

    Raises:
        ConfigError: An unknown job, key, option or group choice, or an argument without ``=``.
    """
    flags, words = _split_flags(arguments)
    name = "demo"
    if words and "=" not in words[0]:
        name, words = words[0], words[1:]
    elif named := [word for word in words if word.startswith("job=")]:
        name = named[-1].removeprefix("job=")
        words = [word for word in words if not word.startswith("job=")]
    job = read_job(name)
    command = Command(name, [], flags)
    _check_groups(job, words)
    for word in words:
        command.overrides.append(_override(job, word, command.sweeps))
        if word.startswith("out=") and word not in ("out=", "out=null"):
            command.out = word.removeprefix("out=")
    return command


def _split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate Hydra's flags (with their values) from the words of the command."""
    flags: list[str] = []
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            words.append(word)
        elif word.split("=")[0] not in _FLAGS:
            raise ConfigError(f"unknown option {word!r} {nearest(word, [*_OWN_FLAGS, *_FLAGS])}")
        elif _FLAGS[word.split("=")[0]] and "=" not in word:
            if not rest:
                raise ConfigError(f"option {word} needs a value, e.g. {word} job")
            flags += [word, rest.pop(0)]
        else:
            flags.append(word)
    return flags, words


def _override(job: Job, word: str, sweeps: bool) -> str:
    """Check one ``key=value`` and quote its value where Hydra would misread it."""
    name, equals, value = word.partition("=")
    if not equals:
        extra = " (only one job can be named)" if word in job_names() else ""
        raise ConfigError(
            f"job {job.name}: {word!r} is not of the form key=value{extra}; see autobuild {job.name} --help"
        )
    if name == "":
        raise ConfigError(f"{word!r}: a key is missing before '='; write key=value without spaces around '='")
    if _is_hydras(name):
        return word
    if name in job.groups:
        _check_choice(job, name, value, sweeps)
        return word
    if name not in job.keys:
        raise ConfigError(f"job {job.name}: unknown key {name!r} {nearest(name, [*job.keys, *job.groups], limit=60)}")
    key = job.keys[name]
    said = f"++{CHOSEN}.{name}" if (Path(resource_dir("conf")) / name).is_dir() else name
    if key.base == "text":
        return f"{said}={_quote_text(value, sweeps)}"
    if key.base in ("path", "name"):
        return f"{said}={_quote_path(value, sweeps)}"
    if value == "":
        raise ConfigError(f"{name}= has no value; write {name}={key.default} for the default (accepted: {key.kind})")
    return word


def _is_hydras(name: str) -> bool:
    """Whether a key is Hydra's own (``hydra.sweep.dir``, ``hydra/launcher``) or adds a group under ``conf``."""
    bare = name.lstrip("+")
    if bare.startswith(("hydra.", "hydra/")):
        return True
    known = Path(resource_dir("conf"))
    return bare != name and bare not in ("job", "keys") and "." not in bare and (known / bare).is_dir()


def _check_groups(job: Job, words: Sequence[str]) -> None:
    """Refuse a key that the chosen member of its group does not have (``ranking.k`` with ``ranking=srcc``)."""
    typed = dict(word.split("=", 1) for word in words if "=" in word)
    for name in typed:
        group = name.split(".")[0]
        if name not in job.keys or group not in job.groups:
            continue
        chosen = typed.get(group, job.groups[group][0])
        having = job.keys[name].choices
        if chosen in job.groups[group][1] and chosen not in having:
            told = " or ".join(f"{group}={choice}" for choice in having)
            raise ConfigError(f"{name} belongs to {told}, and {group}={chosen} was chosen")


def _check_choice(job: Job, group: str, value: str, sweeps: bool) -> None:
    choices = job.groups[group][1]
    if sweeps and _SWEEP_CALL.fullmatch(value):
        return
    for choice in value.split(",") if sweeps else [value]:
        if choice.strip() not in choices:
            raise ConfigError(f"{group}={choice}: unknown choice: {nearest(choice, choices)}")


def _quote_text(value: str, sweeps: bool) -> str:
    """Quote free text as typed; in a sweep, ``'a','b'`` and ``choice('a','b')`` stay a list of texts."""
    if value in ("", "null") or (sweeps and (_QUOTED_LIST.fullmatch(value) or _SWEEP_CALL.fullmatch(value))):
        return value or "null"
    return quote(value)


def _quote_path(value: str, sweeps: bool) -> str:
    """Quote a path or name; in a sweep, each part between commas on its own."""
    if value in ("", "null"):
        return "null"
    if sweeps and (_SWEEP_CALL.fullmatch(value) or value[0] in "'\""):
        return value
    if sweeps and "," in value:
        return ",".join(quote(part.strip()) if part.strip() != "null" else "null" for part in value.split(","))
    return quote(value)
