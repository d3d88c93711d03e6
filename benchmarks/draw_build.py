"""The pictures of docs/build.md: its code is run in an empty folder, and what it draws is reduced to a palette.

python -m benchmarks.draw_build
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.documents import DOCS, blocks
from benchmarks.draw_spaces import reduce

DOCUMENT = "build.md"


def main() -> None:
    """Run the document, keep its pictures."""
    code = "\n".join(block.code for block in blocks(DOCUMENT) if block.kind == "python")
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.chdir(folder):
            exec(compile(code, DOCUMENT, "exec"), {})
        for path in sorted(Path(folder).glob("*.png")):
            reduce(Image.open(path), DOCS / "pictures" / path.name)


if __name__ == "__main__":
    main()
