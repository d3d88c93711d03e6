"""Old import paths and old names of arguments that still work for one release, with a DeprecationWarning."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Moved(ModuleType):
    """A module that was renamed. Python binds it over the function of the same name, so it can be called as that."""

    new: str

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        text = f"{self.__name__}.{name} is {self.new}.{name} now; the old path ends with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(self.new), name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        function = getattr(importlib.import_module(self.new), self.__name__.rpartition(".")[2])
        return function(*args, **options)


def moved(name: str, new: str) -> None:
    """Let the module ``name`` hand its attributes on from the module ``new``, with a DeprecationWarning."""
    module = sys.modules[name]
    module.__class__ = _Moved
    module.__dict__["new"] = new


def renamed_arguments(
    names: dict[str, str], *, config: type[Any] | None = None, refused: Mapping[str, str] | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator: a function accepts former names of its keyword arguments, which its signature does not show.

    Args:
        names: Former name -> present name; ``"config.holdout"`` is the field ``holdout`` of the argument ``config``.
        config: Class of the argument ``config``, from which one is made if none is given.
        refused: Name of an argument that users may expect -> what to do instead, for the message.

    Returns:
        The decorator. The function that it returns raises ConfigError if both names are given, and for unknown names,
        with the nearest ones.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        parameters = inspect.signature(function).parameters
        takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            for former, present in names.items():
                if former not in kwargs:
                    continue
                warnings.warn(f"{former}= is now called {present}=", DeprecationWarning, stacklevel=2)
                value = kwargs.pop(former)
                argument, _, field = present.partition(".")
                if field and config is not None:
                    settings: Any = kwargs.get(argument) or config()
                    value = dataclasses.replace(settings, **{field: value})
                elif argument in kwargs:
                    from autobuild.errors import ConfigError

                    raise ConfigError(f"{former}= and {present}= are given: they are one argument, give {present}=")
                kwargs[argument] = value
            for name in [] if takes_all else kwargs:
                if name not in parameters:
                    from autobuild.errors import ConfigError, nearest

                    instead = (refused or {}).get(name) or nearest(name, [key for key in parameters if key != "self"])
                    raise ConfigError(f"{function.__name__} has no option {name!r}: {instead}")
            return function(*args, **kwargs)

        return call

    return decorate
