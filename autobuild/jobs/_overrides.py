"""Convert the command line to overrides and flags of Hydra.

Values of text, path and name keys (``target``, ``out``, ``space``) are put in quotes on the way, since Hydra's grammar
takes no ``<=``, ``|`` or ``:`` in a plain value and reads ``1e5`` or ``true`` as something other than text;
interpolations such as ``${seed}`` stay alive. In a sweep, the commas outside of brackets and quotes part the values of
such a key, as they do for every other key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from autobuild.errors import ConfigError, nearest
from autobuild.jobs._options import job_names, read_job
from autobuild.settings.option import TEXTS, Key

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_CALL = re.compile(r"(choice|shuffle|sort|tag|glob|range|interval)\((.*)\)", re.DOTALL)
_PLAIN = re.compile(
    r"(?!(true|false|null|nan|inf)$)(\.{0,2}/)?[a-z_][\w./-]*", re.IGNORECASE | re.ASCII
)  # needs no quotes
_NAMED_ARGUMENT = re.compile(r"\w+=.*", re.DOTALL)
_CLOSING = {"(": ")", "[": "]", "{": "}", "`": "`"}

# Flags of Hydra by their long name, and how many values each takes ("?": one or none).
FLAGS = {
    "--multirun": 0,
    "--run": 0,
    "--cfg": 1,
    "--package": 1,
    "--resolve": 0,
    "--info": "?",
    "--config-dir": 1,
    "--config-name": 1,
    "--config-path": 1,
    "--shell-completion": 0,
    "--hydra-help": 0,
    "--experimental-rerun": 1,
    "--help": 0,
    "--version": 0,
}
SHORT = {
    "-m": "--multirun",
    "-r": "--run",
    "-c": "--cfg",
    "-p": "--package",
    "-i": "--info",
    "-cd": "--config-dir",
    "-cn": "--config-name",
    "-cp": "--config-path",
    "-sc": "--shell-completion",
    "-h": "--help",
}
CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
_ALONE = ("--multirun", "--run", "--cfg", "--info", "--shell-completion", "--hydra-help")


@dataclass
class Command:
    """A parsed command line.

    Attributes:
        job: The job that was named; None leaves the choice to the configuration.
        words: The overrides as typed.
        flags: Hydra's flags by their long names, with their values ("" for a flag that takes none).
    """

    job: str | None = None
    words: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def sweeps(self) -> bool:
        """Whether the command asks for a sweep."""
        return "--multirun" in self.flags or "hydra.mode=MULTIRUN" in self.words

    @property
    def config_name(self) -> str:
        """The configuration that is composed."""
        return self.flags.get("--config-name", "autobuild")

    @property
    def overrides(self) -> list[str]:
        """The overrides as Hydra's grammar takes them."""
        first = [] if self.job is None else [f"job={self.job}"]
        return [*first, *(_override(word, self.sweeps) for word in self.words)]

    def typed(self, key: str) -> str | None:
        """The last value that was typed for a key; None if there is none, or ``null``."""
        found = [word.partition("=")[2] for word in self.words if word.partition("=")[0].lstrip("+") == key]
        return found[-1] if found and found[-1] not in ("", "null") else None


def parse(arguments: Sequence[str]) -> Command:
    """Parse a command line.

    Raises:
        ConfigError: An unknown job or option, two options that exclude each other, or bytes that are no text: tables
            and reports cannot hold them.
    """
    command = Command()
    # Scripts with Windows line ends leave a carriage return at the last word.
    rest = [word.removesuffix("\r") for word in arguments]
    if broken := [word for word in rest if not _is_text(word)]:
        raise ConfigError(f"{broken[0]!r}: bytes that are no UTF-8 text; rename that file, or link to it")
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            _take_flag(command, word, rest)
        else:
            command.words.append(word)
    given = [flag for flag in _ALONE if flag in command.flags]
    if len(given) > 1 and given != ["--multirun", "--cfg"]:
        raise ConfigError(f"{' and '.join(given)} exclude each other")
    for flag in ("--resolve", "--package"):
        if flag in command.flags and "--cfg" not in command.flags:
            raise ConfigError(f"{flag} goes with --cfg job, --cfg hydra or --cfg all")
    if "--config-path" in command.flags:
        if "--config-dir" in command.flags:
            raise ConfigError("--config-path and --config-dir name the same thing here, a folder of your own; give one")
        command.flags["--config-dir"] = command.flags.pop("--config-path")
    _take_job(command)
    return command


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _take_flag(command: Command, word: str, rest: list[str]) -> None:
    """Parse the flag ``word``; its value may be the next element of ``rest``."""
    typed, equals, value = word.partition("=")
    flag = SHORT.get(typed, typed)
    if flag not in FLAGS:
        key = typed.lstrip("-")
        begins_a_flag = any(flag.startswith(f"{typed}-") for flag in FLAGS)
        if (key in known_keys() or key in known_groups()) and not begins_a_flag:
            shown = f"{key}={value or (rest[0] if rest else 'VALUE')}"
            raise ConfigError(f"unknown option {typed!r}: keys are written without dashes, with '=': {shown}")
        raise ConfigError(f"unknown option {word!r}: {nearest(typed, [*FLAGS, *SHORT], limit=30)}")
    takes = FLAGS[flag]
    if takes == 0 and equals:
        raise ConfigError(f"option {typed} takes no value")
    choices = CHOICES.get(flag, ())
    if takes and not equals:
        if takes == "?":
            value = rest.pop(0) if rest and rest[0] in choices else choices[0]
        elif not rest or rest[0].startswith("-"):
            example = choices[0] if choices else "NAME" if flag == "--config-name" else "VALUE"
            raise ConfigError(f"option {typed} needs a value, e.g. {typed} {example}")
        else:
            value = rest.pop(0)
    if choices and value not in choices:
        raise ConfigError(f"{typed} {value}: {nearest(value, choices)}")
    command.flags[flag] = value


