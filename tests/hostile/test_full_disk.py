"""Files that cannot be written to their end: an error of ours that names the file, no half file, the old one stays."""

from __future__ import annotations

import contextlib
import resource
import signal

import pytest
from torch import nn

import autobuild as ab
from autobuild import plot
from autobuild.cli import main
from autobuild.errors import AutobuildError
from autobuild.jobs.run import Run
from autobuild.quant import VariantCache
from tests.hostile.test_hostile_files import SAVED


@contextlib.contextmanager
def full(nbytes=64):
    """No file may be longer, as on a disk that is full by then."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def quantised(path, cache=None):
    return ab.quantise(nn.Sequential(nn.Linear(64, 64)), "uaq4", cache=cache)


WRITERS = {
    "labels.csv": lambda path, labels: labels.write(path),
    "labels.jsonl": lambda path, labels: labels.write(path),
    "model": lambda path, labels: ab.save_model(ab.load_model(SAVED), path),
    "figure.pdf": lambda path, labels: plot.save(plot.space(labels.space), path),
    "q.safetensors": lambda path, labels: quantised(path).save(path),
    "variants": lambda path, labels: quantised(path, VariantCache(path)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_and_leaves_no_half_file(name, tmp_path):
    space = ab.space("tiny_mbconv")
    labels = ab.LabelledSet.read("tiny_mbconv", space, 20)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    with full(), pytest.raises(AutobuildError, match=rf"{name}.*(written|too large)"):
        WRITERS[name](tmp_path / name, labels)
    whole = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".part")]
    assert whole == []
    WRITERS[name](tmp_path / name, labels)  # there is room again
    assert (tmp_path / name).exists()


def test_a_job_on_a_full_disk_ends_in_one_line_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["quantise", "model=digits_dit", "config=uaq4", "out=q"]
    with full(20_000):
        assert main(words) == 2
    assert "quantised.safetensors: cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "q" / "quantised.safetensors").exists()
    assert main(words) == 0


def test_a_state_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run.open("fit", {"out": "r"})
    run.record(a=1)
    with full(), pytest.raises(AutobuildError, match=r"metrics\.json: cannot be written"):
        run.record(b=2)
    run.release()
    assert '"b"' not in (tmp_path / "r" / "metrics.json").read_text()
    with Run.open("fit", {"out": "r"}) as again:
        assert again.resumed
        assert again.metrics["a"] == 1
