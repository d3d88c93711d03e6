"""Copy the tables of ``benchmarks/results`` into the README, between their markers.

python -m benchmarks.readme
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.report import RESULTS

README = Path(__file__).resolve().parents[1] / "README.md"
_BLOCK = re.compile(r"<!-- result: (?P<file>[\w.]+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str) -> str:
    """The README's text with every marked block replaced by the file it names; ``.txt`` files in a fence."""

    def block(found: re.Match[str]) -> str:
        name = found["file"]
        content = (RESULTS / name).read_text(encoding="utf-8").strip()
        body = f"```text\n{content}\n```" if name.endswith(".txt") else content
        return f"<!-- result: {name} -->\n{body}\n<!-- end -->"

    return _BLOCK.sub(block, text)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
