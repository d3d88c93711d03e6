"""What the site adds to the pages of this folder: the README as its start, files above it, and the API reference."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import autobuild as ab
from autobuild import plot

ROOT = Path(__file__).resolve().parents[1]
ABOVE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
RESULTS = "benchmarks/results"
ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|math):<code>~?(.*?)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add pages that lie above this folder, and the API reference of every public name."""
    for source, page in ABOVE.items():
        files.append(File.generated(config, page, content=_inside((ROOT / source).read_text(encoding="utf-8"))))
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    for name in sorted(set(re.findall(rf"\]\(\.\./{RESULTS}/([\w.]+\.md)\)", pages))):
        text = (ROOT / RESULTS / name).read_text(encoding="utf-8")
        files.append(File.generated(config, f"results/{name}", content=f"# {name}\n\n{text}"))
    files.append(File.generated(config, "api.md", content=_api()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to files above the folder become links to their pages."""
    for source, target in ABOVE.items():
        markdown = markdown.replace(f"](../{source})", f"]({target})")
    return markdown.replace(f"](../{RESULTS}/", "](results/")


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Roles of docstrings, such as ``:func:`autobuild.fit```, are shown as code."""
    return ROLE.sub(r"<code>\1</code>", html)


def _inside(text: str) -> str:
    """A page from above the folder, with links as from inside it; what lies elsewhere is named, not linked."""
    text = re.sub(r"\]\(docs/", "](", text)
    for source, target in ABOVE.items():
        text = text.replace(f"]({source})", f"]({target})")
    return re.sub(r"\[([^\]]+)\]\(((?:notebooks|benchmarks|conf|autobuild)/[^)]*)\)", r"\1 (`\2`)", text)


def _api() -> str:
    """Every public name of ``autobuild`` and ``autobuild.plot``, by the module that defines it."""
    lines = [
        "# API reference",
        "",
        "Every public name of `autobuild` (`import autobuild as ab`) and of `autobuild.plot`.",
        "",
    ]
    for title, room in (("autobuild", ab), ("autobuild.plot", plot)):
        lines += [f"## {title}", ""]
        for name in room.__all__:
            own = getattr(room, name)
            lines += [f"::: {own.__module__}.{own.__qualname__}", "    options: {heading_level: 3}", ""]
    return "\n".join(lines)
