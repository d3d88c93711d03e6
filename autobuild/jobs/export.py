"""Write architectures as files for other tools.

Examples:
    autobuild export space=ofa_mbv3 archs='e3k3-e3k3|e6k5-e6k5|e3k3-e3k3|e4k7-e4k7|e6k3-e6k3' format=json
    autobuild export archs=my_run/built.csv n=3 format=onnx out=networks

Writes:
    architecture.json  format=json: the layers, and the graph with named features
    network.pt  format=pt: the state_dict and the architecture's text (torch.load reads it with weights_only=True)
    network.onnx  format=onnx: the network with its initial weights (needs pip install 'autobuild-nas[onnx]')
    network1.onnx, network2.onnx, ...  where archs is a file: one for each row (architecture1.json, network1.pt)
    exported.csv  file, arch
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError
from autobuild.jobs._console import say
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import RunKeys
from autobuild.settings.names import EXPORTS
from autobuild.settings.option import option

if TYPE_CHECKING:
    from autobuild.jobs.run import Run
    from autobuild.spaces import Architecture, SearchSpace

_NAMES = {"json": ("architecture", ".json"), "pt": ("network", ".pt"), "onnx": ("network", ".onnx")}


@dataclass
class Keys(RunKeys):
    """Its keys."""

    space: str = option(
        "tiny_mbconv", "a name from `autobuild spaces`, your own YAML file, or package.module:Class", kind="name"
    )
    archs: str | None = option(
        None,
        "architectures: a table with a column arch, a text file with one a line, or one architecture",
        required=True,
        former=("arch",),
    )
    n: int | None = option(None, "only the first n architectures of the file (null: all)", ">=1")
    format: str = option("json", "what to write; pt and onnx take initial weights by seed", choices=EXPORTS)
    shape: list[int] | None = option(
        None, "format=onnx: channels, height and width of the input (null: as the space declares)", kind="ints"
    )


def run(config: Mapping[str, Any]) -> int:
    """Write the architectures in one format."""
    from autobuild.jobs._archs import read_archs
    from autobuild.jobs.run import Run, use_threads
    from autobuild.spaces import load_space

    space = load_space(config["space"])
    archs = read_archs(config["archs"], space)[1][: config["n"]]
    stem, ending = _NAMES[config["format"]]
    inputs = input_files(config)
    numbers = range(1, len(archs) + 1) if "archs" in inputs else [""]
    names = [f"{stem}{number}{ending}" for number in numbers]
    with Run.open("export", config, inputs) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            for name, arch in zip(names, archs, strict=True):
                if config["format"] == "json":
                    folder.write_json(name, describe(space, arch))
                elif config["format"] == "pt":
                    _write_pt(folder, name, space, arch, config["seed"])
                else:
                    _write_onnx(folder, name, space, arch, config)
            folder.write_table("exported.csv", ["file", "arch"], zip(names, map(str, archs), strict=True))
            folder.record(n_exported=len(archs), space=space.name, format=config["format"])
        for name in names:
            say(str(folder.dir / name))
    return 0


def describe(space: SearchSpace, arch: Architecture) -> dict[str, Any]:
    """An architecture as JSON-ready data: its layers by stage, and its graph with named features."""
    layers = dict(zip((stage.name for stage in space.stages), space.layers(arch), strict=True))
    return {"space": space.name, "arch": str(arch), "layers": layers, "graph": space.graph(arch).to_dict()}


def _write_pt(folder: Run, name: str, space: SearchSpace, arch: Architecture, seed: int) -> None:
    import torch

    torch.manual_seed(seed)
    network = space.realise(arch)
    with folder.writing(name) as path:
        torch.save({"space": space.name, "arch": str(arch), "state_dict": network.state_dict()}, path)


def _write_onnx(folder: Run, name: str, space: SearchSpace, arch: Architecture, config: Mapping[str, Any]) -> None:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"format=onnx needs the package {package}: pip install 'autobuild-nas[onnx]'")
    import torch

    from autobuild.cost.latency.runtimes import quiet_exporter

    inputs = _declared(space, "INPUTS") or ("pictures",)
    if len(inputs) > 1:
        raise ConfigError(
            f"format=onnx writes networks of one input; those of {space.name} take {', '.join(inputs)}: "
            "give torch.onnx.export the network of space.realise and example inputs"
        )
    shape = config["shape"] or _input_shape(space, arch)
    if len(shape) != 3 or min(shape) < 1:
        raise ConfigError(f"shape={shape}: accepted are three sizes, [channels,height,width]")
    torch.manual_seed(config["seed"])
    network = space.realise(arch, in_channels=shape[0]).eval()
    with folder.writing(name) as path, quiet_exporter():
        torch.onnx.export(
            network,
            (torch.zeros(2, *shape),),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )


def _input_shape(space: SearchSpace, arch: Architecture) -> list[int]:
    """Channels, height and width of the input, as declared by the space or chosen by ``arch``.

    Raises:
        ConfigError: It does not say.
    """
    declared = _declared(space, "INPUT_SHAPE")
    if not declared:
        raise ConfigError(
            f"space {space.name} does not say how large its pictures are: give shape=[channels,height,width]"
        )
    chosen = space.layers(arch)[0][0].get("resolution")
    return [int(declared[0]), *([int(chosen)] * 2 if chosen else map(int, declared[1:]))]


def _declared(space: SearchSpace, name: str) -> Any:
    """The declared property ``name`` of the space's networks; None if it is not declared."""
    from autobuild.spaces.registry import declared_by

    return getattr(declared_by(space), name, None)
