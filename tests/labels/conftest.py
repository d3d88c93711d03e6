from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autobuild.spaces import SearchSpace, load_space, sequence_space


@pytest.fixture(scope="session")
def mbv3() -> SearchSpace:
    return load_space("ofa_mbv3")


@pytest.fixture(scope="session")
def with_identity() -> SearchSpace:
    """Three layers of three operations, 0 being an identity: 27 texts of 15 distinct networks."""
    return sequence_space(
        "digits", {"a": 3}, {"op": [0, 1, 2]}, text="{op}", layer_separator="", unit_separator="", identity={"op": 0}
    )


@pytest.fixture(scope="session")
def data_dir() -> Path:
    folder = os.environ.get("AUTOBUILD_DATA")
    if not folder:
        pytest.skip("AUTOBUILD_DATA is not set: published label files are needed")
    return Path(folder)


@pytest.fixture
def rows(mbv3: SearchSpace) -> pd.DataFrame:
    """Forty distinct architectures with an accuracy, a latency that misses twice, and a count."""
    rng = np.random.default_rng(7)
    archs = [str(arch) for arch in mbv3.sample(40, seed=3)]
    latency = rng.uniform(4, 9, 40)
    latency[[5, 11]] = np.nan
    return pd.DataFrame(
        {"arch": archs, "acc": rng.uniform(0.6, 0.8, 40), "latency_ms": latency, "params": rng.integers(1e6, 9e6, 40)}
    )
