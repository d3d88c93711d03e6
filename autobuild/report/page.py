"""An HTML page that needs no other file: texts, tables and pictures, one below the other."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p { margin: 0.3rem 0; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-end; }
figure { margin: 1rem 0; flex: 0 1 auto; max-width: 33rem; } img { max-width: 100%; display: block; }
figcaption { color: #6b6b6b; font-size: 13px; }
.wide { overflow-x: auto; margin: 1rem 0; } table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 0.25rem 0.7rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        text: Paragraphs, parted by newlines.
        table: A table.
        pictures: PNG files with captions.
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = None
    pictures: Sequence[tuple[Path, str]] = ()


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The page as text. Whatever comes from a run (names, reasons) is shown as text, never taken as HTML."""
    body = "".join(_section(section) for section in sections)
    screen = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{screen}<title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>{body}</body></html>\n'
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(line)}</p>" for line in section.text.split("\n") if line.strip()]
    if section.table is not None:
        parts.append(f'<div class="wide">{_table(section.table)}</div>')
    if section.pictures:
        parts.append(f'<div class="pictures">{"".join(_figure(*picture) for picture in section.pictures)}</div>')
    return "\n".join(parts)


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    said = html.escape(caption)
    return f'<figure><img alt="{said}" src="data:image/png;base64,{data}"><figcaption>{said}</figcaption></figure>'


def _table(frame: pd.DataFrame) -> str:
    """Columns of numbers stand right; fractions have five digits that count, and what is missing is left empty."""
    import pandas as pd

    marks = [' class="number"' if pd.api.types.is_numeric_dtype(kind) else "" for kind in frame.dtypes]
    head = "".join(f"<th{mark}>{html.escape(str(name))}</th>" for mark, name in zip(marks, frame.columns, strict=True))
    rows = [
        "".join(f"<td{mark}>{html.escape(_cell(value))}</td>" for mark, value in zip(marks, row, strict=True))
        for row in frame.itertuples(index=False)
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
