"""``autobuild`` with an evaluator that takes a blink and fails on some networks; a program that can be killed."""

from __future__ import annotations

import sys
import time
import zlib
from dataclasses import dataclass

from autobuild.errors import EvaluationError

TRACE = "trace.txt"


def fails(arch: str) -> bool:
    return zlib.crc32(arch.encode()) % 4 == 0


@dataclass(frozen=True)
class Quick:
    """The number of layers and how wide they are; leaves a line a call in the file of calls."""

    seconds: float = 0.1

    def __call__(self, space, arch, seed):
        with open(TRACE, "a") as file:
            file.write(f"{arch},{seed}\n")
        time.sleep(self.seconds)
        if fails(str(arch)):
            raise EvaluationError("out of memory")
        layers = [layer for stage in space.layers(space.parse(str(arch))) for layer in stage]
        return {"acc": 60 + 3.0 * sum(layer["expand"] for layer in layers) - len(layers) ** 2 + seed}


if __name__ == "__main__":
    from autobuild.cli import main
    from autobuild.evaluate import evaluator as evaluators

    evaluators.EVALUATORS["tiny_mbconv"] = Quick
    sys.exit(main(sys.argv[1:]))
