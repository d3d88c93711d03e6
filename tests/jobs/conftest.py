from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import autobuild as ab

SPACE = """
name: toy
about: A toy whose accuracy is known by a formula
units: {a: [1, 2, 3], b: [1, 2], c: [1, 2]}
features: {width: [1, 2, 3], kernel: [3, 5]}
text: "w{width}k{kernel}"
"""


@pytest.fixture(name="accuracy")
def _accuracy() -> Callable[..., float]:
    return accuracy


def accuracy(space: ab.SearchSpace, arch: ab.Architecture) -> float:
    """Grows with width and depth, stage c counting most; a little noise that is fixed by the architecture."""
    total = 0.0
    for weight, layers in zip((1, 2, 4), space.layers(arch), strict=True):
        total += weight * sum(float(layer["width"]) + 0.2 * (layer["kernel"] == 5) for layer in layers)
    return 0.5 + total / 100 + (zlib.crc32(str(arch).encode()) % 100) / 1e5


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with toy.yaml and labels.csv (90 rows: acc, ms)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(ab.__file__).parents[1]))
    (tmp_path / "toy.yaml").write_text(SPACE)
    space = ab.space(tmp_path / "toy.yaml")
    archs = ab.sample_design(space, 90, "depth", 0)
    frame = pd.DataFrame({"arch": [str(arch) for arch in archs], "acc": [accuracy(space, arch) for arch in archs]})
    frame["ms"] = [float(str(arch).count("w")) for arch in archs]
    frame.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path
