"""List what is installed: versions, devices and extras, with the purpose of each missing one.

Examples:
    autobuild doctor
    autobuild doctor out=installed

Writes:
    installed.csv  what, version, gives; with out=
"""

from __future__ import annotations

import html
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from autobuild.jobs._console import grid, heading, say
from autobuild.jobs._provenance import version_of, versions
from autobuild.jobs.keys import RunKeys

if TYPE_CHECKING:
    import pandas as pd

# Extra -> the packages whose modules it adds, and what it gives.
EXTRAS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "onnx": ({"onnx": "onnx", "onnxruntime": "onnxruntime"}, "ONNX in and out, latency on this CPU"),
    "parquet": ({"pyarrow": "pyarrow"}, "tables of labels as Parquet"),
    "dashboard": ({"optuna-dashboard": "optuna_dashboard"}, "a study watched in the browser"),
    "plotly": ({"plotly": "plotly"}, "optuna.visualization on the study of a search"),
    "notebook": ({"ipykernel": "ipykernel", "nbclient": "nbclient"}, "the notebooks"),
    "ray": ({"ray": "ray"}, "executor=ray: evaluations on a Ray cluster"),
    "slurm": ({"submitit": "submitit"}, "executor=slurm: evaluations as jobs of a cluster"),
    "joblib": ({"hydra-joblib-launcher": "hydra_plugins.hydra_joblib_launcher"}, "jobs of a sweep beside one another"),
    "postgres": ({"psycopg": "psycopg"}, "workers of one study on many machines"),
    "fusion": ({"pymoo": "pymoo"}, "NSGA-II over fusion groups, to compare with"),
    "diffusion": ({"diffusers": "diffusers"}, "U-Nets and transformers of diffusion models"),
    "zoo": ({"torchvision": "torchvision", "timm": "timm"}, "published networks by name"),
    "deploy": ({"torchao": "torchao"}, "quantised weights in the format of torchao"),
    "docs": ({"mkdocs-material": "material", "mkdocstrings": "mkdocstrings"}, "this documentation as a site"),
}  # fmt: skip


@dataclass
class Keys(RunKeys):
    """Its keys."""


@dataclass(frozen=True)
class Installed:
    """What is installed; :func:`autobuild.show_config` returns it.

    Attributes:
        frame: Columns ``what, version, gives``. ``version`` is ``missing`` for an extra that is not installed.
        devices: The devices that torch sees, in words.
    """

    frame: pd.DataFrame = field(repr=False)
    devices: tuple[str, ...]

    def _lines(self) -> list[list[str]]:
        return [[str(cell) for cell in row] for row in self.frame.itertuples(index=False)]

    def __str__(self) -> str:
        width = max(len(row[0]) for row in self._lines())
        return "\n".join([*self.devices, *(f"{a:<{width}}  {b:<10} {c}".rstrip() for a, b, c in self._lines())])

    def _repr_html_(self) -> str:
        return f"<p>{html.escape('; '.join(self.devices))}</p>{self.frame.to_html(index=False)}"


def show_config() -> Installed:
    """What is installed: versions, devices, and extras with what each missing one would give.

    >>> print(ab.show_config().devices[0].split(",")[0].startswith("cpu"))
    True

    Returns:
        It prints, and shows itself in a notebook; its ``frame`` has the columns ``what, version, gives``.
    """
    import pandas as pd

    rows = [(name, version, "") for name, version in versions().items()]
    rows += [(name, version_of(name), "") for name in ("optuna", "hydra-core", "scikit-learn", "matplotlib")]
    for extra, (packages, gives) in EXTRAS.items():
        missing = [name for name, module in packages.items() if not _there(module)]
        told = f"{gives}: pip install 'autobuild-nas[{extra}]'" if missing else gives
        rows.append((f"[{extra}]", "missing" if missing else version_of(next(iter(packages))), told))
    return Installed(pd.DataFrame(rows, columns=["what", "version", "gives"]), _devices())


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _devices() -> tuple[str, ...]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [f"cpu, {cores} cores, {platform.machine()}, Python {sys.version.split()[0]} on {platform.system()}"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}, {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    else:
        found.append("no cuda device: fit.device=cuda needs one, and a CUDA build of torch")
    return tuple(found)


def run(config: Mapping[str, Any]) -> int:
    """Print what is installed; with ``out=``, also write it."""
    from autobuild.jobs.run import Run

    found = show_config()
    heading("Devices")
    for device in found.devices:
        say(f"  {device}")
    heading("Versions, and extras in brackets")
    grid(["what", "version", "gives"], found._lines())
    if config["out"] is not None:
        with Run.open("doctor", config) as folder:
            folder.write_frame("installed.csv", found.frame)
    return 0
