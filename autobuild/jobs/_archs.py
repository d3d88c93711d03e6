"""Read architectures from a table with a column ``arch``, a text file, or one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, LabelError, SpaceError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from autobuild.spaces import Architecture, SearchSpace
    from autobuild.spaces.additive import Additive

_TEXTS = (".txt", ".list")
_SHOWN = 20
ESTIMATES = ("quant_error", "first_order", "fisher", "output_error")  # of the harm of a quantisation


def read_archs(given: str, space: SearchSpace, key: str = "archs") -> tuple[pd.DataFrame, list[Architecture]]:
    """Read architectures of ``space``.

    Args:
        given: The path of a table with a column ``arch``, in any format that labels are read from, the path of a text
            file with one architecture a line, or the text of one architecture.
        space: Where they have to lie.
        key: What the messages call it.

    Returns:
        The table with all its columns (``arch`` alone for texts), ``arch`` in canonical text, and the architectures.

    Raises:
        LabelError: The file has no column ``arch``, or rows that are no architectures of the space (the first 20 are
            listed).
        ConfigError: ``given`` is neither a file nor an architecture.
    """
    import pandas as pd

    from autobuild.labels.label_files import READERS, is_file, is_table, locate, read_table

    rows: Sequence[int] | Sequence[str]
    path = Path(given)
    if is_table(path):
        raw = read_table(locate(given))
        if "arch" not in raw.columns:
            raise LabelError(f"{given}: no column 'arch': {nearest('arch', raw.columns)}")
        if raw.bad:
            problems = "\n".join(f"  row {raw.numbers[row]}: {raw.bad[row]}" for row in sorted(raw.bad)[:_SHOWN])
            raise LabelError(f"{given}: {len(raw.bad)} of {len(raw.numbers)} rows cannot be read:\n{problems}")
        frame, rows = pd.DataFrame(dict(raw.columns)), raw.numbers
    elif path.suffix.lower() in _TEXTS:
        try:
            is_file(path)  # raises an error for a pipe, which may never end
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{key}={given}: cannot be read: {error}") from error
        numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
        frame, rows = pd.DataFrame({"arch": [line for _, line in numbered]}), [number for number, _ in numbered]
    else:
        try:
            arch = space.parse(given)
        except SpaceError as error:
            endings = ", ".join((*READERS, *_TEXTS))
            raise ConfigError(
                f"{key}={given}: no file ending in {endings}, and no architecture either: {error}"
            ) from error
        return pd.DataFrame({"arch": [str(arch)]}), [arch]
    return _parsed(given, frame, rows, space)


_READ = {"cover": ("cover",), "stratified": ("by",), "guided": ("by", "by_least", "by_most", "estimates")}


def check_design(config: Mapping[str, Any]) -> None:
    """Raise a ConfigError if a key is given that neither the design nor ``archs=`` reads."""
    from autobuild.jobs.keys import DesignKeys

    given = config.get("archs") is not None
    for key in fields(DesignKeys):
        name, value = key.name, config.get(key.name, key.default)
        if value != key.default and (given or name not in ("design", *_READ.get(config["design"], ()))):
            used = [f"design={design}" for design, keys in _READ.items() if name in keys]
            chosen = f"design={config['design']} was chosen"
            what = "archs= says which" if given else f"it is for {' and '.join(used)}, and {chosen}"
            raise ConfigError(f"{name}={value}: no architectures are drawn by it: {what}")


def drawn_archs(config: Mapping[str, Any], space: SearchSpace, n: int) -> list[Architecture]:
    """Draw ``n`` architectures by the keys of :class:`~autobuild.jobs.keys.DesignKeys` and the seed.

    Raises:
        ConfigError: ``by`` or one of ``estimates`` is no cost of the space, or no sum over its units; the design does
            not read a key that is given; or see ``sample_design``.
    """
    check_design(config)
    from autobuild.labels import sample_design

    design, seed = config["design"], config["seed"]
    if design not in ("stratified", "guided"):
        return sample_design(space, n, design, seed, config["cover"])
    from autobuild.cost.space_costs import costs

    known = costs(space)

    def additive(key: str, name: str) -> Additive:
        try:
            return known.additive(name)
        except ConfigError as error:
            raise ConfigError(f"design={design} {key}={name}: {error}") from error

    by = additive("by", str(config["by"]))
    if design == "stratified":
        return sample_design(space, n, design, seed, by=by)
    given = config["estimates"] or [name for name in ESTIMATES if name in known]
    if not given:
        raise ConfigError(f"design=guided: {space.name} has none of the costs {', '.join(ESTIMATES)}; give estimates=")
    estimates = [additive("estimates", name) for name in ([given] if isinstance(given, str) else given)]
    least, most = config["by_least"], config["by_most"]
    between = (by.least if least is None else least, by.greatest if most is None else most)
    return sample_design(space, n, design, seed, by=by, estimates=estimates, between=between)


def _parsed(
    source: str, frame: pd.DataFrame, rows: Sequence[int] | Sequence[str], space: SearchSpace
) -> tuple[pd.DataFrame, list[Architecture]]:
    archs, bad = [], []
    for number, text in zip(rows, frame["arch"], strict=True):
        try:
            archs.append(space.parse(text))
        except SpaceError as error:
            bad.append(f"  row {number}: {error}")
    if bad:
        more = [f"  ... {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
        problems = "\n".join([*bad[:_SHOWN], *more])
        raise LabelError(f"{source}: {len(bad)} of {len(rows)} rows are no architectures of {space.name}:\n{problems}")
    if not archs:
        raise LabelError(f"{source}: there are no architectures in it")
    return frame.assign(arch=[str(arch) for arch in archs]), archs
