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

from autobuild.errors import ConfigError, ModelError
from autobuild.models.describe import VIEWS, Describer
from autobuild.models.ensemble import EnsembleModel
from autobuild.models.gp_family import ProcessMember
from autobuild.models.known import Column
from autobuild.models.members import Inputs, Member
from autobuild.models.views import FUNCTION
from autobuild.models.warp import Warp
from autobuild.registry import FAMILIES
from autobuild.spaces import SearchSpace


def members_to_disk(model: EnsembleModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, named ``member/name``, and a JSON-ready header."""
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {
        "weights": model.weights,
        "base": model.base,
        "views": list(model.views),
        "trend": model.trend,
        "warp": {field.name: getattr(model.warp, field.name) for field in fields(Warp)},
        "members": {},
    }
    for name, member in model.members.items():
        stored, header["members"][name] = member.to_disk()
        tensors |= {f"{name}/{key}": value for key, value in stored.items()}
    tensors |= {f"rows/{name}": torch.from_numpy(rows.copy()) for name, rows in model.rows.items()}
    return tensors, header


def members_from_disk(
    space: SearchSpace,
    training: pd.DataFrame,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    known: tuple[Column, ...] = (),
) -> dict[str, Any]:
    """What :func:`members_to_disk` wrote of an :class:`EnsembleModel`, and ``known``.

    Raises:
        ModelError: Tensors are missing or do not fit, or a family is not registered here.
        AttributeError, KeyError, OverflowError, TypeError, ValueError: The header is incomplete or damaged.
    """
    values = training["target"].to_numpy(dtype=float)
    ends = {"low": values.min(), "high": values.max()}  # not written by earlier versions
    stored = {**ends, **header["warp"]}
    knots = tuple((float(at), float(score)) for at, score in stored.pop("knots", ()))  # not written by earlier versions
    warp = Warp(**{key: float(value) for key, value in stored.items()}, knots=knots)
    if not (np.isfinite([warp.mean, warp.sd, warp.bend, warp.low, warp.high]).all() and warp.sd > 0):
        raise ValueError(f"{warp} must be finite, sd above 0")
    if len(knots) == 1 or not (np.isfinite(knots).all() and (np.diff(knots, axis=0) > 0).all()):
        raise ValueError(f"knots {knots} must be finite and rise")
    views = tuple(str(view) for view in header.get("views", FUNCTION))  # not written by earlier versions
    if not views or set(views) - set(VIEWS):
        raise ValueError(f"views {views}: accepted are {VIEWS}")
    described: dict[str, Any] = {"views": views, "known": known, "trend": bool(header.get("trend", False))}
    inputs = Inputs(space, [space.parse(text) for text in training["arch"]], Describer(space, **described))
    members: dict[str, Member] = {}
    rows = {key.removeprefix("rows/"): value.numpy() for key, value in tensors.items() if key.startswith("rows/")}
    for name, stored in header["members"].items():
        prefix = f"{name}/"
        held = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        try:
            own, learned = (inputs.take(rows[name]), values[rows[name]]) if name in rows else (inputs, values)
            members[name] = FAMILIES[name].from_disk(held, stored, own, learned, warp)
        except ConfigError as error:
            raise ModelError(f"the member {name!r}: {error}") from None
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"weights of the member {name!r} do not fit: {str(error).splitlines()[0]}") from None
    weights = {str(name): float(weight) for name, weight in header["weights"].items()}
    if set(weights) - set(members) or not np.isclose(sum(weights.values()), 1):
        raise ValueError(f"weights {weights} for members {sorted(members)}: they sum to one")
    if header["base"] is not None and not isinstance(members.get(header["base"]), ProcessMember):
        raise ValueError(f"base {header['base']!r} is not a process among the members {sorted(members)}")
    kept = {"warp": warp, "rows": rows, **described}
    return {"members": members, "weights": weights, "base": header["base"], **kept}
