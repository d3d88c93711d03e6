"""Code blocks of the documents under docs/, and the files that some of them are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
_BLOCK = re.compile(
    r"(?:^<!-- (?:file: (?P<file>[\w./]+)|composed: (?P<composed>[^\n]+)) -->\n)?"
    r"^```(?P<kind>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and its first line.

    Attributes:
        file: The file that it is the content of, as the comment in front of it says.
        composed: Why its commands are only composed when the documents are tested, as the comment in front of it says.
    """

    kind: str
    code: str
    line: int
    file: str | None
    composed: str | None


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document of ``docs/`` (or of ``../README.md``), in order."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return [
        Block(
            found["kind"],
            found["code"],
            text.count("\n", 0, found.start("code")) + 1,
            found["file"],
            found["composed"],
        )
        for found in _BLOCK.finditer(text)
    ]


def write_files(document: str, folder: Path) -> None:
    """Write the files that a document shows."""
    for block in blocks(document):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.code, encoding="utf-8")
