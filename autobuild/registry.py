"""Plug-ins by name: one registry for each kind, of those that ship, registered ones and those of installed packages.

A plug-in ships as a file ``NAME_KIND.py`` in the folder of its kind, such as ``studies/samplers/tpe_sampler.py``, which
registers itself. Names are read from files and entry points; a plug-in is imported when it is asked for.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, TypeVar

from autobuild.errors import AutobuildError, ConfigError, nearest

Plugin = TypeVar("Plugin")
_log = logging.getLogger(__name__)


class Registry:
    """Plug-ins of one kind by name. Iterating gives the sorted names; ``registry[name]`` imports and returns one.

    Args:
        kind: What the kind is called in messages and in names of files, such as ``sampler``.
        kinds: Its plural; packages offer theirs as entry points of the group ``autobuild.KINDS``.
        shipped: Folder below ``autobuild`` whose files ``NAME_KIND.py`` ship, or a function that returns name ->
            argument of ``load``.
        given: Arguments that the library gives a plug-in, as far as its signature names them; others are its options.
        key: The setting that takes the name, for messages (default: ``kind``).
        also: Further values that the setting takes, which are no plug-ins, such as ``auto``.
        error: Type of the errors.
        load: Imports what ships; a module of plug-ins registers them.
        form: What a plug-in must be, for messages; None accepts everything.
    """

    def __init__(
        self,
        kind: str,
        kinds: str,
        shipped: str | Callable[[], Mapping[str, str]],
        given: tuple[str, ...] = (),
        *,
        key: str | None = None,
        also: tuple[str, ...] = (),
        error: type[AutobuildError] = ConfigError,
        load: Callable[[str], Any] = importlib.import_module,
        form: str | None = "a class or function",
    ) -> None:
        self.kind, self.group, self.key, self.also = kind, f"autobuild.{kinds}", key or kind, also
        self.shipped = (lambda: _files(shipped, f"_{kind}.py")) if isinstance(shipped, str) else shipped
        self._given, self._error, self._load, self._form = given, error, load, form
        self._registered: dict[str, Any] = {}
        self._left_out: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self.shipped(), *self._registered, *self._installed()}))

    def __contains__(self, name: object) -> bool:
        return name in self._registered or name in self.shipped() or name in self._installed()

    @property
    def choices(self) -> list[str]:
        """Every value that the setting takes: ``also``, then the names, sorted."""
        return [*self.also, *self]

    def check(self, name: object) -> None:
        """Raise a ConfigError unless the setting takes ``name``; it offers the nearest names. Nothing is imported."""
        if not isinstance(name, str) or (name not in self and name not in self.also):
            raise self._error(f"{self.key}={name!r}: unknown {self.kind}: {nearest(name, self.choices)}")

    def register(self, name: str, *, replace: bool = False) -> Callable[[Plugin], Plugin]:
        """Decorator that registers a plug-in in this process.

        Args:
            name: Its name: letters, digits and ``_``.
            replace: Whether a later registration replaces an earlier one. Otherwise only the same class or function
                does, as when a cell of a notebook is run again.

        Returns:
            A function that registers what it is given, and returns it unchanged.

        Raises:
            ConfigError: The returned function raises it if the name has other characters, or is taken.
        """

        def add(plugin: Plugin) -> Plugin:
            if not isinstance(name, str) or not name.isidentifier() or name in self.also:
                raise self._error(f"{self.kind} {name!r}: accepted: letters, digits and _, and not {self.also}")
            module = getattr(plugin, "__module__", None)
            if self.shipped().get(name, module) != module:
                raise self._error(f"{self.kind} {name!r} is built in: choose another name")
            point = self._installed().get(name)
            if point is not None and point.module != module:
                raise self._error(f"{self.kind} {name!r} is that of {_package(point)}: choose another name")
            earlier = self._registered.get(name, plugin)
            if not replace and _origin(earlier) != _origin(plugin):
                where = ".".join(_origin(earlier))
                raise self._error(f"{self.kind} {name!r} is registered already, as {where}: choose another name")
            self._registered[name] = plugin
            return plugin

        return add

    def __getitem__(self, name: str) -> Any:
        """The plug-in of this name.

        Raises:
            ConfigError: The name is unknown (the message offers the nearest ones), or the plug-in of an installed
                package cannot be imported or is of another form; the message names the package.
        """
        if name in self.also:
            raise self._error(f"{self.key}={name!r} is no {self.kind}: {nearest(name, self)}")
        self.check(name)
        if name not in self._registered and (module := self.shipped().get(name)) is not None:
            found = self._load(module)  # a module registers what it holds
            return self._registered.get(name, found)
        if name in self._registered:
            return self._registered[name]
        point = self._installed()[name]
        try:
            found = point.load()
        except Exception as error:  # the import runs code of the package, which may raise anything
            raise self.blame(name, f"cannot be imported: {type(error).__name__}: {error}") from error
        if self._form is not None and not callable(found):
            raise self.blame(name, f"it is {found!r}; accepted: {self._form}")
        return found

    def parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """Parameters of the signature of a plug-in, by name."""
        return dict(inspect.signature(self[name]).parameters)

    def options(self, name: str) -> list[inspect.Parameter]:
        """The parameters of a plug-in that the library does not give."""
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return [one for key, one in self.parameters(name).items() if key not in self._given and one.kind not in kinds]

    def make(self, name: str, given: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Any:
        """Call a plug-in.

        Args:
            name: Its name.
            given: Arguments that every plug-in of the kind may take; those that its signature lacks are left out.
            options: Arguments of this plug-in alone.

        Raises:
            ConfigError: It has no such option, or an installed package's raises a TypeError or ConfigError.
        """
        self.check_options(name, options or {})
        known = self.parameters(name)
        try:
            return self[name](**{key: value for key, value in given.items() if key in known}, **(options or {}))
        except (TypeError, ConfigError) as error:
            if name not in self._installed():
                raise
            raise self.blame(name, str(error)) from error

    def check_options(self, name: str, options: Iterable[str]) -> None:
        """Raise a ConfigError for an option that a plug-in does not have; it offers the nearest ones."""
        own = [parameter.name for parameter in self.options(name)]
        for option in options:
            if option not in own:
                raise self._error(f"{self.key}={name} has no option {option!r}: {nearest(option, own)}")

    def about(self, name: str) -> str:
        """One line on a plug-in, without importing it: the first line of its file or object, or its package."""
        if (module := self.shipped().get(name)) is not None:
            path = Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        elif name in self._registered:
            text = inspect.getdoc(self._registered[name])
        else:
            text = f"of {_package(self._installed()[name])}"
        return (text or "").partition("\n")[0].removesuffix(".")

    def blame(self, name: str, problem: str) -> AutobuildError:
        """The error that says what is wrong with a plug-in, and which package it is of."""
        point = self._installed().get(name)
        where = f" of {_package(point)} ({point.value})" if point is not None else ""
        return self._error(f"{self.key}={name}{where}: {problem}")

    def _installed(self) -> dict[str, EntryPoint]:
        """Entry points by name. A name that is already taken is left out, with a warning."""
        shipped, found = self.shipped(), dict[str, EntryPoint]()
        for point in _points(self.group):
            first = found.get(point.name)
            if point.name not in shipped and (first is None or first.value == point.value):
                found[point.name] = point
            elif f"{point}" not in self._left_out:
                self._left_out.add(f"{point}")
                _log.warning("%s: the %s %r of %s is left out, the name is taken", self.group, self.kind, point.name,
                             _package(point))  # fmt: skip
        return found


@lru_cache
def _files(folder: str, ending: str) -> dict[str, str]:
    """Name -> module of the files ``NAME + ending`` in a folder below ``autobuild``, or in folders of it."""
    root = Path(__file__).parent
    files = [path.relative_to(root) for path in (root / folder).rglob(f"[!_]*{ending}")]
    return {path.name.removesuffix(ending): ".".join([__package__, *path.with_suffix("").parts]) for path in files}


def _points(group: str) -> EntryPoints:
    """Entry points of the packages on ``sys.path``."""
    points: EntryPoints = _all_points(tuple(sys.path)).select(group=group)
    return points


@lru_cache(maxsize=4)
def _all_points(path: tuple[str, ...]) -> Any:
    """Those of all groups: the metadata of all packages is read once for each ``sys.path``."""
    return entry_points()


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist else "a package"


def _origin(plugin: object) -> tuple[str, str]:
    named = plugin if hasattr(plugin, "__qualname__") else type(plugin)
    return str(getattr(plugin, "__module__", named.__module__)), str(getattr(named, "__qualname__", ""))


_OF_SAMPLERS = ("space", "grain", "seed", "n_targets", "prior", "targets", "costs", "model", "limits")
_OF_EXECUTORS = ("space", "evaluator", "workers", "time_limit_s", "reports")
_OF_ACQUISITIONS = ("model", "archs", "predicted", "upper", "count", "seed")

COSTS = Registry("cost", "costs", "cost", ("hardware",))
LOSSES = Registry("loss", "losses", "rank/losses", ("scores", "target"), key="ranking", also=("none",))
LAYERS = Registry("layer", "layers", "encode", ("width_in", "width_out", "heads"), key="encoder.layer")
FAMILIES = Registry("family", "families", "models", key="model", also=("auto",))
SCORERS = Registry("scorer", "scorers", "importance", ("model", "space"), also=("auto",))
ACQUISITIONS = Registry("acquisition", "acquisitions", "construct", _OF_ACQUISITIONS)
SAMPLERS = Registry("sampler", "samplers", "studies/samplers", _OF_SAMPLERS, also=("auto",))
EXECUTORS = Registry("executor", "executors", "evaluate/executors", _OF_EXECUTORS)
