"""What a job accepts, read from the YAML files under ``conf``: one source for the checks and for ``--help``.

Every key in those files carries a trailing comment ``kind; description``. Kinds: ``text`` (free text, taken as typed),
``texts`` (one, or a list),
``path``, ``name``, ``bool``, ``ints``, ``int`` and ``float`` with optional bounds (``int >=1``, ``float >=0 <1``),
``one of a b c``; each may end in ``or null``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from autobuild.errors import ConfigError, nearest
from autobuild.resources import resource_dir

_KEY_LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: +(?P<value>.*?))?(?:  # (?P<comment>.*))?$")
_DEFAULT_LINE = re.compile(r"^  - /?(?P<group>[\w/]+)(?:: (?P<choice>\w+))?$")
_BOUND = re.compile(r"(>=|>|<=|<)(-?[\d.]+)")
TEXTS = ("text", "texts", "path", "name")  # kinds whose values are taken as typed
_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
_ORDER = ("demo", "label", "fit", "explain", "build", "search", "rounds", "predict", "sample", "cost", "fuse",
          "verify", "export", "report", "table", "spaces")  # fmt: skip


@dataclass(frozen=True)
class Key:
    """One accepted key: its dotted name, its default as written, its kind and its line of help."""

    name: str
    default: str
    kind: str
    about: str
    choices: tuple[str, ...] = ()  # of a config group: the choices that have this key

    @property
    def base(self) -> str:
        """The kind without ``or null``."""
        return self.kind.removesuffix(" or null")

    @property
    def nullable(self) -> bool:
        """Whether ``null`` is accepted."""
        return self.kind.endswith(" or null")

    def check(self, value: Any) -> Any:
        """Return ``value`` in the type of this key.

        Raises:
            ConfigError: ``value`` is not of this kind; the message names the key, the value and what is accepted.
        """
        if value is None and self.nullable:
            return None
        kind, *rest = self.base.split(" ")
        good: bool
        if isinstance(value, str) or (kind == "bool" and value in (0, 1)):
            value = _read_from_text(kind, str(value))
        if kind == "texts":
            value = _listed(value)
            good = bool(value) and all(
                isinstance(one, str) and one for one in ([value] if isinstance(value, str) else value)
            )
        elif kind in ("text", "path", "name"):
            good, value = isinstance(value, str) and value != "", value
        elif kind == "bool":
            good = isinstance(value, bool)
        elif kind == "ints":
            value = [value] if isinstance(value, int) else value
            good = isinstance(value, list) and bool(value) and all(type(item) is int for item in value)
        elif kind == "one":
            value = str(value)
            good = value in rest[1:]
        else:
            if kind == "float" and type(value) is int:
                value = float(value)
            good = type(value) is (int if kind == "int" else float)
            good = good and all(_COMPARE[sign](value, float(bound)) for sign, bound in _BOUND.findall(" ".join(rest)))
        if not good:
            hint = f" {nearest(value, rest[1:])}" if kind == "one" else f" (accepted: {self.kind})"
            raise ConfigError(f"{self.name}={_typed(value)}: unusable value{hint}")
        return value


@dataclass(frozen=True)
class Job:
    """One job: what it does, its keys, its groups, example commands and the files it writes."""

    name: str
    summary: str
    notes: tuple[str, ...]
    examples: tuple[str, ...]
    writes: tuple[str, ...]
    keys: dict[str, Key] = field(default_factory=dict)
    groups: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)  # group -> (default, choices)

    def check(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``config`` (nested, plain) with every value checked against its key.

        Raises:
            ConfigError: A value of the wrong kind, or out of its bounds.
        """
        return self._checked(config, "")

    def _checked(self, config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in config.items():
            dotted = prefix + str(name)
            if isinstance(value, Mapping):
                result[str(name)] = self._checked(value, dotted + ".")
            elif dotted not in self.keys:
                raise ConfigError(f"job {self.name}: unknown key {dotted!r} {nearest(dotted, self.keys)}")
            else:
                result[str(name)] = self.keys[dotted].check(value)
        return result


def _listed(value: Any) -> Any:
    """A text that is a list, ``[acc, -ms]``, as one; texts may stand in quotes there."""
    from autobuild.jobs.overrides import split_commas

    if not isinstance(value, str):
        return value if isinstance(value, list) else None
    if not (value.startswith("[") and value.endswith("]")):
        return value
    parts = split_commas(value[1:-1])
    return [part[1:-1] if part[:1] in ("'", '"') and part[-1:] == part[:1] else part for part in parts]


def job_names() -> list[str]:
    """Every job of this installation, in the order in which a reader meets them."""
    names = [path.stem for path in (resource_dir("conf") / "job").glob("*.yaml")]
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


@cache
def read_job(name: str) -> Job:
    """Read what the job ``name`` accepts.

    Raises:
        ConfigError: There is no such job.
    """
    if name not in job_names():
        raise ConfigError(f"unknown job {name!r} {nearest(name, job_names())}")
    conf = resource_dir("conf")
    path = conf / "job" / f"{name}.yaml"
    sections = _header(path.read_text(encoding="utf-8"))
    summary = sections[""]
    job = Job(name, summary[0], tuple(summary[1:]), tuple(sections["Examples:"]), tuple(sections["Writes:"]))
    _collect(path, conf, job)
    return job


def kinds_of_groups(name: str) -> dict[str, str]:
    """The groups of a job, each with the key that tells which of its choices it is (``sampler``: ``name``)."""
    job = read_job(name)
    keys = [key for key in job.keys.values() if key.base.startswith("one of")]
    return {group: next(key.name for key in keys if key.name.startswith(f"{group}.")).partition(".")[2]
            for group in job.groups}  # fmt: skip


def _header(text: str) -> dict[str, list[str]]:
    """Split the comment at the top of a job file into its summary and its named sections."""
    sections: dict[str, list[str]] = {"": [], "Examples:": [], "Writes:": []}
    current = ""
    for line in text.splitlines()[1:]:
        if not line.startswith("#"):
            break
        content = line[1:].strip()
        if content in sections:
            current = content
        elif content:
            sections[current].append(content)
    return sections


def _collect(path: Path, conf: Path, job: Job) -> None:
    """Add the keys of one YAML file, and of the files in its defaults list, to ``job``."""
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        if found := _DEFAULT_LINE.match(line):
            group, choice = found["group"], found["choice"]
            if choice is None and group != "_self_":
                _collect(conf / f"{group}.yaml", conf, job)
            elif choice is not None:
                _collect_group(group, choice, conf, job)
    for name, default, kind, about in _lines(path, text):
        job.keys[name] = Key(name, default, kind, about)


def _collect_group(group: str, choice: str, conf: Path, job: Job) -> None:
    """Add a config group: the keys of all its choices are accepted, the default choice gives the defaults shown."""
    choices = sorted(path.stem for path in (conf / group).glob("*.yaml"))
    job.groups[group] = (choice, tuple(choices))
    for member in dict.fromkeys([choice, *choices]):
        path = conf / group / f"{member}.yaml"
        for name, default, kind, about in _lines(path, path.read_text(encoding="utf-8")):
            dotted = f"{group}.{name}"
            known = job.keys.get(dotted, Key(dotted, default, kind, about))
            job.keys[dotted] = replace(known, choices=(*known.choices, member))


def _lines(path: Path, text: str) -> list[tuple[str, str, str, str]]:
    """Every key line of a YAML file as ``(dotted name, default, kind, description)``."""
    rows, parent = [], ""
    for number, line in enumerate(text.splitlines(), start=1):
        found = _KEY_LINE.match(line)
        if not found or found["key"] == "defaults":
            continue
        if found["comment"] is None:
            parent = found["key"] + "."
            continue
        kind, split, about = found["comment"].partition("; ")
        if not split:
            raise ConfigError(f"{path}:{number}: the comment must read 'kind; description', not {found['comment']!r}")
        name = (parent if found["indent"] else "") + found["key"]
        rows.append((name, found["value"] or "null", kind, about))
    return rows


def _read_from_text(kind: str, text: str) -> Any:
    """What a text says of the wanted kind, as OmegaConf's typed nodes read it: the environment holds texts only."""
    from omegaconf import BooleanNode, FloatNode, IntegerNode
    from omegaconf.errors import ValidationError

    node: Any = {"int": IntegerNode, "float": FloatNode, "bool": BooleanNode}.get(kind)
    try:
        return text if node is None else node(text)._value()
    except ValidationError:
        return text


def _typed(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
