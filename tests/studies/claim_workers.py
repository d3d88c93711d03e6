"""Processes that claim, for the tests of claims; a file of its own, so that spawned processes import little."""

from __future__ import annotations

import random
import time
from pathlib import Path


def open_store(kind: str, where: str):
    from autobuild.studies._claim_stores import FileStore, TableStore

    if kind == "file":
        return FileStore(where)
    from autobuild.studies.storage import relational_engine

    return TableStore(relational_engine(where))


def work(kind: str, where: str, seed: int, n_keys: int, limit: int, log: str) -> None:
    """Claim random keys until all slots are spent; every finished one is written to a log of this process."""
    from autobuild.studies._claims import FULL, GRANTED, Claims

    claims, rng = Claims(open_store(kind, where), "study", lease_s=0.6), random.Random(seed)
    with Path(log).open("a", buffering=1) as file:
        while claims.counts()["spent"] < limit:
            key = f"k{rng.randrange(n_keys)}"
            for claim in claims.lapsed():
                if claims.take_over(claim.key) is not None:
                    key = claim.key
                    break
            else:
                got = claims.claim(key, key, limit=limit)
                if got != GRANTED:
                    time.sleep(0.01 if got == FULL else 0)
                    continue
            time.sleep(rng.random() * 0.02)
            if claims.measured(key, '"value"') and claims.spent(key):
                file.write(key + "\n")


def evaluate_one(where: str, told: str) -> None:
    """Claim a key, say so, evaluate for a second, and tell whether it counted."""
    from autobuild.studies._claims import Claims

    claims = Claims(open_store("file", where), "study", lease_s=0.2)
    claims.claim("k", limit=1)
    Path(told).touch()
    time.sleep(1)
    Path(told).write_text(str(claims.measured("k", "there")))


if __name__ == "__main__":
    import sys

    kind, where, seed, n_keys, limit, log = sys.argv[1:]
    work(kind, where, int(seed), int(n_keys), int(limit), log)
