"""A fitted model on disk: weights as safetensors, tables as CSV, everything else as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd

from autobuild.encode import EncoderConfig
from autobuild.errors import ModelError, RunError
from autobuild.fit.config import FitConfig
from autobuild.fit.model import FittedModel
from autobuild.fit.network import Predictor
from autobuild.spaces import SearchSpace

FORMAT = "autobuild.model/1"
FILES = ("model.json", "weights.safetensors", "training.csv", "heldout.csv", "history.csv")


def save_model(model: FittedModel, folder: str | Path) -> Path:
    """Write a model into ``folder`` (made if missing); ``model.json`` comes last, so that it marks a whole model.

    Raises:
        RunError: If the folder cannot be written.
    """
    from safetensors.torch import save

    path = Path(folder)
    header = {
        "format": FORMAT,
        "target": model.target,
        "mean": model.mean,
        "sd": model.sd,
        "seed": model.seed,
        "encoder": model.encoder.to_dict(),
        "config": model.config.to_dict(),
        "report": model.report,
        "space": model.space.to_dict(),
    }
    weights = {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}
    files = {"weights.safetensors": save(weights)}
    for name in ("training", "heldout", "history"):
        files[f"{name}.csv"] = getattr(model, name).to_csv(index=False).encode()
    # A table that lost its last rows still reads well, and would quietly give other scores and intervals.
    header["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _write(path / name, data)
        _write(path / "model.json", json.dumps(header, indent=1).encode())
    except OSError as error:
        raise RunError(f"cannot write the model into {path}: {error.strerror or error}") from None
    return path


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(data)
    os.replace(beside, path)


def load_model(folder: str | Path) -> FittedModel:
    """Read a model that :func:`save_model` wrote; ``folder`` may also be a run folder that holds ``model/``.

    Raises:
        ModelError: If a file is missing, empty, truncated, or of another form.
    """
    path = Path(folder)
    if not (path / "model.json").is_file() and (path / "model" / "model.json").is_file():
        path = path / "model"
    if not path.is_dir():
        raise ModelError(f"no such model folder: {path}; a folder that `autobuild fit` wrote is accepted")
    for name in FILES:
        if not (path / name).is_file():
            raise ModelError(f"{path} holds no whole model: {name} is missing (needed: {', '.join(FILES)})")
    header = _header(path / "model.json")
    try:
        space = SearchSpace.from_dict(header["space"])
        encoder, config = EncoderConfig(**header["encoder"]), FitConfig(**header["config"])
        network = Predictor([len(feature.values) for feature in space.node_features], encoder)
        _check_files(path, header["sha256"])
        tables = {name: _table(path / f"{name}.csv") for name in ("training", "heldout", "history")}
        mean, sd = float(header["mean"]), float(header["sd"])
        if not (math.isfinite(mean) and 0 < sd < math.inf):
            raise ValueError(f"mean {mean} and sd {sd} must be finite, sd above 0")
        target, seed, report = str(header["target"]), int(header["seed"]), dict(header["report"])
    except ModelError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path / 'model.json'} is damaged: {type(error).__name__}: {error}") from None
    _load_weights(network, path / "weights.safetensors")
    return FittedModel(
        space=space,
        target=target,
        network=network.eval(),
        training=tables["training"],
        heldout=tables["heldout"],
        history=tables["history"],
        report=report,
        encoder=encoder,
        config=config,
        seed=seed,
        mean=mean,
        sd=sd,
    )


def _header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ModelError(f"{path} is empty or damaged: {error}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else type(header).__name__
        raise ModelError(f"{path}: format {found!r}; this version reads {FORMAT!r}")
    return header


def _check_files(folder: Path, digests: dict[str, str]) -> None:
    for name in FILES[1:]:
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{folder / name}: cannot be read: {error.strerror or error}") from None
        if found != digests[name]:
            raise ModelError(f"{folder / name} is empty, truncated or of another model: it is not what the fit wrote")


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"arch": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise ModelError(f"{path} is empty or damaged: {error}") from None


def _load_weights(network: Predictor, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        network.load_state_dict(load(path.read_bytes()))
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise ModelError(f"{path} is empty, truncated or of another model: {str(error).splitlines()[0]}") from None
