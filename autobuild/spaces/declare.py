"""Declare sequence spaces in Python or YAML."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import SpaceError, nearest
from autobuild.spaces.space import Identity, SearchSpace
from autobuild.spaces.stage import MAX_DEPTH, Feature, Stage, Value, _fields, tied_of
from autobuild.spaces.unit import Unit

if TYPE_CHECKING:
    import yaml

KEYS = ("name", "about", "units", "features", "text", "layer_separator", "unit_separator", "identity", "resolution")
UNIT_KEYS = ("depth", "features", "text", "tied")
MAX_TEXT, MAX_NODES, MAX_NESTED = 200_000, 100_000, 100  # characters, values and levels of a YAML file
MAX_SIZES = 10_000  # input sizes
_TEXTS = ("name", "about", "layer_separator", "unit_separator")
_RESERVED = re.compile(r"unit|layer|depth|score|n_seen|hop\d+")  # table columns that exist already


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
    resolution: Any = None,
    options: Mapping[str, Any] | None = None,
) -> SearchSpace:
    """Declare a search space whose units are chains of layers, one after another.

    >>> space = ab.sequence_space("tiny", {"stage1": "1-2", "stage2": 3}, {"kernel": [3, 5]}, text="k{kernel}")
    >>> space.size, space.example
    (48, 'k3-k5|k5-k3-k3')

    Args:
        name: Name of the space.
        units: Unit name -> allowed depths: an integer, a list, a range ``"2-4"``, or a mapping ``{"depth": ...,
            "features": {...}, "text": ..., "tied": ...}`` if the unit's features or layer text differ from the common
            ones. In its ``features``, None removes a common feature. ``"tied": True``: all layers of the unit are
            equal, and the text is written once and must name ``{depth}``. ``"tied": ["width"]``: the listed features
            are chosen once for all layers of the unit; every layer's text still names them.
        features: Feature name -> values that a layer may take.
        text: Template of a layer's text, such as ``"e{expand}k{kernel}"`` (default: every feature name followed by its
            value, ``"expand{expand}_kernel{kernel}"``).
        about: One sentence of description for readers.
        layer_separator: Text between the layers of a unit.
        unit_separator: Text between units.
        identity: Feature values of a layer that does nothing, e.g. ``{"op": 0}``. With ``"first_layer_counts": True``,
            the first layer of a stage is never an identity, because it changes the shape.
        resolution: Input sizes to choose from, in pixels (see :func:`resolutions`). They become a first unit ``input``
            of one layer whose only feature is ``resolution``, written ``r224``.
        options: Parameters that the space was made with, by name; they are passed to ``realise``.

    Returns:
        The search space.

    Raises:
        SpaceError: An argument is not usable. The message names the unit or key, the value given and the values
            accepted.
    """
    for key, value in zip(_TEXTS, (name, about, layer_separator, unit_separator), strict=True):
        if not isinstance(value, str) or (key == "name" and not value.strip()):
            raise SpaceError(
                f"search space {name!r}: {key} must be a text (in quotes if YAML would misread it): {value!r}"
            )
    if not isinstance(units, Mapping) or not units:
        raise SpaceError(f"search space {name!r}: units must map names to depths, such as {{stage1: [2, 3, 4]}}")
    for unit in units:
        if isinstance(unit, bool) or not isinstance(unit, str | int):
            raise SpaceError(
                f"search space {name!r}: a unit is named {unit!r}: a text is accepted, in quotes if YAML misreads it"
            )
    sizes, common = resolutions(resolution), _features(features, name)
    entry = {"input": {"depth": 1, "features": dict.fromkeys(common) | {"resolution": sizes}, "text": "r{resolution}"}}
    made = [
        Unit(unit, [_stage(unit, given, common, text, layer_separator)], joiner=unit_separator)
        for unit, given in ((str(unit), given) for unit, given in {**(entry if sizes else {}), **units}.items())
    ]
    if not unit_separator and any(len(unit.depths) > 1 for unit in made):
        raise SpaceError(f"search space {name!r}: without a unit separator every unit needs exactly one depth")
    _check_separators(made, name, layer_separator, unit_separator)
    space = SearchSpace(name, made, about=about, separator=unit_separator, options=options)
    space.identity = _identity(space, identity)
    return space


def _check_separators(units: Sequence[Unit], name: str, layers: str, between: str) -> None:
    """Refuse a unit separator that also occurs inside a unit, because texts could not be parsed."""
    if not between:
        return
    if layers and between in layers:
        raise SpaceError(
            f"search space {name!r}: the unit separator {between!r} occurs in the layer separator {layers!r}"
        )
    for unit in units:
        for token in unit.stages[0].tokens:
            if between in token:
                raise SpaceError(
                    f"unit {unit.name!r}: a layer's text {token!r} contains the unit separator {between!r}"
                )


def resolutions(given: Any, accepted: range | None = None) -> tuple[int, ...]:
    """Parse input sizes: ``"128-224/32"`` (first, last, step), one number, or a list of numbers; None gives none.

    Raises:
        SpaceError: The value has another form, or a size is not in ``accepted``.
    """
    if given is None:
        return ()
    listed = [given] if isinstance(given, int) else given
    if isinstance(given, str):
        found = re.fullmatch(r"\s*(\d{1,9})-(\d{1,9})/(\d{1,9})\s*", given)
        first, last, step = (int(number) for number in found.groups()) if found else (1, 0, 1)
        listed = range(first, last + 1, step) if step and not (last - first) % step else ()
    few = isinstance(listed, Sequence) and 0 < len(listed) <= MAX_SIZES
    if not few or not all(type(size) is int and size > 0 for size in listed):
        raise SpaceError(f"resolution={given!r}: accepted are sizes such as [128, 160, 224], or '128-224/32'")
    if accepted is not None and not set(listed) <= set(accepted):
        raise SpaceError(
            f"resolution={given!r}; accepted: sizes from {accepted[0]} to {accepted[-1]} in steps of {accepted.step}"
        )
    return tuple(listed)


def _features(given: Any, where: str) -> dict[str, tuple[Value, ...]]:
    if not isinstance(given, Mapping):
        raise SpaceError(f"{where!r}: features must map names to values, such as {{kernel: [3, 5]}}; got {given!r}")
    out: dict[str, tuple[Value, ...]] = {}
    for name, values in given.items():
        if not isinstance(name, str):
            raise SpaceError(
                f"{where!r}: a feature is named {name!r}: a text is accepted, in quotes if YAML misreads it"
            )
        listed = list(values) if isinstance(values, list | tuple | range) else [values]
        if isinstance(values, str) and re.fullmatch(r"\s*\d+\s*-\s*\d+\s*", values):
            raise SpaceError(
                f"{where!r}: feature {name!r} is {values!r}: list its values, as in [3, 5] (only depths are ranges)"
            )
        for value in listed:
            if not isinstance(value, str | int | float | bool):
                raise SpaceError(f"{where!r}: feature {name!r} holds {value!r}; accepted: numbers, texts, booleans")
        if _RESERVED.fullmatch(str(name)):
            raise SpaceError(f"{where!r}: {name!r} is a reserved word (a column of the tables); choose another name")
        if not str(name).isidentifier():
            raise SpaceError(f"{where!r}: {name!r} is not a usable feature name: letters, digits and _ are accepted")
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
        text = given.get("text", text)
        if "text" in given:
            _fields(unit, given["text"])  # refuses null as well
        changed = given.get("features", {})
        if isinstance(changed, Mapping):
            for name in [name for name, values in changed.items() if values is None]:
                if name not in own:
                    raise SpaceError(f"unit {unit!r} takes away an unknown feature {name!r}: {nearest(name, own)}")
                own.pop(name)
            changed = {name: values for name, values in changed.items() if values is not None}
        own.update(_features(changed, unit))
    tied, once = tied_of(unit, given.get("tied", False) if isinstance(given, Mapping) else False)
    if tied and text is None:
        text = "_".join(["depth{depth}", *(f"{name}{{{name}}}" for name in own)])
    template = text if text is not None else "_".join(f"{name}{{{name}}}" for name in own)
    made = tuple(Feature(name, values) for name, values in own.items())
    return Stage(unit, _depths(unit, depth), made, template, separator, tied, once)


def _depths(unit: str, given: Any) -> tuple[int, ...]:
    if isinstance(given, str) and (found := re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", given)):
        low, high = (int(part[:9]) for part in found.groups())
        if high > MAX_DEPTH:
            raise SpaceError(f"unit {unit!r}: depth {given}; at most {MAX_DEPTH:,} layers are accepted")
        given = list(range(low, high + 1))
    listed = list(given) if isinstance(given, list | tuple | range) else [given]
    if not listed or any(isinstance(d, bool) or not isinstance(d, int) for d in listed):
        raise SpaceError(f"unit {unit!r}: depth {given!r} is not usable; give an integer, a list, or a range like 2-4")
    return tuple(listed)


def _identity(space: SearchSpace, given: Mapping[str, Any] | None) -> Identity | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not set(given) - {"first_layer_counts"}:
        raise SpaceError(f"{space.name!r}: identity maps features to values, such as {{op: none}}; got {given!r}")
    values = {key: value for key, value in given.items() if key != "first_layer_counts"}
    known = {feature.name: feature.values for feature in space.features}
    for name, value in values.items():
        if name not in known:
            raise SpaceError(f"{space.name!r}: identity names an unknown feature {name!r}: {nearest(name, known)}")
        if value not in known[name]:
            raise SpaceError(f"{space.name!r}: identity {name}={value!r}: {nearest(value, known[name])}")
    first = given.get("first_layer_counts", False)
    if not isinstance(first, bool):
        raise SpaceError(f"{space.name!r}: identity first_layer_counts={first!r}: true or false is accepted")
    return Identity(values, first)


# What a value without quotes is; all else is a text (the core schema of YAML 1.2, and << of 1.1).
_PLAIN_VALUES = {
    "null": r"(~|null|Null|NULL|)$",
    "bool": r"(true|True|TRUE|false|False|FALSE)$",
    "int": r"[-+]?[0-9]+$",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$",
    "merge": r"<<$",
}


def space_from_yaml(text: str, source: str) -> SearchSpace:
    """Read a declaration from YAML text.

    Args:
        text: The YAML: the arguments of :func:`sequence_space` as keys.
        source: Name of the file, for errors.

    Raises:
        SpaceError: The text is not YAML, or not a declaration of a search space.
    """
    try:
        data = load_yaml(text)
    except ValueError as error:
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


def text_of(path: Path, most_bytes: int = 4 * MAX_TEXT) -> str:
    """The text of a file.

    Raises:
        OSError, ValueError: It cannot be read, is no file (a pipe may never end), is too large, or not UTF-8.
    """
    if path.exists() and not path.is_file():
        raise OSError("a folder, a pipe or a device, not a file")
    if path.stat().st_size > most_bytes:
        raise ValueError(f"larger than {most_bytes:,} bytes; that much is not read")
    return path.read_text(encoding="utf-8")


def load_yaml(text: str) -> Any:
    """Read YAML with the safe loader, and refuse what is small as a text and large as a value.

    Raises:
        ValueError: The text is not YAML, is too long, is nested too deep, or has aliases that make it too large.
    """

    if len(text) > MAX_TEXT:
        raise ValueError(f"{len(text):,} characters; at most {MAX_TEXT:,} are read")
    try:
        loader = _loader()(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MAX_NODES:
            raise ValueError(f"its aliases make more than {MAX_NODES:,} values of it")
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except Exception as error:  # constructors raise what conversions raise
        raise ValueError(error) from None


def _size(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Number of values of a node if every alias is written out; one that contains itself counts as too many."""
    if node not in known:
        known[node] = MAX_NODES + 1
        parts = node.value if isinstance(node.value, list) else []
        inner = (part for each in parts for part in (each if isinstance(each, tuple) else (each,)))
        known[node] = 1 + sum(_size(part, known) for part in inner)
    return known[node]


