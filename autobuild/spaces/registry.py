"""Finding spaces: by the name of one that ships, or by the path of a user's own file."""

from __future__ import annotations

import ast
import importlib.util
import inspect
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


def load_space(space: str | Path | SearchSpace, **options: Any) -> SearchSpace:
    """Return a search space.

    Args:
        space: The name of one that ships (:func:`space_names`), where it has parameters also with them, as in
            ``"ofa_mbv3(width=1.2)"``; the path of a YAML declaration, the path of a stored space (JSON, as ``narrow``
            writes it), or a space, which is returned as it is.
        **options: Parameters of a space that ships, e.g. ``width=1.2``.

    Raises:
        SpaceError: For an unknown name or option (the nearest ones are offered) or an unreadable file.
    """
    if isinstance(space, SearchSpace) or Path(space).suffix in SUFFIXES:
        if options:
            raise SpaceError(f"options ({', '.join(options)}) are taken by the names of spaces that ship: {space!r}")
        return space if isinstance(space, SearchSpace) else _read(Path(space))
    name, written = _taken_apart(str(space))
    if name not in space_names():
        raise SpaceError(f"unknown search space {name!r}: {nearest(name, space_names())}; a path ends in .yaml")
    options = written | options
    return _with_options(name, options) if options else _bundled(name)


def _taken_apart(text: str) -> tuple[str, dict[str, Any]]:
    """``"name(key=value, ...)"`` -> name and options; values are literals."""
    name, bracket, _ = text.partition("(")
    if not bracket:
        return text, {}
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(word.arg is None for word in call.keywords):
            raise ValueError("it is no call with named options")
        return name.strip(), {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise SpaceError(
            f"{text!r} does not read as a space with options: accepted is name(option=value, ...), values being "
            "numbers, quoted texts or lists"
        ) from None


def _with_options(name: str, options: dict[str, Any]) -> SearchSpace:
    file = resource_dir("search_spaces") / f"{name}.py"
    build = getattr(declaration(name), "space", None) if file.is_file() else None
    if build is None:
        raise SpaceError(f"search space {name!r} takes no options; {', '.join(options)} given")
    known = inspect.signature(build).parameters
    for option in options:
        if option not in known:
            raise SpaceError(f"search space {name!r} has no option {option!r}: {nearest(option, known)}")
    made: SearchSpace = build(**options)
    said = [f"{option}={value!r}" for option, value in options.items() if value != known[option].default]
    made.name = f"{name}({', '.join(said)})" if said else name
    return made


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
    """The function that builds networks of a family; what is given to it as None is as its own defaults have it.

    Raises:
        SpaceError: If the family declares graphs only.
    """
    built_in = [n for n in space_names() if (resource_dir("search_spaces") / f"{n}.py").is_file()]
    function = getattr(declaration(family), "realise", None) if family in built_in else None
    if function is None:
        able = [name for name in built_in if hasattr(declaration(name), "realise")]
        raise SpaceError(f"space {family!r} declares graphs only and builds no networks; these do: {', '.join(able)}")
    build: Callable[..., Any] = function
    return lambda layers, **given: build(layers, **{name: v for name, v in given.items() if v is not None})
