"""Cache pickles: the restricted reader, and the shapes of caches."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import pickle
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobuild.errors import LabelError
from autobuild.labels import LabelledSet
from autobuild.labels.importers import read_autobuild_cache
from autobuild.labels.importers._restricted_unpickler import read_pickle
from autobuild.spaces import SearchSpace

STAGES = [["mbconv3_e3_k3", "mbconv3_e6_k5"], *[["mbconv3_e4_k7"] * 2] * 4]
TEXT = "e3k3-e6k5|" + "|".join(["e4k7-e4k7"] * 4)
PROTOCOLS = range(6)


def pickled(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Own:
    """A class of the user's own, as the paper's ONNX graphs are."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_published_shape(tmp_path: Path, mbv3: SearchSpace, protocol: int) -> None:
    entries = [
        {"original config": [224, STAGES], "acc": 0.76, "latency_gpu": np.float64(11.2), "latency_cpu": np.array(3.5),
         "flops": np.int64(400), "latency_npu": None, "name": "net"},
        {"original config": [224, [STAGES[0][:2], *STAGES[2:], STAGES[0]]], "acc": np.float32(0.5), "flops": 10**30},
    ]  # fmt: skip
    labels = LabelledSet.read(pickled(tmp_path / "ofa_mbv3_custom_cache.pkl", entries, protocol), mbv3)
    frame = labels.frame
    assert frame["arch"][0] == TEXT
    assert list(frame.columns) == ["arch", "resolution", "acc", "latency_gpu", "latency_cpu", "flops"]
    assert frame.loc[0, ["resolution", "acc", "latency_gpu", "latency_cpu", "flops"]].tolist() == [
        224, 0.76, 11.2, 3.5, 400]  # fmt: skip
    assert frame["latency_gpu"].isna().tolist() == [False, True]
    assert labels.notes == ["left out, as they hold no numbers: latency_npu, name"]


@pytest.mark.parametrize(
    "value",
    [
        [(TEXT, {"acc": 0.5})],
        [[STAGES, {"acc": 0.5}]],
        {TEXT: {"acc": 0.5}},
        collections.OrderedDict({TEXT: {"acc": np.array([0.5])}}),
        [{"arch": TEXT, "acc": 0.5}],
        ({"arch": STAGES, "acc": 0.5},),
    ],
)
def test_simple_shapes(tmp_path: Path, mbv3: SearchSpace, value: Any) -> None:
    frame = LabelledSet.read(pickled(tmp_path / "c.pkl", value), mbv3).frame
    assert frame.to_dict("list") == {"arch": [TEXT], "acc": [0.5]}


def test_one_number_is_the_column_label(tmp_path: Path, mbv3: SearchSpace) -> None:
    assert LabelledSet.read(pickled(tmp_path / "c.pkl", {TEXT: 0.5}), mbv3).metrics == ["label"]


def test_space_and_resolutions(tmp_path: Path) -> None:
    proxyless = [[layer.replace("mbconv3", "mbconv2") for layer in stage] for stage in STAGES]
    table = read_autobuild_cache(pickled(tmp_path / "c.pkl", [{"original config": [224, proxyless], "acc": 1.0}]))
    assert table.space == "ofa_proxyless"
    several = [{"original config": [size, STAGES], "acc": 1.0} for size in (192, 224)]
    table = read_autobuild_cache(pickled(tmp_path / "c.pkl", several))
    assert table.columns["arch"] == [f"r192|{TEXT}", f"r224|{TEXT}"]
    assert table.space == "ofa_mbv3"


def test_bad_entries_are_listed(tmp_path: Path, mbv3: SearchSpace) -> None:
    entries = [
        {"original config": [224, STAGES], "acc": 1.0},
        {"original config": [224, [["mbconv3_e3"]]], "acc": 1.0},
        {"original config": [224, [["mbconv3_e3_k3", "mbconv2_e3_k3"]]], "acc": 1.0},
        {"original config": [224, STAGES[:4]], "acc": 1.0},
        {"original config": 5, "acc": 1.0},
        {"original config": [224, STAGES], "acc": "high"},
    ]
    with pytest.raises(LabelError) as caught:
        LabelledSet.read(pickled(tmp_path / "c.pkl", entries), mbv3)
    told = str(caught.value)
    assert "4 of 6 rows" in told
    assert "row 2: stage 1: 'mbconv3_e3' is not a layer" in told
    assert "row 3: layers of several kinds" in told
    assert "row 4: arch" in told
    assert "row 5: the architecture is '5'" in told


