"""Objects that settings name as ``package.module:object``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from autobuild.errors import ConfigError, nearest


def imported(name: str, folder: str, called: str, form: str) -> Any:
    """Import ``package.module:object`` or ``package.module.object``; whoever writes the name trusts the module.

    Args:
        name: The name; the object may be an attribute of another, as in ``module:Class.method``.
        folder: A folder in which modules are looked for, after those that Python knows.
        called: What messages call it.
        form: How such a name is written, for the message.

    Raises:
        ConfigError: It is not of this form, cannot be imported, or there is no such object.
    """
    module_name, _, path = name.partition(":") if ":" in name else name.rpartition(".")
    if not module_name or not path:
        raise ConfigError(f"{called}: write {form}")
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the module itself raises
        raise ConfigError(
            f"{called}: {module_name} cannot be imported ({type(error).__name__}: {error}); modules are looked for in "
            f"{folder} and where Python finds installed ones"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            names = [name for name in dir(found) if not name.startswith("_")]
            raise ConfigError(f"{called}: {module_name} has no {part!r}: {nearest(part, names)}")
        found = getattr(found, part)
    return found
