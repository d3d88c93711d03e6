"""The work of a Slurm job, and the file of JSON lines that it writes for the process that submitted it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autobuild.errors import Pruned
from autobuild.evaluate.executors.packing import unpacked
from autobuild.evaluate.executors.perform import perform
from autobuild.evaluate.metrics import checked_metrics

ALIVE = "alive"  # file of the submitting process's heartbeat: a growing number
LOOK_S = 5.0  # between two readings of it
ORPHAN_S = 600.0  # seconds without a heartbeat after which the submitting process counts as lost


class Lines:
    """A file of JSON lines, written by one process and read by another while it grows.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    @property
    def stop(self) -> Path:
        """A file that the submitting process creates to prune the evaluation."""
        return self.path.with_suffix(".stop")

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line and write it to the disk."""
        with self.path.open("ab") as handle:
            handle.write(json.dumps(line).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())

    def new(self) -> Iterator[dict[str, Any]]:
        """Complete lines since the last call."""
        try:
            with self.path.open("rb") as handle:
                handle.seek(self._read)
                content = handle.read()
        except FileNotFoundError:
            return
        for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
            self._read += len(line)
            yield json.loads(line)


def evaluate(content: bytes, lines: str, arch: str, seed: int) -> None:
    """Run one evaluation and write its events to the file ``lines``.

    It runs in its own thread. The signals that Slurm sends before it preempts a machine reach the main thread, where
    submitit queues the job again, and do not look like errors of the evaluator.
    """
    events = Lines(Path(lines))
    worker = threading.Thread(target=_perform, args=(content, events, arch, seed), daemon=True)
    worker.start()
    heartbeat, last, since = events.path.with_name(ALIVE), "", time.monotonic()
    while worker.is_alive():
        worker.join(LOOK_S)
        try:
            now = heartbeat.read_text()
        except FileNotFoundError:  # the executor was closed
            os._exit(1)
        except OSError:
            continue
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > ORPHAN_S:
            os._exit(1)


def _perform(content: bytes, events: Lines, arch: str, seed: int) -> None:
    events.add({"begun": True})
    try:
        space, evaluator, reports = unpacked(content)
    except Exception as error:  # e.g. a module that is not installed on this machine
        reason = f"the evaluator cannot be loaded on the cluster ({type(error).__name__}: {error})"
        events.add({"reason": reason, "retry": False})
        return

    def report(step: int, metrics: Mapping[str, float]) -> None:
        events.add({"step": int(step), "metrics": checked_metrics(metrics)})
        if events.stop.exists():
            raise Pruned

    event = perform(0, space, evaluator, arch, seed, report if reports else None)
    events.add({name: value for name, value in asdict(event).items() if name != "task_id"})
