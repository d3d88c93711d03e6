"""Hardware descriptions: the numbers of an accelerator that costs use, read from YAML."""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from autobuild.errors import ConfigError, nearest
from autobuild.spaces.declare import load_yaml, text_of

SUFFIXES = (".yaml", ".yml")
DEFAULT = "edge_npu"


@dataclass(frozen=True)
class Hardware:
    """An accelerator: an array of multipliers, an on-chip buffer, and DRAM behind it.

    Attributes:
        name: Name of the accelerator.
        buffer_bytes: On-chip buffer for weights and activations together, bytes.
        dram_bytes_per_s: DRAM bandwidth, bytes per second.
        dram_pj_per_byte: Energy of moving a byte from or to DRAM, picojoules.
        mac_pj: Energy of a multiply-accumulate with operands on chip, picojoules.
        macs_per_cycle: Largest number of multiply-accumulates per cycle.
        clock_hz: Cycles per second.
        weight_bytes: Bytes of a weight.
        activation_bytes: Bytes of an activation.
        source: Where the numbers come from, and which of them are assumed.
    """

    name: str
    buffer_bytes: int
    dram_bytes_per_s: float
    dram_pj_per_byte: float
    mac_pj: float
    macs_per_cycle: int
    clock_hz: float
    weight_bytes: int
    activation_bytes: int
    source: str = ""

    def __post_init__(self) -> None:
        for name, kind in _NUMBERS.items():
            _check(f"hardware {self.name!r}", name, getattr(self, name), kind)

    @property
    def macs_per_s(self) -> float:
        """Largest number of multiply-accumulates per second."""
        return self.macs_per_cycle * self.clock_hz

    @property
    def balance(self) -> float:
        """Machine balance: multiply-accumulates per DRAM byte at which computing and moving take equally long."""
        return self.macs_per_s / self.dram_bytes_per_s


_NUMBERS = {field.name: str(field.type) for field in fields(Hardware) if field.type in ("int", "float")}
PRESETS = Path(__file__).with_name("presets")  # a YAML file for each hardware that ships
MAX_NUMBER = 1e30  # no hardware has more of anything
_WIDTHS = (1, 2, 4)  # bytes of a number


def hardware_names() -> list[str]:
    """Names of the built-in presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_hardware(given: str | Path | Hardware, **changed: Any) -> Hardware:
    """Read a hardware description.

    >>> read_hardware("edge_npu", buffer_bytes=65_536)

    Args:
        given: The name of a preset (:func:`hardware_names`), the path of a YAML file with the same keys, or a
            description, which is returned as it is.
        changed: Keys with other values. They are added to the name and the source of the description, unless the name
            is changed as well.

    Raises:
        ConfigError: The name is unknown (the message suggests the nearest ones), the file cannot be read, a key is
            missing or unknown, or a number is not positive. The message names file, key, value and what is accepted.
    """
    base = _read(given)
    if not changed:
        return base
    changes = ", ".join(f"{key}={value}" for key, value in changed.items() if key not in ("name", "source"))
    noted = {"name": f"{base.name} with {changes}", "source": f"{base.source} Changed: {changes}."} if changes else {}
    return _described(base.name, {**asdict(base), **noted, **changed}, base.name)


def _read(given: str | Path | Hardware) -> Hardware:
    if isinstance(given, Hardware):
        return given
    if not isinstance(given, str | Path):
        raise ConfigError(f"hardware={given!r}: a preset ({', '.join(hardware_names())}), the path of a YAML file or a "
                          "Hardware is accepted")  # fmt: skip
    path = Path(given)
    if path.suffix not in SUFFIXES:
        if str(given) not in hardware_names():
            raise ConfigError(
                f"hardware={given}: unknown name: {nearest(given, hardware_names())}; a path ends in .yaml"
            )
        path = PRESETS / f"{given}.yaml"
    return _described(str(given), _loaded(path), path.stem)


def _loaded(path: Path) -> dict[str, Any]:
    try:
        data = load_yaml(text_of(path))
    except FileNotFoundError:
        raise ConfigError(f"hardware={path}: no such file; presets: {', '.join(hardware_names())}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"hardware={path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"hardware={path}: given a {type(data).__name__}, accepted: keys {', '.join(_NUMBERS)}")
    return data


def _described(what: str, data: dict[str, Any], name: str) -> Hardware:
    known = [field.name for field in fields(Hardware)]
    for key in data:
        if key not in known:
            raise ConfigError(f"hardware={what}: unknown key {key!r}: {nearest(key, known)}")
    for key in _NUMBERS:
        if key not in data:
            raise ConfigError(f"hardware={what}: {key} is missing (needed: {', '.join(_NUMBERS)})")
    for key in ("name", "source"):
        if not isinstance(data.get(key, ""), str):
            raise ConfigError(f"hardware={what}: {key}={reprlib.repr(data[key])}: a text is accepted")
    numbers: dict[str, Any] = {}
    for key, kind in _NUMBERS.items():
        numbers[key] = _check(f"hardware={what}", key, _number(data[key]), kind)
    return Hardware(name=data.get("name", name), source=data.get("source", ""), **numbers)


def _number(value: Any) -> Any:
    """Convert texts such as ``1_048_576``, which YAML does not read as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _check(what: str, key: str, value: Any, kind: str) -> float | int:
    """Check that a value is a positive number of the right type. Raises ConfigError."""
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < MAX_NUMBER
    if not right:
        raise ConfigError(f"{what}: {key}={reprlib.repr(value)}: a number above 0 is accepted")
    if kind == "int" and value != int(value):
        raise ConfigError(f"{what}: {key}={value!r}: a whole number above 0 is accepted")
    if key in ("weight_bytes", "activation_bytes") and value not in _WIDTHS:
        raise ConfigError(f"{what}: {key}={value!r}: accepted are 1, 2 and 4")
    return int(value) if kind == "int" else float(value)
