"""An HTML page that needs no other file: texts, tables and pictures, one below the other."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption { color: #6b6b6b; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 0.25rem 0.7rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
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
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f"<!DOCTYPE html>\n<html><head>{head}</head><body><h1>{html.escape(title)}</h1>{body}</body></html>\n"


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(line)}</p>" for line in section.text.split("\n") if line.strip()]
    if section.table is not None:
        parts.append(f'<div class="wide">{section.table.to_html(index=False, escape=True, border=0, na_rep="")}</div>')
    for path, caption in section.pictures:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        said = html.escape(caption)
        image = f'<img alt="{said}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{said}</figcaption></figure>")
    return "\n".join(parts)
