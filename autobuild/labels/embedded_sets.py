"""The labelled sets that ship with the package; each has the name of its search space."""

from __future__ import annotations

from pathlib import Path

from autobuild.spaces import space_names

EMBEDDED = Path(__file__).resolve().parent / "embedded"


def embedded_sets() -> dict[str, Path]:
    """Name of a space -> file of its labels. Other tables in the folder hold single trainings and are not included."""
    files = {name: EMBEDDED / f"{name}.csv" for name in space_names()}
    return {name: file for name, file in files.items() if file.is_file()}
