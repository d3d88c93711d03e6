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
        explain,
        fit,
        learning_curve,
        load_model,
        narrow,
        sample_design,
        save_model,
    )
    from autobuild.encode import EncoderConfig
    from autobuild.errors import AutobuildError
    from autobuild.fit import FitConfig
    from autobuild.spaces import Architecture, Candidate, SearchSpace, Unit, sequence_space, space_names
    from autobuild.spaces import load_space as space

# Everything is imported on first use: `import autobuild` and the command line's help stay fast.
_FROM = {
    **dict.fromkeys(("Architecture", "Candidate", "SearchSpace", "Unit", "sequence_space", "space_names"), "spaces"),
    **dict.fromkeys(("EncoderConfig",), "encode"),
    **dict.fromkeys(("FitConfig",), "fit"),
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
    "Scores",
    "SearchSpace",
    "Unit",
    "build",
    "explain",
    "fit",
    "learning_curve",
    "load_model",
    "narrow",
    "sample_design",
    "save_model",
    "sequence_space",
    "space",
    "space_names",
]


# These verbs share their name with the room that holds them: `ab.fit` is the verb, `from autobuild.fit import ...` the room.
_VERBS = ("fit", "explain")


class _Face(ModuleType):
    """Importing a room binds it to its parent package; the verbs above must not be overwritten by that."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


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
