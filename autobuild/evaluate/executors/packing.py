"""Sending spaces and evaluators to other processes of the same user."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType
from typing import Any

from autobuild.errors import ConfigError


def packed(content: Any) -> bytes:
    """``content`` as bytes, with the folders in which this process finds its modules.

    What a script or a notebook defines itself, closures included, travels whole: by cloudpickle, or by the copy of it
    that joblib (which scikit-learn needs) brings.

    Raises:
        ConfigError: It cannot be sent.
    """
    try:
        data: bytes = _pickler().dumps(content)
    except Exception as error:  # whatever the objects' own reduction raises
        raise ConfigError(
            f"the evaluator or the space cannot be sent to another process ({type(error).__name__}: {error}); open "
            "files, locks and connections where they are used, or evaluate in this process (n_jobs=1, executor=inline)"
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
        from joblib.externals import cloudpickle
    module: ModuleType = cloudpickle
    return module
