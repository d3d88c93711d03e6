"""Compute costs of networks without training: parameters, MACs, and memory, latency and DRAM traffic on a hardware.

Costs are a plug-in: an installed package may add its own (docs/cost.md).

Examples:
    autobuild cost space=ofa_mbv3 hardware=mobile_npu
    autobuild cost space=ofa_mbv3 archs=built/built.csv cost=macs,roofline hardware=my_npu.yaml out=costs
    autobuild cost space=mnasnet n=200 cost=params,roofline
    autobuild cost model=network.onnx shapes='images: 1x3x224x224'

Writes:
    costs.csv  arch (or network), a column for each metric, and reason: why a number is missing
    metrics.json  the hardware's numbers, the metrics' units, how many numbers are missing, versions, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.errors import ConfigError
from autobuild.jobs._console import grid, heading, say, table
from autobuild.jobs._files import input_files
from autobuild.jobs._networks import left_out, network_of, read_network, shape_of
from autobuild.jobs.keys import RunKeys, ShapesKeys
from autobuild.settings.option import option

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.cost import Cost
    from autobuild.graphs.operations import OperationGraph
    from autobuild.jobs.run import Run
    from autobuild.spaces import Architecture, SearchSpace


@dataclass
class Keys(RunKeys, ShapesKeys):
    """Its keys."""

    model: str | None = option(
        None, "onnx:PATH, torchvision:NAME, timm:NAME or space:ARCH: the costs of this network (null: of architectures)"
    )
    space: str = option("tiny_mbconv", "a space that builds networks", kind="name")
    archs: str | None = option(
        None,
        "architectures: a table with a column arch, a text file with one a line, or one architecture (null: draw n)",
        former=("arch",),
    )
    n: int = option(10, "how many are drawn where archs is null", ">=1 <=1000000")
    cost: str | None = option(
        None, "which costs, separated by commas (null: all but measured ones; `autobuild cost cost=?` lists them)"
    )
    hardware: str = option(
        "edge_npu", "one of the presets edge_npu mobile_npu fpga_card large_npu, or your own YAML file", kind="name"
    )
    shape: list[int] | None = option(
        None,
        "channels, height and width of an input (null: what the space or file says; of models 3, 224, 224)",
        kind="ints",
    )


def run(config: Mapping[str, Any]) -> int:
    """Compute the costs, and show them."""
    from autobuild.cost import read_hardware
    from autobuild.jobs.run import Run, use_threads
    from autobuild.spaces import load_space

    hardware = read_hardware(config["hardware"])
    if config["cost"] == "?":
        return _list(config["hardware"])
    if config["model"] is not None:
        return _of_network(config)
    if config["shapes"] is not None:
        raise ConfigError(f"shapes={config['shapes']}: accepted with model=, an ONNX file")
    space, costs = load_space(config["space"]), _costs(config)
    shape = shape_of(config["shape"])
    archs = _archs(config, space)
    _check_inputs(space, archs, costs, shape)
    with Run.open("cost", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            frame, units = costs_table(space, archs, costs, shape)
            folder.write_frame("costs.csv", frame)
            missing = int(frame[list(units)].isna().sum().sum())
            folder.record(hardware=asdict(hardware), units=units, space=space.name, missing=missing)
        _show(folder)
    return 0


def _of_network(config: Mapping[str, Any]) -> int:
    """Compute the costs of one network that ``model=`` names."""
    from autobuild.cost import read_hardware
    from autobuild.jobs.run import Run, use_threads

    if config["archs"] is not None:
        raise ConfigError("model= and archs= were both given; one is accepted (an architecture is model=space:ARCH)")
    kind, rest = network_of(config["model"])
    files = input_files({key: value for key, value in config.items() if key != "model"})
    if kind == "onnx":
        files["model"] = Path(rest)
    costs = _costs(config)
    with Run.open("cost", config, files) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            graph, taken = read_network(kind, rest, config)
            frame, units = network_costs(graph, costs)
            folder.write_frame("costs.csv", frame)
            hardware = asdict(read_hardware(config["hardware"]))
            missing = int(frame[list(units)].isna().sum().sum())
            folder.record(hardware=hardware, units=units, network=graph.name, missing=missing, taken=taken,
                          uncounted=graph.uncounted)  # fmt: skip
        _show(folder)
    return 0


def network_costs(graph: OperationGraph, costs: list[Cost]) -> tuple[pd.DataFrame, dict[str, str]]:
    """``network``, a column a metric (NaN where there is no number) and ``reason``; and the unit of every metric."""
    import numpy as np
    import pandas as pd

    from autobuild.cost.registry import metric_units
    from autobuild.errors import CostError

    row: dict[str, Any] = {"network": graph.name}
    units: dict[str, str] = {}
    reasons = []
    for cost in costs:
        units |= metric_units(cost)
        try:
            row |= cost(graph)
        except CostError as error:
            row |= dict.fromkeys(metric_units(cost), np.nan)
            reasons.append(f"{error.reason}: {error}")
    return pd.DataFrame([{**row, "reason": "; ".join(reasons)}]), units


def _costs(config: Mapping[str, Any]) -> list[Cost]:
    from autobuild.cost import cost_names, make_cost
    from autobuild.cost.registry import TIMED

    computed = [name for name in cost_names() if name not in TIMED]
    names = [name.strip() for name in config["cost"].split(",")] if config["cost"] else computed
    if not any(names):
        raise ConfigError(f"cost={config['cost']}: names none of {', '.join(cost_names())}")
    return [make_cost(name, config["hardware"]) for name in dict.fromkeys(names) if name]


def _list(hardware: str) -> int:
    """List the available costs and hardware presets."""
    from autobuild.cost import cost_names, make_cost, metric_units

    rows = []
    for name in cost_names():
        try:
            units = metric_units(make_cost(name, hardware))
            rows.append([name, ", ".join(f"{metric} [{unit}]" for metric, unit in units.items())])
        except ConfigError as error:
            rows.append([name, str(error)])
    grid(["cost", "metrics"], rows)
    return 0


def _archs(config: Mapping[str, Any], space: SearchSpace) -> list[Architecture]:
    from autobuild.jobs._archs import read_archs

    if config["archs"] is not None:
        return read_archs(config["archs"], space)[1]
    return space.sample(config["n"], seed=config["seed"], design="depth")


def _check_inputs(
    space: SearchSpace, archs: list[Architecture], costs: list[Cost], shape: tuple[int, ...] | None
) -> None:
    """Raise an error if a cost has a value for no architecture: networks that cannot be built, or whose inputs
    nobody knows.

    Raises:
        SpaceError, GraphError: No cost has a number without a graph, and there is none.
    """
    from autobuild.cost.registry import ArchitectureCost
    from autobuild.errors import CostError
    from autobuild.graphs.of_architecture import shape_of_input
    from autobuild.spaces.registry import declared_by, realiser

    for cost in costs:
        if isinstance(cost, ArchitectureCost):
            try:
                cost.of_architectures(space, archs[:1])
            except CostError:
                continue
            return
    if archs:
        if not hasattr(declared_by(space), "plan"):
            realiser(space)
        shape_of_input(space, archs[0], shape)


def costs_table(
    space: SearchSpace, archs: list[Architecture], costs: list[Cost], shape: tuple[int, ...] | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """``arch``, a column a metric (NaN where there is no number) and ``reason``; and the unit of every metric."""
    import numpy as np
    import pandas as pd

    from autobuild.cost.registry import metric_units
    from autobuild.cost.space_costs import CostOf
    from autobuild.errors import CostError

    columns: dict[str, Any] = {"arch": [arch.text for arch in archs]}
    units: dict[str, str] = {}
    reasons: list[list[str]] = [[] for _ in archs]
    for cost in costs:
        results = CostOf(cost, space, shape).results(archs)
        for metric, unit in metric_units(cost).items():
            units[metric] = unit
            columns[metric] = [np.nan if isinstance(result, CostError) else result[metric] for result in results]
        for row, result in zip(reasons, results, strict=True):
            if isinstance(result, CostError):
                row.append(f"{result.reason}: {result}")
    return pd.DataFrame({**columns, "reason": ["; ".join(row) for row in reasons]}), units


def _show(folder: Run) -> None:
    numbers, frame = folder.metrics, folder.read_frame("costs.csv")
    units, hardware = numbers["units"], numbers["hardware"]
    network = numbers.get("network")
    what = f"{counted(len(frame), 'architecture')} of {numbers['space']}" if network is None else network
    heading(f"Costs of {what} on {hardware['name']}")
    for line in (*numbers.get("taken", ()), left_out(numbers.get("uncounted", {}))):
        if line:
            say(f"  {line}")
    say(f"  units: {', '.join(f'{metric} in {unit}' for metric, unit in units.items() if unit != '1') or 'counts'}")
    table(frame.drop(columns="reason"), rows=20)
    for arch, reason in frame[[frame.columns[0], "reason"]].dropna().head(20).itertuples(index=False):
        say(f"  no number for {arch}: {reason}")
    say(f"\nall of it: {folder.dir}")
