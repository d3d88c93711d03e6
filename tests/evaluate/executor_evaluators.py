"""Evaluators with faults; workers import them from here, hence a module of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from quick_evaluators import truth

from autobuild.errors import EvaluationError


@dataclass(frozen=True)
class Stepped:
    """Reports ``acc`` after each of ``n`` steps; leaves a line a step in ``trace``."""

    trace: str
    n: int = 5
    seconds: float = 0.0

    def steps(self, space, arch, seed, report):
        for step in range(1, self.n + 1):
            time.sleep(self.seconds)
            with (Path(self.trace) / f"{arch.replace('|', '_')}.steps").open("a") as handle:
                handle.write(f"{step}\n")
            report(step, {"acc": truth(arch, seed) * step / self.n})
        return {"acc": truth(arch, seed)}

    def __call__(self, space, arch, seed):
        return self.steps(space, arch, seed, lambda step, metrics: None)


def steps_taken(trace, arch):
    file = Path(trace) / f"{str(arch).replace('|', '_')}.steps"
    return len(file.read_text().splitlines()) if file.exists() else 0


@dataclass(frozen=True)
class Faulty:
    """What it does hangs on the seed, which names a fault."""

    trace: str

    def __call__(self, space, arch, seed):
        (Path(self.trace) / f"{seed}.pid").write_text(str(os.getpid()))
        return getattr(self, f"_{FAULTS[seed]}")(arch, seed)

    def _good(self, arch, seed):
        return {"acc": truth(arch, seed)}

    def _raises(self, arch, seed):
        raise ValueError("its weights went astray")

    def _exits(self, arch, seed):
        sys.exit(4)

    def _dies(self, arch, seed):
        os._exit(3)

    def _killed(self, arch, seed):
        os.kill(os.getpid(), signal.SIGKILL)

    def _hangs(self, arch, seed):
        time.sleep(1000)

    def _hangs_in_a_program(self, arch, seed):
        child = subprocess.Popen(["sleep", "1000"])
        (Path(self.trace) / "child.pid").write_text(str(child.pid))
        child.wait()

    def _text(self, arch, seed):
        return {"acc": "very good"}

    def _nothing(self, arch, seed):
        return None

    def _nan(self, arch, seed):
        return {"acc": float("nan")}

    def _killed_once(self, arch, seed):
        file = Path(self.trace) / f"{seed}.once"
        if not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"acc": truth(arch, seed)}

    def _child_process(self, arch, seed):
        import multiprocessing

        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return {"acc": float(sum(pool.map(abs, [-1, -2])))}

    def _refuses(self, arch, seed):
        raise EvaluationError("the device is away", retry=True)


FAULTS = [
    "good", "raises", "exits", "dies", "killed", "hangs", "hangs_in_a_program", "text", "nothing", "nan", "killed_once",
    "child_process", "refuses",
]  # fmt: skip


def fault(name: str) -> int:
    """The seed of a fault."""
    return FAULTS.index(name)
