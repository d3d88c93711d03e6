"""Run the notebooks and keep their outputs: ``python notebooks/refresh.py [--fit]``, some minutes.

``--fit`` first fits the model that the quickstart loads, ``notebooks/quickstart_model``, on the embedded labels.
"""

from __future__ import annotations

import sys
import tempfile
from os import environ
from pathlib import Path
from shutil import copytree

import nbformat
from nbclient import NotebookClient

import autobuild as ab

HERE = Path(__file__).resolve().parent
MODEL = HERE / "quickstart_model"


def fit_model() -> None:
    """Fit the default model of ``tiny_mbconv`` and save it."""
    space = ab.space("tiny_mbconv")
    labels = ab.LabelledSet.read("tiny_mbconv", space)
    ab.save_model(ab.fit(labels, target="acc", seed=0), MODEL)


def run(path: Path, folder: str | Path) -> nbformat.NotebookNode:
    """Run a notebook from top to bottom in a folder, into which the fitted model is copied.

    Raises:
        CellExecutionError: A cell raises an error.
    """
    environ["AUTOBUILD_PROGRESS"] = "0"  # bars are no outputs to keep
    copytree(MODEL, Path(folder) / MODEL.name)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


if __name__ == "__main__":
    if "--fit" in sys.argv:
        fit_model()
    for file in sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as work:
            nbformat.write(run(file, work), file)
