"""Typical mistakes of people at a command line: one clear line, the nearest right names, exit status 2."""

from __future__ import annotations

import shlex
import sys

import pytest

from autobuild.cli import main
from autobuild.jobs._options import read_job

MISTAKES = [
    # jobs
    ("biuld", "did you mean 'build'"),
    ("fti", "did you mean 'fit'"),
    ("fti --help", "did you mean 'fit'"),
    ("help", "autobuild --help"),
    ("Fit", "did you mean 'fit'"),
    ("fit explain", "only one job can be named"),
    ("seed=3 fit", "autobuild fit ..."),
    ("fit job=build", "only one job can be named"),
    ("-m job=fit,build", "name it first"),
    # keys
    ("sample spcae=ofa_mbv3", "did you mean 'space'"),
    ("fit fit.epoch=3", "did you mean 'fit.epochs'"),
    ("fit epochs=3", "did you mean 'fit.epochs'"),
    ("fit encoder.widht=3", "did you mean 'encoder.width'"),
    ("fit trget='max(acc, 5)'", "did you mean 'target'"),
    ("sample -m sede=0,1", "did you mean 'seed'"),
    ("fit ranking.k=3", "ranking.k belongs to ranking=hybrid or ranking=lambdarank, and ranking=srcc was chosen"),
    ("fit -m ranking=srcc,hybrid ranking.k=3", "ranking.k"),
    ("fit ++ranking.k=3", "ranking.loss is srcc"),
    ("sample +n=3", "++n=3"),
    ("sample +foo=3", "unknown key 'foo'"),
    ("sample ++sede=3", "did you mean 'seed'"),
    ("sample ~n", "key 'n' is missing"),
    ("sample ~foo", "unknown key 'foo'"),
    # choices
    ("fit encoder=gatv3", "did you mean 'gatv2'"),
    ("fit ranking=src", "did you mean 'srcc'"),
    ("fit encoder=3", "encoder=3: unknown choice"),
    ("fit encoder=", "encoder="),
    ("fit encoder=null", "encoder=null: unknown choice"),
    ("fit +encoder=gcn", "encoder"),
    ("fit ++encoder=gcn", "encoder"),
    ("fit encoder=gcn,gat", "add -m"),
    ("sample -m +hydra.sweeper.params.seed=1,2", "params"),
    ("sample +experiment=3", "must be a string"),
    ("search sampler=Random", "did you mean 'random'"),
    ("sample design=covr", "did you mean 'cover'"),
    ("sample by=params", "by=params: no architectures are drawn by it: it is for design=stratified"),
    ("sample design=uniform cover=5", "it is for design=cover, and design=uniform was chosen"),
    ("label archs=x.csv design=cover", "archs= says which"),
    ("fit -m encoder=gatv2,gnc", "encoder=gnc: unknown choice: did you mean"),
    ("sample -m hydra/launcher=jobless seed=1,2", "did you mean 'joblib'"),
    # values
    ("sample n=x", "n=x: unusable value (accepted: int >=1)"),
    ("sample n=2.5", "n=2.5: unusable value (accepted: int >=1)"),
    ("sample n=-1", "n=-1: unusable value (accepted: int >=1)"),
    ("sample n=", "n=: unusable value (accepted: int >=1)"),
    ("sample n=null", "n=null: unusable value (accepted: int >=1)"),
    ("sample n='1 000'", "n=1 000: unusable value"),
    ("sample n=[", "n=["),
    ("fit plots=perhaps", "plots=perhaps: unusable value (accepted: bool)"),
    ("fit target=", "target=null: unusable value"),
    ("sample n=1,2", "autobuild sample -m n=1,2"),
    ("sample space='choice(a,b)'", "add -m"),
    ("fit model=auto,gp", "add -m"),
    ("sample out='runs/${spce}'", "'spce' not found"),
    ("sample out='runs/${space'", "${key} refers to another key"),
    # how it is written
    ("sample n", "write n=VALUE"),
    ("sample n 3", "write n=VALUE"),
    ("sample n = 3", "without spaces around '='"),
    ("sample n= 3", "write n=3, without spaces around '='"),
    ("sample n =3", "without spaces around '='"),
    ("seed = 3", "without spaces around '='"),
    ("sample =3", "a key is missing before '='"),
    ("fit n =", "without spaces around '='"),
    ("sample my.yaml", "not of the form key=value; see autobuild sample --help"),
    ("sample --seed 3", "with '=': seed=3"),
    ("sample --seed=3", "with '=': seed=3"),
    ("sample -seed=3", "with '=': seed=3"),
    ("sample --encoder gcn", "with '=': encoder=gcn"),
    # options
    ("--hlep", "did you mean '--help'"),
    ("fit --config job", "did you mean '--config-dir'"),
    ("fit --cfg", "--cfg job"),
    ("fit --cfg jobs", "did you mean 'job'"),
    ("fit -m --info", "exclude each other"),
    ("fit --resolve", "--cfg job"),
    ("fit --package encoder", "--cfg job"),
    ("sample hydra.mode=FOO", "MULTIRUN"),
    ("sample hydra.foo=3", "hydra.foo"),
    ("fit --multirun=yes seed=1,2", "takes no value"),
    ("--config-dir", "needs a value"),
    ("-sc", "install=bash"),
    ("-sc install=tcsh", "bash"),
]


@pytest.mark.parametrize(("line", "wanted"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_answered_in_one_line(line: str, wanted: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert wanted in err
    assert "Traceback" not in err
    if " -m " not in line:  # jobs of a sweep may begin before one of them fails
        assert err.count("\n") == 1
        assert out == ""
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_output_that_is_closed_or_full(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, None)
    assert main(["sample", "n=2", "out=closed"]) == 0
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["sample", "n=2", "out=full"]) == 2
        assert "the output cannot be written: No space left" in capsys.readouterr().err
        assert main(["smaple"]) == 2
        assert "did you mean 'sample'" in capsys.readouterr().err


def test_a_working_folder_that_was_removed(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["sample"]) == 2
    assert "the working folder cannot be read" in capsys.readouterr().err


def test_help_stands_without_docstrings(monkeypatch) -> None:
    from autobuild.jobs import sample

    before = read_job("sample")
    monkeypatch.setattr(sample, "__doc__", None)  # python -OO
    assert read_job.__wrapped__("sample") == before
