"""Networks as operators, exported once."""

import pytest

import autobuild as ab

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from autobuild.cost.latency import Operators, onnx_of, to_onnx

SHAPES = {"tiny_mbconv": (1, 1, 20, 20), "nas_bench_201": (1, 3, 32, 32)}


@pytest.fixture(scope="session")
def tiny():
    """Eight networks of tiny_mbconv, written from their graphs."""
    space = ab.space("tiny_mbconv")
    return [Operators(onnx_of(ab.graph_of(space, arch)), arch.text) for arch in space.sample(8, seed=0, design="depth")]


@pytest.fixture(scope="session")
def cells():
    """Four networks of NAS-Bench-201, exported from PyTorch."""
    space = ab.space("nas_bench_201")
    archs = space.sample(4, seed=0)
    return [Operators(to_onnx(space.realise(arch), SHAPES["nas_bench_201"]), arch.text) for arch in archs]
