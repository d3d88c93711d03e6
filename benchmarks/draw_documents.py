"""The pictures of documents: their code is run in an empty folder, and what it draws is reduced to a palette.

python -m benchmarks.draw_documents
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.documents import DOCS, blocks
from benchmarks.draw_spaces import reduce

DOCUMENTS = ("build.md", "partitions.md")


def main() -> None:
    """Run the documents, keep their pictures."""
    for document in DOCUMENTS:
        code = "\n".join(block.code for block in blocks(document) if block.kind == "python")
        with tempfile.TemporaryDirectory() as folder:
            with contextlib.chdir(folder):
                exec(compile(code, document, "exec"), {})
            for path in sorted(Path(folder).glob("*.png")):
                reduce(Image.open(path), DOCS / "pictures" / path.name)


if __name__ == "__main__":
    main()
