"""Versions and hashes that a result depends on; conversion of values to JSON."""

from __future__ import annotations

import hashlib
import itertools
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autobuild import __version__
from autobuild.errors import RunError

MOST_FILES = 100_000
_LIBRARIES = ("torch", "torch-geometric", "numpy", "pandas")


def versions() -> dict[str, str]:
    """The versions that a result depends on: python, torch, torch-geometric, numpy, pandas, autobuild."""
    libraries = {name: version_of(name) for name in _LIBRARIES}
    return {"python": sys.version.split()[0], **libraries, "autobuild": __version__}


def digest(path: Path) -> str:
    """SHA-256 of a file, or of every file under a folder with their names.

    Raises:
        RunError: It cannot be read, is no file (a pipe may never end), or a folder of too many files.
    """
    try:
        if path.is_dir():
            parts = sorted(itertools.islice((member for member in path.rglob("*") if member.is_file()), MOST_FILES + 1))
            if len(parts) > MOST_FILES:
                raise RunError(f"{path}: this folder has more than {MOST_FILES:,} files; that many are not read")
            return text_digest("\n".join(f"{part.relative_to(path)} {digest(part)}" for part in parts))
        if not path.is_file():
            raise RunError(f"{path}: a pipe or a device, which may never end; write its output into a file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error


def plain(value: object) -> Any:
    """Convert numpy numbers, arrays and tuples to JSON types; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)


def text_digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def version_of(name: str) -> str:
    """The installed version of a package; ``none`` if it is not there."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
