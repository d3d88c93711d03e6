"""Parse the keys ``shape`` and ``shapes``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from autobuild.errors import ConfigError

# 'x': (1, 3, 224, 224) as Python writes it, x:[1,3,224,224] as Hydra does, or x:1x3x224x224
_SHAPE = re.compile(
    r"""\s*(?:'(?P<single>[^']+)'|"(?P<double>[^"]+)"|(?P<plain>[^\s'",;(\[{}]+?))\s*[:=]\s*"""
    r"""(?:\[(?P<list>[\d\s,]+)\]|\((?P<tuple>[\d\s,]+)\)|(?P<sizes>\d+(?:x\d+)*))\s*(?:[,;]|$)"""
)


def shape_of(given: Sequence[int] | None) -> tuple[int, ...] | None:
    """Channels, height and width from ``shape=``; None if not given. Raises ConfigError."""
    if given is None:
        return None
    if len(given) != 3 or min(given) < 1:
        raise ConfigError(f"shape={list(given)}: channels, height and width are accepted, each above 0")
    return tuple(given)


def shapes_of(given: str | None) -> dict[str, tuple[int, ...]] | None:
    """Shapes by the name of a tensor from ``shapes=``; None if not given. Raises ConfigError."""
    if given is None:
        return None
    text = given.strip()
    text = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    shapes: dict[str, tuple[int, ...]] = {}
    place = 0
    while place < len(text):
        match = _SHAPE.match(text, place)
        sizes = match and re.findall(r"\d+", match["list"] or match["tuple"] or match["sizes"])
        if match is None or not sizes or not all(map(int, sizes)):
            raise ConfigError(f"shapes={given}: accepted are names and sizes above 0, for example "
                              "shapes='x: 1x3x224x224, mask: 1x77'")  # fmt: skip
        shapes[match["single"] or match["double"] or match["plain"]] = tuple(map(int, sizes))
        place = match.end()
    return shapes
