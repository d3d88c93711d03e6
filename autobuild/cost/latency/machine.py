"""Description of the machine and the runtime that a measured time is valid for."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autobuild.errors import ConfigError, CostError, nearest
from autobuild.settings.names import DEVICES

RUNTIMES = ("onnxruntime", "eager", "compiled")
_PACKAGES = {"onnxruntime": "onnxruntime", "eager": "torch", "compiled": "torch"}


def describe_machine(runtime: str = "onnxruntime", device: str = "cpu", threads: int = 1) -> dict[str, Any]:
    """Processor, cores, system, runtime with version, device and threads: the key of stored measurements.

    The host name is not part of it, so equal machines share their results.

    Args:
        runtime: ``onnxruntime``, ``eager`` or ``compiled``.
        device: ``cpu`` or ``cuda``.
        threads: Threads within an operator.

    Raises:
        ConfigError: The runtime or device is unknown.
        CostError: The device is not available.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime={runtime!r}: {nearest(runtime, RUNTIMES)}")
    if device not in DEVICES:
        raise ConfigError(f"device={device!r}: {nearest(device, DEVICES)}")
    description: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "runtime": runtime,
        "version": _version(_PACKAGES[runtime]),
        "device": device,
        "threads": threads,
    }
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise CostError("device=cuda: PyTorch sees no CUDA device here")
        description["gpu"] = torch.cuda.get_device_name()
    return description


def machine_key(description: Mapping[str, Any]) -> str:
    """A hash of a description: twelve hexadecimal digits."""
    return hashlib.sha256(json.dumps(dict(description), sort_keys=True).encode()).hexdigest()[:12]


@lru_cache
def _processor() -> str:
    """Name of the processor, from the operating system."""
    file = Path("/proc/cpuinfo")
    fields: dict[str, str] = {}
    if file.is_file():
        for line in file.read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    parts = [fields.get("model name") or platform.processor() or platform.machine()]
    parts += [f"{name} {fields[key]}" for key, name in (("cpu family", "family"), ("model", "model")) if key in fields]
    return ", ".join(parts)


def _version(package: str) -> str:
    for name in (package, f"{package}-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"
