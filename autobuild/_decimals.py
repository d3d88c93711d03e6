"""How many decimals tables show: one number for all columns in units of the target."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 4  # of the largest effect or prediction of a table
IN_TARGET_UNITS = frozenset(
    {"contribution", "effect", "score", "score_without", "score_range", "lower", "upper", "difference"}
    | {"predicted", "label", "measured", "measured_sd"}
)


def table_decimals(frame: pd.DataFrame) -> int:
    """Decimals of the columns in units of the target; sums (``score``) beside predictions do not count."""
    names = IN_TARGET_UNITS.intersection(map(str, frame.columns)) - ({"score"} if "predicted" in frame else set())
    return decimals(value for name in names for value in frame[name])


def decimals(values: Iterable[Any], digits: int = DIGITS) -> int:
    """How many decimals show the largest of some numbers with ``digits`` digits; only finite floats count."""
    largest = max((abs(one) for one in values if isinstance(one, float) and math.isfinite(one)), default=0.0)
    return max(0, digits - 1 - math.floor(math.log10(largest))) if largest else 0