def _loader() -> type[yaml.SafeLoader]:
    """The safe loader of YAML, with the plain values of YAML 1.2; it refuses repeated keys.

    PyYAML follows YAML 1.1, where ``no`` and ``off`` are booleans, ``010`` is 8, ``1:30`` is 90 and ``1e-3`` is a text.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def fetch_flow_collection_start(self, token: type) -> None:
            if self.flow_level > MAX_NESTED:  # each level makes all that follow slower
                raise RecursionError
            super().fetch_flow_collection_start(token)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            seen: set[Hashable] = set()
            for written, _ in node.value:
                if written.tag == "tag:yaml.org,2002:merge":
                    continue
                key = self.construct_object(written, deep=True)
                if isinstance(key, Hashable) and key in seen:
                    raise yaml.constructor.ConstructorError(
                        "while reading a mapping",
                        node.start_mark,
                        f"the key {key!r} is written twice",
                        written.start_mark,
                    )
                seen |= {key} if isinstance(key, Hashable) else set()
            return super().construct_mapping(node, deep)

        def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
            value = super().construct_scalar(node)
            if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise yaml.constructor.ConstructorError(
                    None, None, f"{value!r} has half a character (a surrogate)", node.start_mark
                )
            return value

        def construct_int(self, node: yaml.ScalarNode) -> int:
            return int(self.construct_scalar(node))

        def construct_float(self, node: yaml.ScalarNode) -> float:
            return float(re.sub(r"\.(inf|nan)$", r"\1", self.construct_scalar(node), flags=re.IGNORECASE))

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_int)
    Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_float)
    Loader.yaml_implicit_resolvers = {}
    for tag, pattern in _PLAIN_VALUES.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), None)
    return Loader
