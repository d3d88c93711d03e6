"""Evaluators from Python functions, given as objects or by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError
from autobuild.evaluate.evaluator import Evaluator, Report
from autobuild.named import imported

if TYPE_CHECKING:
    from autobuild.spaces import Architecture, SearchSpace

ACCEPTED = "accepted: a function of (arch), optionally with seed= and report=, or an evaluator of (space, arch, seed)"
_EXTRAS = ("seed", "report")


@dataclass(frozen=True)
class CallableEvaluator:
    """Calls ``function(arch)`` with an :class:`~autobuild.spaces.Architecture`, and with ``seed=`` if it has that."""

    function: Callable[..., Any]

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> Any:
        """Return value of the function, not yet checked."""
        return self._call(space, arch, seed, lambda step, metrics: None)

    def _call(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> Any:
        parameters = inspect.signature(self.function).parameters
        options = {name: value for name, value in (("seed", seed), ("report", report)) if name in parameters}
        return self.function(space.parse(str(arch)), **options)

    def recipe(self) -> dict[str, Any]:
        """Origin of the labels: the function."""
        inner = getattr(self.function, "func", self.function)  # of functools.partial
        named = inner if hasattr(inner, "__qualname__") else type(inner)
        return {"evaluator": "python", "settings": {"function": f"{named.__module__}:{named.__qualname__}"}}


@dataclass(frozen=True)
class SteppedCallable(CallableEvaluator):
    """Calls a function that also has a parameter ``report``, which it calls as ``report(step, {"acc": ...})``."""

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> Any:
        """Return value of the function, not yet checked."""
        return self._call(space, arch, seed, report)


def from_callable(function: Any, called: str) -> Evaluator:
    """Create an evaluator from a callable.

    Args:
        function: A function of ``arch``, optionally with ``seed`` and ``report``; an evaluator of ``(space, arch,
            seed)``; or a class of such objects, which is instantiated without arguments.
        called: Its name in messages.

    Raises:
        ConfigError: It has other parameters, or cannot be called.
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
    """The name of a function, which every worker imports itself.

    Args:
        name: ``package.module:function``, or ``package.module.function``.
        folder: A folder that is searched for modules after those of ``sys.path``.
    """

    name: str
    folder: str

    def load(self) -> Any:
        """Import the function.

        Raises:
            ConfigError: The name has another form, the module cannot be imported, or it has no such function.
        """
        return imported(self.name, self.folder, f"python:{self.name}", "python:package.module:function")


@dataclass(frozen=True)
class NamedEvaluator:
    """The evaluator of a :class:`NamedFunction`."""

    named: NamedFunction

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> Any:
        """Return value of the function, not yet checked."""
        return _evaluator(self.named)(space, arch, seed)

    def recipe(self) -> Mapping[str, Any]:
        """Origin of the labels: the function."""
        return {"evaluator": "python", "settings": {"function": self.named.name}}


@dataclass(frozen=True)
class SteppedNamedEvaluator(NamedEvaluator):
    """The evaluator of a :class:`NamedFunction` that reports intermediate metrics."""

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> Any:
        """Return value of the function, not yet checked."""
        return _evaluator(self.named).steps(space, arch, seed, report)


def from_name(name: str) -> Evaluator:
    """The evaluator of ``package.module:function``, which may lie in the working folder; it is imported to check it.

    Raises:
        ConfigError: As :meth:`NamedFunction.load` and :func:`from_callable`.
    """
    named = NamedFunction(name, os.getcwd())
    return SteppedNamedEvaluator(named) if hasattr(_evaluator(named), "steps") else NamedEvaluator(named)


@lru_cache
def _evaluator(named: NamedFunction) -> Any:
    """One evaluator for each process, so that it can keep loaded data."""
    return from_callable(named.load(), f"python:{named.name}")
