"""Write fitted models to disk and read them: weights as safetensors, tables as CSV, the rest as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from autobuild.cost import Hardware
from autobuild.cost.hardware import DEFAULT
from autobuild.cost.space_costs import SpaceCosts
from autobuild.encode import EncoderConfig
from autobuild.errors import ModelError, RunError, TargetError
from autobuild.expressions import Names, TargetExpression
from autobuild.models.config import FitConfig
from autobuild.models.cost_terms import CostedModel, CostTerms
from autobuild.models.ensemble import EnsembleModel
from autobuild.models.graph_model import GraphModel
from autobuild.models.known import Column, SourceColumn, TableColumn, feature_functions
from autobuild.models.model import FittedModel
from autobuild.models.network import Predictor
from autobuild.models.store_members import members_from_disk, members_to_disk
from autobuild.spaces import SearchSpace

FORMAT = "autobuild.model/3"
WITHOUT_CHECKSUM = "autobuild.model/2"  # read as well; its model.json has no checksum of itself
TABLES = {False: ("training", "heldout"), True: ("training", "heldout", "history")}  # True: graph models


def save_model(model: FittedModel, folder: str | Path) -> Path:
    """Write a model into a folder: weights as safetensors, tables as CSV, the rest as JSON.

    ``model.json`` is written last, so that its presence marks a complete model.

    Args:
        model: A model that :func:`autobuild.fit` returned.
        folder: The folder; it is made if missing.

    Returns:
        The folder.

    Raises:
        RunError: The folder cannot be written.
        ModelError: The model is of a type that ``fit`` does not make.
    """
    from safetensors.torch import save

    if not isinstance(model, FittedModel):
        raise ModelError(f"given a {type(model).__name__}, accepted: a fitted model, as ab.fit(...) returns it")
    path = _folder(folder)
    computed: dict[str, Any] = {}
    if isinstance(model, CostedModel):
        computed, model = {"exact": _exact_header(model), "whole_report": model.report}, model.learned
    header: dict[str, Any] = {
        "format": FORMAT,
        **computed,
        "family": model.family,
        "target": model.target,
        "seed": model.seed,
        "report": model.report,
        "space": model.space.to_dict(),
    }
    if isinstance(model, GraphModel):
        header |= {"mean": model.mean, "sd": model.sd}
        header |= {"encoder": model.encoder.to_dict(), "config": model.config.to_dict()}
        weights = {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}
    elif isinstance(model, EnsembleModel):
        weights, header["ensemble"] = members_to_disk(model)
        header["known"] = [_known_to_disk(column, path, place) for place, column in enumerate(model.known)]
    else:
        raise ModelError(f"{type(model).__name__}: only models fitted by autobuild.fit can be written")
    files = {"weights.safetensors": save(weights)}
    for name in TABLES[model.family == "graph"]:
        files[f"{name}.csv"] = getattr(model, name).to_csv(index=False).encode()
    # A truncated table is still a valid CSV file, but would silently give other scores and intervals.
    header["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    header["sha256"]["model.json"] = _own_digest(json.loads(json.dumps(header)))
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _write(path / name, data)
        _write(path / "model.json", json.dumps(header, indent=1).encode())
    except OSError as error:
        raise RunError(f"cannot write the model into {path}: {error.strerror or error}") from None
    return path


def _exact_header(model: CostedModel) -> dict[str, Any]:
    """Everything needed to compute the cost terms again after reading the model from disk."""
    costs = model.exact.costs
    hardware = asdict(costs.hardware) if isinstance(costs, SpaceCosts) else None
    return {"target": model.target, "expression": model.exact.expression.text, "hardware": hardware}


def _with_exact(learned: EnsembleModel, header: dict[str, Any]) -> CostedModel:
    """The model whose cost terms :func:`_exact_header` wrote. Raises ModelError if a cost is unknown here."""
    exact = header["exact"]
    hardware = DEFAULT if exact["hardware"] is None else Hardware(**exact["hardware"])
    part = CostTerms(TargetExpression.parse(exact["expression"]), SpaceCosts(learned.space, hardware))
    for name in part.expression.names:
        try:
            Names(costs=part.costs).find(name, exact["target"])
        except TargetError as error:
            raise ModelError(f"the model's costs are not all known here: {error}") from None
    model = CostedModel.of(learned, part, str(exact["target"]))
    model.report = dict(header["whole_report"])
    return model


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(data)
    os.replace(beside, path)


def load_model(folder: str | Path, *, features: Iterable[str | Callable[..., Any]] = ()) -> FittedModel:
    """Read a model that :func:`save_model` wrote. Nothing is unpickled, and no code runs that the caller does not name.

    Args:
        folder: The model's folder, or the folder of a run, which contains ``model/``.
        features: The functions of ``fit(features=...)``, or their names ``package.module:function``. A model that was
            fitted with functions holds their names, and a file's word alone runs no code.

    Returns:
        The model; its ``labels`` are None.

    Raises:
        ModelError: A file is missing, empty, truncated, or of another format, or ``features`` lacks a function.
        ConfigError: A function is not found by its name.
    """
    return _load(_folder(folder), feature_functions(features))


def _folder(given: object) -> Path:
    if not isinstance(given, str | os.PathLike) or given == "":
        raise ModelError(f"folder={given!r}: the path of a folder is accepted")
    return Path(given)


def _load(path: Path, functions: Mapping[str, Column]) -> FittedModel:
    if not (path / "model.json").is_file() and (path / "model" / "model.json").is_file():
        path = path / "model"
    if not path.is_dir():
        raise ModelError(f"no such model folder: {path}; a folder that `autobuild fit` wrote is accepted")
    _present(path, ["model.json"])
    header = _header(path / "model.json")
    try:
        graph = header["family"] == "graph"
        tables = TABLES[graph]
        files = ["weights.safetensors", *(f"{name}.csv" for name in tables)]
        _present(path, files)
        _check_files(path, files, header["sha256"])
        common: dict[str, Any] = {name: _table(path / f"{name}.csv") for name in tables}
        common["space"] = SearchSpace.from_dict(header["space"])
        common |= {"family": str(header["family"]), "target": str(header["target"]), "seed": int(header["seed"])}
        common["report"] = dict(header["report"])
        read = _graph_parts if graph else _ensemble_parts
        parts = read(header, common, path / "weights.safetensors", functions)
        if graph:
            return GraphModel(**common, **parts)
        model = EnsembleModel(**common, **parts)
        return model if "exact" not in header else _with_exact(model, header)
    except ModelError:
        raise
    except Exception as error:  # what is no model may raise anything
        raise ModelError(f"{path / 'model.json'} is damaged: {type(error).__name__}: {str(error)[:500]}") from None


def _graph_parts(header: dict[str, Any], common: dict[str, Any], weights: Path, _: object) -> dict[str, Any]:
    encoder, config = EncoderConfig(**header["encoder"]), FitConfig(**header["config"])
    network = Predictor([len(feature.values) for feature in common["space"].node_features], encoder)
    mean, sd = float(header["mean"]), float(header["sd"])
    if not (math.isfinite(mean) and 0 < sd < math.inf):
        raise ValueError(f"mean {mean} and sd {sd} must be finite, sd above 0")
    try:
        network.load_state_dict(_tensors(weights))
    except RuntimeError as error:
        raise ModelError(f"{weights} is of another model: {str(error).splitlines()[0]}") from None
    return {"network": network.eval(), "mean": mean, "sd": sd, "encoder": encoder, "config": config}


def _ensemble_parts(
    header: dict[str, Any], common: dict[str, Any], weights: Path, functions: Mapping[str, Column]
) -> dict[str, Any]:
    known = tuple(_known_from_disk(one, weights.parent, functions) for one in header.get("known", ()))
    return members_from_disk(common["space"], common["training"], _tensors(weights), header["ensemble"], known)


def _known_to_disk(column: Column, folder: Path, place: int) -> dict[str, Any]:
    """A known column as JSON-ready data; a source is a model in a folder of its own."""
    if isinstance(column, SourceColumn):
        save_model(column.model, folder / f"source{place}")
        return {"source": column.name, "folder": f"source{place}"}
    if isinstance(column, TableColumn):
        return {"column": column.name, "rows": dict(column.rows)}
    if "<" in column.name:
        raise ModelError(
            f"features: {column.name} cannot be found again by its name, so the model cannot be written: define it "
            "in a module, and give package.module:function"
        )
    return {"function": column.name}


def _known_from_disk(stored: Mapping[str, Any], folder: Path, functions: Mapping[str, Column]) -> Column:
    if "source" in stored:
        if not re.fullmatch(r"source\d+", stored["folder"]):  # of this model, not of the machine
            raise ModelError(f"{folder}: {stored['folder']!r} is no folder of a source")
        return SourceColumn(str(stored["source"]), _load(folder / stored["folder"], functions))
    if "column" in stored:
        return TableColumn(str(stored["column"]), {str(key): float(value) for key, value in stored["rows"].items()})
    if (name := str(stored["function"])) not in functions:
        raise ModelError(
            f"{folder}: the model was fitted with the function {name}, and the word of a file alone runs no code: if "
            f"you trust it, give it again: load_model(folder, features=[{name!r}]), or features={name} to the job"
        )
    return functions[name]


def _present(path: Path, files: list[str]) -> None:
    for name in files:
        if not (path / name).is_file():
            needed = ", ".join(dict.fromkeys(["model.json", *files]))
            raise ModelError(f"{path} holds no complete model: {name} is missing (needed: {needed})")


def _header(path: Path) -> dict[str, Any]:
    try:
        header: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is empty or damaged: {error}") from None
    if not isinstance(header, dict):
        raise ModelError(f"{path}: a JSON {type(header).__name__}, not a model")
    version = header.get("format")
    if version not in (FORMAT, WITHOUT_CHECKSUM):
        raise ModelError(
            f"{path}: format {reprlib.repr(version)}; this version reads {FORMAT!r} and {WITHOUT_CHECKSUM!r}: fit "
            "again, from the labels in training.csv and heldout.csv beside it"
        )
    if version == FORMAT and _own_digest(header) != header["sha256"].get("model.json"):
        raise ModelError(f"{path} is damaged: it is not what the fit wrote")
    return header


def _own_digest(header: dict[str, Any]) -> str:
    """Digest of a header as JSON gives it back, without this digest."""
    digests = header.get("sha256")
    if not isinstance(digests, dict):
        raise ModelError("model.json is damaged: it has no checksums")
    others = {name: digest for name, digest in digests.items() if name != "model.json"}
    return hashlib.sha256(json.dumps({**header, "sha256": others}, sort_keys=True).encode()).hexdigest()


def _check_files(folder: Path, files: list[str], digests: dict[str, str]) -> None:
    for name in files:
        try:
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{folder / name}: cannot be read: {error.strerror or error}") from None
        if digest != digests[name]:
            raise ModelError(f"{folder / name} is empty, truncated or of another model: it is not what the fit wrote")


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"arch": str})
    except (OSError, ValueError) as error:  # errors of pandas among them
        raise ModelError(f"{path} is empty or damaged: {error}") from None


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: dict[str, Tensor] = load(path.read_bytes())
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is empty, truncated or of another model: {str(error)[:200]}") from None
    return tensors
