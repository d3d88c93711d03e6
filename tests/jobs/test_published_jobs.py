"""The jobs import and fetch, and labels= taking published files."""

from __future__ import annotations

import itertools
import json
import pickle
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

import autobuild as ab
from autobuild.cli import main

SPACE = """
name: nas_bench_macro
units: {stage1: 2, stage2: 3, stage3: 3}
features: {op: [0, 1, 2]}
text: "{op}"
layer_separator: ""
unit_separator: ""
identity: {op: 0, first_layer_counts: true}
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a space and a small file in the published form."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "macro.yaml").write_text(SPACE)
    keys = ["".join(digits) for digits in itertools.islice(itertools.product("120", repeat=8), 0, None, 73)]
    data = {key: {"mean_acc": 60.0 + sum(map(int, key)), "std": 0.1, "params": 1000, "flops": None} for key in keys}
    (tmp_path / "macro.json").write_text(json.dumps(data))
    return tmp_path


def test_import_into_a_run_folder(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["import", "path=macro.json", "space=macro.yaml", "n=50", "out=run"]
    assert main(line) == 0
    frame = pd.read_csv(work / "run" / "labels.csv", dtype={"arch": str})
    published = json.loads((work / "macro.json").read_text())
    assert list(frame["arch"]) == list(published)[:50]
    assert list(frame["mean_acc"]) == [published[key]["mean_acc"] for key in frame["arch"]]
    told = json.loads((work / "run" / "metrics.json").read_text())
    assert told["n"] == 50
    assert told["missing"] == {"flops": 50}
    assert "50 labelled architectures of nas_bench_macro" in capsys.readouterr().out
    assert main(line) == 0
    assert "finished already" in capsys.readouterr().out


def test_import_into_one_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["import", "path=macro.json", "space=macro.yaml", "format=nas_bench_macro"]
    assert main([*line, "out=labels.csv"]) == 0
    before = (work / "labels.csv").read_bytes()
    assert main([*line, "out=labels.csv"]) == 0  # the same again is no mistake
    assert main([*line, "n=5", "out=labels.csv"]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (work / "labels.csv").read_bytes() == before
    assert main([*line, "n=5", "out=labels.csv", "resume=false"]) == 0
    assert len(pd.read_csv(work / "labels.csv")) == 5
    assert main([*line, "out=labels.parquet"]) == 0
    # what was written is read back by the same job, leading zeros and all
    assert main(["import", "path=labels.csv", "space=macro.yaml", "out=again.csv"]) == 0
    assert (work / "again.csv").read_bytes() == (work / "labels.csv").read_bytes()
    assert not [path for path in work.iterdir() if path.name.startswith(".")]


def test_import_says_what_is_wrong_and_writes_nothing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Graph:
        def __reduce__(self):
            return exec, ("open('called', 'w')",)

    (work / "cache.pkl").write_bytes(pickle.dumps([Graph()]))
    with tarfile.open(work / "a.tar.gz", "w:gz") as tar:
        tar.add(work / "macro.json")
    whole = (work / "a.tar.gz").read_bytes()
    (work / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    (work / "digits.json").write_text('{"00000003": {"mean_acc": 1.0}}')
    (work / "plain.csv").write_text("arch,acc\n00000000,1\n")
    before = sorted(work.rglob("*"))
    for words, reason in {
        "": "import needs path=",
        "path=nowhere.json": "nowhere.json",
        "path=cache.pkl": "asks for builtins.exec, which is refused",
        "path=a.tar.gz": "Download it again",
        "path=digits.json space=macro.yaml": "'3' in place 8",
        "path=plain.csv": "give space=",
        "path=macro.json format=nas_bench": "did you mean",
        "path=macro.json space=macro.yaml out=no/such/labels.csv": "cannot be written",
    }.items():
        assert main(["import", *words.split(), *([] if "out=" in words else ["out=labels.csv"])]) == 2, words
        told = capsys.readouterr()
        assert told.err.startswith("error: "), words
        assert reason in told.err, words
    assert sorted(work.rglob("*")) == before


def test_labels_takes_the_published_file(work: Path) -> None:
    line = ["fit", "space=macro.yaml", "labels=macro.json", "target=mean_acc", "n=60", "test=rest", "fit.epochs=2"]
    assert main([*line, "plots=false", "curve=false", "out=fit"]) == 0
    told = json.loads((work / "fit" / "metrics.json").read_text())
    assert told["n_train"] == 60
    assert told["n_rest"] > 0
    assert "labels" in told["data_hash"]


@pytest.mark.parametrize(("ending", "column"), [("csv", "cellstr"), ("parquet", "arch")])
def test_build_from_a_table_of_nas_bench_201(work: Path, ending: str, column: str) -> None:
    """A made-up table where convolutions are worth something and cut edges cost: 200 rows find good ones."""
    space = ab.space("nas_bench_201")
    worth = {"none": -4.0, "skip_connect": 0.0, "nor_conv_1x1": 3.0, "nor_conv_3x3": 5.0, "avg_pool_3x3": -1.0}
    archs = space.sample(2000, seed=3)
    acc = [70 + sum(worth[layer["op"]] for (layer,) in space.layers(arch)) for arch in archs]
    frame = pd.DataFrame({"flops": ab.costs(space)["flops"](archs), column: [arch.text for arch in archs], "acc": acc})
    frame = frame.drop_duplicates(column)
    frame.to_csv(work / "cells.csv", index=False) if ending == "csv" else frame.to_parquet(work / "cells.parquet")
    line = ["build", "space=nas_bench_201", f"labels=cells.{ending}", "target=acc", "n=200", "build.top=20", "out=b"]
    assert main([*line, "plots=false", "seed=0"]) == 0
    built = pd.read_csv(work / "b" / "built.csv")
    told = json.loads((work / "b" / "metrics.json").read_text())
    assert told["n_train"] == 200
    assert len(built) == built["arch"].nunique() == 20
    found = [70 + sum(worth[layer["op"]] for (layer,) in space.layers(space.parse(text))) for text in built["arch"]]
    assert sum(found) / len(found) > frame["acc"].quantile(0.95)


def test_build_takes_no_more_networks_than_it_says(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "build.top=100001"]) == 2
    assert "100000" in capsys.readouterr().err


def test_fetch_from_a_server_and_from_nowhere(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = partial(Quiet, directory=str(work))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        line = ["fetch", "name=nas_bench_macro", f"url=http://127.0.0.1:{http.server_port}/macro.json", "sha256=any"]
        assert main(line) == 0
        told = capsys.readouterr().out
        place = work / "cache" / "autobuild" / "nas-bench-macro_cifar10.json"
        assert str(place) in told
        assert "downloaded from http://127.0.0.1" in told
        assert place.read_bytes() == (work / "macro.json").read_bytes()
        assert main([*line, "out=mine"]) == 0
        assert (work / "mine" / place.name).is_file()
        capsys.readouterr()
        http.shutdown()
    assert main(line) == 0
    assert "there already" in capsys.readouterr().out
    assert main(["fetch"]) == 0
    listed = capsys.readouterr().out
    assert "accel_nasbench" in listed
    assert "there" in listed
    assert main([*line, "resume=false"]) == 2  # the server is gone
    told = capsys.readouterr().err
    assert told.startswith(f"error: {line[2].removeprefix('url=')}: cannot be downloaded")
    assert told.count("\n") == 1
    assert place.is_file()
