"""Neural architecture construction: learn what matters from labelled architectures, then build the best networks."""

from __future__ import annotations

import importlib
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
    from autobuild.graphs import OperationGraph, graph_of, load_zoo
    from autobuild.models import FitConfig
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
    **dict.fromkeys(("FitConfig",), "models"),
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
