"""An HTML page that needs no other file: texts, tables, maps of effects and pictures, one below the other."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild._decimals import IN_TARGET_UNITS, decimals, table_decimals
from autobuild._words import signed

if TYPE_CHECKING:
    import pandas as pd

ROWS = 200  # of a table
PICTURE_BYTES = 4_000_000  # of all pictures of a page

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 0; }
p { margin: 0.3rem 0; } nav a { margin-right: 1rem; } a { color: #00558a; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
figure { margin: 1rem 0; flex: 0 1 auto; max-width: 33rem; }
figure.broad { max-width: 100%; } img { max-width: 100%; display: block; }
figcaption, .note { color: #5a5a5a; font-size: 13px; }
.missing { border-left: 4px solid #d55e00; padding-left: 0.7rem; }
.wide { overflow: auto; margin: 0.6rem 0; max-height: 32rem; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 0.25rem 0.7rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
thead th { position: sticky; top: 0; background: #fff; } tr:hover td { background: #f2f6fa; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
th button { all: unset; cursor: pointer; font-weight: bold; }
th button::after { content: " \\2195"; color: #6b6b6b; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; font-size: 12.5px; }
.map th, .map td { padding: 0.2rem 0.4rem; } .map td, .map thead th { text-align: center; border: 2px solid #fff; }
.map thead th { position: static; }
.unknown { font-style: italic; } .unknown::after { content: "*"; }
@media print {
  body { max-width: none; margin: 0; font-size: 11px; } nav { display: none; } h2, h3 { break-after: avoid; }
  .wide { max-height: none; overflow: visible; } pre { white-space: pre-wrap; } figure, tr { break-inside: avoid; }
  th, td { white-space: normal; overflow-wrap: anywhere; padding: 0.1rem 0.3rem; font-size: 9px; }
  thead th { position: static; } th button::after, th[aria-sort] button::after { content: ""; }
}
"""

# Sorts a table by a column; numbers by their full value, texts by their letters, what is missing last.
_SCRIPT = """
document.querySelectorAll("th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var head = button.closest("th"), body = head.closest("table").tBodies[0], column = head.cellIndex;
    var down = head.getAttribute("aria-sort") !== "descending";
    head.parentNode.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    var rows = Array.from(body.rows).map(function (row, place) {
      var text = row.cells[column].dataset.value || row.cells[column].textContent, number = parseFloat(text);
      return { row: row, place: place, text: text, number: head.className === "number" ? number : NaN };
    });
    rows.sort(function (a, b) {
      if (!a.text || !b.text) { return (a.text ? 0 : 1) - (b.text ? 0 : 1) || a.place - b.place; }
      var order = isNaN(a.number) || isNaN(b.number) ? a.text.localeCompare(b.text) : a.number - b.number;
      return (down ? -order : order) || a.place - b.place;
    });
    rows.forEach(function (entry) { body.appendChild(entry.row); });
  });
});
"""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        text: Paragraphs, parted by newlines.
        missing: What should be here and is not, in words.
        effects: Effects of choices at places, drawn as a map: ``unit, layer, feature, value, effect, lower, upper,
            n_seen``.
        tables: Tables with captions.
        pictures: PNG files with captions.
        code: Text in a fixed font, such as a configuration.
    """

    title: str
    text: str = ""
    missing: str = ""
    effects: pd.DataFrame | None = None
    tables: Sequence[tuple[str, pd.DataFrame]] = ()
    pictures: Sequence[tuple[Path, str]] = ()
    code: str = ""


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The page as text. Whatever comes from a run (names, reasons) is shown as text, never taken as HTML."""
    budget = [PICTURE_BYTES]
    links = "".join(f'<a href="#s{n}">{html.escape(own.title)}</a>' for n, own in enumerate(sections))
    body = "".join(_section(number, section, budget) for number, section in enumerate(sections))
    screen = '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
    head = f'<meta charset="utf-8">{screen}<title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1><nav>{links}</nav>'
        f"<main>{body}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _section(number: int, section: Section, budget: list[int]) -> str:
    parts = [f'<h2 id="s{number}">{html.escape(section.title)}</h2>']
    parts += [f"<p>{html.escape(line)}</p>" for line in section.text.split("\n") if line.strip()]
    parts += [_lacking(line) for line in section.missing.split("\n") if line.strip()]
    if section.effects is not None and len(section.effects):
        parts.append(_map(section.effects))
    pictures = "".join(_figure(*picture, budget) for picture in section.pictures)
    parts.append(f'<div class="pictures">{pictures}</div>' if pictures else "")
    for caption, frame in section.tables:
        parts.append(f"<h3>{html.escape(caption)}</h3>" if caption else "")
        parts.append(_scrolled(_table(frame), caption or section.title))
        if len(frame) > ROWS:
            parts.append(f'<p class="note">The first {ROWS} of {len(frame):,} rows.</p>')
    parts.append(f'<pre tabindex="0">{html.escape(section.code)}</pre>' if section.code else "")
    return "\n".join(part for part in parts if part)


