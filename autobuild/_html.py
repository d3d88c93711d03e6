"""Small tables with titles, as notebooks show results."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ROWS = 10


def titled(title: str, frame: pd.DataFrame, rows: int = ROWS) -> str:
    """The first rows of a table under a title: four digits that count, ``-`` for what is missing."""
    import pandas as pd

    shown = frame.head(rows)
    cells = pd.DataFrame({name: [_cell(value) for value in shown[name]] for name in shown.columns}, dtype=object)
    more = f"<p>{len(frame) - rows:,} more rows</p>" if len(frame) > rows else ""
    return f"<p><b>{html.escape(title)}</b></p>{cells.to_html(index=False)}{more}"


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return str(value)
