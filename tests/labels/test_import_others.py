"""NASLib's zero-cost JSON, HELP's latency tensors, NAS-Bench-Graph's pickles, and files of the Hugging Face Hub."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

import autobuild as ab
from autobuild.errors import LabelError
from autobuild.labels.importers import detect, read_any
from autobuild.labels.importers import fetch as fetching
from autobuild.spaces import Feature, Stage, Unit

CELL = "|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|skip_connect~2|"


def entry(value: float) -> dict:
    return {"id": 7, "val_accuracy": value, "zen": {"score": value / 2, "time": 0.1}}


@pytest.mark.parametrize(
    ("name", "data", "space", "arch"),
    [
        ("zc.json", {"cifar10": {"(2, 0, 1, 4, 3, 0)": entry(90)}}, "nas_bench_201", CELL),
        ("zc.json", {"class_scene": {"(1, 0, 2, 3, 0, 1)": entry(50)}}, "trans_nas_bench_micro", "64-41414-1_02_301"),
        ("zc.json", {"jigsaw": {"(1, 4, 2, 1, 0, 0)": entry(90)}}, "trans_nas_bench_macro", "64-1421-basic"),
        ("zc_macro.json", {"jigsaw": {"(1, 3, 2, 1, 0, 0)": entry(90)}}, "trans_nas_bench_macro", "64-1321-basic"),
    ],
)
def test_naslib(tmp_path: Path, name: str, data: dict, space: str, arch: str) -> None:
    (tmp_path / name).write_text(json.dumps(data))
    assert detect(tmp_path / name) == "naslib"
    table = read_any(tmp_path / name)
    assert table.space == space
    labels = ab.LabelledSet.read(tmp_path / name, ab.space(space))
    assert labels.frame["arch"].tolist() == [arch]
    assert labels.metrics == ["val_accuracy", "zen"]
    value = next(iter(next(iter(data.values())).values()))["val_accuracy"]
    assert labels.frame[["val_accuracy", "zen"]].iloc[0].tolist() == [value, value / 2]


def test_several_data_sets_of_naslib_are_columns(tmp_path: Path) -> None:
    path = tmp_path / "zc.json"
    key = "(2, 0, 1, 4, 3, 0)"
    path.write_text(json.dumps({"cifar10": {key: entry(90)}, "cifar100": {key: entry(70), "(1, 2)": entry(1)}}))
    table = read_any(path)
    assert list(table.columns) == [
        "arch",
        "val_accuracy_cifar10",
        "zen_cifar10",
        "val_accuracy_cifar100",
        "zen_cifar100",
    ]
    assert table.columns["val_accuracy_cifar10"] == [90, None]
    with pytest.raises(LabelError, match="tuple of six operations"):
        ab.LabelledSet.read(path, ab.space("nas_bench_201"))


def test_help(tmp_path: Path) -> None:
    (tmp_path / "latency").mkdir()
    other = CELL.replace("none", "nor_conv_1x1")
    torch.save({other: 1, CELL: 0}, tmp_path / "str_arch2idx.pt")
    torch.save(torch.tensor([3.0, 4.5]), tmp_path / "latency" / "pixel3.pt")
    torch.save([1.0, 2.0], tmp_path / "latency" / "1080ti-1.pt")
    labels = ab.LabelledSet.read(tmp_path, ab.space("nas_bench_201"))
    assert labels.frame["arch"].tolist() == [CELL, other]
    assert labels.frame["latency_pixel3"].tolist() == [3.0, 4.5]
    assert labels.metrics == ["latency_1080ti_1", "latency_pixel3"]
    torch.save(torch.tensor([3.0]), tmp_path / "latency" / "pixel3.pt")
    with pytest.raises(LabelError, match="1 latencies for 2 architectures"):
        read_any(tmp_path)
    with (tmp_path / "latency" / "pixel3.pt").open("wb") as file:
        pickle.dump(Path("x"), file)
    with pytest.raises(LabelError, match="not readable as tensors"):
        read_any(tmp_path)


def test_nas_bench_graph(tmp_path: Path) -> None:
    path = tmp_path / "cora.bench"
    number = ((((3 * 10 + 0) * 10 + 1) * 10 + 7) * 10) + 8
    path.write_bytes(
        pickle.dumps({number: {"valid_perf": 0.8, "perf": 0.79, "latency": 0.01, "para": 0.2, "dur": [1]}})
    )
    ops = ["gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip"]
    links = ["0000", "0001", "0011", "0012", "0013", "0111", "0112", "0122", "0123"]
    names = {"links": links, **{f"node{place}": ops for place in range(1, 5)}}
    units = [Unit(name, [Stage(name, (1,), (Feature("op", values),), "{op}")]) for name, values in names.items()]
    space = ab.SearchSpace("nas_bench_graph", units)
    labels = ab.LabelledSet.read(path, space)
    assert labels.frame["arch"].tolist() == ["0012|gat|gcn|fc|skip"]
    assert labels.frame.iloc[0, 1:].tolist() == [0.8, 0.79, 0.01, 0.2]
    path.write_bytes(pickle.dumps({10**6: {"perf": 1.0}, -1: {"perf": 1.0}}))
    with pytest.raises(LabelError, match="is no architecture of NAS-Bench-Graph"):
        ab.LabelledSet.read(path, space)


def test_an_index_called_arch_beside_cells_and_metrics_with_a_dash(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"arch,cellstr,cifar10-val\n0,{CELL},90.5\n1,{CELL.replace('none', 'nor_conv_1x1')},91\n")
    labels = ab.LabelledSet.read(path, ab.space("nas_bench_201"))
    assert labels.frame["arch"].tolist()[0] == CELL
    assert labels.metrics == ["cifar10-val"]
    assert labels.names().target("cifar10-val").names == ("cifar10-val",)


def test_the_hub_tells_in_which_folder_a_file_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    class Answer:
        def raise_for_status(self) -> None:
            pass

        def json(self) -> dict:
            return {"siblings": [{"rfilename": "README.md"}, {"rfilename": "cache/ofa_mbv3_custom_cache.pkl"}]}

    asked = []
    monkeypatch.setattr(requests, "get", lambda url, timeout: asked.append(url) or Answer())
    found = fetching._on_hub(fetching.published("autobuild_ofa_mbv3"))
    assert asked == ["https://huggingface.co/api/datasets/kgmills/AutoBuild"]
    assert found.endswith("kgmills/AutoBuild/resolve/main/cache/ofa_mbv3_custom_cache.pkl")
    with pytest.raises(LabelError, match=r"no file 'ofa_pn_custom_cache.pkl'.*labels=FILE"):
        fetching._on_hub(fetching.published("autobuild_ofa_proxyless"))
