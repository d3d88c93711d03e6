"""Find search spaces: by the name of a bundled or registered one, or by the path of a file."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from autobuild.errors import ConfigError, SpaceError, nearest
from autobuild.named import imported
from autobuild.registry import Registry
from autobuild.resources import resource_dir
from autobuild.spaces.declare import MAX_TEXT, space_from_yaml, text_of
from autobuild.spaces.serialise import from_json
from autobuild.spaces.space import Architecture, SearchSpace

MOST_STORED = 1 << 28  # bytes of a stored space
SUFFIXES = (".yaml", ".yml", ".json")
CLASSES = "num_classes"  # the option of every space that builds networks
SCHEMES = {
    "quant": "autobuild.quant.examples",
    "joint": "autobuild.quant.joint_names",
}  # what stands before the colon -> module whose functions give spaces
DERIVED = {"joint": "autobuild.quant.joint"}  # option of spaces made from another -> module with ``declaration(space)``

Declared = TypeVar("Declared")
_WHOLE: dict[tuple[Any, str], SearchSpace] = {}  # spaces built with options; looked up once per graph


def space_names() -> list[str]:
    """Names of the bundled and the registered search spaces, and of those of installed packages, sorted."""
    return list(SPACES)


def _shipped() -> dict[str, str]:
    files = resource_dir("search_spaces").iterdir()
    return {p.stem: p.stem for p in files if p.suffix in (".py", ".yaml") and not p.name.startswith("_")}


def register_space(declared: Declared) -> Declared:
    """Register your own search space by its name, with its networks and costs. A later registration replaces it.

    A package declares its space as an entry point of the group ``autobuild.spaces``, so it is found without an import.
    The declaration is passed as an object, because this package does not execute Python files given by path: import the
    file yourself if you trust it.

    Args:
        declared: A module, or a class (the function then serves as a decorator), in the form of the files in
            ``search_spaces``. It must have ``SPACE``. Optional: ``realise(layers, num_classes, in_channels,
            **options)``, ``INPUT_SHAPE``, ``NUM_CLASSES``, ``plan`` or ``tallies`` with ``COSTS`` and ``DEPENDS``
            (see :class:`autobuild.cost.CostTables`), ``INPUTS``, and ``space(**options)`` for a space with options.

    Returns:
        ``declared``, unchanged.

    Raises:
        SpaceError: It has no ``SPACE``, its ``SPACE`` was narrowed, or a bundled space has the same name.
    """
    space = getattr(declared, "SPACE", None)
    if not isinstance(space, SearchSpace):
        raise SpaceError(f"register_space: {declared!r} has no SPACE; accepted: a module or class that has one")
    if not space.name.isidentifier() or space.name != space.family:
        raise SpaceError(
            f"register_space: a space named {space.name!r}, of the family {space.family!r}; accepted: a whole space "
            "whose name is a word of letters, digits and _"
        )
    return SPACES.register(space.name, replace=True)(declared)


def load_space(space: str | Path | SearchSpace, **options: Any) -> SearchSpace:
    """Load a search space by name or from a file.

    Args:
        space: One of: a name (see :func:`space_names`), with options if the space has parameters, as in
            ``"ofa_mbv3(width=1.2)"``; ``"package.module:Class"``, your own space in Python, which is imported and
            registered (:func:`register_space`); ``"quant:NAME"``, mixed-precision quantisation of a model that ships
            (``digits_dit``, ``digits_unet``); ``"joint:NAME"``, the architectures of a space and their bits
            (:func:`autobuild.joint_space`); the path of a YAML declaration; the path of a stored space (JSON, as
            ``narrow`` writes it); a search space, which is returned unchanged.
        **options: Parameters of a named space, e.g. ``width=1.2``. Every space that builds networks has
            ``num_classes``.

    Returns:
        The search space.

    Raises:
        SpaceError: The name or an option is unknown (the message offers the nearest ones), the file cannot be read, or
            the module cannot be imported or has no such space.
    """
    if not isinstance(space, str | Path | SearchSpace):
        raise SpaceError(f"space {space!r}: a name, the path of a file or a space is accepted, such as 'ofa_mbv3'")
    if isinstance(space, SearchSpace) or Path(space).suffix in SUFFIXES:
        if options:
            raise SpaceError(f"options ({', '.join(options)}) are taken by the names of spaces, not by {space!r}")
        return space if isinstance(space, SearchSpace) else _read(Path(space))
    name, written = _taken_apart(str(space))
    if Path(name).suffix == ".py":
        raise SpaceError(
            f"{name}: Python files are not run by their path: name what declares the space, as "
            f"{Path(name).stem}:Class, or import it yourself and give it to autobuild.register_space"
        )
    if ":" in name:
        return _imported(name, written | options)
    if name not in space_names():
        raise SpaceError(
            f"unknown search space {name!r}: {nearest(name, space_names())}; a path ends in .yaml, "
            "a space of your own in Python is named package.module:Class"
        )
    options = written | options
    return _with_options(name, options) if options else _whole(name)


def _imported(name: str, options: dict[str, Any]) -> SearchSpace:
    """The space of ``package.module:object``, which is a declaration, a space, or a function that returns one."""
    called = f"space={name}"
    scheme, _, rest = name.partition(":")
    where = f"{SCHEMES[scheme]}:{rest}" if scheme in SCHEMES else name
    try:
        found = imported(where, os.getcwd(), called, "space=package.module:Class")
    except ConfigError as error:
        raise SpaceError(str(error)) from error
    made = not isinstance(getattr(found, "SPACE", None), SearchSpace) and inspect.isroutine(found)
    if made:
        try:
            found = found(**options)
        except Exception as error:  # whatever the function itself raises
            given = ", ".join(f"{option}={value!r}" for option, value in options.items()) or "nothing"
            raise SpaceError(f"{called}, called with {given}: {type(error).__name__}: {error}") from error
    if isinstance(getattr(found, "SPACE", None), SearchSpace):
        register_space(found)
        space = found.SPACE if made or not options else _with_options(found.SPACE.name, options)
    elif isinstance(found, SearchSpace):
        if options and not made:
            raise SpaceError(f"{called} is a space, which takes no options; {', '.join(options)} given")
        space = found
    else:
        raise SpaceError(
            f"{called} is {found!r}, which is not a search space: accepted are a class or module with SPACE (see "
            "autobuild.register_space), a SearchSpace, or a function that returns one of them"
        )
    space.source = name
    return space


def _taken_apart(text: str) -> tuple[str, dict[str, Any]]:
    """Split ``"name(key=value, ...)"`` into the name and the options; values must be literals."""
    name, bracket, _ = text.partition("(")
    if not bracket:
        return text, {}
    try:
        call = ast.parse(f"_{text.strip()[len(name.strip()) :]}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(word.arg is None for word in call.keywords):
            raise ValueError("not a call with named options")
        return name.strip(), {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise SpaceError(
            f"{text!r} cannot be read as a space with options: accepted is name(option=value, ...) with numbers, "
            "quoted texts or lists as values"
        ) from None


def _with_options(name: str, options: dict[str, Any]) -> SearchSpace:
    declared = declaration(name)
    build = getattr(declared, "space", None)
    known = inspect.signature(build).parameters if build else {}
    accepted = [*known, *([CLASSES] if hasattr(declared, "realise") else [])]
    if not accepted:
        raise SpaceError(f"search space {name!r} takes no options; {', '.join(options)} given")
    for option in options:
        if option not in accepted:
            raise SpaceError(f"search space {name!r} has no option {option!r}: {nearest(option, accepted)}")
    whole: SearchSpace = build(**{o: value for o, value in options.items() if o in known}) if build else declared.SPACE
    made = whole.replaced(whole.units)
    if options.get(CLASSES) is not None:
        made.options[CLASSES] = _checked_classes(name, options[CLASSES])
    standard = {CLASSES: None} | {option: parameter.default for option, parameter in known.items()}
    shown = [f"{option}={value!r}" for option, value in options.items() if value != standard[option]]
    made.name = f"{name}({', '.join(shown)})" if shown else name
    return made


def _checked_classes(name: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise SpaceError(f"search space {name!r}: {CLASSES}={given!r}: accepted is a whole number of at least 1")
    return given


def _read(path: Path) -> SearchSpace:
    try:
        text = text_of(path, MOST_STORED if path.suffix == ".json" else 4 * MAX_TEXT)
    except FileNotFoundError:
        beside = sorted(str(file) for pattern in ("*.yaml", "*.json") for file in path.parent.glob(pattern))
        raise SpaceError(f"no such file: {path}; {nearest(path, [*space_names(), *beside])}") from None
    except (OSError, ValueError) as error:  # not UTF-8, or a null character in the name
        raise SpaceError(f"{path}: cannot be read: {error}") from None
    if path.suffix != ".json":
        return space_from_yaml(text, str(path))
    try:
        return from_json(text)
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from None


def _whole(name: str) -> SearchSpace:
    """The space of this name with its standard options."""
    declared = declaration(name)
    space: SearchSpace = _bundled_yaml(name) if declared is None else declared.SPACE
    return space


@lru_cache
def _bundled_yaml(name: str) -> SearchSpace:
    path = resource_dir("search_spaces") / f"{name}.yaml"
    return space_from_yaml(path.read_text(encoding="utf-8"), path.name)


def declaration(name: str) -> Any:
    """The declaration of a space: the Python module of a bundled space or the registered object; None for YAML.

    Raises:
        SpaceError: The name is unknown.
    """
    found = SPACES[name]
    if found is not None and getattr(getattr(found, "SPACE", None), "name", None) != name:
        raise SPACES.blame(name, f"accepted: a module or class with a SPACE that is called {name!r}")
    return found


@lru_cache
def _bundled_file(name: str) -> ModuleType | None:
    path = resource_dir("search_spaces") / f"{name}.py"
    full_name = f"autobuild_search_spaces_{name}"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    # in sys.modules, so that its classes can be pickled to worker processes and shown in tracebacks
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module


SPACES = Registry("space", "spaces", _shipped, error=SpaceError, load=_bundled_file, form=None)


def kind_of(space: SearchSpace) -> str:
    """The family of a space; for one that was made from another, how and its family, such as ``joint:tiny_mbconv``."""
    made = (f"{option}:{space.options[option]['space']['family']}" for option in DERIVED if option in space.options)
    return next(made, space.family)


def declared_by(space: SearchSpace) -> Any:
    """The declaration of a space, also of a narrowed or joined one; None if the space declares graphs only.

    The name alone is not enough: the stages and joins must be equal to those of the declared space, because a user's
    space may happen to have the name of another one.
    """
    if space.source and space.family not in SPACES:
        _declare_again(space.source)
    try:
        for option in DERIVED.keys() & space.options.keys():
            return importlib.import_module(DERIVED[option]).declaration(space)
        declared = declaration(space.family)
    except SpaceError:
        return None
    if declared is None:
        return None
    build = getattr(declared, "space", None)
    try:
        own = {option: value for option, value in space.options.items() if option != CLASSES}
        whole: SearchSpace = declared.SPACE
        if build and own:
            key = (build, repr(sorted(own.items())))
            whole = _WHOLE[key] if key in _WHOLE else _WHOLE.setdefault(key, build(**own))
    except (SpaceError, TypeError):  # options of another family
        return None
    return declared if (whole.stages, whole.joins) == (space.stages, space.joins) else None


@functools.cache
def _declare_again(source: str) -> None:
    """In a worker process, which only received the space: register its declaration, once.

    What functions of :data:`SCHEMES` give is no declaration, and may take a minute.
    """
    if source.partition(":")[0] not in SCHEMES:
        with contextlib.suppress(SpaceError):
            _imported(source, {})


def network_arguments(
    space: SearchSpace, num_classes: int | None = None, in_channels: int | None = None
) -> dict[str, Any]:
    """Arguments beside the layers that ``plan``, ``tallies`` and ``realise`` of a space's declaration take.

    An argument that is None gets the first of these that exists: the space's option ``num_classes``, ``NUM_CLASSES``
    and ``INPUT_SHAPE`` of its declaration, the defaults of its ``realise``, 10 classes and 3 channels. Networks and
    costs of a space therefore agree.
    """
    declared = declared_by(space)
    own = inspect.signature(declared.realise).parameters if hasattr(declared, "realise") else {}
    standard = {name: parameter.default for name, parameter in own.items() if isinstance(parameter.default, int)}
    shape = getattr(declared, "INPUT_SHAPE", None)
    classes = [num_classes, space.options.get(CLASSES), getattr(declared, "NUM_CLASSES", None), standard.get(CLASSES)]
    channels = [in_channels, shape[0] if shape else None, standard.get("in_channels")]
    options = {option: value for option, value in space.options.items() if option != CLASSES}
    return {
        CLASSES: next((number for number in classes if number is not None), 10),
        "in_channels": next((number for number in channels if number is not None), 3),
        **options,
    }


def realiser(space: SearchSpace) -> Callable[[list[Any], int | None, int | None], Any]:
    """The function ``(layers, num_classes, in_channels)`` that builds networks; None stands for the space's defaults.

    Raises:
        SpaceError: The space declares graphs only.
    """
    function = getattr(declared_by(space), "realise", None)
    if function is None:
        able = [name for name in space_names() if hasattr(declaration(name), "realise")]
        if space.family in able:
            raise SpaceError(
                f"space {space.name!r} has other units or joins than the {space.family!r} that is known here, so its "
                "networks cannot be built: give it another name"
            )
        raise SpaceError(
            f"space {space.family!r} declares graphs only and builds no networks; these do: {', '.join(able)}; "
            "autobuild.register_space takes your own, space=package.module:Class finds it"
        )
    build: Callable[..., Any] = function
    parameters = inspect.signature(build).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())

    def realised(layers: list[Any], num_classes: int | None, in_channels: int | None) -> Any:
        asked = {CLASSES: num_classes, "in_channels": in_channels}
        given = network_arguments(space, num_classes, in_channels)
        for name, value in asked.items():
            if name not in parameters and not takes_all:
                if value is not None:
                    raise SpaceError(
                        f"networks of {space.family!r} take no {name}={value}: realise has no such argument"
                    )
                del given[name]
        return build(layers, **given)

    return realised


def check_space(given: object) -> SearchSpace:
    """Return ``given`` if it is a search space.

    Raises:
        ConfigError: It is something else, such as a name that :func:`load_space` would read.
    """
    if isinstance(given, SearchSpace):
        return given
    how = f"ab.space({str(given)!r})" if isinstance(given, str | Path) else "ab.space(...)"
    raise ConfigError(f"space={given!r}: a search space is accepted, as {how} or scores.narrow(...) returns it")


def architectures(space: SearchSpace, given: object) -> list[Architecture]:
    """Parse one or several architectures or texts into a list of architectures.

    Raises:
        SpaceError: A value is not an architecture, or is of another family.
    """
    listed = [given] if isinstance(given, Architecture | str) else given
    if not isinstance(listed, Iterable):
        raise SpaceError(f"{given!r}: an architecture of {space.name}, its text, or a list of them is accepted")
    found = [arch if isinstance(arch, Architecture) else space.parse(arch) for arch in listed]
    for arch in found:
        if arch.family != space.family:
            raise SpaceError(f"{arch!r} belongs to {arch.family!r}, not to {space.family!r}")
    return found
