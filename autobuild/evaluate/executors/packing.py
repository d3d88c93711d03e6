"""Sending spaces and evaluators to other processes of the same user."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType
from typing import Any

from autobuild.errors import ConfigError


def packed(content: Any) -> bytes:
    """``content`` as bytes, with the folders in which this process finds its modules.

    What a script or a notebook defines itself travels whole where cloudpickle is installed (it comes with the extras
    for joblib, Ray and Slurm); else only what can be imported by name travels.

    Raises:
        ConfigError: It cannot be sent.
    """
    pickler = _pickler()
    try:
        data: bytes = pickler.dumps(content)
    except Exception as error:  # whatever the objects' own reduction raises
        hint = "" if pickler is not pickle else ", or install cloudpickle"
        raise ConfigError(
            f"the evaluator or the space cannot be sent to another process ({type(error).__name__}: {error}); "
            f"define it in a module{hint}, or evaluate in this process (executor=inline)"
        ) from error
    return pickle.dumps((sys.path, data))


def unpacked(data: bytes) -> Any:
    """The content again, once the sender's folders are known here as well."""
    folders, content = pickle.loads(data)
    sys.path.extend(folder for folder in folders if folder not in sys.path)
    return pickle.loads(content)


def _pickler() -> ModuleType:
    try:
        import cloudpickle
    except ImportError:
        return pickle
    module: ModuleType = cloudpickle
    return module
