"""Evaluators that take milliseconds; spawned workers import them from here, hence a module of its own."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path


def truth(arch: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{arch}/{seed}".encode()).digest()[:4], "big") / 2**32


@dataclass(frozen=True)
class Quick:
    """A known number for every (arch, seed); leaves its process id, and a line a call, in ``trace``."""

    trace: str
    seconds: float = 0.02
    shift: float = 0.0

    def __call__(self, space, arch, seed):
        time.sleep(self.seconds)
        with (Path(self.trace) / str(os.getpid())).open("a") as handle:
            handle.write(f"{arch},{seed}\n")
        return {"acc": truth(str(arch), seed) + self.shift, "params": 7}


@dataclass(frozen=True)
class QuickNetwork(Quick):
    """The same with a small network."""

    @property
    def input_shape(self):
        return (1, 6, 6)

    def network(self, space, arch, seed=0):
        from torch import nn

        time.sleep(self.seconds)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))


@dataclass(frozen=True)
class Troubled:
    """Fails in a different way for every architecture whose text is listed."""

    errors: tuple[str, ...] = ()
    deaths: tuple[str, ...] = ()
    nans: tuple[str, ...] = ()

    def __call__(self, space, arch, seed):
        if str(arch) in self.errors:
            raise ValueError("its weights went astray")
        if str(arch) in self.deaths:
            os._exit(3)
        return {"acc": float("nan") if str(arch) in self.nans else truth(str(arch), seed)}


def main(out: str, trace: str, n: int, kind: str) -> None:
    """A labelling in a process of its own, to be killed."""
    from autobuild.evaluate import label_architectures, labelling
    from autobuild.spaces import load_space

    labelling.REWRITE_EVERY = 2
    space = load_space("tiny_mbconv")
    evaluator = Quick(trace) if kind == "plain" else QuickNetwork(trace)
    label_architectures(space, evaluator, space.sample(n, seed=5), out, seeds=(0, 1), latency=kind != "plain")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    import quick_evaluators  # so that workers find the classes under the name they have in the tests

    quick_evaluators.main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
