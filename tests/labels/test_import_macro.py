"""NAS-Bench-Macro's JSON, and how published forms are told apart."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from autobuild.errors import LabelError
from autobuild.labels import LabelledSet
from autobuild.labels.importers import FORMATS, find, read_any
from autobuild.spaces import SearchSpace, sequence_space


@pytest.fixture(scope="module")
def macro() -> SearchSpace:
    return sequence_space(
        "nas_bench_macro",
        {"stage1": 2, "stage2": 3, "stage3": 3},
        {"op": [0, 1, 2]},
        text="{op}",
        layer_separator="",
        unit_separator="",
        identity={"op": 0, "first_layer_counts": True},
    )


def entry(acc: float) -> dict[str, object]:
    return {"test_acc": [acc, acc], "mean_acc": acc, "std": 0.1, "params": 890666, "flops": 47327744}


def written(path: Path, data: object) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_keys_metrics_and_missing_ones(tmp_path: Path, macro: SearchSpace) -> None:
    data = {"02012100": entry(89.2), "11111221": entry(92.3) | {"std": None}, "00011110": {"mean_acc": 85.3}}
    labels = LabelledSet.read(written(tmp_path / "anything.dat", data), macro)  # told by content, not by name
    frame = labels.frame
    assert list(frame.columns) == ["arch", "mean_acc", "std", "params", "flops"]
    assert list(frame["arch"]) == ["02012100", "11111221", "00011110"]
    assert list(frame["mean_acc"]) == [89.2, 92.3, 85.3]
    assert frame["std"].isna().tolist() == [False, True, True]
    assert frame["params"].isna().tolist() == [False, False, True]


def test_n_reads_the_first_rows_and_does_not_check_the_others(tmp_path: Path, macro: SearchSpace) -> None:
    path = written(tmp_path / "m.json", {"02012100": entry(1.0), "11111221": entry(2.0), "3": entry(3.0)})
    assert len(LabelledSet.read(path, macro, n=2)) == 2
    with pytest.raises(LabelError, match="1 of 3 rows"):
        LabelledSet.read(path, macro)


def test_bad_keys_are_listed_together(tmp_path: Path, macro: SearchSpace) -> None:
    good = json.dumps(entry(1.0))
    text = f'{{"02012100": {good}, "02013100": {good}, "0201210": {good}, "02012100": {good}, "11111111": 7}}'
    with pytest.raises(LabelError) as caught:
        LabelledSet.read(written(tmp_path / "m.json", text), macro)
    told = str(caught.value)
    assert "4 of 5 rows" in told
    assert "key 2: arch '02013100': '3' in place 5; a layer is 0 (identity), 1 or 2" in told
    assert "key 3: arch '0201210': 7 characters, a key has 8 digits" in told
    assert "key 4: arch '02012100': the key is written twice" in told
    assert "key 5: arch '11111111': an object" in told
    assert str(tmp_path / "m.json") in told


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"02012100": {"mean_acc": 1.0}, "1111', "truncated"),
        ('{"02012100": {"mean_acc": 1.0', "truncated"),
        ('{"name": "a space"}', "no table of labels"),
        ("[1, 2]", "no table of labels"),
        ("{}", "no table of labels"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, macro: SearchSpace, text: str, reason: str) -> None:
    with pytest.raises(LabelError, match=reason) as caught:
        LabelledSet.read(written(tmp_path / "x.json", text), macro)
    assert "x.json" in str(caught.value)


def test_a_space_that_does_not_fit_is_told(tmp_path: Path, with_identity: SearchSpace) -> None:
    path = written(tmp_path / "m.json", {"02012100": entry(1.0)})
    with pytest.raises(LabelError, match="belong to the space nas_bench_macro, and digits was given"):
        LabelledSet.read(path, with_identity)


def test_unknown_formats_and_files(tmp_path: Path, macro: SearchSpace) -> None:
    path = written(tmp_path / "m.json", {"02012100": entry(1.0)})
    with pytest.raises(LabelError, match="did you mean 'nas_bench_macro'"):
        LabelledSet.read(path, macro, format="nas_bench_makro")
    for name in FORMATS:
        with pytest.raises(LabelError, match=r"nowhere\.json"):
            read_any(tmp_path / "nowhere.json", name)
    with pytest.raises(LabelError, match="truncated"):
        LabelledSet.read(written(tmp_path / "t.csv", "arch,acc\n"), macro, format="nas_bench_macro")


def test_plain_tables_and_embedded_names_are_still_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobuild.labels.label_files.EMBEDDED", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_mbconv.csv").write_text("arch,acc\n")
    (tmp_path / "tiny_mbconv").mkdir()  # a folder of the same name is not meant
    assert find("tiny_mbconv") == (tmp_path / "tiny_mbconv.csv", "table")
    assert find(written(tmp_path / "t.csv", "arch,acc\n"))[1] == "table"


def test_the_published_file_is_read_and_packed_fast(published: Path, macro: SearchSpace) -> None:
    from autobuild.graphs.pack import pack_architectures

    path = published / "nas-bench-macro_cifar10.json"
    start = time.process_time()
    labels = LabelledSet.read(path, macro)
    packed = pack_architectures(macro, labels.archs)
    assert time.process_time() - start < 2
    assert len(labels) == 6_561 == 3**8
    assert len(packed) == 6_561
    assert len(set(labels.keys)) == 3_969
    assert labels.notes == []
    truth = json.loads(path.read_text())
    frame = labels.frame.set_index("arch")
    for key in list(truth)[::500]:
        for name in ("mean_acc", "std", "params", "flops"):
            assert frame.loc[key, name] == truth[key][name]
    # twins share their label
    assert labels.frame.assign(key=labels.keys).groupby("key")["mean_acc"].nunique().max() == 1
