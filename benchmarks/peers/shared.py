"""What the scripts of this folder share: shapes of convolutions, and JSON with a row a line. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEFAULTS = {"kernel": 1, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
PARTIAL_BITS, BITS = 32, 8  # of partial sums, and of everything else


def geometry(declared: dict[str, Any]) -> dict[str, Any]:
    """A convolution with its defaults filled in, and the rows and columns of its output."""
    conv = DEFAULTS | declared
    span = conv["dilation"] * (conv["kernel"] - 1) + 1
    conv["rows"], conv["columns"] = ((n + 2 * conv["padding"] - span) // conv["stride"] + 1 for n in conv["in"][1:])
    return conv


def write(name: str, head: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write ``results/<name>.json`` beside, and rename it: ``head``, and ``rows`` under "results"."""
    path = HERE / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    start = json.dumps(head, indent=1)[:-2]
    text = start + ',\n "results": [\n  ' + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]\n}\n"
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.rename(path)


def chosen(names: list[str], declared: dict[str, Any], file: str) -> list[str]:
    """The names given, or all; SystemExit for one that is not declared."""
    if unknown := sorted(set(names) - set(declared)):
        raise SystemExit(f"{file} has no {unknown[0]!r} (it has {', '.join(declared)})")
    return names or list(declared)
