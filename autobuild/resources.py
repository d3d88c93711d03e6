"""Where the declarations that ship with the package lie: beside it in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Return the folder ``name`` (``"conf"`` or ``"search_spaces"``) of this installation.

    An editable install reads the checkout; a wheel carries copies under ``autobuild/_bundled``.
    """
    for folder in (_PACKAGE.parent / name, _PACKAGE / "_bundled" / name):
        if folder.is_dir() and (
            folder == _PACKAGE / "_bundled" / name or (_PACKAGE.parent / "pyproject.toml").is_file()
        ):
            return folder
    raise FileNotFoundError(f"this installation of autobuild lacks its folder {name!r}: install it again")
