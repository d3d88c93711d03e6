"""Divide a network into fusion groups with the least DRAM traffic (layer fusion).

Examples:
    autobuild fuse model=torchvision:resnet50 hardware=edge_npu scheme=lbdf
    autobuild fuse model=network.onnx shapes='tokens: 1x128' buffer=512KiB recompute=true
    autobuild fuse 'model=space:e3k3-e3k3|e6k5-e6k5|e3k3-e3k3|e4k7-e4k7|e6k3-e6k3' space=ofa_mbv3 sweep=true

Writes:
    groups.csv  group, ops, scheme, dram_bytes, buffer_bytes, valid: one row a group, in order of execution
    groups.png  the network, its groups coloured
    traffic.png  DRAM bytes of each group, and how full the buffer is
    sweep.csv, sweep.png  with sweep=true: DRAM bytes against the size of the buffer
    metrics.json  dram_bytes, unfused_dram_bytes, reduction, status, lower_bound, optimum_gap, seconds, ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.errors import ConfigError
from autobuild.jobs._console import heading, say, table
from autobuild.jobs._files import input_files
from autobuild.jobs._networks import left_out, network_of, read_network
from autobuild.jobs.keys import RunKeys, ShapesKeys
from autobuild.settings.names import PARTITIONERS, SCHEMES
from autobuild.settings.option import option

if TYPE_CHECKING:
    from autobuild.graphs.operations import OperationGraph
    from autobuild.jobs.run import Run

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "KIB": 2**10, "MIB": 2**20}
SHOWN = 12


@dataclass
class Keys(RunKeys, ShapesKeys):
    """Its keys."""

    model: str | None = option(
        None,
        "onnx:PATH (or a path that ends in .onnx), torchvision:NAME, timm:NAME or space:ARCH, an "
        "architecture of space=",
        required=True,
    )
    space: str = option(
        "tiny_mbconv", "for model=space:ARCH: a name from `autobuild spaces`, or your own YAML file", kind="name"
    )
    shape: list[int] | None = option(
        None,
        "channels, height and width of the input (null: what the space or timm says, else 3, 224, 224)",
        kind="ints",
    )
    hardware: str = option("edge_npu", "a preset of `autobuild cost`, or the path of a YAML file", kind="name")
    buffer: str | None = option(None, "on-chip buffer in bytes, or such as 512KiB or 2MiB (null: that of the hardware)")
    scheme: str = option(
        "mixed", "row by row through line buffers, on whole tensors, or the cheaper of both", choices=SCHEMES
    )
    recompute: bool = option(False, "also allow groups that read their inputs twice and compute some operations again")
    algorithm: str = option("exact", "how the partition is found", choices=PARTITIONERS)
    split: str = option(
        "random", "how searches split groups that do not fit: random, oracle, or an explainer's name", kind="name"
    )
    budget: int = option(5000, "for searches: distinct partitions that are looked at", ">=1")
    time_limit_s: float = option(
        60.0, "seconds; exact then says how far from the best it may be", ">0", former=("time_limit",)
    )
    sweep: bool = option(False, "also the best partition for buffers from a quarter to four times the size")
    plots: bool = option(True, "draw the pictures")


def run(config: Mapping[str, Any]) -> int:
    """Read the network, fold it, find its groups; frames, numbers and pictures."""
    from autobuild.cost import read_hardware
    from autobuild.jobs.run import Run, use_threads

    read_hardware(config["hardware"])  # raises an error before the run folder is created
    kind, rest = network_of(config["model"])
    files = input_files({key: value for key, value in config.items() if key != "model"})
    if kind == "onnx":
        files["model"] = Path(rest)
    buffer = bytes_of(config["buffer"]) if config["buffer"] is not None else None
    with Run.open("fuse", config, files) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            graph, taken = read_network(kind, rest, config)
            folder.record(taken=taken)
            _compute(folder, config, graph, buffer)
        _show(folder)
    return 0


def bytes_of(text: str) -> int:
    """A size such as ``1048576``, ``512KiB`` or ``2 MiB`` in bytes.

    Raises:
        ConfigError: It is none, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].upper() if match else None
    size = Fraction(match[1]) * UNITS[unit] if match and unit in UNITS else Fraction(0)
    if size < 1 or size.denominator != 1:
        raise ConfigError(f"buffer={text}: a positive whole number of bytes is accepted, or such as 512KiB or 2MiB")
    return int(size)


