"""Neural architecture construction: learn what matters from labelled architectures, then build the best networks."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from autobuild.api import (
        Built,
        FittedModel,
        LabelledSet,
        Scores,
        build,
        costs,
        explain,
        fit,
        learning_curve,
        load_model,
        narrow,
        pareto,
        rounds,
        sample_design,
        save_model,
        search,
    )
    from autobuild.cost.fusion.fusing import fuse
    from autobuild.encode import EncoderConfig
    from autobuild.errors import AutobuildError
    from autobuild.fit import FitConfig
    from autobuild.graphs import OperationGraph, graph_of, load_zoo
    from autobuild.spaces import (
        Architecture,
        Candidate,
        SearchSpace,
        Unit,
        register_space,
        sequence_space,
        space_names,
    )
    from autobuild.spaces import load_space as space

# Everything is imported on first use: `import autobuild` and the command line's help stay fast.
_FROM = {
    **dict.fromkeys(("Architecture", "Candidate", "SearchSpace", "Unit"), "spaces"),
    **dict.fromkeys(("register_space", "sequence_space", "space_names"), "spaces"),
    **dict.fromkeys(("EncoderConfig",), "encode"),
    **dict.fromkeys(("fuse",), "cost.fusion.fusing"),
    **dict.fromkeys(("FitConfig",), "fit"),
    **dict.fromkeys(("OperationGraph", "graph_of", "load_zoo"), "graphs"),
    **dict.fromkeys(("AutobuildError",), "errors"),
}

__all__ = [
    "Architecture",
    "AutobuildError",
    "Built",
    "Candidate",
    "EncoderConfig",
    "FitConfig",
    "FittedModel",
    "LabelledSet",
    "OperationGraph",
    "Scores",
    "SearchSpace",
    "Unit",
    "build",
    "costs",
    "explain",
    "fit",
    "fuse",
    "graph_of",
    "learning_curve",
    "load_model",
    "load_zoo",
    "narrow",
    "pareto",
    "register_space",
    "rounds",
    "sample_design",
    "save_model",
    "search",
    "sequence_space",
    "space",
    "space_names",
]


# Verbs that share their name with a room: `ab.fit(...)` is the verb, `autobuild.fit.training` a file of the room.
_VERBS = ("fit", "explain", "search")


class _Verb:
    """Calls the verb of the public face; any attribute is read from the room of the same name."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.__wrapped__(*args, **options)

    @property
    def __wrapped__(self) -> Any:
        return getattr(importlib.import_module("autobuild.api"), self.__name__)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.__wrapped__.__doc__  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<function autobuild.{self.__name__}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(f"autobuild.{self.__name__}"), name)


class _Face(ModuleType):
    """Importing a room binds it to its parent package; that must not overwrite the verbs."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
globals().update({name: _Verb(name) for name in _VERBS})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        from autobuild.errors import nearest

        raise AttributeError(f"autobuild has no {name!r}: {nearest(name, __all__)}")
    module = importlib.import_module(f"autobuild.{_FROM.get(name, 'spaces' if name == 'space' else 'api')}")
    value = getattr(module, "load_space" if name == "space" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
