"""Draw the pictures of the gallery, with the lines of its page: ``python -m benchmarks.draw_gallery``."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image  # matplotlib needs it, too

from benchmarks.documents import DOCS, blocks

COLOURS = 64  # of a picture: flat colours take a fifth of the bytes


def draw() -> list[Path]:
    """Run the page in an empty folder, and keep what it saves in ``docs/pictures``."""
    names: dict[str, Any] = {}
    drawn = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in blocks("gallery.md"):
            if block.kind == "python":
                exec(block.code, names)
        for path in sorted(Path(folder).glob("*.png")):
            picture = Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            picture.save(DOCS / "pictures" / path.name, optimize=True)
            drawn.append(DOCS / "pictures" / path.name)
    return drawn


if __name__ == "__main__":
    for picture in draw():
        print(f"{picture.name}: {picture.stat().st_size:,} bytes")
