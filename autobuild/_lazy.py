"""Names of a package that are imported on first use (PEP 562), so that importing the package stays fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: Its ``__name__``.
        modules: Public name -> the module that defines it, relative to the package; ``"module:other"`` where it is
            called ``other`` there.

    Raises:
        AttributeError: The returned ``__getattr__`` raises it for an unknown name, and offers the nearest ones.
    """

    def get(name: str) -> Any:
        if name not in modules:
            from autobuild.errors import nearest

            raise AttributeError(f"{package} has no {name!r}: {nearest(name, sorted(modules))}")
        module, _, defined_as = modules[name].partition(":")
        value = getattr(importlib.import_module(f"{package}.{module}"), defined_as or name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
