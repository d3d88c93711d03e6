"""A process that searches, to be killed: ``python -m tests.studies.search_worker ADDRESS key=value ...``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def main(address: str, *options: str) -> None:
    import autobuild as ab

    given = {"n_trials": "30", "sleep": "0.05", "lease": "3", "log": "", "sampler": "random", "executor": "inline"}
    given |= dict(option.split("=", 1) for option in options)
    if "elsewhere" in given:  # as on another machine, whose processes nobody here can see
        from autobuild.studies import _claims as claims

        claims._boot = lambda: "another-boot|pid:[1]"
    if "largest_file" in given:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(given["largest_file"]), resource.RLIM_INFINITY))

    search = ab.search(
        ab.space("nas_bench_macro"),
        Sleepy(float(given["sleep"]), given["log"]),
        n_trials=int(given["n_trials"]),
        sampler=given["sampler"],
        storage=address,
        name="macro",
        model=None,
        executor=given["executor"],
        lease_s=float(given["lease"]),
        patience_s=float(given.get("patience", 30)),
    )
    print(len(search.evaluated), flush=True)


class Sleepy:
    """Takes its time, and notes in a file which network it has begun."""

    def __init__(self, seconds: float, log: str) -> None:
        self.seconds, self.log = seconds, log

    def __call__(self, space, arch, seed):
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{arch}\n")
        time.sleep(self.seconds)
        return {"acc": float(sum(map(int, str(arch)))), "pid": float(os.getpid())}


if __name__ == "__main__":
    main(*sys.argv[1:])
