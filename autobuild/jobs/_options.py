"""What each job accepts: its keys and config groups, read from the dataclass ``Keys`` and the docstring of its module.

Hydra composes their defaults (:func:`register`). Types, bounds and choices are checked when a job begins
(:meth:`Job.check`), so that a wrong value in one job of a sweep does not keep the others from running.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Any

from autobuild import jobs
from autobuild.errors import ConfigError, nearest
from autobuild.jobs._console import say
from autobuild.jobs._folders import flat
from autobuild.settings.groups import Group, groups
from autobuild.settings.option import Key, groups_of, keys_of

_ORDER = ("demo", "label", "fit", "explain", "build", "search", "rounds", "predict", "sample", "cost", "fuse",
          "verify", "export", "report", "table", "spaces")  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One job: what it does, its keys, its groups, example commands and the files it writes.

    Attributes:
        keys: By dotted name; those of groups have the choices that have them as ``members``.
        groups: Group -> its default choice.
    """

    name: str
    summary: str
    notes: tuple[str, ...]
    examples: tuple[str, ...]
    writes: tuple[str, ...]
    keys: dict[str, Key]
    groups: dict[str, str]

    @property
    def former(self) -> dict[str, Key]:
        """Keys by their former names."""
        return {name: key for key in self.keys.values() for name in key.option.former}

    def defaults(self) -> dict[str, Any]:
        """The job as a Hydra configuration: its defaults list, then every key that is not of a group."""
        config: dict[str, Any] = {
            "defaults": [*({f"/{group}": choice} for group, choice in self.groups.items()), "_self_"]
        }
        for name, key in self.keys.items():
            if not key.members:
                set_in(config, name, key.default)
        for name in self.former:
            set_in(config, name, None)
        return config

    def check(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a composed configuration, nested and plain, with every value in the type of its key.

        Values of former names are moved to the present ones, with a note to the user.

        Raises:
            ConfigError: A key that the job does not have, or lacks, or an unusable value.
        """
        given = flat(config)
        for former, key in self.former.items():
            if (value := given.pop(former, None)) is not None:
                say(f"note: {former}= is now called {key.name}=; the former name is taken for one release")
                given[key.name] = value
        keys = {name: key for name, key in self.keys.items() if not key.members}
        for name, key in keys.items():
            if name not in given:
                raise ConfigError(f"job {self.name}: key {name!r} is missing; its default is {name}={key.written}")
        for name in self.groups:
            keys |= self._member_keys(groups()[name], config.get(name))
        checked: dict[str, Any] = {}
        for name, value in given.items():
            if name not in keys:
                raise ConfigError(f"job {self.name}: unknown key {name!r}: {nearest(name, self.keys, limit=60)}")
            set_in(checked, name, keys[name].check(_converted(keys[name].kind, value)))
        return checked

    def require(self, config: Mapping[str, Any]) -> None:
        """Raise a ConfigError if a required key has no value; the message says what is needed."""
        given = flat(config)
        for name, key in self.keys.items():
            if key.option.required and given[name] is None:
                raise ConfigError(f"{self.name} needs {name}=, {key.option.help}; see autobuild {self.name} --help")

    def _member_keys(self, group: Group, values: object) -> dict[str, Key]:
        """The keys of the chosen member of a group, which a file of the user's own may have chosen."""
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{group.name}={values}: one of {', '.join(group.members)} is needed, or a file of your own"
            )
        which = group.kind.partition(".")[2]
        if which not in values:
            raise ConfigError(f"{group.name}: key {group.kind} is missing (accepted: {', '.join(group.members)})")
        member = str(values[which])
        if member not in group.members:
            raise ConfigError(f"{group.kind}={member}: unusable value: {nearest(member, group.members)}")
        keys = {key.name: key for key in group.keys(member)}
        wanted = {name.partition(".")[2] for name in keys}
        for name in (name for name in values if name not in wanted):
            known = self.keys.get(f"{group.name}.{name}")
            if known is None:
                raise ConfigError(f"job {self.name}: unknown key {f'{group.name}.{name}'!r}: {nearest(name, wanted)}")
            having = " or ".join(known.members)
            raise ConfigError(f"{known.name} belongs to {group.name}={having}, and {group.kind} is {member}")
        if missing := sorted(wanted - set(values)):
            raise ConfigError(
                f"{group.name}: {', '.join(missing)} missing for {which}: {member}; "
                f"begin your file with `defaults: [{member}, _self_]` to take the rest from there"
            )
        return keys


@cache
def job_names() -> list[str]:
    """Every job of this installation, in the order in which a reader meets them: modules that declare ``Keys``."""
    files = [path for folder in jobs.__path__ for path in Path(folder).glob("*.py")]
    names = [path.stem for path in files if "\nclass Keys" in path.read_text(encoding="utf-8")]  # without importing
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


@cache
def read_job(name: str) -> Job:
    """What the job ``name`` accepts.

    Raises:
        ConfigError: There is no such job.
    """
    if name not in job_names():
        raise ConfigError(f"unknown job {name!r}: {nearest(name, job_names())}")
    module = import_module(f"autobuild.jobs.{name}")
    # python -OO removes the docstring; the file has it.
    text = module.__doc__ or ast.get_docstring(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")))
    sections = _sections(text or "")
    summary, *notes = sections[""]
    chosen = groups_of(module.Keys)
    keys = {key.name: key for key in keys_of(module.Keys)}
    for group, choice in chosen.items():
        keys |= groups()[group].all_keys(choice)
    return Job(name, summary, tuple(notes), tuple(sections["Examples:"]), tuple(sections["Writes:"]), keys, chosen)


def _sections(docstring: str) -> dict[str, list[str]]:
    """The lines of a docstring: its text, and its sections ``Examples:`` and ``Writes:``."""
    sections: dict[str, list[str]] = {"": [], "Examples:": [], "Writes:": []}
    current = ""
    for line in cleandoc(docstring).splitlines():
        if line in sections:
            current = line or current
        else:
            sections[current].append(line.strip())
    return sections


def register(words: str) -> None:
    """Tell Hydra's ConfigStore of every job and every member of every group.

    Args:
        words: The command line. Members of installed packages are imported only if it contains their names.
    """
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name in job_names():
        store.store(group="job", name=name, node=read_job(name).defaults(), package="_global_", provider="autobuild")
    for group in groups().values():
        for member in (name for name in group.members if name in group.declared or name in words):
            store.store(group=group.name, name=member, node=group.values(member), provider="autobuild")


def _converted(kind: str, value: Any) -> Any:
    """``value`` in the type of a kind, as OmegaConf converts it: texts of the environment may be numbers."""
    from omegaconf import BooleanNode, FloatNode, IntegerNode
    from omegaconf.errors import ValidationError

    if kind == "texts" and isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        from autobuild.jobs._overrides import split_commas

        parts = split_commas(value[1:-1])
        return [part[1:-1] if part[:1] in ("'", '"') and part[-1:] == part[:1] else part for part in parts]
    if kind == "ints" and type(value) is int:
        return [value]
    if kind == "choice" or (kind == "name" and type(value) is int):
        return str(value)
    node: Any = {"int": IntegerNode, "float": FloatNode, "bool": BooleanNode}.get(kind)
    try:
        return value if node is None or value is None else node(value)._value()
    except ValidationError:
        return value  # refused by its key, in words that name it


def set_in(config: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a value in a nested configuration by its dotted name."""
    *parents, name = dotted.split(".")
    for parent in parents:
        config = config.setdefault(parent, {})
    config[name] = value
