"""Evaluators from Python functions, and the names of functions in settings."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError
from autobuild.evaluate.protocol import Evaluator, Report
from autobuild.named import imported

if TYPE_CHECKING:
    from autobuild.spaces import Architecture, SearchSpace

ACCEPTED = "accepted: a function of (arch), optionally with seed= and report=, or an evaluator of (space, arch, seed)"
_EXTRAS = ("seed", "report")


@dataclass(frozen=True)
class CallableEvaluator:
    """Calls ``function(arch)``; a function with a parameter ``seed`` receives the seed as well.

    The architecture it receives is an :class:`~autobuild.spaces.Architecture` of the space.
    """

    function: Callable[..., Any]

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> Any:
        """Whatever the function gives; it is checked by those who use it."""
        return self._call(space, arch, seed, lambda step, metrics: None)

    def _call(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> Any:
        known = inspect.signature(self.function).parameters
        given = {name: value for name, value in (("seed", seed), ("report", report)) if name in known}
        return self.function(space.parse(str(arch)), **given)

    def recipe(self) -> dict[str, Any]:
        """What its labels come from, for the file that they are written to."""
        inner = getattr(self.function, "func", self.function)  # of functools.partial
        named = inner if hasattr(inner, "__qualname__") else type(inner)
        return {"evaluator": "python", "settings": {"function": f"{named.__module__}:{named.__qualname__}"}}


@dataclass(frozen=True)
class SteppedCallable(CallableEvaluator):
    """The same of a function with a parameter ``report``, which it calls as ``report(step, {"acc": ...})``."""

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> Any:
        """Whatever the function gives."""
        return self._call(space, arch, seed, report)


def from_callable(function: Any, called: str) -> Evaluator:
    """An evaluator from anything that can be called: ``(arch)`` with extras, or ``(space, arch, seed)``.

    Args:
        function: The function, or an evaluator. A class is made an object of first.
        called: What messages call it.

    Raises:
        ConfigError: It takes other arguments.
    """
    if inspect.isclass(function):
        try:
            function = function()
        except TypeError as error:
            raise ConfigError(f"{called} is a class whose objects need arguments ({error}): give an object") from None
    if not callable(function):
        raise ConfigError(f"{called} is {function!r}, which cannot be called; {ACCEPTED}")
    inner = function if inspect.isroutine(function) else getattr(function, "func", type(function).__call__)
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        raise ConfigError(f"{called} is async; wrap it: lambda arch: asyncio.run({called}(arch))")
    if inspect.isgeneratorfunction(inner):
        raise ConfigError(f"{called} is a generator: it yields where it should return its metrics; {ACCEPTED}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{called}: its arguments cannot be told ({error}); {ACCEPTED}") from error
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in positional]
    if len(needed) == 3 and needed[0] != "arch":
        evaluator: Evaluator = function
        return evaluator
    others = [name for name in needed[1:] if name not in _EXTRAS]
    if not needed or others:
        raise ConfigError(f"{called} takes ({', '.join(p.name for p in parameters)}); {ACCEPTED}")
    if any(p.name == "report" for p in parameters):
        return SteppedCallable(function)
    return CallableEvaluator(function)


@dataclass(frozen=True)
class NamedFunction:
    """``module:function``, imported where it is called: workers elsewhere import it for themselves.

    Args:
        name: ``package.module:function``, or ``package.module.function``.
        folder: A folder in which modules are looked for, after those that Python knows.
    """

    name: str
    folder: str

    def load(self) -> Any:
        """Import it.

        Raises:
            ConfigError: It is not of this form, cannot be imported, or has no such function.
        """
        return imported(self.name, self.folder, f"python:{self.name}", "python:package.module:function")


@dataclass(frozen=True)
class NamedEvaluator:
    """The evaluator of a :class:`NamedFunction`."""

    named: NamedFunction

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> Any:
        """Whatever the function gives."""
        return _evaluator(self.named)(space, arch, seed)

    def recipe(self) -> Mapping[str, Any]:
        """What its labels come from, for the file that they are written to."""
        return {"evaluator": "python", "settings": {"function": self.named.name}}


@dataclass(frozen=True)
class SteppedNamedEvaluator(NamedEvaluator):
    """The same, of a function that reports."""

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> Any:
        """Whatever the function gives."""
        return _evaluator(self.named).steps(space, arch, seed, report)


def from_name(name: str) -> Evaluator:
    """The evaluator of ``package.module:function``, modules in the working folder included; imported once to check it.

    Raises:
        ConfigError: As :meth:`NamedFunction.load` and :func:`from_callable`.
    """
    named = NamedFunction(name, os.getcwd())
    return SteppedNamedEvaluator(named) if hasattr(_evaluator(named), "steps") else NamedEvaluator(named)


@lru_cache
def _evaluator(named: NamedFunction) -> Any:
    """One evaluator a process, so that it may keep what it has made ready."""
    return from_callable(named.load(), f"python:{named.name}")
