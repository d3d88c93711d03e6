"""Accel-NASBench: a folder or an archive, one JSON an architecture."""

from __future__ import annotations

import gzip
import io
import json
import math
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from autobuild.errors import LabelError
from autobuild.labels import LabelledSet
from autobuild.labels.importers import _accel_nasbench as accel_nasbench
from autobuild.labels.importers import read_accel_nasbench
from autobuild.spaces import SearchSpace, sequence_space


@pytest.fixture(scope="module")
def mnasnet() -> SearchSpace:
    return sequence_space(
        "mnasnet",
        {f"block{number}": 1 for number in range(7)},
        {"e": [1, 4, 6], "k": [3, 5], "l": [1, 2, 3, 4], "s": [0, 1]},
        text="e{e}k{k}l{l}s{s}",
    )


def member(layers: int = 1, **changes: Any) -> dict[str, Any]:
    block = {"e": 4, "k": 5, "l": layers, "se": layers > 1}
    return {
        "architecture": {f"block{number}_{part}": value for number in range(7) for part, value in block.items()},
        "metrics": {"val_top1": 62.0 + layers, "val_top5": 84.0, "train_time": 1560.6},
        "model_info": {"macs": 369.019616, "params": 4.042824},
        "platform_perf": {
            "latency_zcu102": {"latency_mean": 4.9, "latency_std": None},
            "throughput_a100": {"throughput_mean": 11102.8, "throughput_std": 1.7},
        },
    } | changes


def archive(path: Path, members: dict[str, Any], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_text_units_and_missing_metrics(tmp_path: Path, mnasnet: SearchSpace) -> None:
    second = member(2, platform_perf={"throughput_a100": {"throughput_mean": None}}, model_info={"params": 1.5})
    path = archive(tmp_path / "a.tar.gz", {"d/result_2.json": second, "d/result_10.json": member(1)})
    frame = LabelledSet.read(path, mnasnet).frame
    # sorted by name: result_10 before result_2
    assert list(frame["arch"]) == ["|".join(["e4k5l1s0"] * 7), "|".join(["e4k5l2s1"] * 7)]
    assert list(frame["val_top1"]) == [63.0, 64.0]
    assert frame["macs"][0] == 369_019_616
    assert math.isnan(frame["macs"][1])
    assert list(frame["params"]) == [4_042_824, 1_500_000]
    assert frame["latency_zcu102"][0] == 4.9
    assert math.isnan(frame["latency_zcu102"][1])
    assert math.isnan(frame["throughput_a100"][1])
    assert list(frame.columns[6:]) == ["latency_zcu102", "throughput_a100", "throughput_a100_std"]  # no empty deviation


def test_folder_archive_and_plain_tar_are_the_same(tmp_path: Path, mnasnet: SearchSpace) -> None:
    members = {f"anb/result_{number}.json": member(number) for number in (1, 2, 3, 4)}
    for name, content in members.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "anb" / "notes.txt").write_text("not a member")
    hashes = {
        LabelledSet.read(source, mnasnet).content_hash
        for source in (
            tmp_path / "anb",
            archive(tmp_path / "x.tar.gz", members),
            archive(tmp_path / "named.otherwise", members, "w"),
        )
    }
    assert len(hashes) == 1


def test_n_takes_the_first_names(tmp_path: Path, mnasnet: SearchSpace) -> None:
    members = {"c.json": b"{", "b.json": member(2), "a.json": member(1)}
    path = archive(tmp_path / "a.tar.gz", members)
    assert [text[:8] for text in LabelledSet.read(path, mnasnet, n=2).frame["arch"]] == ["e4k5l1s0", "e4k5l2s1"]
    with pytest.raises(LabelError, match=r"member c\.json: not readable as JSON"):
        LabelledSet.read(path, mnasnet)


