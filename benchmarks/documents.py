"""Code blocks of the documents under docs/, and the files that some of them are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
_BLOCK = re.compile(
    r"(?:^<!-- file: (?P<file>[\w.]+) -->\n)?^```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the file that it is the content of (or None), and its first line."""

    kind: str
    code: str
    file: str | None
    line: int


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document of ``docs/``, in order."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return [
        Block(found["kind"], found["code"], found["file"], text.count("\n", 0, found.start("code")) + 1)
        for found in _BLOCK.finditer(text)
    ]


def write_files(document: str, folder: Path) -> None:
    """Write the files that a document shows."""
    for block in blocks(document):
        if block.file:
            (folder / block.file).write_text(block.code, encoding="utf-8")
