"""The pictures of docs/: every space that ships, and those that docs/own_space.md declares.

python -m benchmarks.draw_spaces

Pictures are reduced to a palette, which makes them half as large and changes nothing that an eye sees.
"""

from __future__ import annotations

import io
import runpy
import tempfile
from pathlib import Path

from PIL import Image

import autobuild as ab
from autobuild import plot
from autobuild.plot._style import SAVED_DPI, root
from benchmarks.documents import DOCS, write_files

COLOURS = 128


def draw(space: ab.SearchSpace, path: Path) -> None:
    """Write the picture of a space."""
    buffer = io.BytesIO()
    root(plot.space(space)).savefig(buffer, format="png", dpi=SAVED_DPI, bbox_inches="tight")
    reduce(Image.open(buffer), path)


def reduce(picture: Image.Image, path: Path) -> None:
    """Write a picture with a palette of its own, and say how large the file is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def main() -> None:
    """Draw all."""
    spaces = [ab.space(name) for name in ab.space_names()]
    with tempfile.TemporaryDirectory() as folder:
        write_files("own_space.md", Path(folder))
        spaces.append(ab.space(Path(folder) / "my_space.yaml"))
        runpy.run_path(str(Path(folder) / "skip_seg.py"))
    spaces.append(ab.space("skip_seg"))
    for space in spaces:
        draw(space, DOCS / "pictures" / f"{space.name}.png")


if __name__ == "__main__":
    main()