def _lacking(text: str) -> str:
    return f'<p class="missing">{html.escape(text)}</p>'


def _scrolled(content: str, label: str) -> str:
    return f'<div class="wide" tabindex="0" role="region" aria-label="{html.escape(label)}">{content}</div>'


def _figure(path: Path, caption: str, budget: list[int]) -> str:
    said = html.escape(caption)
    try:
        data = path.read_bytes()
    except OSError as error:
        return _lacking(f"{caption}: {path.name} cannot be read: {error.strerror}")
    budget[0] -= len(data)
    if budget[0] < 0:
        return _lacking(f"{caption}: {path.name} is left out, to keep the page small")
    coded = base64.b64encode(data).decode("ascii")
    # A PNG has its width and height in these bytes; in half a page the texts of a broad picture cannot be read.
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    kind = ' class="broad"' if width > 2 * height else ""
    picture = f'<img alt="{said}" src="data:image/png;base64,{coded}">'
    return f"<figure{kind}>{picture}<figcaption>{said}</figcaption></figure>"


def _table(frame: pd.DataFrame) -> str:
    """Columns of numbers stand right; what is missing is left empty.

    Columns in units of the target have the same number of decimals, other fractions five significant digits.
    """
    import pandas as pd

    names = [str(name) for name in frame.columns]
    places = table_decimals(frame.head(ROWS))
    shown = [places if name in IN_TARGET_UNITS else None for name in names]

    marks = [' class="number"' if pd.api.types.is_numeric_dtype(kind) else "" for kind in frame.dtypes]
    head = "".join(
        f'<th scope="col"{mark}><button type="button">{html.escape(str(name))}</button></th>'
        for mark, name in zip(marks, frame.columns, strict=True)
    )
    rows = [
        "".join(_td(value, mark, own) for mark, own, value in zip(marks, shown, row, strict=True))
        for row in frame.head(ROWS).itertuples(index=False)
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _td(value: Any, mark: str, places: int | None) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    shown = f"{value:.{places}f}" if places is not None and number and isinstance(value, float) else _cell(value)
    full = f' data-value="{value!r}" title="{value!r}"' if number else ""
    return f"<td{mark}{full}>{html.escape(shown)}</td>"


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.5g}"
    return str(value)


def _map(frame: pd.DataFrame) -> str:
    """Effects by unit and layer (rows) and value of each feature (columns); hovering shows intervals and counts."""
    pairs = dict.fromkeys(zip(frame["feature"], frame["value"].astype(str), strict=True))
    features = list(dict.fromkeys(frame["feature"]))
    # Feature by feature, numbers by size: a unit may have values that those before it lack.
    columns = sorted(pairs, key=lambda own: (features.index(own[0]), _size(own[1])))
    rows: dict[tuple[str, int], dict[tuple[str, str], dict[Any, Any]]] = {}
    for place in frame.to_dict("records"):
        key = (str(place["unit"]), int(place["layer"]))
        rows.setdefault(key, {})[str(place["feature"]), str(place["value"])] = place
    largest = float(frame["effect"].abs().max()) or 1.0
    digits = decimals([largest], 3)
    own = {feature: sum(name == feature for name, _ in columns) for feature in features}
    above = "".join(f'<th scope="colgroup" colspan="{own[name]}">{html.escape(name)}</th>' for name in features)
    head = "".join(f'<th scope="col">{html.escape(value)}</th>' for _, value in columns)
    lines = []
    for (unit, layer), cells in rows.items():
        name = f"{unit}, layer {layer}" if layer else f"{unit}, as a whole"
        shown = "".join(_effect(cells.get(one), largest, digits, f"{name}: {' '.join(one)}") for one in columns)
        lines.append(f'<tr><th scope="row">{html.escape(name)}</th>{shown}</tr>')
    top = f"<thead><tr><th></th>{above}</tr><tr><th></th>{head}</tr></thead>"
    table = f'<table class="map">{top}<tbody>{"".join(lines)}</tbody></table>'
    about = (
        "Effects in units of the target, compared with the mean of networks that have the choice. Italic, with a star:"
    )
    note = f'<p class="note">{about} not significant, the 90 % interval contains 0.</p>'
    return _scrolled(table, "Effects by unit and layer") + note


def _size(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _effect(place: Mapping[Any, Any] | None, largest: float, digits: int, name: str) -> str:
    if place is None or place["effect"] != place["effect"]:
        return "<td></td>"
    effect, lower, upper = (float(place[key]) for key in ("effect", "lower", "upper"))
    share = min(1.0, abs(effect) / largest) * 0.55  # pale enough for black text
    colour = "0,114,178" if effect >= 0 else "213,94,0"
    known = "" if lower != lower else f" [{lower:.3g}, {upper:.3g}]"
    unknown = ' class="unknown"' if lower <= 0 <= upper else ""
    said = html.escape(f"{name}: {effect:+.4g}{known}, seen {int(place['n_seen']):,} times")
    text = signed(effect, f"+.{digits}f")
    return f'<td{unknown} style="background:rgba({colour},{share:.2f})" title="{said}">{text}</td>'
