"""Our DRAM bytes beside those of ZigZag (single layers) and Stream (chains by line), which nobody here wrote.

The peers ran in environments of their own (benchmarks/peers); here their stored results are read. Where bytes must be
equal they are compared as they are; where they are not, a formula gives each side to the byte.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import yaml

from autobuild.cost.fusion import GroupCosts
from benchmarks.peers import table
from benchmarks.peers.formulas import (
    FOLDER,
    PARTIAL,
    by_loops,
    everything_fits,
    graph,
    in_bands,
    in_tiles,
    input_fits,
    lines,
    most_held,
    moved,
    sizes,
    span,
    stored,
    touched,
    window_rows,
    windows,
)
from benchmarks.report import RESULTS, markdown

LAYERS, CHAINS = stored("zigzag_layers"), stored("stream_chains")
ROWS = {f"{row['layer']}-{row['buffer_bytes']}": row for row in LAYERS["results"]}
CHAIN = {row["chain"]: row for row in CHAINS["results"]}
EQUAL = {name: row for name, row in ROWS.items()
         if everything_fits(row, row["buffer_bytes"]) or input_fits(row, row["buffer_bytes"])}  # fmt: skip
OTHERS = {name: row for name, row in ROWS.items() if name not in EQUAL}


def each(rows):
    return pytest.mark.parametrize("row", rows.values(), ids=rows)


def ours(row):
    return GroupCosts(graph([row]), row["buffer_bytes"])(1)


def test_the_versions_are_those_that_the_requirements_pin():
    pins = {line.split("#")[0].strip() for name in ("zigzag", "stream")
            for line in (FOLDER / f"requirements_{name}.txt").read_text(encoding="utf-8").splitlines()}  # fmt: skip
    assert f"zigzag-dse=={LAYERS['version']}" in pins
    assert {f"{name}=={version}" for name, version in CHAINS["versions"].items()} <= pins
    assert (LAYERS["version"], LAYERS["lpf_limit"]) == ("3.9.1", 6)
    assert CHAINS["versions"] == {"stream-dse": "0.0.8", "zigzag-dse": "2.5.4"}


def test_all_that_is_declared_was_run():
    declared = yaml.safe_load((FOLDER / "layers.yaml").read_text(encoding="utf-8"))
    assert set(ROWS) == {f"{name}-{size}" for name in declared["layers"] for size in declared["buffers"]}
    for row in ROWS.values():
        given = declared["layers"][row["layer"]]
        assert {key: row[key] for key in given} == given
    assert set(CHAIN) == set(yaml.safe_load((FOLDER / "chains.yaml").read_text(encoding="utf-8"))["chains"])


def test_sizes_are_those_of_our_graphs():
    for row in ROWS.values():
        (op,), (source, result) = graph([row]).ops, graph([row]).tensors
        assert (op.weight_bytes, source.dram_bytes, result.dram_bytes) == sizes(row), row["layer"]
        assert (source.rows, result.rows) == (row["in"][1], row["rows"])


@each(ROWS)
def test_zigzags_bytes_follow_from_its_loops(row):
    expected = by_loops(row)
    assert expected.pop("held") <= row["buffer_bytes"]
    assert {key: row[key] for key in expected} == expected
    assert row["W_written"] == row["I_written"] == 0
    # what it minimises counts one read of partial sums that its bytes leave out: the first, of sums not yet begun
    assert row["energy"] - moved(row) == (PARTIAL * sizes(row)[2] if row["O_read"] else 0)


@each(EQUAL)
def test_equal_bytes_where_everything_or_the_input_fits(row):
    weights, whole, out = sizes(row)
    cost = ours(row)
    assert cost.valid
    assert cost.dram_bytes == weights + whole + out
    assert (row["W_read"], row["O_written"], row["O_read"]) == (weights, out, 0)
    # ZigZag reads what windows read; here tensors are read whole
    assert row["I_read"] == touched(row)
    assert cost.dram_bytes - moved(row) == whole - touched(row)


def test_inputs_are_touched_in_part_where_strides_pass_over_or_windows_end_early():
    partly = {row["layer"] for row in ROWS.values() if touched(row) < sizes(row)[1]}
    wide = {row["layer"] for row in ROWS.values() if row["stride"] > span(row)}
    early = {row["layer"] for row in ROWS.values() if window_rows(row, row["rows"] - 1)[-1] + 1 < row["in"][1]}
    assert partly == wide | early
    assert wide
    assert early - wide
    assert sum(row["layer"] not in partly for row in EQUAL.values()) >= 50  # equal without any allowance


@each(OTHERS)
def test_our_bytes_follow_from_our_formulas_in_the_others(row):
    weights, whole, out = sizes(row)
    cost, buffer = ours(row), row["buffer_bytes"]
    if cost.scheme == "lbdf":  # all weights and a few lines
        assert weights + lines(row) <= buffer
        assert cost.dram_bytes == weights + whole + out
    elif cost.scheme == "weight_tiles":
        assert cost.dram_bytes == in_tiles(row, buffer)
    elif cost.scheme == "row_bands":
        assert cost.dram_bytes in {in_bands(row, height) for height in range(1, row["rows"] + 1)}
    else:
        assert not cost.valid
        assert lines(row) + weights // row["out"] > buffer  # rows and channels are the least that is held here


def test_zigzag_moves_fewer_bytes_only_where_it_skips_input_that_no_window_reads():
    beyond = {name: ours(row).dram_bytes - moved(row) - (sizes(row)[1] - touched(row))
              for name, row in OTHERS.items() if ours(row).valid}  # fmt: skip
    fewer = {name: OTHERS[name] for name, more in beyond.items() if more > 0}
    assert list(fewer) == ["project_1x1_s2_56-65536", "project_1x1_s2_14-65536"]
    for row in fewer.values():  # of that input alone, a layer of stride 1, both move as much
        alone = row | {"in": [row["in"][0], row["rows"], row["columns"]], "stride": 1}
        assert GroupCosts(graph([alone]), row["buffer_bytes"])(1).dram_bytes == moved(row)


@each(CHAIN)
def test_stream_moves_weights_and_the_output_once_and_no_intermediate(row):
    convs, found = row["convolutions"], dict(row["bytes"])
    whole = graph(convs)
    cost = GroupCosts(whole, row["buffer_bytes"], scheme="lbdf")(whole.full)
    # Stream fetches every output row's window as a tensor of its own, with its padding: halos come again and again
    assert found.pop("I0_read") == windows(convs[0])
    for number, conv in enumerate(convs):
        assert found.pop(f"W{number}_read") == sizes(conv)[0]
    assert found.pop(f"O{len(convs) - 1}_written") == sizes(convs[-1])[2]
    # a layer whose last row nobody reads passes for an output of the network: written, and what is read, fetched
    for number, (conv, after) in enumerate(pairwise(convs)):
        read = {row for q in range(after["rows"]) for row in window_rows(after, q)}
        if conv["rows"] - 1 not in read:
            assert found.pop(f"O{number}_written") == sizes(conv)[2]
            assert found.pop(f"O{number}_read") == len(read) * conv["columns"] * conv["out"]
    assert not found  # no intermediate
    assert cost.valid
    assert cost.dram_bytes == sum(sizes(conv)[0] for conv in convs) + sizes(convs[0])[1] + sizes(convs[-1])[2]


def test_one_chain_has_a_layer_that_passes_for_an_output():
    assert [name for name, row in CHAIN.items() if "O0_written" in row["bytes"]] == ["last_row_unread"]


@each(CHAIN)
def test_the_buffer_that_a_chain_needs(row):
    """Ours: the most rows of every tensor, added up. Stream's smallest: the fullest moment; its windows of the input
    come with padding. Two formulas, and both to the byte."""
    convs, whole = row["convolutions"], graph(row["convolutions"])
    cost = GroupCosts(whole, row["buffer_bytes"], scheme="lbdf")(whole.full)
    kept = sum(min(conv["in"][1], span(conv)) * conv["in"][0] * conv["in"][2] for conv in convs)
    last = convs[-1]["out"] * convs[-1]["columns"]
    assert cost.buffer_bytes == sum(sizes(conv)[0] for conv in convs) + kept + last
    if "O0_written" not in row["bytes"]:
        assert row["smallest_buffer_bytes"] == most_held(convs)


@pytest.mark.parametrize("name", ["layers", "differences", "chains"])
def test_the_tables_are_those_of_today(name):
    frame = {"layers": table.summary, "differences": table.differences, "chains": table.chains}[name]()
    assert markdown(frame) == (RESULTS / f"peers_{name}.md").read_text(encoding="utf-8").strip()
