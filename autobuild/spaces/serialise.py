"""Search spaces as JSON: the whole declaration, so that a saved model or narrowed space needs no other file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from autobuild._typing import IntArray
from autobuild.errors import SpaceError
from autobuild.spaces.space import Identity, SearchSpace
from autobuild.spaces.stage import Feature, Stage, tied_of
from autobuild.spaces.unit import Unit

FORMAT = "autobuild.space/1"
MAX_KEPT = 20_000_000  # candidates that a stored unit keeps


def to_dict(space: SearchSpace) -> dict[str, Any]:
    """The declaration of a space as JSON-ready data."""
    identity = space.identity
    return {
        "format": FORMAT,
        "name": space.name,
        "family": space.family,
        "about": space.about,
        "note": space.note,
        "separator": space.separator,
        "joins": [list(join) for join in space.joins],
        "identity": identity
        and {
            "values": dict(identity.values),
            "first_layer_counts": identity.first_layer_counts,
            **({} if identity.cut is None else {"cut": dict(identity.cut)}),
            **({} if identity.stages is None else {"stages": list(identity.stages)}),
        },
        **({} if space.pattern is None else {"pattern": space.pattern}),
        **({"options": space.options} if space.options else {}),
        **({} if space.equal == "function" else {"equal": space.equal}),
        "units": [
            {
                "name": unit.name,
                "stages": [
                    {
                        "name": stage.name,
                        "depths": list(stage.depths),
                        "features": {feature.name: list(feature.values) for feature in stage.features},
                        "text": stage.template,
                        "separator": stage.separator,
                        **({"tied": stage.tied or list(stage.once)} if stage.once else {}),
                    }
                    for stage in unit.stages
                ],
                "kept": None if unit.kept is None else _to_ranges(unit.kept),
            }
            for unit in space.units
        ],
    }


def from_dict(data: Mapping[str, Any]) -> SearchSpace:
    """Read what :func:`to_dict` wrote.

    Raises:
        SpaceError: The data has another format; the message names the key that is missing or wrong.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, Mapping) else type(data).__name__
        raise SpaceError(f"not a stored search space: format is {found!r}, accepted is {FORMAT!r}")
    try:
        if odd := [key for key in ("name", "family", "about", "note", "separator") if not isinstance(data[key], str)]:
            raise TypeError(f"{odd[0]}, which is a {type(data[odd[0]]).__name__}")
        units = [
            Unit(
                unit["name"],
                [
                    Stage(
                        stage["name"],
                        tuple(stage["depths"]),
                        tuple(Feature(name, tuple(values)) for name, values in stage["features"].items()),
                        stage["text"],
                        stage["separator"],
                        *tied_of(stage["name"], stage.get("tied", False)),
                    )
                    for stage in unit["stages"]
                ],
                None if unit["kept"] is None else _from_ranges(unit["kept"]),
                data["separator"],
            )
            for unit in data["units"]
        ]
        identity = data["identity"]
        return SearchSpace(
            data["name"],
            units,
            joins=[(int(a), int(b)) for a, b in data["joins"]],
            family=data["family"],
            about=data["about"],
            separator=data["separator"],
            identity=identity
            and Identity(
                dict(identity["values"]), identity["first_layer_counts"], identity.get("cut"), identity.get("stages")
            ),
            note=data["note"],
            pattern=data.get("pattern"),
            options=data.get("options"),
            equal=data.get("equal", "function"),
        )
    except SpaceError:
        raise
    except Exception as error:  # what is no space may raise anything
        raise SpaceError(f"a stored search space is damaged: {type(error).__name__} at {error}") from None


def to_json(space: SearchSpace) -> str:
    """The declaration of a space as JSON text."""
    return json.dumps(to_dict(space), indent=1)


def from_json(text: str) -> SearchSpace:
    """Read a space from JSON text. Raises SpaceError if it is not one."""
    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False).encode()  # half a character, "\ud800", raises a ValueError
        return from_dict(data)
    except SpaceError:
        raise
    except (ValueError, RecursionError) as error:
        raise SpaceError(f"a stored search space is not readable as JSON: {error}") from None


def _to_ranges(kept: IntArray) -> list[list[int]]:
    """Sorted indices as inclusive [first, last] pairs, so that the file of a narrowed space stays readable."""
    breaks = np.flatnonzero(np.diff(kept) != 1)
    firsts = kept[np.concatenate(([0], breaks + 1))]
    lasts = kept[np.concatenate((breaks, [len(kept) - 1]))]
    return [[int(a), int(b)] for a, b in zip(firsts, lasts, strict=True)]


def _from_ranges(ranges: list[list[int]]) -> IntArray:
    before, count = -1, 0
    for first, last in ranges:
        count += last - first + 1
        if not before < first <= last or count > MAX_KEPT:
            raise SpaceError(f"a unit keeps the candidates {first} to {last}: ascending ranges are accepted, of at "
                             f"most {MAX_KEPT:,} candidates together")  # fmt: skip
        before = last
    return np.concatenate([np.arange(first, last + 1, dtype=np.int64) for first, last in ranges])
