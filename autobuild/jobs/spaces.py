"""List the search spaces, or describe one of them.

A space is an ordered row of units; each is filled by one candidate. Your own YAML file works wherever a name works.

Examples:
    autobuild spaces
    autobuild spaces space=ofa_mbv3
    autobuild spaces space=my_space.yaml out=described

Writes:
    spaces.csv  name, units, architectures, features (only with out=)
    units.csv, features.csv  with space=: unit, depths, candidates; feature, values (only with out=)
    space.png  with space=: its units, what they choose and how they are joined (only with out=)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.jobs._console import grid, heading, say
from autobuild.jobs._pictures import draw_space
from autobuild.settings.option import option

if TYPE_CHECKING:
    from autobuild.spaces import SearchSpace

Table = tuple[list[str], list[list[str]]]


@dataclass
class Keys:
    """Its keys."""

    space: str | None = option(
        None, "the space to describe: a name, the path of a YAML or JSON file, or package.module:Class", kind="name"
    )
    out: str | None = option(None, "also write the tables and the picture into this folder", kind="path")
    resume: bool = option(True, "false replaces what an earlier run wrote into out=")
    threads: int | None = option(None, "accepted as everywhere; nothing here computes", ">=1 <=1024")


def run(config: Mapping[str, Any]) -> int:
    """Print the spaces, or one space; write the tables, and the picture of the one, only where ``out`` is given."""
    from autobuild.spaces import load_space

    space = None if config["space"] is None else load_space(str(config["space"]))
    tables = _list() if space is None else _describe(str(config["space"]), space)
    if config["out"] is not None:
        _write(config, tables, space)
    return 0


def _list() -> dict[str, Table]:
    from autobuild.spaces import load_space, readable_count, space_names

    header = ["name", "units", "architectures", "features", "about"]
    rows = []
    for space in map(load_space, space_names()):
        rows.append([space.name, str(len(space.units)), readable_count(space.size), _features(space), space.about])
    grid(header, rows)
    say("\nDescribe one with: autobuild spaces space=NAME")
    return {"spaces.csv": (header, rows)}


def _describe(name: str, space: SearchSpace) -> dict[str, Table]:
    from autobuild.spaces import readable_count

    say(f"{space.name}: {space.about}" if space.about else space.name)
    say(f"declared in {_source(name)}" + (f", narrowed or joined from {space.family}" if _derived(space) else ""))
    if space.note:
        say(space.note)
    about = f" (about {readable_count(space.size)})" if space.size >= 10**6 else ""
    say(f"architectures: {space.size:,}{about}")
    header = ["unit", "depths", "candidates"]
    rows = [[unit.name, ", ".join(map(str, unit.depths)), f"{unit.size:,}"] for unit in space.units]
    if any(stage.once for stage in space.stages):
        header.append("chosen once for all layers")
        for row, unit in zip(rows, space.units, strict=True):
            row.append(", ".join(dict.fromkeys(name for stage in unit.stages for name in stage.once)))
    heading(f"{counted(len(space.units), 'unit')}, {counted(sum(unit.size for unit in space.units), 'candidate')}")
    grid(header, rows)
    heading("features of a layer")
    features = [[feature.name, ", ".join("-" if v is None else str(v) for v in feature.values)]
                for feature in space.features]  # fmt: skip
    grid(["feature", "values"], features)
    say(f"\nexample: {space.example}")
    return {"units.csv": (header, rows), "features.csv": (["feature", "values"], features)}


def _features(space: SearchSpace) -> str:
    return ", ".join(f"{feature.name} ({len(feature.values)})" for feature in space.features)


def _derived(space: SearchSpace) -> bool:
    return space.family != space.name.partition("(")[0]


def _source(name: str) -> str:
    from autobuild.resources import resource_dir
    from autobuild.spaces import space_names

    bare = name.partition("(")[0]
    shipped = [path for path in resource_dir("search_spaces").iterdir() if path.suffix in (".py", ".yaml")]
    if bare in space_names() and bare not in {path.stem for path in shipped}:
        return "Python, and registered"
    return str(next((path for path in shipped if path.stem == bare), Path(name)))


def _write(config: Mapping[str, Any], tables: Mapping[str, Table], space: SearchSpace | None) -> None:
    from autobuild.jobs.run import Run

    with Run.open("spaces", config) as run_folder:
        for name, (header, rows) in tables.items():
            run_folder.write_table(name, header, rows)
        if space is not None:
            draw_space(run_folder, space)