def test_bad_members_are_named(tmp_path: Path, mnasnet: SearchSpace) -> None:
    link = tarfile.TarInfo("e.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    lacking = member(1)
    del lacking["architecture"]["block3_k"]
    members = {
        "a.json": member(1),
        "b.json": member(9),
        "c.json": lacking,
        "d.json": [1],
        "e.json": link,
        "f.json": b" " * (accel_nasbench.MAX_MEMBER_BYTES + 1),
        "g.json": member(2, metrics={"val_top1": "high"}),
        "h.json": member(2, metrics=5),
    }
    with pytest.raises(LabelError) as caught:
        LabelledSet.read(archive(tmp_path / "a.tar.gz", members), mnasnet)
    told = str(caught.value)
    assert "6 of 8 rows" in told
    assert "member b.json: arch 'e4k5l9s1|" in told
    assert "member c.json: architecture: block3_k is None, an integer is expected" in told
    assert "member d.json: a JSON object with a key 'architecture'" in told
    assert "member e.json: a link or folder" in told
    assert "member f.json: larger than" in told
    assert "member h.json: metrics is '5'" in told


def test_nothing_is_written_wherever_a_member_points(
    tmp_path: Path, mnasnet: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    target = tmp_path / "absolute.json"
    path = archive(work / "a.tar.gz", {"../../evil.json": member(1), str(target): member(2)})
    assert len(LabelledSet.read(path, mnasnet)) == 2
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == ["a.tar.gz"]


@pytest.mark.parametrize("packed", [True, False])
def test_every_truncation_is_told(tmp_path: Path, packed: bool) -> None:
    """Cut anywhere, also where tarfile alone would take the rest for a whole archive."""
    members = {f"r{number}.json": member(1) for number in range(3)}
    whole = archive(tmp_path / "w", members, "w:gz" if packed else "w").read_bytes()
    assert len(read_accel_nasbench(tmp_path / "w").numbers) == 3
    end = len(whole) if packed else whole.rindex(b"}") + 1  # beyond: the archive's own padding
    path = tmp_path / "cut.tar.gz"
    for length in [*range(1, end, 97), *range(512, end, 512), end - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(LabelError, match=r"cut\.tar\.gz.*Download it again"):
            read_accel_nasbench(path)


def test_what_is_no_archive_is_refused(tmp_path: Path, mnasnet: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.gz").write_bytes(gzip.compress(b"arch,acc\n" * 200))
    with pytest.raises(LabelError, match=r"t\.gz: compressed, but not a tar archive .* labels\.csv\.gz"):
        LabelledSet.read(tmp_path / "t.gz", mnasnet)
    with pytest.raises(LabelError, match=r"t\.gz: not a whole tar"):
        read_accel_nasbench(tmp_path / "t.gz")
    with pytest.raises(LabelError, match="no JSON file in it"):
        LabelledSet.read(archive(tmp_path / "e.tar.gz", {"readme.txt": b"x"}), mnasnet)
    with pytest.raises(LabelError, match="this is a folder, and there is no JSON file in it"):
        LabelledSet.read(tmp_path, mnasnet)
    monkeypatch.setattr(accel_nasbench, "MAX_ARCHIVE_BYTES", 1000)
    with pytest.raises(LabelError, match="unpacks to more than"):
        read_accel_nasbench(archive(tmp_path / "big.tar.gz", {"a.json": b" " * 5000}))


def test_a_damaged_byte_is_told(tmp_path: Path) -> None:
    whole = bytearray(archive(tmp_path / "a.tar.gz", {"a.json": member(1)}).read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / "a.tar.gz").write_bytes(whole)
    with pytest.raises(LabelError, match="Download it again"):
        read_accel_nasbench(tmp_path / "a.tar.gz")


def test_the_published_archive(published: Path, mnasnet: SearchSpace) -> None:
    path = published / "anb_dataset_jsons.tar.gz"
    start = time.process_time()
    table = read_accel_nasbench(path)
    labels = LabelledSet.from_table(table, mnasnet)
    assert time.process_time() - start < 4
    assert len(table.numbers) == 4_111
    assert list(table.numbers) == sorted(table.numbers)
    assert len(labels) == 4_104
    (note,) = labels.notes
    assert note.startswith(
        "14 rows averaged: 7 architectures occur more than once; they differ: val_top1 by up to 1.28,"
    )
    frame = labels.frame
    assert frame["val_top1"].isna().sum() == 0
    assert frame["throughput_tpuv3"].isna().sum() > 0
    assert (frame["macs"] == frame["macs"].round()).all()
    assert frame["params"].between(1e6, 1e7).all()
    with tarfile.open(path) as tar:
        name = table.numbers[0]
        first = json.load(tar.extractfile(name))  # type: ignore[arg-type]
    assert frame["val_top1"][0] == first["metrics"]["val_top1"]
    assert frame["throughput_a100"][0] == first["platform_perf"]["throughput_a100"]["throughput_mean"]
    assert len(LabelledSet.read(path, mnasnet, n=200)) == 200
