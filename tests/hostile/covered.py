"""Fuzz one reader with inputs that reach new code: ``python -m tests.hostile.covered READER SECONDS``.

READER is a name in ``SEEDS``; needs ``pip install atheris``. Writes into the working directory. The first input that is
neither read nor refused ends it; a file ``crash-*`` keeps this input.
"""

import sys
from pathlib import Path

import atheris

ROOMS = [f"autobuild.{room}" for room in ("expressions", "graphs", "labels", "spaces", "cost.hardware")]
name, seconds = sys.argv[1:]
path, corpus = Path(name), Path("corpus")
with atheris.instrument_imports(include=ROOMS):
    from tests.hostile.test_hostile_files import SEEDS, refused_or_read

    read, seed = SEEDS[name]
    path.write_bytes(seed if isinstance(seed, bytes) else seed())
    refused_or_read(read, path)  # imports what is imported late
corpus.mkdir()
(corpus / "seed").write_bytes(path.read_bytes())


def once(data):
    path.write_bytes(data)
    refused_or_read(read, path)


ascii_only = int(path.suffix in (".txt", ".yaml"))
options = [f"-max_total_time={seconds}", "-max_len=4096", f"-only_ascii={ascii_only}", "-print_final_stats=1"]
atheris.Setup([sys.argv[0], *options, str(corpus)], once)
atheris.Fuzz()