@pytest.mark.parametrize("value", [5, "text", [], {}, [5], [{"acc": 1.0}], [(1, 2, 3)], None])
def test_other_shapes_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(LabelError, match=r"c\.pkl.*accepted: a list of dictionaries"):
        read_autobuild_cache(pickled(tmp_path / "c.pkl", value))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Calls(os.system, "touch evil"), "posix.system"),
        (Calls(subprocess.Popen, ["touch", "evil"]), "Popen"),
        (Calls(eval, "open('evil', 'w')"), "eval"),
        (Calls(getattr, {}, "keys"), "getattr"),
        (Calls(open, "evil", "w"), "open"),
        (Own(), ""),  # Python's own helper in the oldest protocols
        (Own, "Own"),
        (datetime.date(2020, 1, 1), "datetime.date"),
        (np.random.default_rng(0), "numpy.random"),
        (collections.Counter("a"), "collections.Counter"),
    ],
)
def test_classes_and_functions_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, named: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = pickled(tmp_path / "c.pkl", [{"original config": [224, STAGES], "graph": value, "acc": 1.0}], protocol)
    with pytest.raises(LabelError) as caught:
        read_autobuild_cache(path)
    assert named in str(caught.value)
    assert "refused" in str(caught.value)
    assert "c.pkl" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["c.pkl"]


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}, []], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        Calls(bytes, 10**12),
        Calls(bytearray, 10**12),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_odd_arrays_and_huge_bytes_are_refused(tmp_path: Path, value: Any, protocol: int) -> None:
    with pytest.raises(LabelError, match=r"c\.pkl"):
        read_pickle(pickled(tmp_path / "c.pkl", value, protocol))


def test_a_codec_other_than_latin1_is_refused(tmp_path: Path) -> None:
    import _codecs

    with pytest.raises(LabelError, match="not admitted"):
        read_pickle(pickled(tmp_path / "c.pkl", Calls(_codecs.encode, "text", "zip")))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",  # sets an attribute of what the table holds
        b"\x80\x02cnumpy\nndarray\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        b"\x80\x02c_codecs\nencode\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}X\x0c\x00\x00\x00__setstate__Ns\x86b.",
        b"\x80\x02cbuiltins\ndict\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        b"\x80\x02cnumpy\nndarray.__class__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__base__\x93.",
        b"\x80\x02X\x03\x00\x00\x00abcQ.",  # a reference to something outside
        b"\x80\x02]r" + struct.pack("<I", 2**31) + b".",  # a place in the memo that takes 16 GB to reach
        b"\x80\x02" + b"]" * 5_000 + b"a" * 4_999 + b".",  # nested deeper than anything published
        b"\x80\x02]q\x00h\x00a.",  # contains itself
        b"\x80\x02\x82\x01.",
        b"\x80\x7f.",
        b"\x80\x02",
        b"",
    ],
)
def test_hostile_and_broken_programs_are_refused(tmp_path: Path, program: bytes) -> None:
    (tmp_path / "c.pkl").write_bytes(program)
    for _ in range(2):
        with pytest.raises(LabelError, match=r"c\.pkl"):
            read_pickle(tmp_path / "c.pkl")
    # and the reader works as before
    assert read_pickle(pickled(tmp_path / "c.pkl", {"a": np.arange(3)}))["a"].tolist() == [0, 1, 2]


def test_every_truncation_is_told(tmp_path: Path) -> None:
    whole = pickled(tmp_path / "c.pkl", [{"original config": [224, STAGES], "acc": np.float64(1.0)}]).read_bytes()
    for length in range(1, len(whole)):
        (tmp_path / "c.pkl").write_bytes(whole[:length])
        with pytest.raises(LabelError, match=r"c\.pkl"):
            read_autobuild_cache(tmp_path / "c.pkl")


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4),
                            st.tuples(inner, inner)),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(value=values, protocol=st.sampled_from(PROTOCOLS))
def test_what_is_admitted_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int):
    path = tmp_path_factory.getbasetemp() / "same.pkl"
    assert read_pickle(pickled(path, value, protocol)) == value


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["<f8", ">f4", "<i8", ">i2", "|b1", "<c16", "<U5", "|S3", "|u1"]),
    shape=st.lists(st.integers(0, 3), max_size=3),
    order=st.sampled_from("CF"),
    protocol=st.sampled_from(PROTOCOLS),
    seed=st.integers(0, 100),
)
def test_arrays_and_scalars_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, kind: str, shape: list[int], order: str, protocol: int, seed: int
) -> None:
    array = np.random.default_rng(seed).integers(0, 2, shape).astype(kind, order=order)
    path = tmp_path_factory.getbasetemp() / "same.pkl"
    back = read_pickle(pickled(path, {"array": array, "items": list(array.reshape(-1)[:2])}, protocol))
    assert back["array"].dtype == array.dtype
    np.testing.assert_array_equal(back["array"], array)
    assert back["items"] == [item.item() for item in array.reshape(-1)[:2]]


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), protocol=st.sampled_from(PROTOCOLS))
def test_a_changed_byte_gives_a_value_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, protocol: int
) -> None:
    entry = {"original config": [224, STAGES], "acc": np.float64(1), "x": np.arange(3)}
    data = bytearray(pickle.dumps([entry], protocol))
    data[place % len(data)] = byte
    path = tmp_path_factory.getbasetemp() / "changed.pkl"
    path.write_bytes(data)
    with contextlib.suppress(LabelError):  # any other exception fails the test
        read_autobuild_cache(path)
