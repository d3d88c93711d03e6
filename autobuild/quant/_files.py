"""Tensors written beside their place and renamed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from autobuild.errors import QuantisationError


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write a safetensors file.

    Args:
        path: Its place; a file that is there is replaced when the new one is whole.
        tensors: Contiguous, on the CPU.
        about: Texts of the header; several would be in another order in each process.

    Raises:
        QuantisationError: It cannot be written, as on a full disk; what was there stays.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        save_file(dict(tensors), beside, dict(about))
        beside.replace(path)
    except (OSError, SafetensorError) as error:
        raise QuantisationError(f"{path}: cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)
