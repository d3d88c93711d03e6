"""Hardware as data: the presets, and what is said of a description that cannot be used."""

import dataclasses

import pytest
import yaml

from autobuild.cost import Hardware, hardware_names, read_hardware
from autobuild.cost.hardware import PRESETS
from autobuild.errors import ConfigError


def data(**changes):
    found = yaml.safe_load((PRESETS / "edge_npu.yaml").read_text())
    return {key: value for key, value in (found | changes).items() if value is not None}


def write(path, **changes):
    path.write_text(yaml.safe_dump(data(**changes)))
    return path


def test_presets_are_whole_and_name_their_sources():
    assert hardware_names() == ["edge_npu", "fpga_card", "large_npu", "mobile_npu"]
    for name in hardware_names():
        hardware = read_hardware(name)
        assert hardware.name == name
        assert "Assumed:" in hardware.source
        assert any(str(year) in hardware.source for year in range(2010, 2026)) or "data sheet" in hardware.source
    edge = read_hardware("edge_npu")
    assert (edge.buffer_bytes, edge.macs_per_s, edge.weight_bytes) == (2**20, 512e9, 1)
    assert edge.balance == 80
    assert edge.macs_per_s * 2 == pytest.approx(1.0e12, rel=0.03)  # published: 1.0 TOPS
    assert read_hardware("large_npu").macs_per_s * 2 == pytest.approx(138e12, rel=0.01)  # published: 138 TOPS
    assert read_hardware("mobile_npu").macs_per_s * 2 == pytest.approx(2e12, rel=0.05)  # published: two TOPS
    card = read_hardware("fpga_card")
    assert card.buffer_bytes * 8 == (4 * 500 * 36 + 4 * 320 * 288) * 1024  # block RAMs and UltraRAMs of four dies
    assert card.macs_per_cycle == 2 * 4 * 2_877
    assert card.dram_bytes_per_s == 4 * 19.25e9


@pytest.mark.parametrize("name", ["edge_npu", "fpga_card", "large_npu", "mobile_npu"])
def test_every_number_of_a_preset_says_beside_it_where_it_is_from(name):
    lines = (PRESETS / f"{name}.yaml").read_text().splitlines()
    told = {line.split(":")[0]: line.partition("#")[2].strip() for line in lines if line[:1].isalpha()}
    for key in told.keys() - {"name", "source", "activation_bytes"}:  # of the last the line before it speaks
        assert told[key], f"{name}.yaml: {key} has no source"


def test_a_description_of_ones_own(tmp_path):
    mine = read_hardware(write(tmp_path / "mine.yaml", name=None, buffer_bytes="2e6", dram_bytes_per_s="1e9"))
    assert (mine.name, mine.buffer_bytes, mine.dram_bytes_per_s) == ("mine", 2_000_000, 1e9)
    assert isinstance(mine.buffer_bytes, int)
    assert read_hardware(mine) is mine


def test_a_description_with_a_number_changed():
    edge = read_hardware("edge_npu")
    small = read_hardware(edge, buffer_bytes="8192")
    assert dataclasses.replace(edge, buffer_bytes=8192, name=small.name, source=small.source) == small
    assert small.name == "edge_npu with buffer_bytes=8192"
    assert small.source == f"{edge.source} Changed: buffer_bytes=8192."
    assert read_hardware("edge_npu", name="mine", clock_hz=1e8).name == "mine"
    assert read_hardware("edge_npu", name="mine") == dataclasses.replace(edge, name="mine")
    with pytest.raises(ConfigError, match="edge_npu: unknown key 'bufer_bytes': did you mean 'buffer_bytes'"):
        read_hardware("edge_npu", bufer_bytes=1)
    with pytest.raises(ConfigError, match="edge_npu: buffer_bytes=-1: a number above 0"):
        read_hardware("edge_npu", buffer_bytes=-1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mac_pj": None}, r"mine\.yaml: mac_pj is missing \(needed: buffer_bytes"),
        ({"buffer_bytes": -1}, r"buffer_bytes=-1: a number above 0"),
        ({"buffer_bytes": 0}, r"buffer_bytes=0: a number above 0"),
        ({"buffer_bytes": 1.5}, r"buffer_bytes=1.5: a whole number above 0"),
        ({"dram_bytes_per_s": float("nan")}, r"dram_bytes_per_s=nan"),
        ({"clock_hz": "fast"}, r"clock_hz='fast': a number above 0"),
        ({"clock_hz": True}, r"clock_hz=True"),
        ({"weight_bytes": 3}, r"weight_bytes=3: accepted are 1, 2 and 4"),
        ({"bufer_bytes": 1}, r"unknown key 'bufer_bytes': did you mean 'buffer_bytes'"),
        ({"source": 3}, r"source=3: a text is accepted"),
    ],
)
def test_unusable_descriptions_name_file_key_and_value(tmp_path, changes, problem):
    with pytest.raises(ConfigError, match=problem):
        read_hardware(write(tmp_path / "mine.yaml", **changes))


def test_files_that_are_none(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "broken.yaml").write_text("a: [1")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00a")
    for name, problem in (("list", "given a list"), ("broken", "cannot be read"), ("binary", "cannot be read"),
                          ("none", "no such file; presets: edge_npu")):  # fmt: skip
        with pytest.raises(ConfigError, match=problem):
            read_hardware(tmp_path / f"{name}.yaml")
    with pytest.raises(ConfigError, match=r"hardware=egde_npu: unknown name: did you mean 'edge_npu'"):
        read_hardware("egde_npu")


def test_made_in_python_it_is_checked_as_well():
    fields = {**data(), "dram_bytes_per_s": 6.4e9, "clock_hz": 1e9}
    assert Hardware(**fields) == read_hardware("edge_npu")
    with pytest.raises(ConfigError, match=r"hardware 'edge_npu': mac_pj=-1"):
        dataclasses.replace(read_hardware("edge_npu"), mac_pj=-1)


@pytest.mark.parametrize("given", [None, 5, {"buffer_bytes": 1}, "a\0.yaml"])
def test_what_names_no_hardware_is_told(given):
    with pytest.raises(ConfigError, match="hardware="):
        read_hardware(given)
