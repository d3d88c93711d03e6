"""What ``import autobuild`` offers, as it was when it was last written down: names, parameters, defaults.

A change needs a line in CHANGELOG.md; then ``python -m tests.api.test_snapshot`` writes the new state down.
"""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import autobuild as ab

SNAPSHOT = Path(__file__).with_name("snapshot.txt")
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


def parameters(thing: object) -> str:
    try:
        given = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):  # a class of C
        return ""
    return f"({', '.join(str(one.replace(annotation=one.empty)) for one in given)})"


def face() -> list[str]:
    """One line for each name, and for each public method and property of a class."""
    lines = []
    for name in sorted(ab.__all__):
        thing = getattr(ab, name)
        if not inspect.isclass(thing):
            lines.append(f"{name}{parameters(thing) if callable(thing) else ''}")
            continue
        lines.append(f"class {name}{parameters(thing)}")
        for part in sorted(part for part in dir(thing) if not part.startswith("_")):
            static = inspect.getattr_static(thing, part)
            module = getattr(getattr(static, "__func__", getattr(static, "fget", static)), "__module__", "") or ""
            if module.startswith("autobuild"):
                is_call = callable(getattr(thing, part)) and not isinstance(static, property)
                lines.append(f"  {name}.{part}{parameters(getattr(thing, part)) if is_call else ''}")
    return lines


def changelog() -> str:
    return hashlib.sha256(CHANGELOG.read_bytes()).hexdigest()[:16]


def test_the_face_is_as_written_down():
    _, *before = SNAPSHOT.read_text().splitlines()
    now = face()
    changes = [f"- {line}" for line in before if line not in now] + [f"+ {line}" for line in now if line not in before]
    assert not changes, "\n".join([*changes, "add a line to CHANGELOG.md, then: python -m tests.api.test_snapshot"])
    assert len(now) > 100


if __name__ == "__main__":
    if SNAPSHOT.exists() and SNAPSHOT.read_text().splitlines()[0] == f"changelog {changelog()}":
        raise SystemExit("CHANGELOG.md is as it was at the last snapshot: add a line about what changes")
    SNAPSHOT.write_text("\n".join([f"changelog {changelog()}", *face()]) + "\n")
