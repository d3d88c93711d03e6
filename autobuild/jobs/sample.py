"""Draw architectures of a space, to train and measure them elsewhere.

Architectures are distinct. design=depth (the default here, in space.sample and in ab.sample_design): every depth of a unit is
equally likely, then its layers; uniform: every architecture is, so that most are deep, as in the space, and shallow ones
are hardly seen; cover: as depth, and every depth and every feature value of every unit is in at least cover= of them.

Examples:
    autobuild sample space=ofa_mbv3 n=300 out=to_train
    autobuild sample space=my_space.yaml n=60 design=cover cover=5 seed=1
    autobuild label archs=to_train/sample.csv space=tiny_mbconv

Writes:
    sample.csv  arch: one architecture a row; add a column for each metric that you measure
    counts.csv  unit, feature, value, architectures: how many of them contain it
"""  # noqa: E501

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.jobs._console import grid, heading, say
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import DesignKeys, RunKeys
from autobuild.settings.option import option

if TYPE_CHECKING:
    from autobuild.spaces import Architecture, SearchSpace, Unit

Item = tuple[str, str, str]  # stage, feature (or "depth"), value


@dataclass
class Keys(RunKeys, DesignKeys):
    """Its keys."""

    space: str = option(
        "tiny_mbconv", "a name from `autobuild spaces`, your own YAML file, or package.module:Class", kind="name"
    )
    n: int = option(100, "how many architectures", ">=1")


def run(config: Mapping[str, Any]) -> int:
    """Draw the architectures, write them and how often each value occurs."""
    from autobuild.jobs.run import Run
    from autobuild.spaces import load_space

    space = load_space(config["space"])
    with Run.open("sample", config, input_files(config)) as folder:
        if not folder.finished:
            from autobuild.jobs._archs import drawn_archs

            archs = drawn_archs(config, space, config["n"])
            counts = occurrences(space, archs)
            folder.write_table("sample.csv", ["arch"], [[str(arch)] for arch in archs])
            rows = [[*item, str(count)] for item, count in counts.items()]
            folder.write_table("counts.csv", ["unit", "feature", "value", "architectures"], rows)
            folder.record(n=len(archs), design=config["design"], rarest=min(counts.values()))
        header, rows = folder.read_table("sample.csv")
        title = f"{counted(len(rows), 'architecture')} of {space.name}, design {config['design']}"
        heading(
            f"{title}; every depth and feature value of every unit is in {folder.metrics['rarest']} of them or more"
        )
        grid(header, rows[:10])
        if len(rows) > 10:
            say(f"  ... {len(rows) - 10:,} more")
        say(f"\n{folder.dir / 'sample.csv'}")
    return 0


def occurrences(space: SearchSpace, archs: Iterable[Architecture]) -> dict[Item, int]:
    """In how many of ``archs`` each depth and each feature value of each stage occurs, zeros included.

    What a narrowed unit has lost is not listed.
    """
    counts: Counter[Item] = Counter({item: 0 for unit in space.units for item in _possible(unit)})
    for arch in archs:
        for stage, layers in zip(space.stages, space.layers(arch), strict=True):
            present = {(stage.name, name, str(value)) for layer in layers for name, value in layer.items()}
            counts.update(present | {(stage.name, "depth", str(len(layers)))})
    return dict(counts)


def _possible(unit: Unit) -> Iterator[Item]:
    """Every depth and feature value that some candidate of the unit has."""
    import numpy as np

    kept = unit.runs(np.arange(unit.size)) if unit.kept is not None else None
    for number, stage in enumerate(unit.stages):
        depths, digits = set(stage.depths), list(range(len(stage.layers)))
        if kept is not None:
            depths = {int(depth) for depth in (kept[number] >= 0).sum(axis=1)}
            digits = [int(digit) for digit in np.unique(kept[number]) if digit >= 0]
        yield from ((stage.name, "depth", str(depth)) for depth in sorted(depths))
        layers = [stage.layer_dict(digit) for digit in digits]
        for feature in stage.features:
            there = {layer[feature.name] for layer in layers}
            yield from ((stage.name, feature.name, str(value)) for value in feature.values if value in there)