def _take_job(command: Command) -> None:
    """Find the job: the first word, or ``job=NAME``."""
    words = command.words
    named = [word for word in words if word.startswith("job=")]
    split = len(words) > 1 and words[1].startswith("=") and words[0] not in job_names()  # seed = 3
    if words and _is_bare(words[0]) and not split:
        command.job = words.pop(0)
    elif named and not command.sweeps:
        command.job = named[-1].removeprefix("job=")
    elif named:
        raise ConfigError(f"{named[-1]}: a sweep is of one job; name it first: autobuild JOB -m ...")
    if named:
        if command.job not in (named[-1].removeprefix("job="), None):
            raise ConfigError(f"{command.job} and {named[-1]}: only one job can be named")
        command.words = [word for word in words if not word.startswith("job=")]
    if command.job == "help":
        raise ConfigError("unknown job 'help': autobuild --help lists the jobs, autobuild JOB --help explains one")
    if command.job is not None:
        if command.job not in job_names() and command.job in known_keys():
            raise ConfigError(f"unknown job {command.job!r}: it is a key, written {command.job}=VALUE, without spaces")
        read_job(command.job)


def _is_bare(word: str) -> bool:
    return "=" not in word and not word.startswith(("+", "~"))


def _override(word: str, sweeps: bool) -> str:
    """One override as Hydra's grammar takes it."""
    name, equals, value = word.partition("=")
    key = known_keys().get(name.lstrip("+"))
    is_text = key.kind in TEXTS if key else name in known_groups() and value[:1] not in ("", "[")
    if not is_text or not equals:
        is_folder = name in ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
        return f"{name}={_element(value)}" if is_folder and value else word
    return f"{name}={_sweep(value) if sweeps else _element(value)}"


def _element(value: str) -> str:
    """One text value in quotes; one that the user has quoted stays as it is, as do calls that ask for a sweep."""
    if value in ("", "null"):
        return "null"
    if _QUOTED.fullmatch(value) or _CALL.fullmatch(value) or _PLAIN.fullmatch(value):
        return value
    value = value.replace("${hydra.", "${hydra:")  # Hydra's own settings are no part of a job's configuration
    return in_quotes(value)


def _sweep(value: str) -> str:
    """The values of a text key in a sweep, each in quotes: ``a,b``, ``choice(a,b)``, ``shuffle(a,b,seed=1)``."""
    call = _CALL.fullmatch(value)
    if call is None:
        return ",".join(_element(part) for part in split_commas(value))
    if call[1] in ("glob", "range", "interval", "tag"):
        return value
    parts = (part if _NAMED_ARGUMENT.fullmatch(part) else _sweep(part) for part in split_commas(call[2]))
    return f"{call[1]}({','.join(parts)})"


def split_commas(value: str) -> list[str]:
    """Split at the commas that no bracket, quote or backtick encloses."""
    parts, start, position, closing = [], 0, 0, [""]
    while position < len(value):
        letter = value[position]
        quoted = _QUOTED.match(value, position) if not value[start:position].strip() else None
        if quoted:
            position = quoted.end()
            continue
        if letter == closing[-1]:
            closing.pop()
        elif letter in _CLOSING:
            closing.append(_CLOSING[letter])
        elif letter == "," and len(closing) == 1:
            parts.append(value[start:position].strip())
            start = position + 1
        position += 1
    return [*parts, value[start:].strip()]


def quote(text: str) -> str:
    """Write ``text`` so that Hydra's grammar and OmegaConf's interpolation give back exactly ``text``."""
    if "${" in text:
        # OmegaConf undoes one backslash in front of ${, and every doubled one in the run that touches it.
        text = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", text)
    return in_quotes(text)


def in_quotes(text: str) -> str:
    """Write ``text`` so that Hydra's grammar gives back exactly ``text``, interpolations alive."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), text)
    return f"'{escaped}'"


@cache
def known_keys() -> dict[str, Key]:
    """Every key of every job, by its present and former names."""
    jobs = [read_job(name) for name in job_names()]
    return {name: key for job in jobs for name, key in [*job.former.items(), *job.keys.items()]}


@cache
def known_groups() -> frozenset[str]:
    """Every group of every job."""
    return frozenset(group for job in job_names() for group in read_job(job).groups)
