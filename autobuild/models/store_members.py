"""Convert members of an ensemble to tensors and plain data, and back.

Whatever can be computed from the training rows is not stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autobuild.encode import EncoderConfig
from autobuild.errors import ModelError
from autobuild.models.describe import Describer
from autobuild.models.ensemble import EnsembleModel
from autobuild.models.kernel import PART_OF, PER_UNIT, Scaling
from autobuild.models.members import GraphMember, Inputs, Member, ProcessMember, TreesMember
from autobuild.models.network import Predictor
from autobuild.models.process import Process
from autobuild.models.trees import Trees
from autobuild.models.warp import Warp
from autobuild.spaces import SearchSpace

ARRAYS = ("feature", "threshold", "left", "right", "value")


def members_to_disk(model: EnsembleModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, named ``member/name``, and a JSON-ready header."""
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {
        "weights": model.weights,
        "base": model.base,
        "warp": {field.name: getattr(model.warp, field.name) for field in fields(Warp)},
        "members": {},
    }
    for name, member in model.members.items():
        stored: dict[str, Any] = {}
        header["members"][name] = stored
        if isinstance(member, ProcessMember):
            stored |= {"parts": list(member.process.parts), "evidence": member.process.evidence}
            arrays: Mapping[str, Any] = member.process.parameters
            tensors |= {f"{name}/{key}": torch.from_numpy(np.atleast_1d(value)) for key, value in arrays.items()}
        elif isinstance(member, TreesMember):
            stored |= {"base": member.trees.base, "depth": member.trees.depth}
            tensors |= {f"{name}/{key}": torch.from_numpy(getattr(member.trees, key)) for key in ARRAYS}
        elif isinstance(member, GraphMember):
            encoder = member.network.encoder.config.to_dict()
            stored |= {"encoder": encoder, "mean": member.mean, "sd": member.sd, "threads": member.threads}
            tensors |= {f"{name}/{key}": value.contiguous() for key, value in member.network.state_dict().items()}
    return tensors, header


def members_from_disk(
    space: SearchSpace, training: pd.DataFrame, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> dict[str, Any]:
    """``members``, ``weights``, ``base`` and ``warp`` of an :class:`EnsembleModel`.

    Raises:
        ModelError: Tensors are missing or do not fit.
        AttributeError, KeyError, OverflowError, TypeError, ValueError: The header is incomplete or damaged.
    """
    values = training["target"].to_numpy(dtype=float)
    ends = {"low": values.min(), "high": values.max()}  # not written by earlier versions
    warp = Warp(**{key: float(value) for key, value in {**ends, **header["warp"]}.items()})
    if not (np.isfinite([warp.mean, warp.sd, warp.bend, warp.low, warp.high]).all() and warp.sd > 0):
        raise ValueError(f"{warp} must be finite, sd above 0")
    inputs = Inputs(space, [space.parse(text) for text in training["arch"]], Describer(space))
    scaling = Scaling(inputs.description)
    members: dict[str, Member] = {}
    for name, stored in header["members"].items():
        prefix = f"{name}/"
        held = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if "parts" in stored:
            members[name] = _process(name, stored, held, inputs, values, warp)
        elif "depth" in stored:
            _check(name, held, ARRAYS)
            arrays = {key: held[key].numpy() for key in ARRAYS}
            members[name] = TreesMember(
                Trees(**arrays, base=float(stored["base"]), depth=int(stored["depth"])), scaling
            )
        else:
            members[name] = _graph(name, stored, held, inputs, scaling)
    weights = {str(name): float(weight) for name, weight in header["weights"].items()}
    if set(weights) - set(members) or not np.isclose(sum(weights.values()), 1):
        raise ValueError(f"weights {weights} for members {sorted(members)}: they sum to one")
    if header["base"] is not None and not isinstance(members.get(header["base"]), ProcessMember):
        raise ValueError(f"base {header['base']!r} is not a process among the members {sorted(members)}")
    return {"members": members, "weights": weights, "base": header["base"], "warp": warp}


def _process(
    name: str, stored: Mapping[str, Any], held: Mapping[str, Tensor], inputs: Inputs, values: Any, warp: Warp
) -> ProcessMember:
    parts = tuple(str(part) for part in stored["parts"])
    wanted = [key for part in parts for key in PART_OF[part]] + ["noise"]
    _check(name, held, wanted)
    parameters = {key: held[key].numpy() if key in PER_UNIT else held[key].numpy()[0] for key in wanted}
    return ProcessMember(Process(parts, parameters, warp, inputs.description, values, float(stored["evidence"])))


def _graph(
    name: str, stored: Mapping[str, Any], held: Mapping[str, Tensor], inputs: Inputs, scaling: Scaling
) -> GraphMember:
    vocabulary = [len(feature.values) for feature in inputs.space.node_features]
    context = scaling(inputs.description.take(np.arange(1))).whole.shape[1]
    network = Predictor(vocabulary, EncoderConfig(**stored["encoder"]), context)
    try:
        network.load_state_dict(dict(held))
    except RuntimeError as error:
        raise ModelError(f"weights of the member {name!r} do not fit: {str(error).splitlines()[0]}") from None
    return GraphMember(network.eval(), float(stored["mean"]), float(stored["sd"]), scaling, stored["threads"])


def _check(name: str, held: Mapping[str, Tensor], wanted: Any) -> None:
    missing = [key for key in wanted if key not in held]
    if missing:
        raise ModelError(f"weights of the member {name!r} are missing: {', '.join(missing)}")
