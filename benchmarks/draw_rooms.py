"""The map of the library: its rooms, and which of them each imports, read from the code's own imports.

python -m benchmarks.draw_rooms

Writes docs/pictures/rooms.png and the table that docs/architecture.md shows. Imports inside functions and those for
type checkers count.
"""

from __future__ import annotations

import ast
import io
import tomllib
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from autobuild.plot._style import BLUE, GREY, INK, SAVED_DPI, own_axes
from benchmarks.documents import DOCS
from benchmarks.draw_spaces import reduce
from benchmarks.report import RESULTS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "autobuild"


def rooms() -> dict[str, str]:
    """Room -> the first line of its docstring; folders and files directly in the package."""
    found = {}
    for path in sorted(PACKAGE.iterdir()):
        file = path / "__init__.py" if path.is_dir() else path
        if file.is_file() and file.suffix == ".py" and not path.name.startswith("_"):
            said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            if not said.startswith("Moved to"):
                found[path.stem] = said.split("\n")[0]
    return found


def imports(room: str) -> dict[str, int]:
    """Other room -> how many statements of this one import from it."""
    own = PACKAGE / room
    files = sorted(own.rglob("*.py")) if own.is_dir() else [own.with_suffix(".py")]
    counts: dict[str, int] = {}
    for file in files:
        for name in _imported(ast.parse(file.read_text(encoding="utf-8"))):
            other = name.split(".")[1]
            if other != room:
                counts[other] = counts.get(other, 0) + 1
    return counts


def _imported(node: ast.AST) -> Iterator[str]:
    """Names of modules under ``autobuild`` that a syntax tree imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("autobuild."):
            yield child.module or ""
        elif isinstance(child, ast.ImportFrom) and child.module == "autobuild":
            yield from (f"autobuild.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.startswith("autobuild."))
        yield from _imported(child)


def levels() -> list[list[str]]:
    """The rooms from the highest level to the lowest, as the import contract of pyproject.toml has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[name.strip() for name in line.split("|")] for line in layers]


def table() -> str:
    """The rooms as a Markdown table, highest level first."""
    contents, found = rooms(), levels()
    level = {room: number for number, names in enumerate(found) for room in names}
    lines = ["| room | what it holds | imports |", "| --- | --- | --- |"]
    for room in level:
        others = [other for other in sorted(imports(room)) if other in level]
        shown = [f"`{other}`" + (" (inside a method)" if level[other] < level[room] else "") for other in others]
        lines.append(f"| `{room}` | {contents[room].rstrip('.')} | {', '.join(shown) or '-'} |")
    return "\n".join(lines) + "\n"


def direct() -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second, without those that follow from others (a -> b -> c)."""
    level = {room: number for number, names in enumerate(levels()) for room in names}
    pairs = {(a, b) for a in level for b in imports(a) if b in level and level[b] > level[a]}
    below = {room: {b for a, b in pairs if a == room} for room in level}
    for room in sorted(level, key=lambda room: -level[room]):
        below[room] |= {far for near in below[room] for far in below[near]}
    return {(a, b) for a, b in pairs if not any((a, c) in pairs and b in below[c] for c in level)}


def draw() -> Figure:
    """The rooms in their levels, an arrow from each to those that it imports, without those that follow from others."""
    found = levels()
    width = max(len(level) for level in found)
    ax = own_axes(None, 1.45 * width, 0.72 * len(found))
    place = {
        room: (1.5 * (i + (width - len(level)) / 2), -1.0 * row)
        for row, level in enumerate(found)
        for i, room in enumerate(level)
    }
    for above, below in sorted(direct()):
        (x, y), (to_x, to_y) = place[above], place[below]
        bend = 0.0 if y - to_y < 1.5 else 0.2 if to_x >= x else -0.2
        arrow = FancyArrowPatch(
            (x, y - 0.22), (to_x, to_y + 0.22), arrowstyle="-|>", color=GREY, mutation_scale=9, linewidth=1.0,
            connectionstyle=f"arc3,rad={bend}", zorder=1,
        )  # fmt: skip
        ax.add_patch(arrow)
    for room, (x, y) in place.items():
        box = FancyBboxPatch((x - 0.58, y - 0.22), 1.16, 0.44, boxstyle="round,pad=0,rounding_size=0.08",
                             facecolor="white", edgecolor=BLUE, zorder=2)  # fmt: skip
        ax.add_patch(box)
        ax.text(x, y, room, ha="center", va="center", color=INK, zorder=3)
    ax.set_xlim(-0.9, 1.5 * width - 0.6)
    ax.set_ylim(-len(found) + 0.6, 0.5)
    ax.set_axis_off()
    ax.set_title("Rooms, and what each imports (without what follows from other arrows)")
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure


if __name__ == "__main__":
    (RESULTS / "rooms.md").write_text(table(), encoding="utf-8")
    buffer = io.BytesIO()
    draw().savefig(buffer, format="png", dpi=SAVED_DPI, bbox_inches="tight")
    reduce(Image.open(buffer), DOCS / "pictures" / "rooms.png")
