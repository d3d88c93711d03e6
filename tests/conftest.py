"""Shared fixtures: the spaces, small labelled sets with a known truth, and published data where it is there."""

from __future__ import annotations

import os
from pathlib import Path

# Tests run side by side on few cores: one thread each is faster than several that fight. Numpy reads this as it is
# imported, and so do the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

import autobuild as ab

# The same examples every time in CI, so that a red run can be repeated; elsewhere new ones are drawn. A busy machine
# may take any time for an example.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def published():
    """Folder of published labels; tests that need it skip where AUTOBUILD_DATA is not set."""
    folder = os.environ.get("AUTOBUILD_DATA")
    if not folder:
        pytest.skip("AUTOBUILD_DATA is not set: it names the folder of published labels")
    return Path(folder)


@pytest.fixture
def own_plugins():
    """What a test registers, of any kind, does not stay."""
    from autobuild import registry
    from autobuild.spaces.registry import SPACES

    every = [SPACES, *(own for own in vars(registry).values() if isinstance(own, registry.Registry))]
    before = [set(own) for own in every]
    yield
    for own, names in zip(every, before, strict=True):
        for name in set(own._registered) - names:
            del own._registered[name]


@pytest.fixture
def composed(monkeypatch):
    """Runs a command line up to the start of its jobs, in this process.

    Gives a function from words to ``(exit code, [(job, arguments), ...])``.
    """
    from autobuild import cli

    def run(words):
        started = []

        def start(name, config):
            started.append((name, config))
            return 0

        with monkeypatch.context() as patch:
            patch.setattr(cli, "_run_job", start)
            return cli.main(words), started

    return run


@pytest.fixture(scope="session")
def mbv3():
    return ab.space("ofa_mbv3")


@pytest.fixture(scope="session")
def small_space():
    """Two units of 1 or 2 layers, 4 choices a layer: 20 candidates a unit, 400 architectures."""
    return ab.sequence_space(
        "small",
        units={"a": [1, 2], "b": [1, 2]},
        features={"width": [1, 2], "kernel": [3, 5]},
        text="w{width}k{kernel}",
    )


def true_score(space, arch):
    """A known additive truth: what every layer is worth."""
    return sum(
        (1 + stage) * (0.3 * layer["width"] + 0.1 * layer["kernel"])
        for stage, layers in enumerate(space.layers(arch))
        for layer in layers
    )


@pytest.fixture(scope="session")
def small_labels(small_space):
    """120 distinct architectures with the known truth and a little noise."""
    archs = list(dict.fromkeys(small_space.sample(400, seed=0, design="depth")))[:120]
    noise = np.random.default_rng(0).normal(0, 0.05, len(archs))
    acc = np.array([true_score(small_space, arch) for arch in archs]) + noise
    frame = pd.DataFrame({"arch": [a.text for a in archs], "acc": acc, "latency": 2 * acc + 1})
    return ab.LabelledSet.from_frame(frame, small_space)


@pytest.fixture(scope="session")
def small_model(small_labels):
    return ab.fit(small_labels, "acc", seed=0, config=ab.FitConfig(epochs=60, holdout=0.2), model="graph")
