"""Measured latency of networks on this machine, with a cache by graph and machine."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.cost.latency.machine import describe_machine, machine_key
from autobuild.cost.latency.onnx_fragments import Operators
from autobuild.cost.latency.runtimes import prepare, to_onnx, torch_threads
from autobuild.cost.latency.timing import PASSES, WARM_UP, Timing, pinned, steady_call
from autobuild.errors import CostError

if TYPE_CHECKING:
    import onnx
    from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Measurement:
    """A measured latency, with the network and the machine.

    Attributes:
        timing: Time of a pass, milliseconds.
        graph: Hash of the network's graph: operators, attributes, shapes and edges.
        machine: See :func:`~autobuild.cost.latency.describe_machine`.
        cached: Whether it was read from the cache.
    """

    timing: Timing
    graph: str
    machine: Mapping[str, Any]
    cached: bool = False

    @property
    def latency_ms(self) -> float:
        """Median over undisturbed passes."""
        return self.timing.median


@dataclass(frozen=True)
class Meter:
    """Settings of latency measurements, with an optional cache.

    Attributes:
        runtime: ``onnxruntime``, ``eager`` or ``compiled``.
        device: ``cpu`` or ``cuda``.
        threads: Threads within an operator. A single thread is pinned to a core.
        passes: Number of timed passes.
        warmup: Number of passes before the timed ones.
        cache: Folder of the cache, with one file per network; None: no cache.
    """

    runtime: str = "onnxruntime"
    device: str = "cpu"
    threads: int = 1
    passes: int = PASSES
    warmup: int = WARM_UP
    cache: Path | None = None

    def measure(self, net: nn.Module | onnx.ModelProto, input_shape: Shape) -> Measurement:
        """Measure a network, or read its latency from the cache.

        ``timing.warnings`` lists reasons to doubt the result (:func:`~autobuild.cost.latency.timing.steady_call`).

        Args:
            net: A network, or for ``runtime="onnxruntime"`` an ONNX model.
            input_shape: Shape of the input, the batch included.

        Raises:
            ConfigError: The runtime or device is unknown, or a package is missing.
            CostError: The device is not available, or the network does not run on such an input.
        """
        machine = describe_machine(self.runtime, self.device, self.threads)
        model = to_onnx(net, input_shape) if hasattr(net, "forward") else net
        graph = Operators(model).key
        if (timing := self._read_cache(graph, machine)) is not None:
            return Measurement(timing, graph, machine, cached=True)
        single_thread = self.threads == 1 and self.device == "cpu"
        threads = torch_threads(self.threads) if self.runtime != "onnxruntime" else contextlib.nullcontext()
        with threads, pinned() if single_thread else contextlib.nullcontext():
            call = prepare(model if self.runtime == "onnxruntime" else net, input_shape, self.runtime, self.device,
                           self.threads)  # fmt: skip
            timing = steady_call(call, self.passes, self.warmup, single_thread=single_thread)
        self._write_cache(graph, machine, timing)
        return Measurement(timing, graph, machine)

    def _file(self, graph: str, machine: Mapping[str, Any]) -> Path | None:
        return None if self.cache is None else Path(self.cache) / machine_key(machine) / f"{graph}.json"

    def _read_cache(self, graph: str, machine: Mapping[str, Any]) -> Timing | None:
        path = self._file(graph, machine)
        if path is None or not path.exists():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["passes"] < self.passes:
                return None
            return Timing(**data["timing"])
        except Exception as error:  # what is no measurement may raise anything
            raise CostError(f"{path}: not a measured latency, or damaged; delete the file ({error!r})") from error

    def _write_cache(self, graph: str, machine: Mapping[str, Any], timing: Timing) -> None:
        path = self._file(graph, machine)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"machine": dict(machine), "passes": self.passes, "timing": timing.to_dict()}
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)
