"""Fuzz every reader with inputs that reach new code: ``python -m tests.hostile.covered SECONDS [READER]``.

Needs ``pip install atheris``, and writes into the working directory. READER is a name in ``SEEDS``. The first input
that is neither read nor refused ends a reader's turn; a file ``crash-*`` keeps this input. The exit status counts
such readers.
"""

import os
import sys
from pathlib import Path

import atheris

ROOMS = [f"autobuild.{room}" for room in ("expressions", "graphs", "labels", "spaces", "cost.hardware")]
seconds, *only = sys.argv[1:]
with atheris.instrument_imports(include=ROOMS):
    from tests.hostile.test_hostile_files import SEEDS, refused_or_read

    for name in only or SEEDS:
        read, seed = SEEDS[name]
        (corpus := Path(f"seeds of {name}")).mkdir()
        Path(name).write_bytes(seed if isinstance(seed, bytes) else seed())
        (corpus / "seed").write_bytes(Path(name).read_bytes())
        refused_or_read(read, Path(name))  # imports what is imported late


def fuzz(name):
    read, path = SEEDS[name][0], Path(name)

    def once(data):
        path.write_bytes(data)
        refused_or_read(read, path)

    ascii_only = int(path.suffix in (".txt", ".yaml"))
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-only_ascii={ascii_only}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, f"seeds of {name}"], once)
    atheris.Fuzz()


failed = []
for name in only or SEEDS:
    if not (child := os.fork()):
        fuzz(name)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print("failed:", *failed)
sys.exit(len(failed))
