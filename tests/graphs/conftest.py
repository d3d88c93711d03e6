"""Fixtures of this room."""

import pytest

import autobuild as ab


@pytest.fixture
def read(tmp_path):
    """Read an ONNX model that is written down by hand: what :func:`onnx_files.save` takes, and ``shapes``."""
    from onnx_files import save

    def run(*args, shapes=None, **options):
        return ab.graph_of(save(tmp_path / "net.onnx", *args, **options), shapes=shapes)

    return run
