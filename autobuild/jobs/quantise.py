"""Quantise a model's weights with one configuration, and write them packed.

The configuration is one choice for all layers (uaq4), an architecture of the model's quantisation space, or what
`autobuild build` built. Methods: uaq and uaqt (uniform, by channel or tensor), kmc and kma (k-means); 2-8 bits.

Examples:
    autobuild quantise model=digits_dit config=kmc3
    autobuild quantise model=digits_dit space=quant:digits_dit built=runs/build/20260131-120000 out=small
    autobuild quantise model=my_package.models:load config=uaq4
    autobuild quantise model=sd15_unet checkpoint=stable-diffusion-v1-5/unet config=uaq4

Writes:
    report.html  all results on one page
    quantised.safetensors  the whole model: packed codes, scales, zero points, codebooks; other tensors as they are
    torchao.pt  with export=torchao: a state for load_state_dict(..., assign=True), linear layers as torchao's integers
    compressed_tensors  with export=compressed_tensors: a folder for from_pretrained of transformers, and for vLLM
    layers.csv  a row a layer: method, bits, weights, payload_bits, stored_bits, error
    metrics.json  avg_bits, stored_bits, size_bytes, quant_error, file_bytes, versions, ...
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, nearest
from autobuild.jobs._console import heading, say, table
from autobuild.jobs._files import input_files
from autobuild.jobs.keys import RunKeys
from autobuild.settings.option import option

if TYPE_CHECKING:
    from torch import nn

    from autobuild.spaces import SearchSpace


@dataclass
class Keys(RunKeys):
    """Its keys."""

    model: str | None = option(
        None,
        "digits_dit or digits_unet, which ship; with checkpoint=, sdxl_unet or another of quant:; or "
        "package.module:function, which returns a torch module",
        kind="name",
        required=True,
    )
    checkpoint: str | None = option(
        None, "weights of a model of another library: what its save_pretrained wrote, or a file of weights", kind="path"
    )
    config: str | None = option(None, "one choice for all layers, such as uaq4, or an architecture of space")
    space: str | None = option(
        None, "the quantisation space of an architecture (null: quant:MODEL of a model that ships)", kind="name"
    )
    built: str | None = option(
        None, "instead of config: a run of build, or its built.csv: its first configuration", kind="path"
    )
    activations: int | None = option(None, "bits of online quantisation of activations, 6 or 8 (null: none)", ">=6 <=8")
    export: str | None = option(
        None, "torchao or compressed_tensors: also write uniform weights in the format of this library", kind="name"
    )
    exact: bool = option(False, "codebooks of least squared error, which take longer")


def run(config: Mapping[str, Any]) -> int:
    """Quantise, write, show."""
    import torch

    from autobuild.jobs._page import write_page
    from autobuild.jobs.run import Run, use_threads
    from autobuild.quant import folded, quantise
    from autobuild.quant._files import write_tensors
    from autobuild.quant.deploy import compressed_tensors, torchao_state

    if (config["config"] is None) == (config["built"] is None):
        raise ConfigError("quantise takes config= or built=, one of them")
    if (export := config["export"]) not in (None, "torchao", "compressed_tensors"):
        raise ConfigError(f"export={export}: accepted: torchao, compressed_tensors, or null")
    model = _model(config["model"], config["checkpoint"])
    with Run.open("quantise", config, input_files(config)) as folder:
        if not folder.finished:
            use_threads(config["threads"])
            choices, space = _choices(config)
            model = folded(model, space) if space else model
            half = bool(space and space.options.get("half"))  # the sizes that a space without weights has promised
            how = {"activations": config["activations"], "exact": config["exact"], "half": half}
            quantised = quantise(model, choices, **how)
            with folder.writing("quantised.safetensors") as path:
                quantised.save(path)
                file_bytes = path.stat().st_size
            if export == "torchao":
                state, floating = torchao_state(quantised)
                with folder.writing("torchao.pt") as path:
                    torch.save(state, path)
            elif export:
                state, about, floating = compressed_tensors(quantised)
                with folder.writing("compressed_tensors/model.safetensors") as path:
                    write_tensors(path, state, {"format": "pt"})
                folder.write_json("compressed_tensors/config.json", about)
            if export:
                folder.record(export=export, layers_kept_floating=floating)
            folder.write_frame("layers.csv", quantised.table())
            names = ("avg_bits", "stored_bits", "size_bytes", "quant_error")
            folder.record(**{name: getattr(quantised, name) for name in names}, file_bytes=file_bytes,
                          shared=quantised.shared)  # fmt: skip
            write_page(folder)
        numbers = folder.metrics
        heading(f"{config['model']}: {numbers['avg_bits']:.3f} bits a weight")
        table(folder.read_frame("layers.csv"), rows=40)
        say(f"\n  {numbers['size_bytes']:,} bytes of tensors, {numbers['file_bytes']:,} in the file; sum of squared "
            f"errors {numbers['quant_error']:.4g}")  # fmt: skip
        for name, owner in numbers["shared"].items():
            say(f"  {name} shares the weight of {owner}, which is quantised once")
        say(f"\n{folder.dir / 'quantised.safetensors'}")
    return 0


def _model(name: str, checkpoint: str | None) -> nn.Module:
    from torch import nn

    from autobuild.named import imported
    from autobuild.quant.digits.networks import NETWORKS, load_digits_network
    from autobuild.quant.published import load_published, published

    if (name in published()) != (checkpoint is not None):
        raise ConfigError(f"model={name} checkpoint={checkpoint}: weights of {', '.join(published())} are read from a "
                          "checkpoint, and of no others")  # fmt: skip
    if name in published():
        return load_published(name, checkpoint)[0]
    if ":" not in name:
        if name not in NETWORKS:
            raise ConfigError(f"model={name}: {nearest(name, [*NETWORKS, *published(), 'package.module:function'])}")
        return load_digits_network(name)
    found = imported(name, os.getcwd(), f"model={name}", "model=package.module:function")
    model = found if isinstance(found, nn.Module) else found()
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model={name} returns a {type(model).__name__}; accepted: a torch.nn.Module")
    return model


def _choices(config: Mapping[str, Any]) -> tuple[Any, SearchSpace | None]:
    """What :func:`autobuild.quant.quantise` takes, and the space of an architecture."""
    from autobuild.jobs.verify import read_built
    from autobuild.quant import Choice, config_of
    from autobuild.spaces import load_space

    text = config["config"] if config["built"] is None else str(read_built(Path(config["built"]))["arch"].iloc[0])
    if "|" not in text and config["space"] is None:
        return Choice.of(text), None
    name = config["space"] or ("" if ":" in config["model"] else f"quant:{config['model']}")
    if not name:
        raise ConfigError("an architecture is read with space=, the quantisation space of the model")
    space = load_space(name)
    return config_of(space, text), space
