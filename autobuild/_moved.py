"""Old import paths that still work for one release: rooms that were called as functions of the public face are."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any


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