def _compute(folder: Run, config: Mapping[str, Any], graph: OperationGraph, buffer: int | None) -> None:
    from autobuild import plot
    from autobuild.cost.fusion.fusing import buffer_sweep, fuse
    from autobuild.jobs._pictures import save_picture

    keys = ("scheme", "recompute", "algorithm", "split", "seed", "budget")
    fused = fuse(
        graph, config["hardware"], buffer_bytes=buffer, time_limit_s=config["time_limit_s"],
        **{key: config[key] for key in keys},
    )  # fmt: skip
    folder.write_frame("groups.csv", fused.groups)
    folder.record(
        network=fused.graph.name, hardware=fused.hardware.name, buffer_bytes=fused.costs.buffer_bytes,
        **{**fused.metrics, "scheme": config["scheme"], "algorithm": config["algorithm"]},
    )  # fmt: skip
    if config["plots"]:
        save_picture(folder, "groups.png", plot.fusion_groups(fused))
        save_picture(folder, "traffic.png", plot.fusion_traffic(fused))
    if config["sweep"]:
        sizes = [max(1, fused.costs.buffer_bytes * 2**power // 4) for power in range(5)]
        swept = buffer_sweep(fused.graph, sizes, fused.hardware, time_limit_s=config["time_limit_s"])
        folder.write_frame("sweep.csv", swept)
        if config["plots"]:
            save_picture(folder, "sweep.png", plot.buffer_sweep(swept))


def _show(folder: Run) -> None:
    metrics = folder.metrics
    heading(f"{metrics['network'] or 'The network'} on {metrics['hardware']}, buffer {metrics['buffer_bytes']:,} bytes")
    for line in (*metrics["taken"], left_out(metrics["uncounted"])):
        if line:
            say(f"  {line}")
    say(f"  {counted(metrics['operations'], 'operation')} in {counted(metrics['groups'], 'group')} move "
        f"{metrics['dram_bytes']:,} bytes of DRAM")  # fmt: skip
    say(f"  unfused {metrics['unfused_dram_bytes']:,} (activations apart {metrics['separate_dram_bytes']:,}); floor "
        f"{metrics['floor_dram_bytes']:,}; {metrics['reduction']:.1%} less than unfused")  # fmt: skip
    gap = metrics["optimum_gap"]
    known = {"optimal": "no partition moves less", "heuristic": "how far from the best is not known"}
    say(f"  {metrics['status']}: {known.get(metrics['status'], f'at most {gap or 0:.2%} above the best')}; "
        f"{metrics['seconds']:.2f} s")  # fmt: skip
    if metrics.get("training_seconds"):
        say(f"  {metrics['training_seconds']:.2f} s of them fitted the classifier and the explainer that split groups")
    if metrics["extra_macs"]:
        say(f"  {metrics['extra_macs']:,} multiply-accumulates are computed twice, of {metrics['macs']:,}")
    frame = folder.read_frame("groups.csv")
    unfit = frame[~frame["valid"].astype(bool)]
    for ops, needed in unfit[["ops", "buffer_bytes"]].head(SHOWN).itertuples(index=False):
        say(f"  {ops} fits in no way: it needs {needed:,} bytes of buffer; its traffic is in the totals")
    if len(unfit) > SHOWN:
        say(f"  nor do {len(unfit) - SHOWN:,} more")
    frame["ops"] = [_short(ops) for ops in frame["ops"]]
    if len(frame):
        table(frame.nlargest(SHOWN, "dram_bytes").sort_index())
    if len(frame) > SHOWN:
        say(f"  the {SHOWN} groups that move most, of {len(frame)}")
    say(f"\n{folder.dir}")


def _short(ops: str) -> str:
    names = ops.split(" ")
    return ops if len(names) <= 2 else f"{names[0]} ... {names[-1]} ({len(names)})"
