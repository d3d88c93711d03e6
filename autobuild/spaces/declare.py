"""Declaring sequence spaces, in a few lines of Python or in YAML. Spaces are data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autobuild.errors import SpaceError, nearest
from autobuild.spaces.space import Identity, SearchSpace
from autobuild.spaces.stage import Feature, Stage, Value
from autobuild.spaces.unit import Unit

KEYS = ("name", "about", "units", "features", "text", "layer_separator", "unit_separator", "identity")
UNIT_KEYS = ("depth", "features")


def sequence_space(
    name: str,
    units: Mapping[str, Any],
    features: Mapping[str, Sequence[Value]],
    *,
    text: str | None = None,
    about: str = "",
    layer_separator: str = "-",
    unit_separator: str = "|",
    identity: Mapping[str, Any] | None = None,
) -> SearchSpace:
    """Declare a space whose units are chains of layers, one after another.

    Args:
        name: Name of the space.
        units: Unit name -> allowed depths: an integer, a list, a range ``"2-4"``, or ``{"depth": ..., "features":
            {...}}`` where a unit's features differ from the common ones.
        features: Feature name -> values a layer may take.
        text: One layer's text, such as ``"e{expand}k{kernel}"``; the default is ``"expand{expand}_kernel{kernel}"``.
        about: One sentence for people.
        layer_separator: What joins the layers of a unit in the text form.
        unit_separator: What joins the units.
        identity: Feature values of a layer that does nothing, e.g. ``{"op": 0}``; with ``"first_layer_counts": True``
            a stage's first layer never is one (it changes shape).

    Raises:
        SpaceError: Naming the unit or key, what was given and what is accepted.
    """
    if not isinstance(units, Mapping) or not units:
        raise SpaceError(f"search space {name!r}: units must map names to depths, such as {{stage1: [2, 3, 4]}}")
    made = [
        Unit(unit, [_stage(unit, given, _features(features, name), text, layer_separator)], joiner=unit_separator)
        for unit, given in ((str(unit), given) for unit, given in units.items())
    ]
    if not unit_separator and any(len(unit.depths) > 1 for unit in made):
        raise SpaceError(f"search space {name!r}: without a unit separator every unit needs exactly one depth")
    space = SearchSpace(name, made, about=about, separator=unit_separator)
    space.identity = _identity(space, identity)
    return space


def _features(given: Any, where: str) -> dict[str, tuple[Value, ...]]:
    if not isinstance(given, Mapping):
        raise SpaceError(f"{where!r}: features must map names to values, such as {{kernel: [3, 5]}}; got {given!r}")
    out: dict[str, tuple[Value, ...]] = {}
    for name, values in given.items():
        listed = list(values) if isinstance(values, list | tuple | range) else [values]
        for value in listed:
            if not isinstance(value, str | int | float | bool):
                raise SpaceError(f"{where!r}: feature {name!r} holds {value!r}; accepted: numbers, texts, booleans")
        if name in ("unit", "layer", "depth"):
            raise SpaceError(f"{where!r}: {name!r} is a reserved word (a node's place); name the feature otherwise")
        if not str(name).isidentifier():
            raise SpaceError(f"{where!r}: {name!r} is no usable feature name: letters, digits and _ are accepted")
        out[str(name)] = tuple(listed)
    return out


def _stage(unit: str, given: Any, features: dict[str, tuple[Value, ...]], text: str | None, separator: str) -> Stage:
    own = dict(features)
    depth = given
    if isinstance(given, Mapping):
        for key in given:
            if key not in UNIT_KEYS:
                raise SpaceError(f"unit {unit!r} has an unknown key {key!r}: {nearest(key, UNIT_KEYS)}")
        depth = given.get("depth", 1)
        own.update(_features(given.get("features", {}), unit))
    template = text if text is not None else "_".join(f"{name}{{{name}}}" for name in own)
    return Stage(unit, _depths(unit, depth), tuple(Feature(n, v) for n, v in own.items()), template, separator)


def _depths(unit: str, given: Any) -> tuple[int, ...]:
    if isinstance(given, str) and given.count("-") == 1 and all(part.strip().isdigit() for part in given.split("-")):
        low, high = (int(part) for part in given.split("-"))
        given = list(range(low, high + 1))
    listed = list(given) if isinstance(given, list | tuple | range) else [given]
    if not listed or any(isinstance(d, bool) or not isinstance(d, int) for d in listed):
        raise SpaceError(f"unit {unit!r}: depth {given!r} is not usable; give an integer, a list, or a range like 2-4")
    return tuple(listed)


def _identity(space: SearchSpace, given: Mapping[str, Any] | None) -> Identity | None:
    if not given:
        return None
    values = {key: value for key, value in given.items() if key != "first_layer_counts"}
    known = {feature.name: feature.values for feature in space.features}
    for name, value in values.items():
        if name not in known:
            raise SpaceError(f"{space.name!r}: identity names an unknown feature {name!r}: {nearest(name, known)}")
        if value not in known[name]:
            raise SpaceError(f"{space.name!r}: identity {name}={value!r}: {nearest(value, known[name])}")
    return Identity(values, bool(given.get("first_layer_counts", False)))


def space_from_yaml(text: str, source: str) -> SearchSpace:
    """Read a declaration from YAML text.

    Args:
        text: The YAML: the arguments of :func:`sequence_space` as keys.
        source: Where it came from, named in errors.
    """
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpaceError(f"{source}: not readable as YAML: {error}") from None
    if not isinstance(data, Mapping):
        raise SpaceError(f"{source}: a search space is a mapping with the keys {', '.join(KEYS)}")
    for key in data:
        if key not in KEYS:
            raise SpaceError(f"{source}: unknown key {key!r}: {nearest(key, KEYS)}")
    for key in ("name", "units", "features"):
        if key not in data:
            raise SpaceError(f"{source}: the key {key!r} is missing")
    try:
        return sequence_space(**{str(key): value for key, value in data.items()})
    except SpaceError as error:
        raise SpaceError(f"{source}: {error}") from None
