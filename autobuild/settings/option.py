"""Declare a setting once, as a dataclass field with its bounds, choices and help; list and check such fields."""

from __future__ import annotations

import inspect
import math
import numbers
import operator
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

from autobuild.errors import ConfigError, nearest

TEXTS = ("text", "texts", "path", "name")  # kinds whose values are taken as typed
_BOUND = re.compile(r"(>=|>|<=|<)(-?[\d.]+)")
_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True)
class Option:
    """What a dataclass field says beside its type and default; see :func:`option`."""

    help: str
    bounds: str = ""
    kind: str = ""
    choices: Iterable[str] = ()
    former: tuple[str, ...] = ()
    required: bool = False


def option(
    default: Any,
    help: str,
    bounds: str = "",
    *,
    kind: str = "",
    choices: Iterable[str] = (),
    former: tuple[str, ...] = (),
    required: bool = False,
) -> Any:
    """A dataclass field that is a setting.

    Args:
        default: Its default; None where the annotation allows it.
        help: One line for the command line's help.
        bounds: Bounds of a number, such as ``">=1 <=100"``.
        kind: Of a text, how it is used: ``"name"``, ``"path"``, ``"texts"`` (one or a list) or ``"ints"`` (a list of
            integers); default: free text.
        choices: The accepted texts: names, or a registry, which may grow.
        former: Former full names of the key, which are accepted for one release.
        required: Whether a job needs a value, although the default is None.
    """
    return field(default=default, metadata={"option": Option(help, bounds, kind, choices, former, required)})


def nested(settings: type) -> Any:
    """A dataclass field that holds further settings."""
    return field(default_factory=settings)


def group(default: str) -> Any:
    """A dataclass field that chooses a member of the config group of the same name."""
    return field(default=default, metadata={"group": True})


@dataclass(frozen=True)
class Key:
    """One setting with its full name.

    Attributes:
        name: Dotted name, such as ``fit.lr``.
        kind: ``int``, ``float``, ``bool``, ``ints``, ``choice`` ``any`` or one of :data:`TEXTS`.
        nullable: Whether None is accepted.
        default: The default.
        option: Help, bounds and choices.
        members: In a config group, the choices that have this key.
    """

    name: str
    kind: str
    nullable: bool
    default: Any
    option: Option
    members: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The accepted texts; none where any is."""
        return tuple(getattr(self.option.choices, "choices", self.option.choices))

    @property
    def accepted(self) -> str:
        """What is accepted, for messages and help: ``int >=1 or null``, ``mse|huber``."""
        kind = "|".join(self.choices) if self.kind == "choice" else f"{self.kind} {self.option.bounds}".strip()
        return f"{kind} or null" if self.nullable else kind

    @property
    def written(self) -> str:
        """The default as one types it."""
        return written(self.default)

    def check(self, value: Any) -> Any:
        """Return ``value``, a whole number as a float where one is wanted.

        Raises:
            ConfigError: ``value`` is of another type, out of bounds, or no choice; the message says what is accepted.
        """
        if value is None and self.nullable:
            return None
        kind = self.kind
        if kind == "float" and type(value) is int:
            value = float(value)
        if kind == "choice":
            right = value in self.choices
        elif kind == "ints":
            right = isinstance(value, list) and bool(value) and all(type(item) is int for item in value)
        elif kind == "texts":
            listed = value if isinstance(value, list) else [value]
            right = bool(listed) and all(isinstance(item, str) and item for item in listed)
        elif kind == "any":
            right = True
        elif kind in TEXTS:
            right = isinstance(value, str) and value != ""
        else:
            right = type(value) is {"int": int, "float": float, "bool": bool}[kind]
            bounds = _BOUND.findall(self.option.bounds)
            right = right and not (kind == "float" and not math.isfinite(value))
            right = right and all(_COMPARE[sign](value, float(bound)) for sign, bound in bounds)
        if not right:
            hint = f": {nearest(value, self.choices)}" if kind == "choice" else f" (accepted: {self.accepted})"
            raise ConfigError(f"{self.name}={written(value)}: unusable value{hint}")
        return value


def keys_of(settings: type, prefix: str = "") -> Iterator[Key]:
    """The settings that a dataclass declares, those of nested dataclasses among them; config groups left out.

    Args:
        settings: The dataclass.
        prefix: What stands before their names, such as ``"fit."``.
    """
    hints = get_type_hints(settings)
    for member in fields(settings):
        hint = hints[member.name]
        if is_dataclass(hint):
            yield from keys_of(hint, f"{prefix}{member.name}.")  # type: ignore[arg-type]
        elif "option" in member.metadata:
            declared: Option = member.metadata["option"]
            given = [one for one in get_args(hint) or (hint,) if one is not NoneType]
            kind = declared.kind or {str: "text"}.get(given[0], getattr(given[0], "__name__", ""))
            if declared.choices != ():
                kind = "choice"
            yield Key(f"{prefix}{member.name}", kind, NoneType in get_args(hint), member.default, declared)


def key_of_parameter(parameter: inspect.Parameter, prefix: str, help: str) -> Key:
    """The setting that a parameter of a plug-in is; its type is that of the default.

    Args:
        parameter: The parameter.
        prefix: What stands before its name.
        help: One line of help.
    """
    default = None if parameter.default is parameter.empty else parameter.default
    kind = {bool: "bool", int: "int", float: "float", str: "text"}.get(type(default), "any")
    return Key(f"{prefix}{parameter.name}", kind, True, default, Option(help))


def groups_of(settings: type) -> dict[str, str]:
    """The config groups of a dataclass, each with its default choice."""
    return {one.name: str(one.default) for one in fields(settings) if "group" in one.metadata}


def check_settings(settings: Any, prefix: str) -> None:
    """Check the values of a dataclass that declares settings.

    Args:
        settings: The object.
        prefix: What stands before their names in messages, such as ``"encoder."``.

    Raises:
        ConfigError: A value of another type, out of bounds, or no choice.
    """
    for key in keys_of(type(settings), prefix):
        key.check(operator.attrgetter(key.name.removeprefix(prefix))(settings))


def written(value: object) -> str:
    """A value as one types it on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def positive(name: str, value: object, limit: float = math.inf) -> None:
    """Raise ConfigError unless ``value`` is a finite number above 0 and at most ``limit``."""
    if not (isinstance(value, numbers.Real) and 0 < float(value) <= limit and float(value) < math.inf):
        bound = "" if limit == math.inf else f" and up to {limit:g}"
        raise ConfigError(f"{name}: given {value!r}, accepted: a finite number above 0{bound}")


def whole(name: str, value: object, least: int = 1) -> None:
    """Raise ConfigError unless ``value`` is an integer of at least ``least``."""
    if not (isinstance(value, numbers.Integral) and int(value) >= least):
        raise ConfigError(f"{name}: given {value!r}, accepted: a whole number from {least}")


def integer(name: str, value: Any, least: int = 1, most: float = math.inf) -> int:
    """Return ``value`` as an int of Python; integers of numpy are accepted, too.

    Raises:
        ConfigError: It is no integer, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        bounds = f"of at least {least}" if most == math.inf else f"from {least} to {most:,}"
        raise ConfigError(f"{name}={value!r}: an integer {bounds} is accepted")
    return int(value)


def share(name: str, value: object) -> None:
    """Raise ConfigError unless ``value`` is a number from 0 to 1."""
    if not (isinstance(value, numbers.Real) and 0 <= float(value) <= 1):
        raise ConfigError(f"{name}: given {value!r}, accepted: a number from 0 to 1")
