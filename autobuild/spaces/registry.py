"""Finding spaces: by the name of one that ships, or by the path of a user's own file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from autobuild.errors import SpaceError, nearest
from autobuild.resources import resource_dir
from autobuild.spaces.declare import space_from_yaml
from autobuild.spaces.serialise import from_json
from autobuild.spaces.space import SearchSpace

SUFFIXES = (".yaml", ".yml", ".json")


def space_names() -> list[str]:
    """Names of the spaces that ship, sorted."""
    folder = resource_dir("search_spaces")
    return sorted(p.stem for p in folder.iterdir() if p.suffix in (".py", ".yaml") and not p.name.startswith("_"))


def load_space(space: str | Path | SearchSpace) -> SearchSpace:
    """Return a search space.

    Args:
        space: The name of one that ships (:func:`space_names`), the path of a YAML declaration, the path of a stored
            space (JSON, as ``narrow`` writes it), or a space, which is returned as it is.

    Raises:
        SpaceError: For an unknown name (the nearest ones are offered) or an unreadable file.
    """
    if isinstance(space, SearchSpace):
        return space
    path = Path(space)
    if path.suffix in SUFFIXES:
        return _read(path)
    if str(space) not in space_names():
        raise SpaceError(f"unknown search space {str(space)!r}: {nearest(space, space_names())}; a path ends in .yaml")
    return _bundled(str(space))


def _read(path: Path) -> SearchSpace:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpaceError(f"no such file: {path}; spaces that ship: {', '.join(space_names())}") from None
    except (OSError, ValueError) as error:  # not UTF-8, or a null character in the name
        raise SpaceError(f"{path}: cannot be read: {error}") from None
    if path.suffix != ".json":
        return space_from_yaml(text, str(path))
    try:
        return from_json(text)
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from None


@lru_cache
def _bundled(name: str) -> SearchSpace:
    yaml_file = resource_dir("search_spaces") / f"{name}.yaml"
    if yaml_file.is_file():
        return space_from_yaml(yaml_file.read_text(encoding="utf-8"), yaml_file.name)
    space: SearchSpace = declaration(name).SPACE
    return space


@lru_cache
def declaration(name: str) -> ModuleType:
    """The Python file that declares the bundled space ``name``."""
    path = resource_dir("search_spaces") / f"{name}.py"
    full_name = f"autobuild_search_spaces_{name}"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise SpaceError(f"unknown search space {name!r}: {nearest(name, space_names())}")
    module = importlib.util.module_from_spec(spec)
    # registered, so that its classes can be pickled to worker processes and shown in tracebacks
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module


def realiser(family: str) -> Callable[..., Any]:
    """The function that builds networks of a family.

    Raises:
        SpaceError: If the family declares graphs only.
    """
    built_in = [n for n in space_names() if (resource_dir("search_spaces") / f"{n}.py").is_file()]
    function = getattr(declaration(family), "realise", None) if family in built_in else None
    if function is None:
        able = [name for name in built_in if hasattr(declaration(name), "realise")]
        raise SpaceError(f"space {family!r} declares graphs only and builds no networks; these do: {', '.join(able)}")
    return function  # type: ignore[no-any-return]
