"""Where the declarations that ship with the package lie: beside it in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Return the folder ``name`` (``"conf"`` or ``"search_spaces"``) of this installation.

    An editable install reads the checkout; a wheel carries copies under ``autobuild/_bundled``.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    if (_PACKAGE / "_bundled" / name).is_dir():
        return _PACKAGE / "_bundled" / name
    raise FileNotFoundError(f"this installation of autobuild lacks its folder {name!r}: install it again")
