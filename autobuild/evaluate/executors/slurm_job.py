"""What a Slurm job does, and the file of lines through which its driver hears of it."""

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

ALIVE = "alive"  # the driver's sign of life: a number that grows
LOOK_S = 5.0  # between two looks at it
ORPHAN_S = 600.0  # without a new sign for so long, the driver is taken for dead


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
        """Where a file appears when the evaluation is to stop."""
        return self.path.with_suffix(".stop")

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line and force it to the disk."""
        with self.path.open("ab") as handle:
            handle.write(json.dumps(line).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())

    def new(self) -> Iterator[dict[str, Any]]:
        """Whole lines since the last time."""
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
    """One evaluation, whose course is written to the file ``lines``.

    It runs in a thread of its own: signals that Slurm sends before it takes a machine away reach the main thread, where
    submitit puts the job back into the queue, and never look like an error of the evaluator.
    """
    own = Lines(Path(lines))
    worker = threading.Thread(target=_perform, args=(content, own, arch, seed), daemon=True)
    worker.start()
    sign, last, since = own.path.with_name(ALIVE), "", time.monotonic()
    while worker.is_alive():
        worker.join(LOOK_S)
        try:
            now = sign.read_text()
        except FileNotFoundError:  # the driver has closed
            os._exit(1)
        except OSError:
            continue
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > ORPHAN_S:
            os._exit(1)


def _perform(content: bytes, own: Lines, arch: str, seed: int) -> None:
    own.add({"begun": True})
    try:
        space, evaluator, reports = unpacked(content)
    except Exception as error:  # e.g. a module that is not installed on this machine
        reason = f"the evaluator cannot be loaded on the cluster ({type(error).__name__}: {error})"
        own.add({"reason": reason, "retry": False})
        return

    def report(step: int, metrics: Mapping[str, float]) -> None:
        own.add({"step": int(step), "metrics": checked_metrics(metrics)})
        if own.stop.exists():
            raise Pruned

    event = perform(0, space, evaluator, arch, seed, report if reports else None)
    own.add({name: value for name, value in asdict(event).items() if name != "task_id"})
