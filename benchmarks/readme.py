"""Copy the tables of ``benchmarks/results`` into the README and the documents, between their markers.

python -m benchmarks.readme
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.report import RESULTS, write
from benchmarks.summary import table

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"<!-- result: (?P<file>[\w.]+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str) -> str:
    """A text with every marked block replaced by the file it names; ``.txt`` files in a fence."""

    def block(found: re.Match[str]) -> str:
        name = found["file"]
        content = (RESULTS / name).read_text(encoding="utf-8").strip()
        body = f"```text\n{content}\n```" if name.endswith(".txt") else content
        return f"<!-- result: {name} -->\n{body}\n<!-- end -->"

    return _BLOCK.sub(block, text)


if __name__ == "__main__":
    write("summary", table(), quick=False)
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
